# SPDX-License-Identifier: Apache-2.0
"""Command-line options that evaluation and benchmark share."""

from __future__ import annotations

import argparse
import math

from smolvla_policy.checkpoint.robot import ROBOT, read_robot
from smolvla_policy.checkpoint.source import find_checkpoint

from smolvla_sim import shipped
from smolvla_sim.play.assignments import Assignment, kind_names
from smolvla_sim.play.observer import Size
from smolvla_sim.play.policies import POLICIES, PolicySpec
from smolvla_sim.world.arm import ARMS

# How long a task may take [s]: some five times what the expert needs.
SECONDS = {"reach": 8.0, "pick_up": 12.0, "pick_place": 20.0}
_SECONDS_ELSE = 40.0


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that say who plays and what."""
    parser.add_argument(
        "--task",
        default="reach",
        help=f"{', '.join(kind_names())}, whose colors rotate with the seed, or a whole "
        "sentence (default: %(default)s)",
    )
    parser.add_argument(
        "--policy", choices=POLICIES, default="smolvla", help="who plays (default: smolvla)"
    )
    parser.add_argument(
        "--checkpoint",
        default=str(shipped.CHECKPOINT),
        help="folder or hub id (default: the one that comes with the simulation)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        metavar="HZ",
        help="actions per second: those of the data that the checkpoint was trained on (default: "
        f"what the checkpoint says; {shipped.FPS:g} with policy scripted)",
    )
    parser.add_argument(
        "--n-action-steps",
        type=int,
        metavar="K",
        help="rows of a chunk that synchronous execution uses (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="time limit of a task (default: by its kind)"
    )
    parser.add_argument("--model", choices=sorted(ARMS), default="so100", help="the arm")
    parser.add_argument(
        "--stats", default="", help="statistics where the checkpoint has several or none"
    )
    parser.add_argument(
        "--cameras",
        default="",
        help="camera:feature, with commas, where names differ, e.g. "
        "top:observation.images.camera1 (default: the checkpoint's, by their own names)",
    )
    parser.add_argument(
        "--camera-size", default="640x480", metavar="WxH", help="of the pictures [pixels]"
    )
    parser.add_argument(
        "--noise-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="of the noise that chunks are made from: 1 as trained, 0 the most typical chunk "
        "(default: %(default)g)",
    )
    parser.add_argument("--device", default="auto", help="where the model runs (default: auto)")
    parser.add_argument(
        "--no-variation",
        action="store_true",
        help="the same light, colors and camera mounts in every scene",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")


def policy_spec(arguments: argparse.Namespace) -> PolicySpec:
    """Return the policy that the options name.

    Raises:
        ValueError: the checkpoint cannot be found, or nothing says its rate.
    """
    names = (name.strip() for name in arguments.cameras.split(","))
    return PolicySpec(
        name=arguments.policy,
        checkpoint=arguments.checkpoint,
        fps=_fps(arguments) if arguments.fps is None else arguments.fps,
        model=arguments.model,
        stats=arguments.stats,
        cameras=tuple(name for name in names if name),
        device=arguments.device,
        noise_scale=arguments.noise_scale,
    )


def _fps(arguments: argparse.Namespace) -> float:
    if arguments.policy != "smolvla":
        return shipped.FPS
    told = read_robot(find_checkpoint(arguments.checkpoint)).fps
    if not told:
        raise ValueError(
            f"{arguments.checkpoint} does not say how many actions a second its data have (no "
            f"fps in {ROBOT}); give --fps, the frame rate of the recordings"
        )
    return told


def camera_size(text: str) -> Size:
    """Read a size such as ``640x480``.

    Raises:
        ValueError: it is none, or outside 16x16 to 1920x1440.
    """
    width, _, height = text.partition("x")
    if width.isdigit() and height.isdigit():
        size = int(width), int(height)
        if 16 <= size[0] <= 1920 and 16 <= size[1] <= 1440:
            return size
    raise ValueError(f"--camera-size is '{text}'; give e.g. 640x480, at most 1920x1440")


def time_limit(given: float | None, assignment: Assignment) -> float:
    """Return the time limit of a task [s].

    Raises:
        ValueError: it is not above 0.
    """
    if given is None:
        return SECONDS.get(assignment.variants[0].kind, _SECONDS_ELSE)
    if not 0.0 < given < math.inf:
        raise ValueError(f"--seconds is {given:g}; it must be above 0")
    return given


def at_least(arguments: argparse.Namespace, **least: int) -> None:
    """Check options that count something.

    Raises:
        ValueError: one is smaller than it may be.
    """
    for name, low in least.items():
        if getattr(arguments, name) < low:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {getattr(arguments, name)}; it must be {low} or more")
