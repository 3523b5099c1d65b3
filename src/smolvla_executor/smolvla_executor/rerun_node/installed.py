# SPDX-License-Identifier: Apache-2.0
"""Whether Rerun is there. It is imported nowhere before somebody asked for it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

RERUN_SDK = "rerun-sdk==0.39.0"
"""As constraints.txt has it."""


def rerun_problem() -> str:
    """Return what keeps Rerun from being used, and what to do; empty for nothing."""
    name, _, wanted = RERUN_SDK.partition("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        problem = f"the Python package {name} is not installed"
    else:
        if _release(found) >= _release(wanted):
            return ""
        problem = f"the Python package {name} is of version {found}, older than {wanted}"
    # Without dependencies: it asks for NumPy 2, and a ROS of a distribution is bound to its own
    # NumPy, perhaps 1.26, with which it works, too.
    others = "attrs pillow psutil pyarrow typing-extensions"
    return f"{problem}: pip install --no-deps {RERUN_SDK} {others}"


def _release(number: str) -> tuple[int, int]:
    major, minor = number.split(".")[:2]
    return int(major), int(minor)
