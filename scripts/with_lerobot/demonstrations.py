# SPDX-License-Identifier: Apache-2.0
"""The recordings that the check works on, each made once: of the simulation, and of ROS topics."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from smolvla_learning.dataset import Dataset, DatasetError

from .steps import ROOT, Check, StepError, kill, last_line

WIDTH, HEIGHT, FPS = 96, 64, 10
INSTRUCTIONS = ("touch the red cube", "touch the blue cube")
RECORD = ROOT / "install/smolvla_learning/lib/smolvla_learning/record"
EPISODE_SECONDS = 3.0
RATE = 50
PERIOD = 3.0
"""Commands per second, and seconds of a wave."""
WAVES = (0.5, 0.3, 0.3, -0.3, 0.6, 0.25)
"""How far each joint moves from the simulation's rest and back [rad]."""
MOVING = threading.Event()
"""An episode is being recorded."""
PATIENCE = 60.0
"""Seconds that a node may take to come up on a busy machine."""


def simulated(check: Check, name: str = "simulation", seed: int = 3) -> Path:
    """Record three episodes of the simulation's expert and return the dataset."""
    folder = check.work / "datasets" / name
    if not complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        check.ours(
            f"record_{name}",
            *("dataset", "simulate", "--kind", "reach", "--episodes", "3"),
            *("--output", folder, "--cameras", "top", "wrist", "--seed", str(seed)),
            *("--workers", "1", "--camera-size", f"{WIDTH}x{HEIGHT}", "--fps", str(FPS)),
        )
    return folder


def complete(folder: Path) -> bool:
    """Say whether a dataset is there and was closed."""
    try:
        return not Dataset.open(folder).interrupted
    except DatasetError:
        return False


def of_topics(check: Check) -> dict[str, Path]:
    """Record a simulated arm by its topics.

    Returns:
        Kind -> dataset: one that was closed, one whose recorder was killed and which was
        repaired, one that a second start of the recorder continued.
    """
    kinds = ("topics", "topics_killed", "topics_resumed")
    found = {kind: check.work / "datasets" / kind for kind in kinds}
    if all(map(complete, found.values())):
        return found
    for folder in found.values():
        shutil.rmtree(folder, ignore_errors=True)
    with arm(check):
        closed, killed, resumed = found.values()
        with recorder(check, closed):
            episodes(check, 2)
        with recorder(check, killed, end=signal.SIGKILL):
            episodes(check, 2)
            episodes(check, 1, save=False)
        with recorder(check, resumed):
            episodes(check, 1)
        with recorder(check, resumed):
            episodes(check, 1)
    if complete(killed):
        raise StepError(f"{killed} was closed although its recorder was killed")
    check.ours("repair", "dataset", "repair", killed)
    return found


def recordings(check: Check) -> dict[str, Path]:
    """Make all recordings that are not there yet."""
    return {"simulation": simulated(check), **of_topics(check)}


@contextlib.contextmanager
def arm(check: Check) -> Iterator[None]:
    """Run the simulation and move all its joints, in a ROS domain that no robot hears."""
    import rclpy
    from smolvla_bringup.system.environment import free_domain

    os.environ.update(ROS_DOMAIN_ID=str(free_domain()), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    parameters = check.work / "small.yaml"
    parameters.write_text(
        "/**:\n  ros__parameters:\n"
        f"    image_width: {WIDTH}\n    image_height: {HEIGHT}\n"
        "    camera_rate: 20.0\n    cameras: [top, wrist]\n"
    )
    command = [sys.executable, "-m", "smolvla_bringup.cli", "run", "--hardware", "sim"]
    command += ["--policy", "none", "--params-file", str(parameters)]
    ended = threading.Event()
    MOVING.clear()
    with program(check, "arm", command):
        rclpy.init()
        thread = threading.Thread(target=wave, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            rclpy.shutdown()


def wave(ended: threading.Event) -> None:
    """Command every joint back and forth while `MOVING` is set, until it is ended."""
    import rclpy
    from smolvla_sim.world.simulation import HOME
    from std_msgs.msg import Float64MultiArray

    node = rclpy.create_node("wave")
    publisher = node.create_publisher(Float64MultiArray, "arm_controller/commands", 1)
    turn, size = 0.0, 1.0
    while not ended.wait(1 / RATE):
        if not MOVING.is_set():  # an episode begins at rest, with the first command
            size *= 0.8 if turn else 1.0  # no episode is the copy of another
            turn = 0.0
            continue
        turn += 2 * math.pi / (RATE * PERIOD)
        values = [
            rest + size * way * math.sin(turn) for rest, way in zip(HOME, WAVES, strict=True)
        ]
        publisher.publish(Float64MultiArray(data=values))
    node.destroy_node()


@contextlib.contextmanager
def recorder(check: Check, folder: Path, end: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Run the recorder and end it with a signal."""
    # The files are judged, not the timing: a busy machine may be late.
    late = ("max_image_age", "max_joint_state_age", "max_skew", "max_command_age")
    values = {"dataset": folder, "fps": FPS, "max_episode_seconds": EPISODE_SECONDS}
    command = [str(RECORD), "--ros-args"]
    for parameter, value in {**values, **dict.fromkeys(late, 5.0)}.items():
        command += ["-p", f"{parameter}:={value}"]
    with program(check, f"record_{folder.name}", command, end):
        yield


@contextlib.contextmanager
def program(
    check: Check, name: str, command: Sequence[str], end: signal.Signals = signal.SIGINT
) -> Iterator[None]:
    """Run a program as long as the block lasts."""
    with check.log(name).open("a") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=check.environment(lerobot=False),
            start_new_session=True,
        )
        try:
            yield
            if process.poll() is not None:
                printed = check.log(name).read_text(errors="replace")
                raise StepError(f"{name} ended by itself: {last_line(printed)}")
            process.send_signal(end)
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise StepError(f"{name} did not end, see {check.log(name)}") from None
        finally:
            kill(process)


def episodes(check: Check, count: int, save: bool = True) -> None:
    """Record so many episodes."""
    for at in range(count):
        task = INSTRUCTIONS[at % len(INSTRUCTIONS)]
        episode(check, "start", "--task", task, "--wait", str(PATIENCE))
        MOVING.set()
        time.sleep(EPISODE_SECONDS)
        if save:
            try:
                episode(check, "save")
            except StepError as error:  # waving is no task and so no success
                if "save again" not in str(error):
                    raise
                episode(check, "save")
        MOVING.clear()


def episode(check: Check, command: str, *options: str) -> None:
    """Run ``smolvla record`` with a command for the recorder."""
    check.ours(f"record_{command}", "record", command, *options)
