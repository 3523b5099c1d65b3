# SPDX-License-Identifier: Apache-2.0
"""``smolvla dataset from-bag``: rosbags become a LeRobot dataset.

What the recorder does with the topics of a robot is done with those of a bag: each message is
taken in at the time at which it was received, and the same `Recorder` takes the frames, by the
clock of the bag.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolvla_core.console import (
    DONE,
    INTERRUPTED,
    NO,
    command_parser,
    could_not_run,
    raise_on_interrupt,
)
from smolvla_core.images import SerializedImage
from smolvla_core.node_settings import RecordSettings
from smolvla_core.observation import NANOSECONDS, ObservationBuffer
from smolvla_core.robot import StateTopic
from smolvla_core.settings import (
    REQUIRED,
    add_arguments,
    from_arguments,
    same,
    setting,
    settings_of,
)

from smolvla_learning.dataset import DatasetError
from smolvla_learning.dataset.journal import clear_begun
from smolvla_learning.recording.bag import Bag, BagError
from smolvla_learning.recording.commands import JOINT_STATE, command_topics
from smolvla_learning.recording.encoder import EpisodeEncoder
from smolvla_learning.recording.inputs import Inputs
from smolvla_learning.recording.recorder import Recorder, State
from smolvla_learning.recording.store import EpisodeStore

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
BOOL, STRING = "std_msgs/msg/Bool", "std_msgs/msg/String"
STATUS = "smolvla_msgs/msg/ExecutorStatus"
INSTRUCTION_TOPIC, STATUS_TOPIC = "/task_instruction", "/executor_node/status"
SILENCE = 30 * NANOSECONDS
"""When nothing comes for so long [ns], as while `ros2 bag record` pauses, all is stale."""


@dataclass(frozen=True, kw_only=True)
class BagSettings(RecordSettings):
    """Of the conversion; those of the recorder, but for what only a live one can do."""

    output: Path = setting(
        REQUIRED,
        "Folder of the dataset: a new one, or one recorded with the same settings, which is "
        "continued.",
    )
    task: str = setting("", "The instruction until one comes on /task_instruction in the bag.")
    marker: str = setting(
        "",
        "Topic that begins and ends episodes. std_msgs/Bool: an episode lasts while it is true. "
        "std_msgs/String, e.g. /task_instruction: while it is one text, which is the instruction; "
        "an empty one is between episodes. Without a marker a bag is an episode.",
    )
    max_start_speed: float = same(RecordSettings, "max_start_speed", 0.0)
    min_motion: float = same(RecordSettings, "min_motion", 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", str(self.output))
        super().__post_init__()


OPTIONS = tuple(
    name
    for name in settings_of(BagSettings)
    if name not in ("dataset", "max_episode_seconds", "queue_size")
)
"""Names of the settings that the command has."""


@dataclass(frozen=True)
class _Listener:
    """What is done with a topic of the bag.

    Attributes:
        what: it holds, for messages.
        types: that its messages may have.
        instead: types of topics that could stand in for it, if it is named.
        take: takes the content of a message, and its time of reception since the begin of the
            bag [s] and by the bag's clock [ns].
    """

    what: str
    types: tuple[str, ...]
    take: Callable[[bytes, float, int], None]
    instead: tuple[str, ...]


class BagEpisodes:
    """The episodes of one bag.

    Args:
        bag: that is open.
        settings: of the conversion.
        report: called with a message for each event, and whether it is bad news.

    Raises:
        BagError: it lacks topics, or they have other types; the text names all of them.
        ValueError: commands of the robot are no messages.
    """

    def __init__(
        self, bag: Bag, settings: BagSettings, report: Callable[[str, bool], None]
    ) -> None:
        self._bag = bag
        self._settings = settings
        self._report = report
        self._listeners: dict[str, list[_Listener]] = {}
        self._buffer = ObservationBuffer(settings.cameras, settings.joints, settings)
        topics = {f"camera {camera}": self._watch(camera) for camera in settings.cameras}
        states = [self._feel(state) for state in settings.body.joint_states]
        commands, command_messages = command_topics(settings, _resolved)
        for command in command_messages:
            self._listen(command.topic, "the commands", (command.type,), command.take)
        self._inputs = Inputs(
            lambda: self._buffer.snapshot(self._now),
            commands,
            settings.task,
            f"give --task, or a bag with {INSTRUCTION_TOPIC}",
            {**topics, "joint states": ", ".join(states)},
            settings.intervention,
            settings.body.foreign_problem,
        )
        self._follow_instructions()
        problems = self._problems()
        if problems:
            raise BagError(f"{bag.path}: {'; '.join(problems)}")
        self._now = 0.0
        self._ticks = 0
        self._recorder: Recorder | None = None
        self._mark = ""
        self._wanted = False  # an episode has begun that is neither saved nor given up
        self._reason = ""  # why it has no frames yet
        self._failed = 0

    # What is listened to.

    def _listen(
        self,
        topic: str,
        what: str,
        types: tuple[str, ...],
        take: Callable[..., None],
        raw: bool = False,
        instead: tuple[str, ...] = (),
    ) -> str:
        """Take the messages of a topic, deserialized or not; return its whole name."""
        name = _resolved(topic)

        def on_message(data: bytes, now: float, clock_ns: int) -> None:
            take(data if raw else self._bag.read(name, data), now, clock_ns)

        self._listeners.setdefault(name, []).append(
            _Listener(what, types, on_message, instead or types)
        )
        return name

    def _watch(self, camera: str) -> str:
        """Listen to a camera, to what the bag has of it: raw images or compressed ones."""
        settings, types = self._settings, self._bag.types
        topic, compressed = settings.image_topic(camera)
        other = topic.removesuffix("/compressed") if compressed else f"{topic}/compressed"
        lacking = _resolved(topic) not in types and _resolved(other) in types
        if lacking and not settings.image_transport:
            topic, compressed = other, not compressed
        name = _resolved(topic)

        def on_image(data: bytes, now: float, clock_ns: int) -> None:
            image = SerializedImage(data, lambda content: self._bag.read(name, content), name)
            self._buffer.add_image(camera, image, image.stamp_ns, now)

        kind = COMPRESSED if compressed else IMAGE
        of_either = () if settings.image_transport else (IMAGE, COMPRESSED)
        return self._listen(
            topic, f"camera {camera}", (kind,), on_image, raw=True, instead=of_either
        )

    def _feel(self, state: StateTopic) -> str:
        def on_joint_state(message: Any, now: float, clock_ns: int) -> None:
            names = [state.prefix + name for name in message.name]
            stamp = message.header.stamp
            stamp_ns = int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
            self._buffer.add_joint_state(names, message.position, stamp_ns, now)

        return self._listen(state.topic, "joint states", (JOINT_STATE,), on_joint_state)

    def _follow_instructions(self) -> None:
        """Listen to the marker, and to the executor or, where there is none, to instructions."""
        bag, inputs = self._bag, self._inputs
        marker = self._settings.marker
        if marker:
            self._listen(
                marker, "the marker", (BOOL, STRING), lambda m, now, _: self._marked(m.data, now)
            )
        by_marker = bool(marker) and bag.types.get(_resolved(marker)) == STRING
        has_status = bag.types.get(STATUS_TOPIC) == STATUS and bag.define(STATUS_TOPIC)

        def on_status(message: Any, now: float, clock_ns: int) -> None:
            if not by_marker:
                inputs.follow(message.instruction, message.instructions)
            inputs.take_source(getattr(message, "source", ""))  # a status of today has it

        if has_status or self._settings.intervention:
            self._listen(STATUS_TOPIC, "who commands", (STATUS,), on_status)
        elif by_marker:
            pass
        elif INSTRUCTION_TOPIC in bag.types:
            self._listen(
                INSTRUCTION_TOPIC, "instructions", (STRING,), lambda m, *_: inputs.instruct(m.data)
            )

    def _problems(self) -> list[str]:
        """Return what is wrong with the topics of the bag."""
        problems, types = [], self._bag.types
        for name, listeners in self._listeners.items():
            for listener in listeners:
                wanted = " or ".join(listener.types)
                if name not in types:
                    others = ", ".join(t for t, kind in types.items() if kind in listener.instead)
                    problems.append(
                        f"no topic {name} for {listener.what}; of "
                        f"{' or '.join(listener.instead)} the bag has "
                        f"{others or 'none'}; the robot file (--robot) names the topics, "
                        "and --cameras the cameras that are wanted"
                    )
                elif types[name] not in listener.types:
                    problems.append(
                        f"{name} is {types[name]}, but {listener.what} must be {wanted}"
                    )
                elif not self._bag.define(name):
                    problems.append(
                        f"{name} is {types[name]}, which the bag does not define: record as MCAP, "
                        "or with ROS 2 Iron or newer"
                    )
        return problems

    # Its course.

    def record(self, store: EpisodeStore, encoder: EpisodeEncoder) -> int:
        """Record all episodes; return how many could not be.

        Args:
            store: the dataset.
            encoder: a patient one, that writes into it.

        Raises:
            BagError: the bag is damaged; the episodes before are saved.
        """
        self._recorder = Recorder(self._settings, self._inputs, store, encoder, self._notify)
        first_ns = last_ns = 0
        try:
            for name, time_ns, data in self._bag.messages(self._listeners):
                if not first_ns:
                    first_ns = last_ns = time_ns
                    self._wanted = not self._settings.marker
                if time_ns - last_ns > SILENCE:
                    self._advance(first_ns, last_ns + SILENCE)
                    self._ticks = round((time_ns - first_ns) * self._settings.fps / NANOSECONDS)
                self._advance(first_ns, time_ns)
                for listener in self._listeners[name]:
                    listener.take(data, (time_ns - first_ns) / NANOSECONDS, time_ns)
                last_ns = time_ns
            self._advance(first_ns, last_ns + 1)  # a frame of the last messages
            self._end()
        except BaseException:
            if self._recorder.busy:
                self._recorder.discard()
            raise
        return self._failed

    def _advance(self, first_ns: int, end_ns: int) -> None:
        """Take the frames that are due before a time of the bag, which begins at `first_ns`."""
        while (
            time_ns := first_ns + round(self._ticks * NANOSECONDS / self._settings.fps)
        ) < end_ns:
            self._tick((time_ns - first_ns) / NANOSECONDS)
            self._ticks += 1

    def _tick(self, now: float) -> None:
        self._now = now
        recorder = self._recorder
        assert recorder is not None
        if self._wanted and not recorder.busy:
            try:
                recorder.start(now)
            except ValueError as error:
                self._reason = str(error)
        if self._wanted and recorder.busy:
            recorder.tick(now)
            if recorder.state not in (State.ARMED, State.RECORDING):  # it has said why
                self._give_up()

    def _marked(self, value: object, now: float) -> None:
        """Take a value of the marker."""
        text = value.strip() if isinstance(value, str) else str(value) if value else ""
        if text == self._mark:
            return
        self._now = now
        self._end()
        self._mark, self._wanted = text, bool(text)
        self._reason = f"it lasts no longer than a period of {self._settings.fps} frames/s"
        if text and isinstance(value, str):
            self._inputs.instruct(text)

    def _end(self) -> None:
        """Save the episode, if there is one."""
        if not self._wanted:
            return
        self._wanted = False
        recorder = self._recorder
        assert recorder is not None
        try:
            if not recorder.busy:
                raise ValueError(self._reason or "the bag holds no messages on these topics")
            if recorder.state == State.RECORDING and recorder.doubts:
                raise ValueError(f"not saved: {recorder.doubts}")
            self._report(f"{self._bag.path}: {recorder.save(None)}", False)
        except ValueError as error:
            self._notify(str(error), True)
            self._give_up()

    def _give_up(self) -> None:
        """Leave the episode out; the reason was told."""
        self._wanted = False
        self._failed += 1
        if self._recorder is not None and self._recorder.busy:
            self._recorder.discard()

    def _notify(self, text: str, bad: bool) -> None:
        if bad:
            self._report(f"{self._bag.path}, at {self._now:.2f} s: {text}", True)


def _resolved(topic: str) -> str:
    """Return the whole name of a topic, as the recorder in the root namespace has it."""
    if topic.startswith("~/"):
        return f"/record_node/{topic[2:]}"
    return topic if topic.startswith("/") else f"/{topic}"


def convert(
    paths: Sequence[Path], settings: BagSettings, report: Callable[[str, bool], None]
) -> int:
    """Append the episodes of bags to a dataset; return how many could not be.

    Args:
        paths: folders or files of the bags.
        settings: of the conversion.
        report: see `BagEpisodes`.

    Raises:
        ValueError: nothing was written: a bag cannot be read or lacks topics, or the dataset
            cannot be continued; or the dataset could not be closed.
    """
    problems = []
    for path in paths:  # before anything is written
        try:
            with Bag.open(path) as bag:
                BagEpisodes(bag, settings, report)
        except BagError as error:
            problems.append(str(error))
    if problems:
        raise BagError("\n".join(problems))
    store = EpisodeStore(settings)
    encoder = EpisodeEncoder(settings.queue_size, patient=True)
    failed = 0
    try:
        for path in paths:
            try:
                with Bag.open(path) as bag:
                    failed += BagEpisodes(bag, settings, report).record(store, encoder)
            except BagError as error:
                report(str(error), True)
                failed += 1
    finally:
        encoder.close(store.writer)
        if not store.num_episodes:
            clear_begun(store.folder)
            with contextlib.suppress(OSError):  # it holds something else, or was never made
                store.folder.rmdir()
    return failed


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset from-bag",
        "Make a LeRobot dataset from rosbags (rosbag2: sqlite3 or MCAP) of any robot, on the "
        "topics of its robot file.",
        'smolvla dataset from-bag bags/run_* --output data/cubes --task "put the cube away"',
        "0 all episodes are in the dataset, 1 some are not, 2 nothing was written, 130 Ctrl-C",
    )
    made.add_argument(
        "bags", nargs="+", type=Path, metavar="BAG", help="its folder, or one .mcap or .db3 file"
    )
    add_arguments(made, BagSettings, OPTIONS)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; return the exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    raise_on_interrupt()

    def report(text: str, bad: bool) -> None:
        print(text, file=sys.stderr if bad else sys.stdout, flush=True)

    try:
        settings = from_arguments(BagSettings, arguments)
        failed = convert(arguments.bags, settings, report)
    except (ValueError, DatasetError, OSError) as error:
        return could_not_run(made.prog, error)
    except KeyboardInterrupt:
        print(f"{made.prog}: interrupted; what was saved is in {settings.output}", file=sys.stderr)
        return INTERRUPTED
    if failed:
        print(f"{made.prog}: {failed} episodes are not in {settings.output}", file=sys.stderr)
        return NO
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
