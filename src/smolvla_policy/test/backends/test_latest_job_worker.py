# SPDX-License-Identifier: Apache-2.0
"""The worker never makes the caller wait, keeps only the newest job, and ends cleanly."""

import threading

import pytest
from smolvla_policy.backends.session import LatestJobWorker


def test_newest_waiting_job_replaces_the_older_and_caller_never_waits():
    started, release, done = threading.Event(), threading.Event(), []
    finished = threading.Event()

    def work(job):
        started.set()
        assert release.wait(10)
        done.append(job)
        if job == 3:
            finished.set()

    worker = LatestJobWorker(work)
    assert worker.submit(1) is None
    assert started.wait(10)
    assert worker.busy
    assert worker.submit(2) is None
    assert worker.submit(3) == 2
    release.set()
    assert finished.wait(10)
    worker.close()
    assert done == [1, 3]


def test_close_drops_the_waiting_job():
    started, release, done = threading.Event(), threading.Event(), []

    def work(job):
        started.set()
        assert release.wait(10)
        done.append(job)

    worker = LatestJobWorker(work)
    worker.submit("running")
    assert started.wait(10)
    worker.submit("waiting")
    closer = threading.Thread(target=worker.close)
    closer.start()
    release.set()
    closer.join(10)
    assert done == ["running"]


def test_an_escaped_error_is_raised_by_close():
    started = threading.Event()

    def work(job):
        started.set()
        raise RuntimeError("broken")

    worker = LatestJobWorker(work)
    worker.submit(1)
    assert started.wait(10)
    with pytest.raises(RuntimeError, match="broken"):
        worker.close()
