# SPDX-License-Identifier: Apache-2.0
"""What the nodes need around them: parameter files, middleware settings, a free ROS domain."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from ament_index_python import has_resource as ament_has_resource
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)

from smolvla_bringup.options import SetupError

REBUILD = "build and source the workspace: make build, then . ./env.sh"
"""What to do when a part of the workspace is not found."""

# Any of these is a choice of the user's about Fast DDS's transports. The last two are the names
# of one variable in Fast DDS 3 (Kilted) and 2 (Jazzy).
_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"

# DDS-RTPS 2.x, 9.6.2.3: discovery port of participant 0 in domain d is 7400 + 250 d + 10.
_PORT_BASE, _DOMAIN_GAIN, _UNICAST_OFFSET = 7400, 250, 10
_DOMAINS = 102  # 0..101 stay below Linux's ephemeral ports


def config_file(name: str) -> Path:
    """Return the installed file ``config/<name>`` of this package.

    Raises:
        SetupError: this package is not installed.
    """
    try:
        share = get_package_share_directory("smolvla_bringup")
    except PackageNotFoundError as error:
        raise SetupError(f"package smolvla_bringup is not installed; {REBUILD}") from error
    return Path(share, "config", name)


def installed(package: str) -> bool:
    """Say whether ament finds `package`."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def has_resource(kind: str, name: str) -> bool:
    """Say whether a package has registered the resource `name` of `kind` with ament."""
    return bool(ament_has_resource(kind, name))


def apt_line(*packages: str) -> str:
    """Return the command that installs ROS packages where ROS 2 comes from apt."""
    distro = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
    names = " ".join(f"ros-{distro}-{package.replace('_', '-')}" for package in packages)
    return f"sudo apt-get install {names}"


def require(package: str, reason: str, otherwise: str = "") -> None:
    """Make sure that `package` is installed.

    Args:
        package: a package of a ROS distribution.
        reason: what needs it, e.g. "hardware 'real'".
        otherwise: what to do instead of installing it.

    Raises:
        SetupError: it is not; the text has the command that installs it.
    """
    if not installed(package):
        instead = f", or {otherwise}" if otherwise else ""
        raise SetupError(
            f"{reason} needs the package {package}, which is not installed: "
            f"{apt_line(package)}{instead}"
        )


def middleware_defaults(environment: Mapping[str, str], local: bool = True) -> dict[str, str]:
    """Return the variables to set in addition to `environment`; what it has stays.

    Fast DDS gets the profile config/fastdds.xml: shared memory with room for raw images.

    Args:
        environment: variables that are set.
        local: whether nodes of other machines shall not be heard.

    Raises:
        SetupError: this package is not installed.
    """
    defaults = {}
    if not any(name in environment for name in (_TRANSPORTS, *_PROFILES)):
        defaults.update({name: str(config_file("fastdds.xml")) for name in _PROFILES})
    if local and _RANGE not in environment:
        # A simulated arm and a real one on the same network must not hear each other.
        defaults[_RANGE] = "LOCALHOST"
    return defaults


def free_domain() -> int:
    """Return a ROS_DOMAIN_ID in 1..101 on which no node of this machine is to be seen.

    Starts at a number made of the process id, so that two starts at once differ.

    Raises:
        RuntimeError: all of them are taken.
    """
    first = os.getpid() % (_DOMAINS - 1)
    for step in range(_DOMAINS - 1):
        domain = 1 + (first + step) % (_DOMAINS - 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _PORT_BASE + _DOMAIN_GAIN * domain + _UNICAST_OFFSET))
            except OSError:
                continue
            return domain
    raise RuntimeError("all ROS domains 1..101 are in use; set ROS_DOMAIN_ID yourself")
