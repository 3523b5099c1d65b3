# SPDX-License-Identifier: Apache-2.0
"""Messages that docs/troubleshooting.md quotes are still those of the programs.

When this fails, a message was reworded: correct the page, the failure names the nearest text of
the sources. In the page "…" stands for whatever a program fills in; only what stands between is
looked for, so a part of a message may be quoted.
"""

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/troubleshooting.md"
FILLED_IN = "…"
ADJACENT_LITERALS = re.compile(r'"\s*\n\s*"')  # C++ and CMake join them


def sources() -> Iterator[Path]:
    """Everything that prints: nodes, tools, set-up; not the tests."""
    for pattern in (
        "src/**/*.py",
        "src/**/*.cpp",
        "src/**/*.hpp",
        "src/**/CMakeLists.txt",
        "src/**/config/*.json",
    ):
        for path in ROOT.glob(pattern):
            if "test" not in path.relative_to(ROOT).parts:
                yield path
    yield from ROOT.glob("scripts/*.sh")
    yield ROOT / "env.sh"


def python_texts(path: Path) -> Iterator[str]:
    """The string literals of a Python file, with `FILLED_IN` in place of what is formatted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else FILLED_IN
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def other_texts(path: Path) -> Iterator[str]:
    text = ADJACENT_LITERALS.sub("", path.read_text(encoding="utf-8"))
    yield from text.replace('\\"', '"').splitlines()


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What the programs can print, one text an entry."""
    texts: list[str] = []
    for path in sources():
        texts += python_texts(path) if path.suffix == ".py" else other_texts(path)
    return [plain(text) for text in texts if " " in text]


def quoted(page: str) -> list[str]:
    """The messages in the tables of a page whose first column is called "message"."""
    messages, in_table = [], False
    for line in page.splitlines():
        if not line.startswith("|"):
            in_table = False
        elif line.startswith("| message |"):
            in_table = True
        elif in_table and not line.startswith("|---"):
            spans = re.findall(r"``(.+?)``|`([^`]+)`", line.split(" | ")[0])
            messages += ["".join(span) for span in spans]
    return messages


def missing_parts(message: str, everything: str) -> list[str]:
    parts = [plain(part) for part in message.split(FILLED_IN)]
    return [part for part in parts if part not in everything]


def test_every_quoted_message_is_one_that_is_printed(printed):
    everything = "\n".join(printed)
    wrong = []
    for message in quoted(PAGE.read_text(encoding="utf-8")):
        for part in missing_parts(message, everything):
            near = difflib.get_close_matches(message, printed, n=1, cutoff=0.3)
            wrong.append(f"{message!r}: no program prints {part!r}; nearest: {near}")
    assert not wrong, "\n".join(wrong)


def test_the_page_is_read_as_it_is_written(tmp_path):
    file = tmp_path / "node.py"
    file.write_text('print(f"camera {name}: gone for {age:.2f} s, more "\n"than 1 s")\n')
    everything = "\n".join(map(plain, python_texts(file)))
    page = "| message | x |\n|---|---|\n| ``camera …: `gone` `` | x |\n| `camera …: gone` | x |\n"
    assert quoted(page) == ["camera …: `gone` ", "camera …: gone"]
    assert not missing_parts("camera …: gone for … s, more than 1 s", everything)
    assert missing_parts("camera …: lost for … s", everything) == [": lost for"]
    assert len(quoted(PAGE.read_text(encoding="utf-8"))) > 80
