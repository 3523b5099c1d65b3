# SPDX-License-Identifier: Apache-2.0
"""The expert's demonstrations as a LeRobot dataset."""
