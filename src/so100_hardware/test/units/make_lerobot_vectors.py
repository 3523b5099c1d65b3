#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write lerobot_vectors.hpp: what LeRobot 0.4.4 makes of some ticks and of some values.

Run with a Python that has LeRobot: ``python make_lerobot_vectors.py > lerobot_vectors.hpp``.
The tests only read the result.
"""

from __future__ import annotations

from importlib.metadata import version

from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus

# Full turn, even and odd sums of the ends, a very narrow one.
RANGES = [(0, 4095), (755, 3327), (2034, 3487), (2000, 2003)]
TICKS = [-12, 760, 2001, 2047, 2048, 3000, 4095, 4200]
VALUES = [-5.0, 0.0, 0.01, 33.3, 50.0, 66.7, 99.99, 250.0]


def main() -> None:
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Made by make_lerobot_vectors.py with LeRobot {version('lerobot')}; do not edit.")
    print("// {range_min, range_max, drive_mode, tick, LeRobot's value} and the way back.")
    print("#pragma once\n\n// clang-format off")
    print("struct ToUnit\n{\n  int min, max, drive_mode, tick;\n  double value;\n};")
    print("struct FromUnit\n{\n  int min, max, drive_mode;\n  double value;\n  int tick;\n};\n")
    for mode, name in (
        ("DEGREES", "Degrees"),
        ("RANGE_M100_100", "M100"),
        ("RANGE_0_100", "To100"),
    ):
        to_unit, from_unit = [], []
        for low, high in RANGES:
            for drive_mode in (0, 1):
                bus = FeetechMotorsBus(
                    "none",
                    {"joint": Motor(1, "sts3215", MotorNormMode[mode])},
                    {"joint": MotorCalibration(1, drive_mode, 0, low, high)},
                )
                head = f"{low}, {high}, {drive_mode}"
                for tick in TICKS:
                    to_unit.append(f"{{{head}, {tick}, {bus._normalize({1: tick})[1]!r}}}")
                for value in VALUES:
                    from_unit.append(f"{{{head}, {value!r}, {bus._unnormalize({1: value})[1]}}}")
        tables = {"ToUnit": to_unit}
        if name == "To100":
            tables["FromUnit"] = from_unit
        for kind, rows in tables.items():
            print(f"inline constexpr {kind} k{kind}{name}[] = {{")
            print("".join(f"  {row},\n" for row in rows) + "};\n")


if __name__ == "__main__":
    main()
