# SPDX-License-Identifier: Apache-2.0
"""The middleware's profile: chosen by the one variable that its version knows, and really used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from smolvla_bringup.system.environment import middleware_defaults

PACKAGE = Path(__file__).resolve().parents[1]
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


def environment(**more: str) -> dict[str, str]:
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
        defaults = middleware_defaults(environment(ROS_DISTRO=distribution))
        assert [given for given in _NAMES if given in defaults] == [name]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_a_profile_of_the_users_stays_under_the_name_that_is_known(distribution: str) -> None:
    old, new = _NAMES[::-1]
    known, other = (old, new) if distribution == "jazzy" else (new, old)

    def added(**given: str) -> dict[str, str]:
        return middleware_defaults(environment(ROS_DISTRO=distribution, **given), local=False)

    assert added(**{known: "/mine.xml"}) == {}
    assert added(**{known: "/mine.xml", other: "/other.xml"}) == {}
    assert added(**{other: "/mine.xml"}) == {known: "/mine.xml", other: ""}
    assert added(FASTDDS_BUILTIN_TRANSPORTS="UDPv4") == {}


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("with_profile", "before"), [(True, ""), (True, _NAMES[0]), (True, _NAMES[1]), (False, "")]
)
def test_the_profile_is_used_and_nothing_is_said_about_it(
    with_profile: bool, before: str, tmp_path: Path
) -> None:
    pytest.importorskip("rclpy")
    users = tmp_path / "users.xml"
    users.write_text((PACKAGE / "config/fastdds.xml").read_text())
    given = environment(ROS_LOG_DIR=str(tmp_path), **({before: str(users)} if before else {}))
    if given.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
        pytest.skip("another middleware is chosen")
    if with_profile:
        given |= middleware_defaults(given)
    child = subprocess.run(
        [sys.executable, "-c", _NODE], env=given, capture_output=True, text=True, check=True
    )
    assert (int(child.stdout) >= _SEGMENT) is with_profile
    assert child.stderr == ""
