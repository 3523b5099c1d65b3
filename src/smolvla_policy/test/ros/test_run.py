# SPDX-License-Identifier: Apache-2.0
"""A node as a process ends without a traceback, also while it is being made."""

import rclpy
from smolvla_policy.ros.run import run


def test_an_interrupt_while_the_node_is_made_ends_it_quietly(monkeypatch):
    ended = []
    monkeypatch.setattr(rclpy, "init", lambda: None)
    monkeypatch.setattr(rclpy, "try_shutdown", lambda: ended.append(True))

    def interrupted():
        raise KeyboardInterrupt

    assert run("node", interrupted) == 0
    assert ended == [True]
