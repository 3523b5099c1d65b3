# SPDX-License-Identifier: Apache-2.0
"""Records a robot into a dataset, episode by episode. No ROS, no network."""
