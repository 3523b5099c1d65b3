# SPDX-License-Identifier: Apache-2.0
"""Runs independent jobs in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from smolvla_core.console import end_with
from tqdm import tqdm


class Judged(Protocol):
    """What an evaluation finds out about one of its episodes."""

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        ...


Job = TypeVar("Job")
Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Verdict = TypeVar("Verdict", bound=Judged)

# Jobs under way or waiting, per worker: enough that none idles, few enough for the memory.
_AHEAD = 2

# The function of this worker process, made at its first job.
_work: Callable[[Any], Any] | None = None


@contextmanager
def run_in_processes(
    make: Callable[[], Callable[[Job], Result]],
    jobs: Iterable[Job],
    workers: int,
    *,
    in_order: bool = False,
) -> Iterator[Iterator[tuple[Job, Result]]]:
    """Give an iterator over the jobs and their results.

    Args:
        make: called once in each process; returns the function that does a job. Both, the
            jobs and the results must be picklable.
        jobs: what there is to do; may be endless.
        workers: processes; 1 works in this one.
        in_order: give the results in the order of the jobs, and never work in this process: it
            has something else to do meanwhile. Else as they are done.

    Raises:
        RuntimeError: a worker died; from the iterator. Other errors there are the workers' own.
    """
    remaining = iter(jobs)
    first = list(islice(remaining, 2))
    remaining = chain(first, remaining)
    if not in_order and (workers <= 1 or len(first) < 2):
        yield _one_by_one(make, remaining)
        return
    pool = ProcessPoolExecutor(
        workers,
        # A fresh interpreter: OpenGL and threads do not survive a fork.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_init_worker,
    )
    try:
        yield _in_processes(pool, make, remaining, _AHEAD * workers, in_order)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def judged(
    make: Callable[[], Callable[[Key], Verdict]], jobs: Collection[Key], workers: int, unit: str
) -> list[Verdict]:
    """Run jobs with a bar that counts the successes; return their results in the jobs' order.

    Args:
        make: see `run_in_processes`; so are the errors.
        jobs: all different.
        workers: processes.
        unit: what a job is called.
    """
    results: dict[Key, Verdict] = {}
    bar = tqdm(total=len(jobs), unit=unit, disable=None)
    with bar, run_in_processes(make, jobs, workers) as done:
        for job, result in done:
            results[job] = result
            successes = sum(one.success for one in results.values())
            bar.set_postfix_str(f"success {successes}/{len(results)}")
            bar.update()
    return [results[job] for job in jobs]


def _init_worker() -> None:
    """Make this process a worker: it leaves Ctrl-C to its parent and ends when that ends.

    A parent that was killed cannot end its workers, and they would go on with their jobs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    end_with(parent.pid, signal.SIGKILL)
    # Mesa's software OpenGL would take all cores in every worker.
    os.environ.setdefault("LP_NUM_THREADS", "0")


def _one_by_one(
    make: Callable[[], Callable[[Job], Result]], jobs: Iterator[Job]
) -> Iterator[tuple[Job, Result]]:
    work: Callable[[Job], Result] | None = None
    for job in jobs:
        work = work or make()
        yield job, work(job)


def _in_processes(
    pool: ProcessPoolExecutor,
    make: Callable[[], Callable[[Job], Result]],
    jobs: Iterator[Job],
    ahead: int,
    in_order: bool,
) -> Iterator[tuple[Job, Result]]:
    waiting: dict[Future[Result], Job] = {}
    try:
        while True:
            for job in islice(jobs, ahead - len(waiting)):
                waiting[pool.submit(_do, make, job)] = job
            if not waiting:
                return
            done = next(iter(waiting) if in_order else as_completed(waiting))
            yield waiting.pop(done), done.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process that simulates died, perhaps for lack of memory; take fewer --workers"
        ) from error


def _do(make: Callable[[], Callable[[Job], Result]], job: Job) -> Result:
    global _work
    if _work is None:
        _work = make()
    result: Result = _work(job)
    return result
