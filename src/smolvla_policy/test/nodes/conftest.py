# SPDX-License-Identifier: Apache-2.0
"""Nodes under test in one process: real rclpy, real topics, no sleeping."""

import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


class Graph:
    """Nodes in a context of their own, spun until something is true."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._nodes = []
        self.node = self.add(Node("observer", context=self.context))

    def add(self, node):
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def remove(self, node):
        self._nodes.remove(node)
        self._executor.remove_node(node)
        node.destroy_node()

    def until(self, condition, timeout=10.0, what=""):
        """Spin until `condition()`; fail when it does not come true."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
            self._executor.spin_once(timeout_sec=0.05)

    def during(self, seconds, condition):
        """Spin for `seconds` and fail as soon as `condition()` is false."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
            assert condition()

    def close(self):
        for node in reversed(self._nodes):
            node.destroy_node()
        self._executor.shutdown()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()
