# SPDX-License-Identifier: Apache-2.0
"""What all programs have in common between the shell and their `main`.

Importing takes a second, with PyTorch several, and an interrupt meanwhile would end in the
traceback of some import; so would a closed pipe, a folder without the right to write, or a ROS
domain that does not exist.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from smolvla_core.settings import add_renamed

DONE, NO, COULD_NOT_RUN, BROKEN_PIPE, INTERRUPTED = 0, 1, 2, 141, 130
"""Exit statuses: done; done, and the answer is no; could not be done; the shell's for who writes
into a pipe that nobody reads, and for Ctrl-C."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PR_SET_PDEATHSIG = 1  # prctl(2)
LAUNCH_PID = "SMOLVLA_LAUNCH_PID"
"""Environment variable: the launch to end with, set by who describes a node to it."""
_LAST_DOMAIN = 232  # the ports of a higher one would be above 65535


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without all the options in front of it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an option that had another name in an earlier version is an error."""
        add_renamed(self, {name[2:].replace("-", "_") for name in self._option_string_actions})
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(COULD_NOT_RUN, f"{self.prog}: {message} ({self.prog} --help shows all)\n")


def command_parser(
    prog: str, description: str, example: str, statuses: str = ""
) -> argparse.ArgumentParser:
    """Return a parser whose help ends with an example and the exit statuses.

    Args:
        prog: how the program is called, e.g. ``smolvla train``.
        description: what it does.
        example: a whole command line that works.
        statuses: what its exit statuses mean, where they say more than 0 done, 2 could not run,
            130 Ctrl-C.
    """
    statuses = statuses or "0 done, 2 it could not be done, 130 Ctrl-C"
    return _Parser(
        prog=prog,
        description=textwrap.fill(description, _width()),
        epilog="\n".join(
            textwrap.fill(f"{what}: {text}", _width(), subsequent_indent="  ")
            for what, text in (("example", example), ("exit status", statuses))
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 2, 40)


def end_on_interrupt(status: int = 0) -> None:
    """Have SIGINT end this process at once with `status`, until the program takes the signal.

    To be called first, before anything is imported that takes long. Where SIGINT is ignored it
    stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _End(status))
    # Blocked by who started the process, so that no interrupt comes before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class _End:
    """A handler of signals that ends the process with `status`."""

    def __init__(self, status: int) -> None:
        self._status = status

    def __call__(self, signum: int, frame: object) -> None:
        os._exit(self._status)


def raise_on_interrupt() -> None:
    """Have SIGINT raise KeyboardInterrupt where `end_on_interrupt` had it end the process.

    For a program that has something to finish: a goal to cancel, a terminal to give back.
    """
    if (
        isinstance(signal.getsignal(signal.SIGINT), _End)
        and threading.current_thread() is threading.main_thread()
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_with(parent: int, signum: int = signal.SIGINT) -> None:
    """Have Linux send a signal to this process, whatever it executes, when its `parent` ends.

    Linux goes by the thread that has started this process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it has ended meanwhile
        os.kill(os.getpid(), signum)


def end_with_launch() -> None:
    """End with the launch that started this process, however that ends.

    ``ros2 launch`` ends its nodes on Ctrl-C, but leaves them behind on SIGTERM and SIGKILL; an arm
    would go on being commanded.

    Without `LAUNCH_PID`, or where another process is between, it does nothing.
    """
    pid = os.environ.get(LAUNCH_PID, "")
    if pid == str(os.getppid()):
        end_with(int(pid))
    elif pid.isdecimal() and not Path("/proc", pid).exists():  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGINT)


def write_json(target: Path, content: Any) -> None:
    """Write `content` as JSON to a file, whose folder is made if needed; ``-`` prints it."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if str(target) == "-":
        print(text, flush=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")


def beside_json(target: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which what is printed leaves standard output to the JSON for ``-``."""
    if str(target) == "-":
        return contextlib.redirect_stdout(sys.stderr)
    return contextlib.nullcontext()


def could_not_run(name: str, error: Exception, advice: str = "") -> int:
    """Print in one line why the program `name` could not do its work; return its exit status.

    Raises:
        BrokenPipeError: `error`, as `guarded` handles it: the reader has ended.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    print(f"{name}: {error}{advice}", file=sys.stderr)
    return COULD_NOT_RUN


def guarded(name: str, run: Callable[[], Any]) -> int:
    """Run a program; where the environment stops it, print one line.

    Args:
        name: of the program, for that line.
        run: the program; returns its exit status.

    Returns:
        The exit status: 2 where a file cannot be read or written or a Python module is missing.
    """
    try:
        status = int(run() or 0)
        sys.stdout.flush()
        return status
    except SystemExit:
        sys.stdout.flush()
        raise
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer would fail once more when Python ends.
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
        try:
            print(f"{name}: nobody reads the output any more", file=sys.stderr)
        except BrokenPipeError:  # of `2>&1 | head` the same pipe
            os.dup2(nobody, sys.stderr.fileno())
        return BROKEN_PIPE
    except ModuleNotFoundError as error:
        if "." in str(error.name):
            raise  # a part of what is installed
        print(
            f"{name}: it needs the Python module '{error.name}', which is not installed here: run "
            "it in a workspace that make build has set up, after . ./env.sh",
            file=sys.stderr,
        )
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"{name}: {where}{error.strerror}", file=sys.stderr)
    return COULD_NOT_RUN


def ros_problem() -> str:
    """Return why no node can join the graph that the environment names; empty when one can."""
    domain = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if not domain or (re.fullmatch(r"[0-9]+", domain) and int(domain) <= _LAST_DOMAIN):
        return ""
    return f"ROS_DOMAIN_ID is '{domain}', but must be a whole number from 0 up to {_LAST_DOMAIN}"


def script(module: str, status: int = 0) -> Callable[[], Any]:
    """Return a console script that runs `main` of `module`.

    Args:
        module: imported when the script runs.
        status: exit status where it is interrupted meanwhile.
    """

    def run() -> Any:
        end_on_interrupt(status)
        return guarded(os.path.basename(sys.argv[0]), lambda: import_module(module).main())

    return run
