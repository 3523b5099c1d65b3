# SPDX-License-Identifier: Apache-2.0
"""The table: aligned, wrapped, with an exit code that programs can trust."""

import json

from smolvla_policy.checks.rows import Row, Status, as_json, exit_code, summary, table

OK = Row("units", Status.OK, "degrees")
WARN = Row("pose", Status.WARN, "far", "bring it near")
FIX = Row("camera top", Status.FIX, "silent " * 30, "start its driver")
SKIPPED = Row("calibration", Status.SKIPPED, "none given")


def test_only_what_must_be_mended_makes_the_exit_code_1():
    assert exit_code([OK, WARN, SKIPPED]) == 0
    assert exit_code([OK, FIX, WARN]) == 1
    assert summary([OK, SKIPPED]) == "Ready."
    assert summary([OK, WARN]) == "Ready; worth a look: pose."
    assert summary([FIX, WARN]) == "Not ready: see camera top."


def test_columns_stand_under_each_other_within_the_width():
    lines = table([OK, WARN, FIX], width=60).splitlines()
    assert max(map(len, lines)) <= 60
    column = lines[0].index("FOUND")
    assert lines[1][:column].split() == ["ok", "units"]
    assert lines[1][column:] == "degrees"
    assert lines[3][column:] == "> bring it near"
    assert lines[4].startswith("fix   camera top  silent")
    assert all(not line[:column].strip() for line in lines[5:])


def test_a_command_stays_in_one_piece():
    commands = ["python3 -c 'value = 1; print(\"a b\", value)'", "`hf download some/model a.json`"]
    advice = f"it is the file of two arms; run {commands[0]}, or {commands[1]} with a network"
    lines = table([Row("calibration", Status.FIX, advice)], width=60).splitlines()
    assert len(lines) > 3
    assert all(any(command in line for line in lines) for command in commands)


def test_json_holds_the_same():
    plain = json.loads(json.dumps(as_json([OK, FIX])))
    assert plain["exit_code"] == 1
    assert [row["status"] for row in plain["rows"]] == ["ok", "fix"]
    assert plain["rows"][1]["advice"] == "start its driver"
