# SPDX-License-Identifier: Apache-2.0
"""The parameters of the backend 'smolvla', without PyTorch: launch files read them, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smolvla_core.node_settings import PolicySettings
from smolvla_core.settings import live_setting, same, setting

if TYPE_CHECKING:
    from smolvla_policy.backends.smolvla import SmolVLABackend


JACOBIAN = "jacobian"
"""The one of `CHUNKINGS` that needs gradients, which not every engine computes."""

CHUNKINGS = ("auto", "off", "guided", JACOBIAN, "trained", "future_state")
"""Ways to continue the queued actions, see `continuation`."""


@dataclass(frozen=True, kw_only=True)
class SmolVLASettings(PolicySettings):
    """Of `policy_node` with the backend 'smolvla'."""

    checkpoint: str = setting("", "LeRobot checkpoint: a folder or a hub id.")
    device: str = setting(
        "auto",
        "Where the model runs: auto, cpu, cuda, cuda:0, mps, or xpu (an Intel GPU, not tried).",
    )
    dtype: str = setting(
        "auto",
        "Number type of the model; 'auto' is what LeRobot would use for the checkpoint. 'int8' "
        "is faster on CPUs; it needs OpenVINO and, once, `smolvla quantize`.",
        choices=("auto", "float32", "bfloat16", "int8"),
    )
    engine: str = setting(
        "auto",
        "What computes the network: 'torch' (PyTorch, on every device), 'openvino' (cpu, xpu), or "
        "'auto': OpenVINO on a CPU where it is installed, but PyTorch for real_time_chunking "
        "'jacobian'.",
        choices=("auto", "torch", "openvino"),
    )
    cuda_graph: bool = setting(
        False,
        "Capture each chunk as one CUDA graph, which saves the time to start its kernels one by "
        "one. Of use on NVIDIA GPUs alone, and not tried on one yet.",
    )
    num_steps: int = live_setting(
        0, "Denoising steps of a chunk; 0: as many as the checkpoint says.", 0, 100
    )
    solver: str = live_setting(
        "euler",
        "How the denoising integrates: 'euler', as in training and LeRobot, or 'ab2' "
        "(Adams-Bashforth, second order), which needs fewer steps.",
        choices=("euler", "ab2"),
    )
    stats: str = setting(
        "",
        "Which statistics to use where the checkpoint has several or none: a name in it "
        "(so100), or the path of a data set's meta/stats.json. Empty: the checkpoint's own.",
    )
    tokenizer: str = setting(
        "",
        "Where the tokenizer is: a folder, a tokenizer.json or a hub id. Empty: where the "
        "checkpoint says.",
    )
    units: str = setting(
        "auto",
        "What the checkpoint's state and actions are in. 'auto': what the checkpoint says "
        "(robot.json), else what its statistics imply; "
        "'degrees': LeRobot since 0.4.4, gripper 0-100; 'normalized': LeRobot June 2025 to "
        "0.4.3, -100 to 100 over the calibrated ranges; 'degrees_old': LeRobot before June 2025.",
        choices=("auto", "degrees", "normalized", "degrees_old", "radians"),
    )
    calibration: str = setting(
        "",
        "LeRobot's calibration of a robot with one arm: the path of its JSON file, or LeRobot's "
        "--robot.id. Empty: what the robot file says. 'normalized' needs it.",
    )
    allow_units_mismatch: bool = setting(
        False,
        "Move the arm, with a warning, although the checkpoint's statistics contradict 'units', "
        "or a calibrated range cannot be this arm's.",
    )
    period: float = same(PolicySettings, "period", 0.0)
    real_time_chunking: str = live_setting(
        "auto",
        "How a new chunk continues the queued actions, so that seams do not jump: 'guided' by "
        "them (as in LeRobot, any checkpoint), guided through the network's 'jacobian' (as in "
        "arXiv 2506.07339: slower, engine 'torch' only), 'trained' to (`smolvla train "
        "--rtc-delay`), from the 'future_state' that they lead to (`--state-offset`), or 'off'. "
        "'auto': what the checkpoint was trained for, 'future_state' if for both.",
        choices=CHUNKINGS,
    )
    seed: int = live_setting(
        -1,
        "Seed of the noise: with the same seed the same observations give the same actions. -1: "
        "a new seed each time.",
        -1,
    )
    noise_scale: float = live_setting(
        1.0,
        "Factor of the noise that a chunk is made from: 1 as in training and LeRobot; 0 gives "
        "the most typical chunk, always the same for the same observation, so that chunks agree "
        "and seams are small.",
        0.0,
        1.0,
    )
    threads: int = setting(
        0,
        "Threads of the model on the CPU; 0: one less than the cores, so that the control loop "
        "keeps one.",
        0,
        256,
    )


def create(settings: SmolVLASettings) -> SmolVLABackend:
    """Create the backend; see `smolvla_policy.backends.smolvla.create`."""
    from smolvla_policy.backends import smolvla

    return smolvla.create(settings)
