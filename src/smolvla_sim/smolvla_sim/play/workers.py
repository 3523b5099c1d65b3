# SPDX-License-Identifier: Apache-2.0
"""Spreads jobs over processes; every job's result is its own affair, so order means nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# The function of this worker process, made at its first job.
_work: Callable[[Any], Any] | None = None


@contextmanager
def spread(
    make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], workers: int
) -> Iterator[Iterator[tuple[Job, Result]]]:
    """Give an iterator over the jobs and their results, as they are done.

    Args:
        make: called once in each process; returns the function that does a job. Both, the
            jobs and the results must be picklable.
        jobs: what there is to do.
        workers: processes; 1 works in this one.

    Raises:
        RuntimeError: a worker died; from the iterator. Other errors there are the workers' own.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield _one_by_one(make, jobs)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)),
        # A fresh interpreter: OpenGL and threads do not survive a fork.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=settle_in,
    )
    try:
        futures = {pool.submit(_do, make, job): job for job in jobs}
        yield _as_done(futures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def settle_in() -> None:
    """Make this process a worker: it leaves Ctrl-C to its parent and ends when that ends.

    A parent that was killed cannot end its workers, and they would go on with their jobs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Mesa's software OpenGL would take all cores in every worker.
    os.environ.setdefault("LP_NUM_THREADS", "0")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one_by_one(
    make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job]
) -> Iterator[tuple[Job, Result]]:
    work = make() if jobs else None
    for job in jobs:
        assert work is not None
        yield job, work(job)


def _as_done(futures: dict[Future[Result], Job]) -> Iterator[tuple[Job, Result]]:
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
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
