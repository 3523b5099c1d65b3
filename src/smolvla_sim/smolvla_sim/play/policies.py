# SPDX-License-Identifier: Apache-2.0
"""What is known about a policy before it is loaded, and loading it.

The units are the checkpoint's, or where it does not say them those of the simulation's datasets.
Nothing here is random: a chunk's noise comes from the seed of the episode and the chunk's number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from smolvla_core.backend import Backend
from smolvla_core.settings import SettingError, from_values
from smolvla_policy.backends.registry import READS_CHECKPOINTS, backend_settings, create_backend
from smolvla_policy.checkpoint.robot import ROBOT, read_robot
from smolvla_policy.checkpoint.source import find_checkpoint

from smolvla_sim.settings import FPS, AnyPlaySettings, PlaySettings
from smolvla_sim.world.scene import CAMERAS

_UNITS = "degrees"
# Without a checkpoint: as long a chunk as the shipped one's, and a replan as often as one's.
_ROWS = 16
_STEPS = 5


@dataclass(frozen=True)
class PolicyFacts:
    """What is known of a policy without loading its weights.

    Attributes:
        chunk_size: rows of a chunk.
        n_action_steps: rows that synchronous execution uses, as LeRobot does.
        cameras: that it looks through.
        rtc_delay, state_offset: see `RobotFacts`.
    """

    chunk_size: int
    n_action_steps: int
    cameras: tuple[str, ...]
    rtc_delay: int = 0
    state_offset: int = 0


def completed(settings: AnyPlaySettings) -> tuple[AnyPlaySettings, PolicyFacts]:
    """Return settings with everything that was left to the policy, and what is known of it.

    Raises:
        ValueError: no such policy or checkpoint, it does not say its rate, or it wants a camera
            that the simulation does not have; the text says what to do.
    """
    facts = _facts(settings)
    steps = settings.n_action_steps or facts.n_action_steps
    if steps > facts.chunk_size:
        raise SettingError(
            "--n-action-steps", f"is {steps}, but must be 1 to {facts.chunk_size}, a chunk's rows"
        )
    return (
        replace(settings, fps=_fps(settings), n_action_steps=steps, time_limit=settings.limit),
        facts,
    )


def _fps(settings: PlaySettings) -> float:
    if settings.fps:
        return settings.fps
    if settings.policy != READS_CHECKPOINTS:
        return FPS
    declared = read_robot(find_checkpoint(settings.checkpoint)).fps
    if not declared:
        raise ValueError(
            f"{settings.checkpoint} does not say how many actions a second its data have (no fps "
            f"in {ROBOT}); give --fps, the frame rate of the recordings"
        )
    return declared


def _facts(settings: PlaySettings) -> PolicyFacts:
    if settings.policy != READS_CHECKPOINTS:
        backend = load_backend(settings)
        rows, cameras = backend.chunk_size, tuple(backend.cameras)
        # Who knows where the objects are is given pictures by its node only, and looks at none.
        cameras = cameras[:1] if backend.needs_objects else cameras
        backend.close()
        return PolicyFacts(rows, min(_STEPS, rows), cameras)
    # Not at the top: other policies need no PyTorch.
    from smolvla_policy.checkpoint.config import read_config
    from smolvla_policy.checkpoint.processors import default_cameras, read_processors

    folder = find_checkpoint(settings.checkpoint)
    config = read_config(folder)
    names = [entry.partition(":")[0] for entry in settings.cameras]
    names = names or list(default_cameras(config, read_processors(folder, config)))
    unknown = [name for name in names if name not in CAMERAS]
    if unknown:
        raise ValueError(
            f"{settings.checkpoint} looks through camera {', '.join(unknown)}, which the "
            f"simulation does not have; it has {', '.join(CAMERAS)}. Say which to take for which, "
            f"e.g. --cameras top:{config.cameras[0]}"
        )
    robot = read_robot(folder)
    return PolicyFacts(
        int(config.chunk_size),
        int(config.n_action_steps),
        tuple(names),
        robot.rtc_delay,
        robot.state_offset,
    )


def load_backend(settings: PlaySettings) -> Backend:
    """Load a policy with one thread for its arithmetic.

    Raises:
        ValueError: there is no such policy, or its checkpoint cannot be used (`CheckpointError` is
            one) or does not fit the arm.
    """
    reads = settings.policy == READS_CHECKPOINTS
    declared = read_robot(find_checkpoint(settings.checkpoint)).units if reads else ""
    given = reads or settings.checkpoint != str(settings.shipped)
    return create_backend(
        from_values(
            backend_settings(settings.policy),
            {
                "backend": settings.policy,
                "checkpoint": settings.checkpoint if given else "",
                "units": declared or _UNITS,
                "robot": settings.model,
                "cameras": settings.cameras,
                "period": 1.0 / _fps(settings),
                "noise_scale": settings.noise_scale,
                "chunk_size": _ROWS,
                # Several worker processes share the machine, and one thread gives the same
                # numbers everywhere.
                "threads": 1,
                **settings.backend,
            },
        )
    )
