# SPDX-License-Identifier: Apache-2.0
"""Which policy plays, what is known about it before it is loaded, and loading it.

The units are the checkpoint's, or where it does not say them those of the simulation's datasets.
Nothing here is random: a chunk's noise comes from the seed of the episode and the chunk's number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smolvla_core.backend import Backend

from smolvla_sim import shipped
from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.scene import CAMERAS

POLICIES = ("smolvla", "scripted")
_UNITS = "degrees"
# As long a chunk as the shipped checkpoint's, and a replan as often as a checkpoint's.
_SCRIPTED_ROWS = 16
_SCRIPTED_STEPS = 5


@dataclass(frozen=True)
class PolicySpec:
    """Which policy plays; plain data that travels to worker processes.

    Attributes:
        name: ``smolvla``, a checkpoint, or ``scripted``, the expert that knows the scene.
        checkpoint: folder or hub id, for ``smolvla``.
        fps: actions per second: those of the data that the checkpoint was trained on.
        model: ``so100`` or ``so101``.
        stats: see `SmolVLAPolicy.from_pretrained`; empty for the checkpoint's own.
        cameras: ``name`` or ``name:feature``; empty for those that the checkpoint expects.
        device: where the model runs.
        dtype: number type of the model; ``auto`` is what LeRobot would use.
        noise_scale: see `SmolVLABackend`.
    """

    name: str = "smolvla"
    checkpoint: str = str(shipped.CHECKPOINT)
    fps: float = shipped.FPS
    model: str = "so100"
    stats: str = ""
    cameras: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "auto"
    noise_scale: float = 1.0

    @property
    def description(self) -> str:
        """The checkpoint, the shipped one by its name; or what it is instead."""
        if self.name != "smolvla":
            return "scripted expert"
        shipped_one = self.checkpoint == str(shipped.CHECKPOINT)
        return shipped.CHECKPOINT.name if shipped_one else self.checkpoint


@dataclass(frozen=True)
class PolicyFacts:
    """What is known of a policy without loading its weights.

    Attributes:
        chunk_size: rows of a chunk.
        n_action_steps: rows that synchronous execution uses, as LeRobot does.
        cameras: that it looks through.
    """

    chunk_size: int
    n_action_steps: int
    cameras: tuple[str, ...]

    def steps(self, wished: int | None) -> int:
        """Return the rows to execute: `wished`, or the checkpoint's own number.

        Raises:
            ValueError: `wished` is not within a chunk.
        """
        if wished is None:
            return self.n_action_steps
        if not 1 <= wished <= self.chunk_size:
            raise ValueError(
                f"n_action_steps is {wished}, but must be 1 to {self.chunk_size}, the rows of "
                "a chunk"
            )
        return wished


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that is ready to play.

    Attributes:
        backend: who thinks.
        start_episode: to be called with the seed of an episode before its first chunk.
        set_real_time_chunking: says whether chunks shall continue the queued actions; the
            scripted expert always does.
    """

    backend: Backend
    start_episode: Callable[[int], None]
    set_real_time_chunking: Callable[[bool], None]


def policy_facts(spec: PolicySpec) -> PolicyFacts:
    """Read what can be known without the weights, and check it.

    Raises:
        ValueError: no such policy or checkpoint, or it wants a camera that the simulation does
            not have; the text says what to do.
    """
    if not spec.fps > 0:
        raise ValueError(f"fps is {spec.fps:g}; it must be above 0")
    if not 0.0 <= spec.noise_scale <= 1.0:
        raise ValueError(f"--noise-scale is {spec.noise_scale:g}; it must be 0 to 1")
    if spec.name == "scripted":
        # It is given pictures by its node only, and looks at none.
        return PolicyFacts(_SCRIPTED_ROWS, _SCRIPTED_STEPS, tuple(spec.cameras) or ("top",))
    if spec.name != "smolvla":
        raise ValueError(f"unknown policy '{spec.name}'; there are {', '.join(POLICIES)}")
    # Not at the top: the scripted policy needs no PyTorch.
    from smolvla_policy.checkpoint.cameras import default_cameras
    from smolvla_policy.checkpoint.config import read_config
    from smolvla_policy.checkpoint.processors import read_processors
    from smolvla_policy.checkpoint.source import find_checkpoint

    folder = find_checkpoint(spec.checkpoint)
    config = read_config(folder)
    names = [entry.partition(":")[0] for entry in spec.cameras]
    names = names or list(default_cameras(config, read_processors(folder, config)))
    unknown = [name for name in names if name not in CAMERAS]
    if unknown:
        raise ValueError(
            f"{spec.checkpoint} looks through camera {', '.join(unknown)}, which the simulation "
            f"does not have; it has {', '.join(CAMERAS)}. Say which to take for which, e.g. "
            f"--cameras top:{config.cameras[0]}"
        )
    return PolicyFacts(int(config.chunk_size), int(config.n_action_steps), tuple(names))


def load_policy(spec: PolicySpec) -> LoadedPolicy:
    """Load a policy with one thread for its arithmetic.

    Raises:
        ValueError: the checkpoint cannot be used (`CheckpointError` is one) or does not fit
            the arm.
    """
    period = 1.0 / spec.fps
    if spec.name == "scripted":
        cameras = tuple(entry.partition(":")[0] for entry in spec.cameras)
        scripted = ScriptedBackend(
            spec.model, cameras=cameras, chunk_size=_SCRIPTED_ROWS, period=period
        )
        return LoadedPolicy(scripted, lambda seed: None, lambda on: None)
    from smolvla_policy.backends import smolvla
    from smolvla_policy.checkpoint.robot import read_robot
    from smolvla_policy.checkpoint.source import find_checkpoint

    told = read_robot(find_checkpoint(spec.checkpoint))
    backend = smolvla.create(
        {
            "checkpoint": spec.checkpoint,
            "device": spec.device,
            "dtype": spec.dtype,
            "stats": spec.stats,
            "units": told.units or _UNITS,
            "joints": list(JOINT_NAMES),
            "cameras": list(spec.cameras),
            "period": period,
            "noise_scale": spec.noise_scale,
            # Several worker processes share the machine, and one thread gives the same
            # numbers everywhere.
            "threads": 1,
        }
    )

    def set_real_time_chunking(on: bool) -> None:
        backend.real_time_chunking = on

    return LoadedPolicy(backend, backend.reseed, set_real_time_chunking)
