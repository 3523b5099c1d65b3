# SPDX-License-Identifier: Apache-2.0
"""What a training leaves on the disk: checkpoints, and beside each what is needed to go on.

The layout is LeRobot's: ``checkpoints/<step>/pretrained_model`` is a checkpoint that LeRobot
and `SmolVLAPolicy.from_pretrained` load, ``training_state`` belongs to the training alone, and
``checkpoints/last`` points to the newest. A checkpoint appears whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from smolvla_policy.policy import SmolVLAPolicy
from torch import Tensor, nn

from smolvla_learning.training.options import TrainingError

CHECKPOINTS = "checkpoints"
LAST = "last"
MODEL = "pretrained_model"
STATE = "training_state"
STEP = "training_step.json"
MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(
    folder: Path,
    step: int,
    steps: int,
    policy: SmolVLAPolicy,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Path:
    """Write a checkpoint.

    Args:
        folder: of the training's output.
        step: steps that were made.
        steps: of the whole training, which decides the width of the folder's name.
        policy: with the trained weights.
        learner: whose parameters the optimizer knows.
        optimizer: AdamW.

    Returns:
        The folder of the checkpoint.

    Raises:
        TrainingError: it cannot be written.
    """
    name = f"{step:0{max(6, len(str(steps)))}d}"
    root = folder / CHECKPOINTS
    part, whole = root / f".{name}.part", root / name
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / STATE).mkdir(parents=True)
        policy.save_pretrained(part / MODEL)
        save_file(_tensors(learner, optimizer), part / STATE / "optimizer_state.safetensors")
        (part / STATE / STEP).write_text(json.dumps({"step": step}) + "\n")
        if whole.exists():
            shutil.rmtree(whole)
        part.replace(whole)
        link = root / f".{LAST}.part"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        os.replace(link, root / LAST)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
        reason = "the disk is full" if full else str(error)
        raise TrainingError(
            f"cannot write the checkpoint of step {step} to {root}: {reason}. Make room and go on "
            f"from the one before with --resume --output {folder}"
        ) from error
    return whole


def last_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a training.

    Raises:
        TrainingError: there is none.
    """
    last = folder / CHECKPOINTS / LAST
    if (last / STATE / STEP).is_file():
        return last.resolve()
    whole = whole_checkpoints(folder)
    if not whole:
        raise TrainingError(
            f"{folder} holds no checkpoint to resume from; start anew without --resume"
        )
    return whole[-1].resolve()


def whole_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a training, the newest last."""
    found = [path.parent.parent for path in (folder / CHECKPOINTS).glob(f"*/{STATE}/{STEP}")]
    return sorted(path for path in found if path.name.isdigit())


def load_state(checkpoint: Path, learner: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put optimizer and auxiliary heads back; the policy is loaded from ``pretrained_model``.

    Returns:
        The steps that were made.

    Raises:
        TrainingError: the state belongs to another training.
    """
    state = checkpoint / STATE
    step = int(json.loads((state / STEP).read_text())["step"])
    saved = load_file(state / "optimizer_state.safetensors")
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        try:
            if not name.startswith("network."):
                parameter.data.copy_(saved[f"{name}/value"])
            if f"{name}/step" in saved:
                optimizer.state[parameter] = {
                    "step": saved[f"{name}/step"],
                    **{
                        moment: saved[f"{name}/{moment}"].to(parameter.device)
                        for moment in MOMENTS
                    },
                }
        except (KeyError, RuntimeError) as error:
            raise TrainingError(
                f"{state} does not fit this training: {name}: {error}; resume with the options "
                "that the training was started with"
            ) from error
    return step


def _tensors(learner: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        if not name.startswith("network."):
            tensors[f"{name}/value"] = parameter.detach().cpu().contiguous()
        entry = optimizer.state.get(parameter)
        if entry:
            tensors[f"{name}/step"] = entry["step"].detach().cpu()
            for moment in MOMENTS:
                tensors[f"{name}/{moment}"] = entry[moment].detach().cpu().contiguous()
    return tensors
