# SPDX-License-Identifier: Apache-2.0
"""Decodes, compresses and writes frames in a thread of its own, so that sampling never waits."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from smolvla_learning.dataset import DatasetError, DatasetWriter
from smolvla_learning.recording.inputs import Frame


class EpisodeEncoder:
    """A thread that works off frames, and the orders to save or discard, one after the other.

    Args:
        capacity: frames that may wait; more are refused.
        patient: wait for room instead of refusing a frame, where nothing goes on meanwhile.
    """

    def __init__(self, capacity: int, patient: bool = False) -> None:
        self.capacity = capacity
        self._patient = patient
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._lock = threading.Condition()  # guards the three below; notified when a frame is done
        self._waiting = 0
        self._episode = 0
        self._problem = ""

    @property
    def waiting(self) -> int:
        """Frames of the running episode that are not written yet."""
        with self._lock:
            return self._waiting

    @property
    def problem(self) -> str:
        """Reason why a frame of the running episode could not be written, else empty."""
        with self._lock:
            return self._problem

    def add(self, writer: DatasetWriter, frame: Frame) -> bool:
        """Hand in a frame of the running episode. Returns False when too many wait."""
        with self._lock:
            while self._waiting >= self.capacity:
                if not self._patient:
                    return False
                self._lock.wait()
            self._waiting += 1
            episode = self._episode
        self._thread.submit(self._write, writer, frame, episode)
        return True

    def save(self, writer: DatasetWriter) -> Future[int]:
        """Save the episode once its frames are written.

        Returns:
            Its index. Raises DatasetError when it could not be saved and was discarded.
        """

        def save() -> int:
            problem = self.problem
            try:
                if problem:
                    raise DatasetError(problem)
                return writer.save_episode()
            except BaseException:
                writer.discard_episode()
                raise

        return self._thread.submit(save)

    def new_episode(self) -> None:
        """Begin with a new episode: frames of the last one that still wait are not written."""
        with self._lock:
            self._episode += 1
            self._waiting = 0
            self._problem = ""

    def discard(self, writer: DatasetWriter) -> Future[None]:
        """Discard the episode, with the frames that still wait."""
        self.new_episode()
        return self._thread.submit(writer.discard_episode)

    def close(self, writer: DatasetWriter | None) -> None:
        """Work off all orders, close the dataset and end the thread.

        Raises:
            DatasetError: the dataset could not be closed.
        """
        try:
            if writer is not None:
                self._thread.submit(writer.close).result()
        finally:
            self._thread.shutdown()

    def _write(self, writer: DatasetWriter, frame: Frame, episode: int) -> None:
        try:
            with self._lock:
                if episode != self._episode or self._problem:
                    return
            writer.add_frame(frame.decoded(), frame.task)
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            with self._lock:
                if episode == self._episode:
                    self._problem = f"{kind}{error}"
        finally:
            with self._lock:
                if episode == self._episode:
                    self._waiting -= 1
                    self._lock.notify_all()
