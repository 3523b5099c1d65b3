# SPDX-License-Identifier: Apache-2.0
"""Every test run has a ROS graph of its own on this machine, and no test has a time limit."""

import os

from hypothesis import settings

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
