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
from smolvla_bringup.system.environment import middleware_defaults

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


# The middleware's profile: chosen by the one variable that its version knows, and used.

_NAMES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_SEGMENT = 32 * 1024 * 1024  # of config/fastdds.xml [bytes]
# A node; then the size of the largest segment of shared memory that it has mapped.
_NODE = """
import os, re, rclpy
rclpy.init()
node = rclpy.create_node("middleware_test")
found = re.findall("(/dev/shm/fast(?:dds|rtps)_[0-9a-f]+)\\n", open("/proc/self/maps").read())
print(max((os.stat(path).st_size for path in found), default=0))
"""


def without_choice(**more: str) -> dict[str, str]:
    """Return this process's environment without any choice about Fast DDS, and `more`."""
    dropped = (*_NAMES, "FASTDDS_BUILTIN_TRANSPORTS")
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, **more}


@pytest.mark.usefixtures("workspace")
def test_each_distribution_gets_the_variable_that_it_knows() -> None:
    for distribution, name in (
        ("jazzy", _NAMES[1]),
        ("kilted", _NAMES[0]),
        ("rolling", _NAMES[0]),
    ):
        defaults = middleware_defaults(without_choice(ROS_DISTRO=distribution))
        assert [given for given in _NAMES if given in defaults] == [name]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_a_profile_of_the_users_stays_under_the_name_that_is_known(distribution: str) -> None:
    old, new = _NAMES[::-1]
    known, other = (old, new) if distribution == "jazzy" else (new, old)

    def added(**given: str) -> dict[str, str]:
        return middleware_defaults(without_choice(ROS_DISTRO=distribution, **given), local=False)

    assert added(**{known: "/mine.xml"}) == {}
    assert added(**{known: "/mine.xml", other: "/other.xml"}) == {}
    assert added(**{other: "/mine.xml"}) == {known: "/mine.xml", other: ""}
    assert added(FASTDDS_BUILTIN_TRANSPORTS="UDPv4") == {}


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("with_profile", "before"), [(True, ""), (True, _NAMES[0]), (True, _NAMES[1]), (False, "")]
)
def test_the_profile_is_used_and_nothing_is_printed_about_it(
    with_profile: bool, before: str, tmp_path: Path
) -> None:
    users = tmp_path / "users.xml"
    users.write_text((Path(__file__).resolve().parents[1] / "config/fastdds.xml").read_text())
    given = without_choice(ROS_LOG_DIR=str(tmp_path), **({before: str(users)} if before else {}))
    if given.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
        pytest.skip("another middleware is chosen")
    if with_profile:
        given |= middleware_defaults(given)
    child = subprocess.run(
        [sys.executable, "-c", _NODE], env=given, capture_output=True, text=True, check=True
    )
    assert (int(child.stdout) >= _SEGMENT) is with_profile
    assert child.stderr == ""
