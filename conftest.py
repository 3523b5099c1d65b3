# SPDX-License-Identifier: Apache-2.0
"""Every test run has a ROS graph of its own on this machine."""

import os

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
