# SPDX-License-Identifier: Apache-2.0
"""What every test run has: a ROS graph of its own, SIGINT, and no time limit for an example."""

import gc
import os
import signal

from hypothesis import settings

pytest_plugins = ["node_rig"]  # nodes in a graph of their own

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")

# A job in the background (`nohup make test &`) ignores SIGINT, and so would what the tests start
# and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep garbage collections short: a full one stalls a node longer than an image may age."""
    gc.collect()
    gc.freeze()
