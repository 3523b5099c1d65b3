# SPDX-License-Identifier: Apache-2.0
"""Mend the CMake exports of the ROS 2 wheels from PyPI, so that message packages build.

The wheels name paths of the machine that they were built on. Run with the venv's Python
after every install of them; a second run changes nothing.

Usage: .venv/bin/python scripts/mend_ros_wheels.py
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

# What the wheel builder left in *.cmake, and what it must say here.
_PYTHON_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+t?/include/python3\.\d+t?")
_SITE_PACKAGES = re.compile(r"/opt/python/cp3\d+-cp3\d+t?/lib/python3\.\d+t?/site-packages")
# Linked privately by Fast DDS and already inside its wheel; absent on most machines.
_TINYXML2 = re.compile(r";?/usr/lib64/libtinyxml2\.so")
# Tracing is compiled out of the wheels; the link flag stayed.
_LTTNG = re.compile(r"\blttng-ust;|;lttng-ust\b|\blttng-ust\b")


def mend(text: str, file: Path, include: str, site_packages: str) -> str:
    """Return `text` of the CMake file `file` with the builder's paths replaced."""
    text = _PYTHON_INCLUDE.sub(include, text)
    text = _SITE_PACKAGES.sub(site_packages, text)
    if "fastdds" in file.parts:
        text = _TINYXML2.sub("", text)
    if "tracetools" in file.parts:
        text = _LTTNG.sub("", text)
    return text


def main() -> int:
    """Mend every CMake file below the prefix of this Python; return 0."""
    paths = sysconfig.get_paths()
    changed = 0
    for file in sorted((Path(sys.prefix) / "share").rglob("*.cmake")):
        before = file.read_text(encoding="utf-8", errors="surrogateescape")
        after = mend(before, file, paths["include"], paths["purelib"])
        if after != before:
            file.write_text(after, encoding="utf-8", errors="surrogateescape")
            changed += 1
    print(f"mended {changed} CMake files of the ROS 2 wheels")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
