# SPDX-License-Identifier: Apache-2.0
"""How programs end: interrupted while they import, or stopped by what surrounds them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from smolvla_core.console import beside_json, command_parser, guarded, write_json

PROGRAM = """
import signal, sys
from smolvla_core.console import end_on_interrupt
end_on_interrupt({status})
print("imports", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("status", [0, 130])
@pytest.mark.parametrize("prefix", [[], ["env", "--block-signal=INT"]])
def test_an_interrupt_ends_it_with_its_status(status: int, prefix: list[str]) -> None:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM.format(status=status)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "imports\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode == status


def test_an_interrupt_that_came_before_it_could_be_taken_is_taken_then() -> None:
    program = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n" + PROGRAM
    ended = subprocess.run(
        ["env", "--block-signal=INT", sys.executable, "-c", program.format(status=7)],
        capture_output=True,
        text=True,
        stdin=subprocess.PIPE,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    program = PROGRAM.format(status=1) + "signal.raise_signal(signal.SIGINT)\nprint('goes on')"
    ended = subprocess.run(
        ["env", "--ignore-signal=INT", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ended.stdout == "imports\ngoes on\n"


def test_a_module_that_is_not_installed_ends_in_one_line(capsys):
    assert guarded("smolvla dance", lambda: import_module("smolvla_ballet")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("smolvla dance: it needs the Python module 'smolvla_ballet'")


def test_a_file_that_cannot_be_written_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "figures.json"
    assert guarded("smolvla weigh", lambda: write_json(target, {})) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"smolvla weigh: {tmp_path / 'file'}")


def refuse():
    raise ConnectionRefusedError


READERLESS = """
import sys
from smolvla_core.console import could_not_run, guarded
def run():
    try:
        print("a result", flush=True)
    except OSError as error:
        return could_not_run("tool", error)
sys.exit(guarded("tool", run))
"""


@pytest.mark.parametrize("both", [False, True])
def test_a_program_whose_output_nobody_reads_ends_in_one_line(both: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", READERLESS],
        stdout=writer,
        stderr=writer if both else subprocess.PIPE,
    )
    os.close(writer)
    assert ended.returncode == 141
    assert both or len(ended.stderr.splitlines()) == 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(ValueError, match="a mistake"):
        guarded("x", lambda: int("a mistake"))
    with pytest.raises(ConnectionRefusedError):
        guarded("x", refuse)


@pytest.mark.parametrize("value", [3, True, None])
def test_the_status_is_what_the_program_returns(value):
    assert guarded("x", lambda: value) == int(value or 0)


def test_json_on_standard_output_is_alone_there(capsys):
    with beside_json(Path("-")):
        print("a table")
    write_json(Path("-"), {"a": [1.5]})
    captured = capsys.readouterr()
    assert captured.err == "a table\n"
    assert json.loads(captured.out) == {"a": [1.5]}


def test_old_names_and_beginnings_of_options_are_errors(capsys):
    parser = command_parser("smolvla paint", "Paint.", "smolvla paint --output wall")
    parser.add_argument("--output")
    parser.add_argument("--time-limit")
    assert parser.parse_args(["--output", "wall"]).output == "wall"
    for option, said in (
        ("--out", "--out has become --output"),
        ("--seconds", "--seconds has become --time-limit"),
        ("--outp", "unrecognized"),
    ):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([f"{option}=wall"])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
