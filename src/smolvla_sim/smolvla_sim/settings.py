# SPDX-License-Identifier: Apache-2.0
"""The settings of evaluation, benchmark and recorder."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from smolvla_core.node_settings import AGGREGATIONS, PlanSettings
from smolvla_core.settings import REQUIRED, Setting, SettingError, Settings, same, setting
from smolvla_policy.backends.registry import backend_parameters, check_parameters
from smolvla_policy.backends.smolvla_settings import JACOBIAN, SmolVLASettings
from smolvla_policy.checkpoint.robot import read_robot

from smolvla_core import settings
from smolvla_sim.world.arm import ARMS
from smolvla_sim.world.scene import CAMERAS
from smolvla_sim.world.tasks import TASK_NAMES, tasks_asked

CHECKPOINT = Path(__file__).resolve().parent / "checkpoints" / "smolvla_so100_sim"
"""Folder of the checkpoint that comes with the simulation."""

CHECKPOINT_30_HZ = CHECKPOINT.with_name("smolvla_so100_sim_30hz")
"""Folder of the one in chunks of 50, trained for asynchronous execution."""

FPS = read_robot(CHECKPOINT).fps
"""Actions per second of its training data."""

LEAD_IN = 14.0
"""The longest time that a checkpoint drives before a demonstration [s]."""

SIM = "sim"
"""The judge of a plan that knows the scene."""

SCENES = "scenes"
"""The task of a recording that holds still pictures."""

RTC = "guided"
"""Real-time chunking that any checkpoint does."""

AUTO = "auto"
"""As the nodes do by themselves: g, way to blend and real-time chunking are chosen."""

CHUNKINGS = (RTC, JACOBIAN, "trained", "future_state")
"""Values of `real_time_chunking` among the ways to blend: the policy blends, the executor
replaces."""

BLENDS = (*AGGREGATIONS, *CHUNKINGS)


@dataclass(frozen=True, kw_only=True)
class _TaskSettings(Settings):
    """What evaluation, benchmark and recorder share."""

    kind: str = setting(
        "reach", "Kind of task, whose colors rotate with the seed.", choices=TASK_NAMES
    )
    task: str = setting("", "A whole sentence instead of a kind.")
    model: str = setting("so100", "The arm.", choices=sorted(ARMS))
    cameras: tuple[str, ...] = setting((), "Cameras.")
    camera_size: str = setting("640x480", "Size of the pictures, WIDTHxHEIGHT [pixels].")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.asked != SCENES:
            tasks_asked(self.asked)
        object.__setattr__(self, "cameras", tuple(name for name in self.cameras if name))
        size_of(self.camera_size)

    @property
    def asked(self) -> str:
        """The sentence or the kind; see `tasks.tasks_asked`."""
        return self.task or self.kind

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures [pixels]."""
        return size_of(self.camera_size)


@dataclass(frozen=True, kw_only=True)
class PlaySettings(_TaskSettings):
    """Who plays, what and in which scenes: what evaluation and benchmark share.

    Attributes:
        backend: parameters that the backend `policy` alone has, by name.
        shipped: folder of the checkpoint that is used where none is given.
    """

    policy: str = setting(
        "smolvla",
        "The policy: an installed backend such as smolvla, which runs a checkpoint, or scripted, "
        "the expert that knows the scene.",
    )
    checkpoint: str = setting(
        "", "Folder or hub id (default: the one that comes with the simulation)."
    )
    fps: float = setting(
        0.0,
        "Actions per second, those of the data that the checkpoint was trained on [Hz]; 0: what "
        f"the checkpoint says, {FPS:g} without one.",
        0,
    )
    n_action_steps: int = setting(
        0,
        "Rows of a chunk that synchronous execution uses; 0: the checkpoint's own number.",
        0,
    )
    time_limit: float = setting(0.0, "Time limit of a task [s]; 0: the task's own.", 0)
    cameras: tuple[str, ...] = setting(
        (),
        "camera:feature where names differ, e.g. top:observation.images.camera1 (default: the "
        "checkpoint's, by their own names).",
    )
    noise_scale: float = same(SmolVLASettings, "noise_scale", 1.0)
    variation: bool = setting(True, "Draw light, colors and camera mounts from the seed, too.")
    workers: int = setting(2, "Processes.", 1)
    backend: Mapping[str, Any] = field(default_factory=dict)

    shipped: ClassVar[Path] = CHECKPOINT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parameters(self.policy, self.backend)
        object.__setattr__(self, "checkpoint", self.checkpoint or str(self.shipped))

    @property
    def limit(self) -> float:
        """Time limit of a task [s]."""
        return self.time_limit or tasks_asked(self.asked)[0].time_limit

    @property
    def player(self) -> str:
        """The checkpoint, the shipped one by its name; or what plays instead."""
        if self.policy == "scripted":
            return "scripted expert"
        if self.policy != "smolvla":
            return self.policy
        return self.shipped.name if self.checkpoint == str(self.shipped) else self.checkpoint


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(PlaySettings):
    """How well a policy does a task."""

    episodes: int = setting(100, "How many.", 1)
    seed: int = setting(1000, "Of the first episode.", 0)
    joint_noise: float = setting(
        0.0,
        "Standard deviation of noise on the joint positions that the policy is given [rad].",
        0,
    )
    random_starts: float = setting(
        0.0, "Share of the episodes that start somewhere above the table, not at home.", 0, 1
    )
    json: Path | None = setting(
        None, "Write all episodes into this file, too; '-' is standard output."
    )
    report: Path | None = setting(
        None,
        "Write a page (.html) with intervals, all episodes, and films of the first failures, "
        "which are played once more for it.",
    )


@dataclass(frozen=True, kw_only=True)
class PlanEvaluationSettings(PlaySettings):
    """How well a policy does a plan: a sentence for each color of a kind of task."""

    kind: str = same(PlaySettings, "kind", "pick_place")
    checkpoint: str = setting(
        "", "Folder or hub id (default: the one at 30 Hz that comes with the simulation)."
    )
    time_limit: float = same(PlaySettings, "time_limit", 0.0, note="Of one try.")
    tries: int = setting(2, "How often a step is tried, each time from home.", 1)
    judge: str = setting(
        SIM,
        f"Who judges the steps: '{SIM}', which knows the scene; or an installed judge, which "
        "looks (entry points smolvla_core.judges).",
    )
    judge_options: tuple[str, ...] = setting((), "Its options, each 'name=value'.")
    judge_cameras: tuple[str, ...] = setting(
        ("top", "wrist"), "Cameras that it is shown.", choices=sorted(CAMERAS)
    )
    judge_period: float = same(PlanSettings, "judge_period", 0.2)
    reorder: bool = setting(
        False, "In the middle of the second step the caller sends the rest in another order."
    )
    episodes: int = same(EvaluationSettings, "episodes", 100)
    seed: int = same(EvaluationSettings, "seed", 7000)
    json: Path | None = same(EvaluationSettings, "json", None)


@dataclass(frozen=True, kw_only=True)
class BenchSettings(PlaySettings):
    """Synchronous against asynchronous execution."""

    shipped: ClassVar[Path] = CHECKPOINT_30_HZ

    # The paper's task: cubes in a minute. With noise, chunks differ by their draws, too, and not
    # only by what was seen meanwhile.
    kind: str = same(PlaySettings, "kind", "pick_place")
    noise_scale: float = same(PlaySettings, "noise_scale", 0.0)
    output: Path = setting(Path("bench_out"), "Folder.")
    episodes: int | None = setting(None, "How many seeds (default: 20; quick: 5).", 1)
    seed: int = setting(5000, "Of the first scene.", 0)
    delays: tuple[int, ...] = setting(
        (), "Delays of the answers [ms] (default: 0 100 300 600 1000 1500; quick: 0 300).", 0
    )
    jittering: tuple[int, ...] = setting(
        (),
        "Medians of delays that vary [ms], by --delay-spread and --lost (default: 300 where no "
        "--delays are given; quick: none).",
        0,
    )
    delay_spread: float = setting(
        0.5,
        "Standard deviation of the logarithm of a delay of --jittering (log-normal).",
        0,
        2,
    )
    lost: float = setting(0.05, "Share of the answers of --jittering that never come.", 0, 0.9)
    chunk_size_threshold: tuple[float, ...] = setting((0.7,), "Thresholds g.", above=0, upper=1)
    aggregate: tuple[str, ...] = setting(
        (),
        "Ways to blend chunks: of the executor, or real_time_chunking of the policy (default: "
        "latest, weighted, all of the policy that the checkpoint was trained for but jacobian, "
        "auto; quick: weighted, auto). auto: as the nodes do by themselves, g included. "
        "jacobian: PyTorch then computes all.",
        choices=BLENDS,
    )
    minute: float = setting(60.0, "Length of continuous operation [s]; 0: single tasks only.", 0)
    rate: float = setting(30.0, "Rate of the control loop [Hz].", above=0)
    quick: bool = setting(False, "A small part, in minutes.")
    fresh: bool = setting(False, "Forget the runs done so far.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(tasks_asked(self.asked)) == 1:
            raise SettingError(
                "task",
                f"is '{self.task}', but continuous operation needs a kind: give --kind, one of "
                f"{', '.join(TASK_NAMES)}",
            )


AnyPlaySettings = TypeVar("AnyPlaySettings", bound=PlaySettings)


def _of_backends(source: type[PlaySettings]) -> dict[str, Setting]:
    """Return the parameters of backends that are options beside `source`."""
    own = backend_parameters(source)
    # Each way of execution says it itself, see `EpisodeLoop`.
    return {name: one for name, one in own.items() if name != "real_time_chunking"}


def add_arguments(parser: argparse.ArgumentParser, source: type[PlaySettings]) -> None:
    """Give `parser` the settings and the parameters of backends as options."""
    settings.add_arguments(parser, source)
    settings.add_declared(parser, _of_backends(source))


def from_arguments(
    source: type[AnyPlaySettings], arguments: argparse.Namespace
) -> AnyPlaySettings:
    """Return the settings that `arguments` of a parser with `add_arguments` holds.

    Raises:
        ValueError: a value does not fit, or the backend has no such parameter.
    """
    names = _of_backends(source)
    own = {name: value for name, value in vars(arguments).items() if name in names}
    return replace(settings.from_arguments(source, arguments), backend=own)


@dataclass(frozen=True, kw_only=True)
class DemonstrationSettings(_TaskSettings):
    """What is recorded of the scripted expert."""

    kind: str = setting(
        "pick_place",
        f"Kind of task, whose colors are drawn; {SCENES}: still pictures to label.",
        choices=(*TASK_NAMES, SCENES),
    )
    cameras: tuple[str, ...] = setting(
        ("top", "wrist"), f"Cameras that are filmed, any of {', '.join(CAMERAS)}; '' for none."
    )
    camera_size: str = same(PlaySettings, "camera_size", "320x240")
    fps: int = setting(15, "Frames per second.", 1)
    random_starts: float = setting(0.5, "Share of episodes that do not start from home.", 0, 1)
    noise: float = setting(
        0.0,
        "Standard deviation of a smooth disturbance of the executed commands [rad]; the recorded "
        "actions are the undisturbed ones (DART, arXiv 1703.09327). 0.01 to 0.03 helps.",
        0,
        0.1,
    )
    grounding: bool = setting(False, "Label where the objects are in each picture.")
    paraphrases: bool = setting(False, "Vary the wording of the instructions.")
    lead_in: str = setting(
        "",
        f"A checkpoint, folder or hub id, that drives for up to {LEAD_IN:g} s before the expert "
        "takes over; only the expert is recorded.",
    )
    frames_after: int = setting(
        3, "Frames after the success, so that a policy learns to stop and a judge what is done.", 1
    )
    filled: float = setting(
        0.0, "Share of the other cubes that lie in the bowl already, as in a plan.", 0, 1
    )
    scene_tasks: tuple[str, ...] = setting(
        ("reach", "pick_up", "pick_place"),
        f"Kinds whose instructions the still pictures of {SCENES} get.",
        choices=TASK_NAMES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.cameras if name not in CAMERAS]
        if unknown:
            raise SettingError(
                "cameras", f"has {', '.join(unknown)}; there are {', '.join(CAMERAS)}"
            )
        if self.grounding and not self.cameras:
            raise SettingError("grounding", "needs a camera")


@dataclass(frozen=True, kw_only=True)
class RecordingSettings(DemonstrationSettings):
    """A dataset of demonstrations."""

    output: Path = setting(REQUIRED, "Folder of the dataset; a new one, or with resume.")
    episodes: int = setting(REQUIRED, "Successful ones that the dataset has in the end.", 1)
    resume: bool = setting(False, "Continue an interrupted recording.")
    # Far from the seeds that evaluations use.
    seed: int = setting(1_000_000, "Of the first episode; a failure moves on to the next one.", 0)
    workers: int = setting(2, "Processes that simulate.", 1)


def size_of(text: str) -> tuple[int, int]:
    """Return width and height [pixels] of a size such as ``640x480``.

    Raises:
        SettingError: it is none, or outside 16x16 to 1920x1440.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match:
        width, height = int(match[1]), int(match[2])
        if 16 <= width <= 1920 and 16 <= height <= 1440:
            return width, height
    raise SettingError("camera_size", f"is '{text}'; give e.g. 640x480, at most 1920x1440")
