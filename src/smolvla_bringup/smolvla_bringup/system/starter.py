# SPDX-License-Identifier: Apache-2.0
"""Starts nodes as processes, watches them, and leaves none behind.

For machines without launch_ros. Every node gets a session of its own, so that Ctrl-C reaches
the starter alone, which then ends the nodes in order: each with all processes of its group.
Where the starter is killed, Linux interrupts the nodes (`smolvla_core.console`), but not what
holds an arm, which would drop it.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from smolvla_core.console import end_with

from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import SetupError
from smolvla_bringup.system.supervision import describe_exit

_TAIL_LINES = 200
_DRAIN_LIMIT = 2.0  # [s] for the last lines of a node that has ended
# Signal and how long [s] to wait for it to work. Nodes end cleanly on SIGINT, as on Ctrl-C.
ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_LOOK_PERIOD = 0.05  # [s]


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Give a list that gets each SIGINT, SIGTERM and SIGHUP; they do nothing else meanwhile.

    SIGHUP stays ignored where it was (nohup).
    """
    received: list[int] = []
    previous = {}
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            previous[signum] = signal.signal(signum, lambda signum, _: received.append(signum))
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _members(groups: set[int]) -> set[int]:
    """Return the ids of the living processes in process `groups`, also of those without parent."""
    found = set()
    for folder in Path("/proc").iterdir() if groups else ():
        # Gone meanwhile, or no process.
        with contextlib.suppress(OSError, IndexError):
            # pid (name) state parent group ...; the name may hold anything.
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) in groups and state not in "ZX":
                found.add(int(folder.name))
    return found


def _end(groups: set[int]) -> set[int]:
    """End all processes in `groups`: SIGINT, then SIGTERM, then SIGKILL.

    Returns:
        The ids of those that are still there (stuck in the kernel); normally none.
    """
    for signum, patience in ESCALATION:
        signaled: set[int] = set()
        deadline = time.monotonic() + patience
        while alive := _members(groups):
            # Each one once per signal: a second SIGINT makes many programs drop their cleanup.
            for pid in alive - signaled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            signaled |= alive
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_PERIOD)
    return _members(groups)


@dataclass(frozen=True)
class Ended:
    """A node whose process ended.

    Attributes:
        name: the node's name.
        code: exit status; negative is the number of the signal that killed it.
        critical: whether the system cannot go on without it.
        message: what happened, with the node's last lines and where all of them are.
    """

    name: str
    code: int
    critical: bool
    message: str


class _Process:
    """One node: its process, its log file and the threads that read and await it."""

    def __init__(
        self,
        spec: NodeSpec,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        show: Callable[[str], None] | None,
        ended: queue.SimpleQueue[Ended],
    ) -> None:
        self._spec = spec
        self._log_file = log_file
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._process = subprocess.Popen(
            [*spec.signal_prefix(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=None if spec.holds_arm else functools.partial(end_with, os.getpid()),
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout, show), daemon=True
        )
        self._waiter = threading.Thread(target=self._wait, args=(ended,), daemon=True)
        self.pid = self._process.pid
        self.groups = {self.pid}  # empty when the node and all that it started have ended
        self._reader.start()
        self._waiter.start()

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the newest lines of output."""
        return tuple(self._tail.copy())[-lines:]

    def last_lines(self) -> str:
        """Return the newest lines of output for an error, and where all of them are."""
        text = "\n".join(f"    {line}" for line in self.tail(12)) or "    (it printed nothing)"
        return f"Its last lines (all of them: {self._log_file}):\n{text}"

    def join(self) -> None:
        """Wait until the exit is known and the output is read, within limits."""
        self._waiter.join(2 * _DRAIN_LIMIT)
        self._reader.join(_DRAIN_LIMIT)

    def _read(self, stream: IO[str], show: Callable[[str], None] | None) -> None:
        # A node that is restarted goes on in its file.
        with self._log_file.open("a", encoding="utf-8") as log, stream:
            for line in stream:
                log.write(line)
                log.flush()
                self._tail.append(line.rstrip())
                if show is not None:
                    show(f"[{self._spec.name}] {line.rstrip()}")

    def _wait(self, ended: queue.SimpleQueue[Ended]) -> None:
        code = self._process.wait()
        if not _members(self.groups):
            self.groups = set()  # its number may go to another process
        # A grandchild may hold the pipe open, so the end of the output is not awaited for ever.
        self._reader.join(_DRAIN_LIMIT)
        if self._spec.one_shot and code == 0:
            return  # it has done its work
        name = self._spec.name
        message = f"{name} {describe_exit(code)}. {self.last_lines()}"
        ended.put(Ended(name, code, self._spec.critical, message))


class Starter:
    """Runs `specs` as processes; a context manager that ends them at its exit.

    Args:
        specs: the nodes.
        log_folder: gets one file per node, <name>.log; made if needed.
        show: called with each line of output, prefixed with the node's name; called from
            several threads. None shows nothing.
        environment: variables that each node gets on top of this process's own.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        log_folder: Path,
        show: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._specs = tuple(specs)
        self._log_folder = log_folder
        self._show = show
        self._environment = {
            **os.environ,
            # A pipe would otherwise hold back the output of a Python node until it ends.
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._processes: dict[str, _Process] = {}
        # Process groups of nodes that were restarted, by `holds_arm`: children may be left.
        self._old_groups: dict[bool, set[int]] = {False: set(), True: set()}

    def __enter__(self) -> Starter:
        """Start all nodes, or none.

        Raises:
            SetupError: a package or executable is missing, or the log folder cannot be written.
        """
        for spec in self._specs:
            spec.command()  # before the first is started
        try:
            self._log_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot make the log folder {self._log_folder}: {error}") from error
        with contextlib.ExitStack() as stack:
            stack.callback(self.stop)
            for spec in self._specs:
                try:
                    (self._log_folder / f"{spec.name}.log").unlink(missing_ok=True)
                    self._start(spec)
                except OSError as error:
                    raise SetupError(f"cannot start {spec.command()[0]}: {error}") from error
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End all nodes."""
        self.stop()

    def restart(self, name: str) -> None:
        """Start the node `name`, which has ended, again.

        Raises:
            SetupError: its executable is gone.
            OSError: the system cannot make the process.
        """
        self._start(next(spec for spec in self._specs if spec.name == name))

    def _start(self, spec: NodeSpec) -> None:
        if spec.name in self._processes:
            self._old_groups[spec.holds_arm] |= self._processes[spec.name].groups
        self._processes[spec.name] = _Process(
            spec,
            spec.command(),
            {**self._environment, **spec.env},
            self._log_folder / f"{spec.name}.log",
            self._show,
            self._ended,
        )

    def wait(self, timeout: float = 0.0) -> Ended | None:
        """Return the next node that has ended, each once; None after `timeout` seconds."""
        try:
            return self._ended.get(timeout=timeout) if timeout > 0 else self._ended.get_nowait()
        except queue.Empty:
            return None

    def tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the newest lines of output of the node `name`."""
        return self._processes[name].tail(lines)

    def last_lines(self, name: str) -> str:
        """Return the newest lines of the node `name` for an error, and where all of them are."""
        return self._processes[name].last_lines()

    def pid(self, name: str) -> int:
        """Return the process id of the node `name`."""
        return self._processes[name].pid

    def stop(self) -> None:
        """End all nodes and everything that they started; at most about 18 s. Idempotent.

        Raises:
            RuntimeError: a process survived SIGKILL.
        """
        # What commands the arm first, then what holds it.
        survivors = set()
        for holds_arm in (False, True):
            groups = self._old_groups[holds_arm]
            for spec in self._specs:
                if spec.holds_arm == holds_arm and spec.name in self._processes:
                    groups |= self._processes[spec.name].groups
            survivors |= _end(groups)
            groups.clear()
        for process in self._processes.values():
            process.join()
        if survivors:
            raise RuntimeError(
                f"these processes could not be ended, look at them by hand: {sorted(survivors)}"
            )
