# SPDX-License-Identifier: Apache-2.0
"""The middleware's profile: chosen by the one variable that its version knows, and really used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from smolvla_bringup.environment import middleware_defaults

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
    for name in _NAMES:
        assert not set(_NAMES) & set(middleware_defaults(environment(**{name: "/mine.xml"})))


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("with_profile", [True, False])
def test_the_profile_is_used_and_nothing_is_said_about_it(
    with_profile: bool, tmp_path: Path
) -> None:
    pytest.importorskip("rclpy")
    given = environment(ROS_LOG_DIR=str(tmp_path))
    if given.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
        pytest.skip("another middleware is chosen")
    if with_profile:
        given |= middleware_defaults(given)
    child = subprocess.run(
        [sys.executable, "-c", _NODE], env=given, capture_output=True, text=True, check=True
    )
    assert (int(child.stdout) >= _SEGMENT) is with_profile
    assert child.stderr == ""
