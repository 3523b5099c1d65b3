# SPDX-License-Identifier: Apache-2.0
"""A step of the check, the commands that it runs, and the table that it goes into."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Of this repository."""

TIMEOUT = 900.0
"""Seconds after which a command is taken to hang."""
LONGEST = 600
"""Characters of an error in the table; the logs have the rest."""


class StepError(Exception):
    """A step failed; the text is its row in the table."""


@dataclass
class Row:
    """What became of one step."""

    part: str
    step: str
    passed: bool


@dataclass
class Check:
    """Where the check works, and what it found.

    Attributes:
        work: folder of everything that is made.
        lerobot: Python with LeRobot of today.
        old_lerobot: Python with LeRobot 0.4, None to leave it out.
        graders: ``bin`` folder with the graders.
        rows: one per step.
    """

    work: Path
    lerobot: Path
    old_lerobot: Path | None
    graders: Path
    rows: list[Row] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, part: str, name: str) -> Iterator[list[str]]:
        """Run one step; its notes go into the list. A failure ends the step, not the check."""
        started = time.monotonic()
        notes: list[str] = []
        passed = False
        try:
            yield notes
            passed = True
        except StepError as error:
            notes.append(str(error)[:LONGEST])
        except Exception as error:  # a fault of one step must not hide what the others find
            notes.append(f"{type(error).__name__}: {error}"[:LONGEST])
        seconds = time.monotonic() - started
        self.rows.append(Row(part, name, passed))
        verdict = "pass" if passed else "FAIL"
        print(f"{verdict}  {part:<12}{name:<42}{seconds:>6.1f} s  {'; '.join(notes)}", flush=True)

    def environment(self, lerobot: bool, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command: no hub, and its own caches below `work`."""
        made = dict(os.environ)
        if lerobot:
            # The packages of this workspace's Python and ROS are not LeRobot's.
            for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"):
                made.pop(name, None)
        made.update(
            HF_HUB_OFFLINE="1",
            TRANSFORMERS_OFFLINE="1",
            HF_DATASETS_OFFLINE="1",
            WANDB_MODE="disabled",
            HF_HUB_CACHE=str(self.work / "hub"),
            HF_LEROBOT_HOME=str(self.work / "lerobot_home"),
            HF_DATASETS_CACHE=str(self.work / "datasets_cache"),
            OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),  # enough for small networks
            PYTHONUNBUFFERED="1",
            TQDM_DISABLE="1",
        )
        return {**made, **(more or {})}

    def run(
        self,
        name: str,
        command: Sequence[object],
        *,
        lerobot: bool = False,
        cwd: Path = ROOT,
        more: Mapping[str, str] | None = None,
        allowed: Sequence[int] = (0,),
        timeout: float = TIMEOUT,
    ) -> str:
        """Run a command to its end and return what it printed.

        Args:
            name: of its log, ``logs/<name>.log`` below `work`.
            command: program and arguments, numbers and paths too.
            lerobot: the program is of LeRobot's environment, or of the graders'.
            cwd: folder to run in.
            more: variables of the environment.
            allowed: exit codes that are no failure.
            timeout: after which it is taken to hang [s].

        Raises:
            StepError: it failed, or did not end.
        """
        log = self.log(name)
        with log.open("w") as output:
            print("$", *command, file=output, flush=True)
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=self.environment(lerobot, more),
                start_new_session=True,
            )
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                kill(process)
                raise StepError(f"did not end in {timeout:.0f} s, see {log}") from None
            except BaseException:
                kill(process)
                raise
        text = log.read_text(errors="replace")
        if code not in allowed:
            raise StepError(f"exit code {code}: {last_line(text)} (see {log})")
        return text

    def ours(self, name: str, *arguments: str | Path) -> str:
        """Run a command of this suite, ``smolvla …``."""
        return self.run(name, [sys.executable, "-m", "smolvla_bringup.cli", *arguments])

    def in_lerobot(self, name: str, *arguments: object, python: Path | None = None) -> str:
        """Run a command of ``in_lerobot.py``, by default in LeRobot of today."""
        script = Path(__file__).with_name("in_lerobot.py")
        return self.run(name, [python or self.lerobot, script, *arguments], lerobot=True)

    def tool(self, name: str, *command: str | Path, cwd: Path = ROOT) -> str:
        """Run a program of LeRobot's environment by its name."""
        program, *arguments = command
        path = self.lerobot.parent / program
        return self.run(name, [path, *arguments], lerobot=True, cwd=cwd)

    def log(self, name: str) -> Path:
        """Return the path of a log."""
        path = self.work / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
