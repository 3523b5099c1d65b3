# SPDX-License-Identifier: Apache-2.0
"""The rows that checks return, as a table for people and as JSON for programs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Status(str, Enum):
    """What came of a check."""

    OK = "ok"
    WARN = "warn"
    FIX = "fix"
    SKIPPED = "-"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        check: what was looked at, e.g. ``camera top``.
        status: what came of it; `Status.FIX` where the arm would not move, or not as it should.
        found: what was seen.
        advice: what to do about it; empty where there is nothing to do.
    """

    check: str
    status: Status
    found: str
    advice: str = ""

    @classmethod
    def ok(cls, check: str, found: str) -> Row:
        """Return a row that is as it should be."""
        return cls(check, Status.OK, found)

    @classmethod
    def ok_or_warn(cls, check: str, found: str, advice: str) -> Row:
        """Return a row that is worth a look where there is advice."""
        return cls(check, Status.WARN if advice else Status.OK, found, advice)

    @classmethod
    def fix(cls, check: str, found: object, advice: str = "") -> Row:
        """Return a row that keeps the arm from moving, or from moving as it should."""
        return cls(check, Status.FIX, str(found), advice)

    @classmethod
    def warn(cls, check: str, found: str, advice: str = "") -> Row:
        """Return a row that is worth a look."""
        return cls(check, Status.WARN, found, advice)

    @classmethod
    def skipped(cls, check: str, found: str) -> Row:
        """Return the row of a check that was not made."""
        return cls(check, Status.SKIPPED, found)


def exit_code(rows: Sequence[Row]) -> int:
    """Return 1 when something must be done, else 0."""
    return int(any(row.status is Status.FIX for row in rows))


def summary(rows: Sequence[Row]) -> str:
    """Return the last line of the table: whether the arm may move."""
    fix = [row.check for row in rows if row.status is Status.FIX]
    warn = [row.check for row in rows if row.status is Status.WARN]
    if fix:
        return f"Not ready: see {', '.join(dict.fromkeys(fix))}."
    if warn:
        return f"Ready; worth a look: {', '.join(dict.fromkeys(warn))}."
    return "Ready."


def table(rows: Sequence[Row], width: int = 100) -> str:
    """Return the rows as aligned columns, wrapped to `width` characters; commands stay whole."""
    checks = max((len(row.check) for row in rows), default=0)
    lines = [f"{'':4}  {'CHECK':{checks}}  FOUND, and what to do (>)".rstrip()]
    indent = " " * (4 + 2 + checks + 2)
    for row in rows:
        head = f"{row.status.value:4}  {row.check:{checks}}  "
        lines += _wrapped(row.found, head, indent, width)
        if row.advice:
            lines += _wrapped(row.advice, f"{indent}> ", indent + "  ", width)
    return "\n".join(line.rstrip() for line in lines)


_COMMAND = re.compile(r"`[^`]+`|python3 -c '[^']*'")
# Stands for a space at which a line must not end; no text has it.
_KEPT = "\0"


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    lines: list[str] = []
    # A command is there to be copied, in one piece.
    text = _COMMAND.sub(lambda command: command[0].replace(" ", _KEPT), text)
    for paragraph in text.splitlines() or [""]:
        lines += textwrap.wrap(
            paragraph,
            max(width, len(rest) + 30),
            initial_indent=first if not lines else rest,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first if not lines else rest]
    return [line.replace(_KEPT, " ") for line in lines]


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows, the exit code and the last line as plain data."""
    plain = [{**asdict(row), "status": row.status.name.lower()} for row in rows]
    return {"rows": plain, "exit_code": exit_code(rows), "summary": summary(rows)}
