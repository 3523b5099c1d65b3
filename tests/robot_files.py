# SPDX-License-Identifier: Apache-2.0
"""Robot files for tests: small robots with joints of any names."""

import atexit
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml
from smolvla_core.units.calibration import LEROBOT_JOINTS

_FOLDER = Path(tempfile.mkdtemp(prefix="robots_"))
_NUMBERS = itertools.count()
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def robot_file(joints=("a", "b"), lower=-3.0, upper=3.0, speed=100.0, changes=None, **entries):
    """Write a robot file and return its path.

    Args:
        joints: names; LeRobot's have their roles, others are joints.
        lower, upper, speed: of all joints, or of each.
        changes: joint -> entries of its own; a name in ``.vel`` has no others.
        entries: others of the file.
    """
    numbers = [np.broadcast_to(each, len(joints)).tolist() for each in (lower, upper, speed)]
    content = {
        name: {}
        if name.endswith(".vel")
        else {
            **({} if name in LEROBOT_JOINTS else {"role": "joint"}),
            **dict(zip(("lower", "upper", "speed"), each, strict=True)),
            **(changes or {}).get(name, {}),
        }
        for name, *each in zip(joints, *numbers, strict=True)
    }
    path = _FOLDER / f"robot_{next(_NUMBERS)}.yaml"
    path.write_text(yaml.safe_dump({"joints": content, **entries}, sort_keys=False), "utf-8")
    return str(path)
