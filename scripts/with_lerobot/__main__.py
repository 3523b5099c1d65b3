# SPDX-License-Identifier: Apache-2.0
"""Let LeRobot of today judge this suite; started by ``check_with_lerobot.sh``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import arm, checkpoint, dataset, graders, metaworld, simulation
from .steps import Check

PARTS = {
    part.PART: part.run for part in (checkpoint, dataset, arm, simulation, metaworld, graders)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 if every step passed."""
    parser = argparse.ArgumentParser(prog="check_with_lerobot.sh", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is made")
    parser.add_argument("--lerobot", type=Path, required=True, help="Python with LeRobot")
    parser.add_argument("--old-lerobot", type=Path, help="Python with LeRobot 0.4")
    parser.add_argument("--graders", type=Path, required=True, help="bin folder")
    options = parser.parse_args(argv)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; {', '.join(PARTS)} are")
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    check = Check(work, options.lerobot, options.old_lerobot, options.graders)
    os.environ.update(check.environment(lerobot=False))
    for name in options.parts or PARTS:
        PARTS[name](check)
    failed = [row for row in check.rows if not row.passed]
    print(f"\n{len(check.rows) - len(failed)} of {len(check.rows)} steps passed", end="")
    print(f"; failed: {', '.join(f'{row.part}: {row.step}' for row in failed)}" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
