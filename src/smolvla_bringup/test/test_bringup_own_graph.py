# SPDX-License-Identifier: Apache-2.0
"""Demo and benchmarks enter a ROS graph of their own, whatever the user has set."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# All with the same process id, so that they begin with the same domain.
_CHILD = """
import json, os, sys
os.getpid = lambda: 11
from smolvla_bringup.system.environment import enter_own_graph
enter_own_graph()
print(json.dumps(dict(os.environ)), flush=True)
sys.stdin.read()
"""
USERS = {
    "ROS_DOMAIN_ID": "7",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    "ROS_STATIC_PEERS": "192.0.2.9",
    "ROS_LOCALHOST_ONLY": "0",
    "ROS_DISCOVERY_SERVER": "192.0.2.9:11811",
    "FASTDDS_DEFAULT_PROFILES_FILE": "/home/me/robot.xml",
}


@contextlib.contextmanager
def entered(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of a process that is in a graph of its own and stays there."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())
    finally:
        child.communicate()


@pytest.fixture
def environment(workspace: Path) -> dict[str, str]:
    return {**os.environ, **USERS, "ROS_DISTRO": "kilted"}


def test_nothing_that_a_user_has_set_leads_out_of_it(environment: dict[str, str]) -> None:
    with entered(environment) as own:
        assert own["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        assert own["ROS_DOMAIN_ID"] != "7"
        for name in ("ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY", "ROS_DISCOVERY_SERVER"):
            assert name not in own
        assert own["FASTDDS_DEFAULT_PROFILES_FILE"].endswith("fastdds.xml")
        assert own["SKIP_DEFAULT_XML_FILE"] == "1"  # that of the working directory
    with entered({**environment, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}) as own:
        assert own["FASTDDS_BUILTIN_TRANSPORTS"] == "UDPv4"  # how, not to whom
        assert "FASTDDS_DEFAULT_PROFILES_FILE" not in own


def test_two_at_once_are_in_two_graphs_and_neither_in_the_users(
    environment: dict[str, str],
) -> None:
    with entered(environment) as first:
        users = {**environment, "ROS_DOMAIN_ID": first["ROS_DOMAIN_ID"]}
        with entered(environment) as second:
            domains = {int(own["ROS_DOMAIN_ID"]) for own in (first, second)}
    assert len(domains) == 2
    assert all(215 <= domain <= 231 or 1 <= domain <= 101 for domain in domains)
    with entered(users) as third:  # the first claim has ended, so only the user's choice counts
        assert third["ROS_DOMAIN_ID"] != users["ROS_DOMAIN_ID"]


@pytest.mark.parametrize("offset", [0, 10, 14])
def test_a_domain_where_a_node_listens_is_left_alone(
    environment: dict[str, str], offset: int
) -> None:
    """On its multicast port or on that of a participant, be it not the first."""
    with entered(environment) as own:
        domain = int(own["ROS_DOMAIN_ID"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind(("", 7400 + 250 * domain + offset))
        with entered(environment) as own:
            assert int(own["ROS_DOMAIN_ID"]) != domain
