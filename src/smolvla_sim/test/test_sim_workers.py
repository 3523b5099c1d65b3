# SPDX-License-Identifier: Apache-2.0
"""Jobs spread over processes: same results, deaths, errors, Ctrl-C, and no orphans."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count, islice
from operator import methodcaller

import pytest
from smolvla_sim.play.workers import run_in_processes

# What workers do has to be picklable and importable there: the standard library is. Called,
# each of these returns the function that does a job.
BIT_LENGTH = partial(methodcaller, "bit_length")
DIE = partial(partial, os._exit)
READ_NUMBER = partial(partial, int)
EVALUATE = partial(partial, eval)
SIGNAL_HANDLER = partial(partial, signal.getsignal)

DEADLINE = 30.0

# Workers that write their process id into the FIFO and then work for ever.
PARENT = """
import os, signal, sys
from smolvla_sim.play.workers import run_in_processes

def work(fifo):
    end = os.open(fifo, os.O_WRONLY)
    os.write(end, f"{os.getpid()}\\n".encode())
    while True:
        signal.pause()

def make():
    return work

if __name__ == "__main__":
    with run_in_processes(make, [sys.argv[1]] * 2, 2) as done:
        next(done)
"""


def test_several_workers_give_the_same_results_as_one():
    jobs = [0, 1, 7, 8, 1023]
    with (
        run_in_processes(BIT_LENGTH, jobs, 2) as several,
        run_in_processes(BIT_LENGTH, jobs, 1) as one,
    ):
        assert dict(several) == dict(one) == {job: job.bit_length() for job in jobs}


def test_one_worker_works_here_and_is_made_once():
    made = []

    def make():
        made.append(os.getpid())
        return lambda job: (job, os.getpid())

    with run_in_processes(make, [1, 2, 3], 1) as done:
        assert list(done) == [(job, (job, os.getpid())) for job in (1, 2, 3)]
    with run_in_processes(make, [4], 8) as done:
        assert list(done) == [(4, (4, os.getpid()))]
    assert len(made) == 2


def test_nothing_to_do_needs_nobody():
    with run_in_processes(lambda: pytest.fail("made"), [], 2) as done:
        assert list(done) == []


def test_a_worker_that_dies_is_an_error_with_advice():
    with (
        run_in_processes(DIE, [1, 2], 2) as done,
        pytest.raises(RuntimeError, match=r"a process that simulates died.*fewer --workers"),
    ):
        list(done)


def test_an_error_of_a_worker_reaches_the_user():
    with (
        run_in_processes(READ_NUMBER, ["12", "dozen"], 2) as done,
        pytest.raises(ValueError, match="dozen"),
    ):
        list(done)


@pytest.fixture
def listening():
    """Let this process listen to Ctrl-C; one in the background ignores it, as its children do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_workers_leave_ctrl_c_to_their_parent(listening):
    with run_in_processes(SIGNAL_HANDLER, [signal.SIGINT] * 2, 2) as done:
        assert [handler for _, handler in done] == [signal.SIG_IGN] * 2


def read_within(fifo, deadline):
    """Read what comes next; empty once no worker holds the other end any more."""
    ready, _, _ = select.select([fifo], [], [], max(0.0, deadline - time.monotonic()))
    assert ready, f"nothing happened within {DEADLINE:g} s"
    return os.read(fifo, 4096)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script, path = tmp_path / "parent.py", tmp_path / "fifo"
    script.write_text(PARENT)
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    parent = subprocess.Popen(
        [sys.executable, script, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)},
        stderr=subprocess.DEVNULL,
    )
    output, orphans = b"", True
    try:
        deadline = time.monotonic() + DEADLINE
        while output.count(b"\n") < 2:
            output += read_within(fifo, deadline)
        parent.kill()
        parent.wait()
        assert read_within(fifo, time.monotonic() + DEADLINE) == b""
        orphans = False
    finally:
        parent.kill()
        parent.wait()
        os.close(fifo)
        for pid in output.split() if orphans else ():
            os.kill(int(pid), signal.SIGKILL)


def test_endless_jobs_are_handed_out_in_their_order_and_never_done_here():
    jobs = (f"({number}, __import__('os').getpid())" for number in count(3))
    with run_in_processes(EVALUATE, jobs, 2, in_order=True) as done:
        found = [result for _, result in islice(done, 7)]
    assert [number for number, _ in found] == list(range(3, 10))
    with run_in_processes(EVALUATE, ["__import__('os').getpid()"], 1, in_order=True) as done:
        found += [(0, process) for _, process in done]
    assert os.getpid() not in {process for _, process in found}
