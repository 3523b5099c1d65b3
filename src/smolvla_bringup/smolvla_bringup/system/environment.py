# SPDX-License-Identifier: Apache-2.0
"""What the nodes need around them: parameter files, middleware settings, a free ROS domain."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)

from smolvla_bringup.system.options import SetupError

REBUILD = "build and source the workspace: make build, then . ./env.sh"
"""What to do when a part of the workspace is not found."""

# Any of these is a choice of the user's about Fast DDS's transports. The last two are the names
# of one variable in Fast DDS 3 (Kilted) and 2 (Jazzy).
_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"

# What a user may have set to reach nodes beyond the domain and this machine, or to be reached.
_BEYOND = (
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",  # deprecated; where it is set, the range is ignored
    "ROS_DISCOVERY_SERVER",
    "ROS_SUPER_CLIENT",
    "FASTDDS_ENVIRONMENT_FILE",  # may set the two above
    "CYCLONEDDS_URI",
    *_PROFILES,
)

# Both ranges stay clear of Linux's ephemeral ports. People choose from 0..101.
_DOMAINS = (tuple(range(215, 232)), tuple(range(1, 102)))
_claimed: list[socket.socket] = []  # held until the process ends


def shared_file(package: str, name: str) -> Path:
    """Return the file `name` below the share folder of `package`.

    Raises:
        SetupError: the package is not installed.
    """
    try:
        return Path(get_package_share_directory(package), name)
    except PackageNotFoundError as error:
        raise SetupError(f"package {package} is not installed; {REBUILD}") from error


def installed(package: str) -> bool:
    """Say whether ament finds `package`."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def apt_line(*packages: str) -> str:
    """Return the command that installs ROS packages, or what to do where ROS 2 is from PyPI."""
    try:
        pypi = Path(get_package_prefix("rclpy"), ".ros_distro").exists()  # scripts/setup.sh's mark
    except PackageNotFoundError:
        pypi = False
    if pypi:
        return "not to be had with the ROS 2 from PyPI; source one from apt, then make build"
    if not shutil.which("apt-get"):
        return f"install {', '.join(packages)} of your ROS distribution"
    distro = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
    names = " ".join(f"ros-{distro}-{package.replace('_', '-')}" for package in packages)
    return f"sudo apt-get install {names}"


def require(package: str, user: str, otherwise: str) -> None:
    """Make sure that `package` is installed.

    Args:
        package: a package of a ROS distribution.
        user: what needs it, e.g. "hardware 'real'".
        otherwise: what to do instead of installing it.

    Raises:
        SetupError: it is not; the text says how to get it.
    """
    if not installed(package):
        raise SetupError(
            f"{user} needs the package {package}, which is not installed: "
            f"{apt_line(package)}, or {otherwise}"
        )


def middleware_defaults(environment: Mapping[str, str], local: bool = True) -> dict[str, str]:
    """Return the variables to set in addition to `environment`; what it has stays.

    Fast DDS gets the profile config/fastdds.xml: shared memory with room for raw images. A profile
    that is set under the variable's name in another version gets the name in this one.

    Args:
        environment: variables that are set.
        local: whether discovery shall keep to this machine.

    Raises:
        SetupError: this package is not installed.
    """
    defaults = {}
    # The one that this Fast DDS knows. With the other, Fast DDS 2 does nothing, and the rmw of
    # Fast DDS 3 warns in every process, also where both are set.
    known, other = _PROFILES[::-1] if environment.get("ROS_DISTRO") == "jazzy" else _PROFILES
    if not any(name in environment for name in (_TRANSPORTS, *_PROFILES)):
        defaults[known] = str(shared_file("smolvla_bringup", "config/fastdds.xml"))
    elif known not in environment and environment.get(other):
        defaults |= {known: environment[other], other: ""}
    if local and _RANGE not in environment:
        # A simulated arm must not command a real one on the same network.
        defaults[_RANGE] = "LOCALHOST"
    return defaults


def enter_own_graph() -> int:
    """Put this process and its children into a ROS graph that no robot is in; return its domain.

    Whatever is set in the environment: the domain is free and claimed until this process ends,
    discovery keeps to this machine, and peers, discovery servers and profiles are dropped. To be
    called before `rclpy.init`.

    Raises:
        SetupError: this package is not installed, or no domain is free.
    """
    for name in _BEYOND:
        os.environ.pop(name, None)
    # Fast DDS also reads DEFAULT_FASTDDS_PROFILES.xml in the working directory.
    os.environ.update({"SKIP_DEFAULT_XML_FILE": "1", _RANGE: "LOCALHOST"})
    os.environ.update(middleware_defaults(os.environ))
    domain = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return domain


def free_domain() -> int:
    """Return a ROS_DOMAIN_ID on which no node of this machine is to be seen, and claim it.

    Never the one in the environment. The claim holds against other calls on this machine until
    this process ends, so that two starts at once differ.

    Raises:
        SetupError: all of them are taken.
    """
    users = os.environ.get("ROS_DOMAIN_ID", "").strip().lstrip("0")
    for domains in _DOMAINS:
        first = os.getpid() % len(domains)
        for domain in (*domains[first:], *domains[:first]):
            if str(domain) != users and _claim(domain):
                return domain
    raise SetupError(
        "all ROS domains that a simulation of its own may take are in use: end other demos and "
        "benchmarks"
    )


def _claim(domain: int) -> bool:
    """Claim `domain`; False where somebody has, or where a node is to be seen on it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # An abstract name of Linux: as the ports, it is the network namespace's, and ends with
        # the process.
        claim.bind(f"\0smolvla.ros_domain.{domain}")
    except OSError:
        claim.close()
        return False
    # DDS-RTPS 2.x, 9.6.2.3: discovery by multicast, and of each of 32 participants.
    base = 7400 + 250 * domain
    for port in (base, *range(base + 10, base + 10 + 2 * 32, 2)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                claim.close()
                return False
    _claimed.append(claim)
    return True
