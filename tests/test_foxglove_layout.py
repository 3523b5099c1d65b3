# SPDX-License-Identifier: Apache-2.0
"""Foxglove's layout shows topics that there are, and fields that their messages have."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYOUT = json.loads((ROOT / "src/smolvla_bringup/config/foxglove_layout.json").read_text())
PANELS = LAYOUT["configById"]
TOPICS = (ROOT / "docs/reference/topics.md").read_text(encoding="utf-8")


def paths(value, key=""):
    """Return all texts of a panel that name a topic or a field of it."""
    if isinstance(value, dict):
        return [path for name, part in value.items() for path in paths(part, name)]
    if isinstance(value, list):
        return [path for part in value for path in paths(part)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def panels(node):
    if isinstance(node, str):
        return [node]
    return panels(node["first"]) + panels(node["second"])


FIELDS = sorted(
    {path for panel in PANELS.values() for path in paths(panel) if "." in path.rpartition("/")[2]}
)
NAMES = {path.partition(".")[0] for panel in PANELS.values() for path in paths(panel)}
NAMES |= set(PANELS["3D!arm"]["topics"])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_topics_are_ours(name):
    listed = re.sub(r"/camera/(top|wrist)/", "/camera/<name>/", name)
    assert f"`{listed}`" in TOPICS


@pytest.mark.parametrize("path", FIELDS)
def test_fields_are_those_of_the_message(path):
    topic, field = path.split(".")
    row = next(line for line in TOPICS.splitlines() if line.startswith(f"| `{topic}`"))
    kind = row.split("|")[2]
    package, name = (
        re.search(r"(\w+)/(\w+)", kind).groups()
        if "](" not in kind
        else (
            "smolvla_msgs",
            re.search(r"\[(\w+)\]", kind).group(1),
        )
    )
    message = getattr(importlib.import_module(f"{package}.msg"), name)
    assert field.partition("[")[0] in message.get_fields_and_field_types()


def test_each_panel_has_its_place():
    assert sorted(panels(LAYOUT["layout"])) == sorted(PANELS)
