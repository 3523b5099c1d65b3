# SPDX-License-Identifier: Apache-2.0
"""The ROS side of the suite: messages, quality of service, parameters, buffers."""
