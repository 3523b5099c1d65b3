# SPDX-License-Identifier: Apache-2.0
"""Files that nodes read at their start, gone when the process that wrote them ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

_folder: tempfile.TemporaryDirectory[str] | None = None


def temporary_file(name: str, text: str) -> Path:
    """Write `text` to a file called `name` in a folder of its own; return its path."""
    global _folder
    if _folder is None:
        # Removed at the end of the interpreter.
        _folder = tempfile.TemporaryDirectory(prefix="smolvla_")
    path = Path(tempfile.mkdtemp(dir=_folder.name)) / name
    path.write_text(text, encoding="utf-8")
    return path
