# SPDX-License-Identifier: Apache-2.0
"""Makes demonstrations in several processes and hands them out in the order of their seeds."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count

from smolvla_sim.demonstrations.demonstration import (
    Demonstration,
    DemonstrationOptions,
    Demonstrator,
)
from smolvla_sim.play.workers import settle_in

# Episodes under way or waiting, per worker: enough that none idles, few enough for the memory.
_AHEAD = 2

# What this worker process records and with what.
_options: DemonstrationOptions | None = None
_demonstrator: Demonstrator | None = None


@contextmanager
def demonstrations(
    options: DemonstrationOptions, first_seed: int, workers: int
) -> Generator[Iterator[Demonstration]]:
    """Give an endless iterator over the demonstrations of the seeds from `first_seed` on.

    Args:
        options: how to record.
        first_seed: of the first demonstration.
        workers: processes.

    Raises:
        RuntimeError: a worker died; from the iterator. Its other errors are the workers' own.
    """
    pool = ProcessPoolExecutor(
        workers,
        # A fresh interpreter: OpenGL and threads do not survive a fork.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(options,),
    )
    try:
        yield _in_order(pool, first_seed, _AHEAD * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, first_seed: int, ahead: int) -> Iterator[Demonstration]:
    waiting: deque[Future[Demonstration]] = deque()
    try:
        for seed in count(first_seed):
            waiting.append(pool.submit(_work, seed))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process that simulates died, perhaps for lack of memory; take fewer --workers, "
            "then continue with --resume"
        ) from error


def _start_worker(options: DemonstrationOptions) -> None:
    settle_in()
    global _options
    _options = options


def _work(seed: int) -> Demonstration:
    global _demonstrator
    if _demonstrator is None:
        assert _options is not None
        # Not at the start of the worker, from where an error would not reach the parent.
        _demonstrator = Demonstrator(_options)
    return _demonstrator.record(seed)
