# SPDX-License-Identifier: Apache-2.0
"""The recorder: a state machine without ROS and without a clock of its own.

    recorder = Recorder(settings, inputs, store, EpisodeEncoder(60), notify)
    recorder.tick(now)             # fps times per second
    recorder.start(now)            # or ValueError with all that is missing
    recorder.save(timeout)         # or ValueError
    recorder.discard()
    recorder.close()

All calls come from one thread. A dataset has a constant rate, so it does not show gaps: what is
missing for a frame, as a late image, costs that frame, and where it lasts the episode ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from enum import Enum

from smolvla_core.node_settings import RecordSettings
from smolvla_core.observation import Missing
from smolvla_core.units.joint_units import joint_units

from smolvla_learning.dataset import DatasetWriter
from smolvla_learning.recording.encoder import EpisodeEncoder
from smolvla_learning.recording.episode import EpisodeCount, Evidence, FrameSchedule, RestWatch
from smolvla_learning.recording.inputs import FrameMaker, Inputs, Sample
from smolvla_learning.recording.store import EpisodeStore

SETTLED = 1.0
"""How long a message must stay the same before it is reported [s]."""


class Debouncer:
    """Passes a message on once it has settled. Numbers in it (ages) may change meanwhile.

    Args:
        report: called with the message.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported: str | None = None
        self._pattern: str | None = None
        self._since = 0.0

    def update(self, message: str, now: float) -> None:
        """Take the message that holds at `now` [s, monotonic]."""
        pattern = re.sub(r"\d+(\.\d+)?", "#", message)
        if pattern != self._pattern:
            self._pattern, self._since = pattern, now
        if pattern != self._reported and now - self._since >= SETTLED:
            self._reported = pattern
            self._report(message)


LONGEST_GAP = 0.5
"""Time without frames [s] after which an episode ends: the arm has moved on."""
MAX_LOST = 0.1
"""Share of frames left out above which an episode is hardly worth keeping."""
SIMULATED = "in a simulation"
"""Of the status, while a simulation judges the task."""


class State(Enum):
    """What the recorder does."""

    IDLE = "idle"
    ARMED = "armed"  # the next command begins the episode
    RECORDING = "recording"
    FULL = "full"  # takes no more frames, waits to be saved or discarded
    SAVING = "saving"


class Recorder:
    """Records samples as episodes of a dataset.

    Args:
        settings: of the recorder.
        inputs: what the robot sends.
        store: the dataset.
        encoder: writes into it.
        notify: called with a message for each event, and whether it is bad news.
    """

    def __init__(
        self,
        settings: RecordSettings,
        inputs: Inputs,
        store: EpisodeStore,
        encoder: EpisodeEncoder,
        notify: Callable[[str, bool], None],
    ) -> None:
        self._settings = settings
        self._units = joint_units(settings.units, settings.body.moving)
        self._inputs = inputs
        self._store = store
        self._encoder = encoder
        self._notify = notify
        self.state = State.IDLE
        self._counts = {"saved": 0, "discarded": 0, "broken": 0}
        self._missing = ""
        self._judged = False
        self._debouncer = Debouncer(lambda message: notify(message, False))
        self._last_end = "no episode was begun"
        self._saving: Future[int] | None = None
        self._rest = RestWatch(settings.joints, settings.max_start_speed)
        self._begin(None)

    def _begin(self, writer: DatasetWriter | None) -> None:
        settings = self._settings
        self._writer = writer
        self._number = self._store.num_episodes
        self._count = EpisodeCount(settings.cameras, settings.fps)
        self._schedule = FrameSchedule(settings.fps)
        self._maker = FrameMaker(self._units, settings.action_source == "next_state")
        self._evidence = Evidence(settings.min_motion)
        self._held_back = False
        self._gap = 0  # frames left out since the last one
        self._told = -math.inf  # when a loss was last reported
        self._cut = ""  # why the episode ended before it was saved

    def reconfigure(self, settings: RecordSettings) -> None:
        """Go by other limits from now on, in the running episode too.

        Args:
            settings: those that are not `live` are the present ones.
        """
        self._settings = settings
        self._rest.max_speed = settings.max_start_speed
        self._evidence.min_motion = settings.min_motion

    @property
    def busy(self) -> bool:
        """Whether an episode has begun that can be saved or discarded."""
        return self.state in (State.ARMED, State.RECORDING, State.FULL)

    @property
    def doubts(self) -> str:
        """Why the episode is hardly worth keeping; empty where it is."""
        count = self._count
        doubts = [f"it ended early: {self._cut}" if self._cut else ""]
        if count.lost > MAX_LOST * (count.frames + count.lost):
            doubts.append(count.losses())
        doubts.append(self._evidence.doubts())
        return "; ".join(filter(None, doubts))

    @property
    def status(self) -> str:
        """What it does now, in one line."""
        count = self._count
        lost = f", {count.lost} frames left out" if count.lost else ""
        taken = f"episode {self._number}{lost}: {count.frames} frames, {count.seconds:.1f} s"
        if self.state == State.IDLE:
            total = self._store.num_episodes
            doing = f"waiting: {self._missing}" if self._missing else "ready"
            if self._judged:
                doing += f", {SIMULATED}"
            return f"{doing} ({total} episodes in the dataset; last: {self._last_end})"
        if self.state == State.ARMED:
            reason = f" ({self._missing})" if self._missing else ""
            return f"armed: episode {self._number} begins with the next command{reason}"
        if self.state == State.FULL:
            return f"full: {taken}; {self._last_end}"
        return f"{self.state.value} {taken}"

    # Orders.

    def start(self, now: float) -> str:
        """Begin an episode with the next command, or tick where commands are not recorded.

        Returns a message for the caller.

        Raises:
            ValueError: it cannot begin; the text names all reasons.
        """
        if self.state != State.IDLE:
            raise ValueError(
                f"episode {self._number} is still being saved"
                if self.state == State.SAVING
                else f"episode {self._number} has begun already: save or discard it first"
            )
        sample = self._sample(now)
        problems = list(sample.problems) if isinstance(sample, Missing) else []
        moves = "" if problems else self._rest.problem(now)
        if moves:
            problems.append(moves)
        full = self._store.disk_problem(self._settings.min_free_disk)
        if full:
            problems.append(full)
        if isinstance(sample, Missing) or problems:
            raise ValueError("not started: " + "; ".join(problems))
        try:
            writer = self._store.open(
                {camera: picture.decode().shape for camera, picture in sample.images.items()}
            )
        except ValueError as error:
            raise ValueError(f"not started: {error}") from error
        self._begin(writer)
        self._encoder.new_episode()
        message = f'episode {self._number}: "{sample.task}"'
        # A command from before belongs to another motion, however fresh it is.
        if self._inputs.await_command():
            self.state = State.ARMED
            self._missing = sample.silent
            message = f"armed: {message}, from the next command on" + (
                f" ({sample.silent})" if sample.silent else ""
            )
        else:
            self.state = State.RECORDING
            message = f"recording {message}"
        self._notify(message, False)
        return message

    def save(self, timeout: float | None) -> str:
        """Save the episode. Returns a message once it is safe on the disk.

        One that is hardly worth keeping (`doubts`) is saved only when it is asked for once more;
        until then it takes no more frames.

        Args:
            timeout: how long to wait for the frames that are still being compressed [s]; None:
                as long as it takes.

        Raises:
            ValueError: there is none, it is doubted, it could not be saved, or it takes longer
                than `timeout` (then the next ticks go on waiting).
        """
        if self.state == State.ARMED:
            raise ValueError(f"nothing was saved: no command came yet; {self._missing}")
        if self.state in (State.RECORDING, State.FULL):
            if self._encoder.problem:
                self._break(self._encoder.problem)
                raise ValueError(f"nothing was saved: {self._last_end}")
            if not self._count.frames:
                raise ValueError("nothing was saved: the episode has no frames yet")
            self._hold_back()
            assert self._writer is not None
            self._saving = self._encoder.save(self._writer)
            self.state = State.SAVING
        elif self.state == State.IDLE:
            raise ValueError(f"nothing to save: {self._last_end}")
        assert self._saving is not None
        try:
            self._saving.exception(timeout)
        except FutureTimeoutError:
            raise ValueError(
                f"still saving: {self._encoder.waiting} frames are being compressed; the status "
                "shows when it is done"
            ) from None
        if not self._finish_saving():
            raise ValueError(f"nothing was saved: {self._last_end}")
        return self._last_end

    def discard(self) -> str:
        """Give up the episode. Returns a message for the caller.

        Raises:
            ValueError: there is none, or it is being saved.
        """
        if not self.busy:
            raise ValueError(
                "nothing to discard: the episode is being saved"
                if self.state == State.SAVING
                else f"nothing to discard: {self._last_end}"
            )
        self._give_up("discarded", "discarded")
        self._notify(self._last_end, False)
        return self._last_end

    def close(self) -> str:
        """Discard a running episode, close the dataset. Nothing can follow but another close.

        Returns:
            A summary of what was recorded.

        Raises:
            DatasetError: the dataset could not be closed; the text says what to do.
        """
        if self._saving is not None:
            self._saving.exception()
            self._finish_saving()
        elif self.busy:
            self._give_up("discarded", "discarded, as the recorder ends")
            self._notify(self._last_end, True)
        total = self._store.num_episodes
        self._encoder.close(self._store.writer)
        counts = ", ".join(f"{count} {what}" for what, count in self._counts.items())
        return f"{self._store.folder}: {total} episodes; now {counts}"

    # The clock.

    def tick(self, now: float) -> None:
        """Take the frames that are due at `now` [s, monotonic]; `fps` times per second."""
        if self.state == State.SAVING:
            if self._saving is not None and self._saving.done():
                self._finish_saving()
        elif self.state == State.ARMED:
            self._await_command(now)
        elif self.state == State.RECORDING:
            self._record(now)
        elif self.state == State.IDLE:
            self._report_missing(now)
        elif self._encoder.problem:
            self._break(self._encoder.problem)

    def _sample(self, now: float) -> Sample | Missing:
        sample = self._inputs.sample(now)
        if self._inputs.positions is not None:
            self._rest.add(self._inputs.positions, now)
        return sample

    def _await_command(self, now: float) -> None:
        sample = self._sample(now)
        self._missing = sample.message if isinstance(sample, Missing) else sample.silent
        if isinstance(sample, Missing):
            self._debouncer.update(f"armed, waiting: {self._missing}", now)
            return
        if not sample.silent:
            self.state = State.RECORDING
            self._notify(f'recording episode {self._number}: "{sample.task}"', False)
            self._record(now)
        elif moves := self._rest.moving():
            self._break(f"{moves}; {sample.silent}")

    def _record(self, now: float) -> None:
        if self._encoder.problem:
            self._break(self._encoder.problem)
            return
        due = self._schedule.due(now)
        if not due:
            return
        late = (due - 1) / self._settings.fps
        if late > self._settings.max_image_age:
            self._lose(
                due - 1,
                f"the recorder was {late:.2f} s late, more than max_image_age "
                f"({self._settings.max_image_age:g} s): this machine has too much to do; "
                "end other programs, take fewer or smaller images",
                now,
            )
            if self.state != State.RECORDING:
                return
            due = 1
        sample = self._sample(now)
        if isinstance(sample, Missing) or sample.silent:
            reason = sample.message if isinstance(sample, Missing) else sample.silent
            self._lose(due, reason, now)
            return
        self._evidence.add(sample.positions, sample.command, sample.score)
        self._count.add(sample, due, now)
        refused = sum(not self._take(sample) for _ in range(due))
        if refused:
            self._lose(
                refused,
                f"compressing cannot keep up, {self._encoder.capacity} frames wait: use fewer or "
                "smaller images, a faster video_preset (ultrafast), or lower fps",
                now,
            )
            return
        self._gap = 0
        self._check_limits()

    def _lose(self, count: int, reason: str, now: float) -> None:
        """Leave out frames that were due; say so at once, but no more than once a second."""
        self._count.lose(count, reason)
        self._maker.interrupt()
        self._gap += count
        if self._gap > LONGEST_GAP * self._settings.fps:
            self._cut = f"no frames for more than {LONGEST_GAP:g} s: {reason}"
            self._fill_up(self._cut)
        elif now - self._told >= SETTLED:
            self._told = now
            self._notify(
                f"episode {self._number}: frame {self._count.frames} is left out: {reason}", True
            )

    def _take(self, sample: Sample) -> bool:
        """Hand the sample's frame to the encoder. Returns False when its queue is full."""
        frame = self._maker.make(sample)
        if frame is None:
            return True
        assert self._writer is not None
        if not self._encoder.add(self._writer, frame):
            return False
        self._count.frames += 1
        return True

    def _check_limits(self) -> None:
        count, limit = self._count, self._settings.max_episode_seconds
        reason = ""
        if limit and count.seconds >= limit:
            reason = f"it has reached max_episode_seconds ({limit:g} s)"
        elif count.frames % self._settings.fps == 0:
            reason = self._store.disk_problem(self._settings.min_free_disk)
        if reason:
            self._fill_up(reason)

    def _fill_up(self, reason: str) -> None:
        self.state = State.FULL
        what = f"no more frames are taken: {reason}"
        self._last_end = f"{what}; save or discard it"
        self._notify(f"episode {self._number}: {what}", True)

    # Ends.

    def _hold_back(self) -> None:
        """Raise ValueError, once an episode, when it is hardly worth keeping."""
        doubts = "" if self._held_back else self.doubts
        if not doubts:
            return
        self._held_back = True
        self.state = State.FULL
        self._last_end = f"not saved yet: {doubts}; save again to keep it, or discard it"
        self._notify(f"episode {self._number}: {self._last_end}", True)
        raise ValueError(f"episode {self._number}: {self._last_end}")

    def _break(self, reason: str) -> None:
        self._give_up("broken", f"broken and discarded: {reason}")
        self._notify(self._last_end, True)

    def _give_up(self, kind: str, how: str) -> None:
        assert self._writer is not None
        self._counts[kind] += 1
        self._last_end = f"episode {self._number} after {self._count.frames} frames: {how}"
        self.state = State.IDLE
        self._encoder.discard(self._writer)

    def _finish_saving(self) -> bool:
        """Take note of how saving went. Returns whether the episode is saved."""
        assert self._saving is not None
        saving, self._saving = self._saving, None
        self.state = State.IDLE
        error = saving.exception()
        if error is not None:
            self._counts["broken"] += 1
            self._last_end = (
                f"episode {self._number} could not be saved and was discarded: {error}"
            )
            self._notify(self._last_end, True)
            return False
        self._counts["saved"] += 1
        self._last_end = f"saved episode {saving.result()}: {self._count.message()}"
        self._notify(self._last_end, False)
        slow = self._count.slow_cameras()
        if slow:
            self._notify(slow, True)
        return True

    def _report_missing(self, now: float) -> None:
        sample = self._sample(now)
        self._judged = self._inputs.score(now) is not None
        self._missing = sample.message if isinstance(sample, Missing) else ""
        ready = "ready: start an episode"
        if isinstance(sample, Sample) and sample.silent:
            ready += f", which will begin with the first command ({sample.silent})"
        self._debouncer.update(f"waiting: {self._missing}" if self._missing else ready, now)
