# SPDX-License-Identifier: Apache-2.0
"""What every test run has: a ROS graph of its own, SIGINT, and no time limit for an example."""

import gc
import os
import shutil
import signal
import tempfile

from hypothesis import settings

pytest_plugins = ["node_rig", "chat_server"]  # nodes in a graph of their own, a stub of models

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

# Threads that wait for others must not keep the processor from those.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

# What is cached (graphs of networks) is made anew by each run, and not left to the user.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="smolvla-tests-")
os.environ.pop("HF_HOME", None)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")

# A job in the background (`nohup make test &`) ignores SIGINT and SIGHUP, and so would what the
# tests start and end with them. A function that handles a signal is not passed on as ignoring is.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda signum, frame: None)


def pytest_unconfigure() -> None:
    """Remove the cache."""
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Keep garbage collections short: a full one stalls a node longer than an image may age."""
    gc.collect()
    gc.freeze()
