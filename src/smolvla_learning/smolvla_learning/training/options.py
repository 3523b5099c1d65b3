# SPDX-License-Identifier: Apache-2.0
"""Settings of a training, on the command line and in ``train_config.json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvla_core.console import command_parser
from smolvla_core.settings import (
    REQUIRED,
    SettingError,
    Settings,
    add_arguments,
    flag,
    from_arguments,
    from_values,
    setting,
)


class TrainingError(ValueError):
    """Something does not fit; the text says what and what to do."""


CONFIG = "train_config.json"
RENAME = "--rename-map"
_KEPT = " (default: the checkpoint's)."


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """What is trained, on what, and how."""

    output: Path = setting(REQUIRED, "Folder of checkpoints and metrics.")
    dataset: tuple[str, ...] = setting(
        (), "LeRobot datasets: folders, or owner/name[@revision] on the Hugging Face Hub."
    )
    shares: tuple[float, ...] = setting(
        (),
        "Share of the samples from each dataset, those of --scenes behind the others; by default "
        "by the number of frames.",
        above=0,
    )
    intervention_weight: int = setting(
        1,
        "How often a frame in which a human commanded (column 'intervention') comes up in each "
        "epoch; the others come up once.",
        1,
        100,
    )
    scenes: tuple[str, ...] = setting(
        (), "Datasets of which only the grounding labels are learned, not the actions."
    )
    checkpoint: str | None = setting(None, "Fine-tune this checkpoint (folder or hub id).")
    architecture: str | None = setting(
        None, "Start from random weights: JSON file of the network's sizes."
    )
    keep_statistics: bool = setting(
        False, "Normalize with the checkpoint's statistics instead of the datasets'."
    )
    cameras: tuple[str, ...] = setting(
        (),
        "Cameras of the dataset that are used, in the order in which they take the place of the "
        "checkpoint's where names differ (default: all).",
    )
    rename_map: tuple[str, ...] | None = setting(
        None,
        "Camera of the dataset to camera of the checkpoint: top=camera1 wrist=camera2, or "
        "LeRobot's JSON.",
    )
    empty_cameras: int | None = setting(
        None, f"Cameras that are padded with an empty image, as LeRobot's field{_KEPT}", 0
    )
    chunk_size: int | None = setting(None, f"Actions of a chunk{_KEPT}", 1)
    steps: int = setting(20_000, "Optimizer steps.", 1)
    batch_size: int = setting(64, "Observations of one pass on one device.", 1)
    accumulate: int = setting(1, "Passes before an optimizer step.", 1)
    lr: float | None = setting(None, f"Peak learning rate{_KEPT}", above=0)
    warmup_steps: int | None = setting(None, f"Steps of the linear rise{_KEPT}", 0)
    decay_steps: int | None = setting(None, f"Steps of the cosine{_KEPT}", 0)
    decay_lr: float | None = setting(None, f"Learning rate at the end{_KEPT}", 0)
    weight_decay: float | None = setting(None, f"Of AdamW{_KEPT}", 0)
    grad_clip_norm: float | None = setting(None, f"Largest norm of the gradients{_KEPT}", above=0)
    freeze_vision_encoder: bool | None = setting(None, f"Keep the image encoder as it is{_KEPT}")
    train_expert_only: bool | None = setting(
        None, f"Keep image encoder and text model as they are{_KEPT}"
    )
    train_state_proj: bool | None = setting(None, f"Train the projection of the state{_KEPT}")
    flow_weight: float = setting(1.0, "Weight of the flow-matching loss.", 0)
    grounding_weight: float = setting(
        0.0,
        "Weight of the auxiliary grounding loss (0: off); needs features grounding.<camera>.",
        0,
    )
    draws: int = setting(1, "Noise draws for each observation.", 1)
    rtc_delay: int = setting(
        0,
        "Train to continue up to so many actions that are decided already, for asynchronous "
        "execution (arXiv 2512.05964): as many as are executed in the longest delay.",
        0,
    )
    state_offset: int = setting(
        0,
        "Train to act from a state that the commands of up to so many frames have moved away "
        "from the images, for asynchronous execution (VLASH, arXiv 2512.01031): as many as are "
        "executed in the longest delay.",
        0,
    )
    brightness: float = setting(0.0, "Image augmentation: spread of the brightness.", 0)
    contrast: float = setting(0.0, "Image augmentation: spread of the contrast.", 0)
    color: float = setting(0.0, "Image augmentation: spread of each color channel.", 0)
    noise: float = setting(0.0, "Image augmentation: noise on each value.", 0)
    shift: int = setting(0, "Image augmentation: largest shift [pixels].", 0)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps.")
    precision: str = setting(
        "auto",
        "Of the products: auto is bfloat16 autocast where the hardware has it.",
        choices=("auto", "float32", "bfloat16"),
    )
    threads: int = setting(0, "Of PyTorch on the CPU; 0: its own choice.", 0)
    seed: int = setting(0, "Of order, noise and new weights.", 0)
    save_every: int = setting(2000, "Steps between checkpoints.", 1)
    log_every: int = setting(50, "Steps between rows of metrics.csv.", 1)
    cache: str | None = setting(None, "Folder for decoded frames.")
    resume: bool = setting(
        False, "Go on from the last checkpoint in --output, with the options it was started with."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dataset and not self.scenes:
            raise TrainingError("no data: give --dataset FOLDER")
        if (self.checkpoint is None) == (self.architecture is None):
            raise TrainingError(
                "give either --checkpoint to fine-tune or --architecture for new weights"
            )
        for name in ("rename_map", "empty_cameras", "chunk_size"):
            if self.checkpoint is None and getattr(self, name) is not None:
                raise SettingError(name, "changes a checkpoint; with --architecture there is none")
        sources = len(self.dataset) + len(self.scenes)
        if self.shares and len(self.shares) != sources:
            raise SettingError(
                "shares", f"are {len(self.shares)}, but there are {sources} datasets"
            )
        if self.scenes and not self.grounding_weight:
            raise TrainingError("--scenes teach nothing without --grounding-weight above 0")
        if not self.flow_weight and not self.grounding_weight:
            raise TrainingError("both losses are off: --flow-weight and --grounding-weight are 0")
        if not self.dataset and self.flow_weight:
            raise TrainingError("scenes have no actions to learn: set --flow-weight 0")
        parse_rename_map(self.rename_map)

    def save(self) -> None:
        """Write ``train_config.json`` into the output folder."""
        text = json.dumps(asdict(self), indent=2, default=str)
        (self.output / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, output: Path) -> TrainSettings:
        """Read the settings that a training was started with, to go on with it.

        Raises:
            TrainingError: there are none, or they are of another version.
        """
        path = output / CONFIG
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return from_values(cls, {**values, "output": output, "resume": True})
        except FileNotFoundError as error:
            raise TrainingError(
                f"{output} is no output folder of a training: {CONFIG} is missing"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} cannot be read: {error}") from error


def parse_rename_map(entries: Sequence[str] | None) -> dict[str, str] | None:
    """Read LeRobot's notation, one JSON object, or entries ``top=camera1``; None of None.

    Raises:
        TrainingError: it is neither.
    """
    if entries is None:
        return None
    text = " ".join(entries).strip()
    try:
        pairs: Any = json.loads(text) if text.startswith("{") else None
        if pairs is None:
            split = [entry.partition("=") for entry in entries]
            if not split or not all(old and new for old, _, new in split):
                raise ValueError("an entry is no NAME=NAME")
            pairs = {old: new for old, _, new in split}
            if len(pairs) < len(split):
                raise ValueError("a name is there twice")
        if not isinstance(pairs, dict) or not all(isinstance(to, str) for to in pairs.values()):
            raise ValueError("names must map to names")
    except ValueError as error:
        raise TrainingError(
            f"{RENAME} is {text!r} ({error}); write the dataset's name first: {RENAME} "
            "top=camera1 wrist=camera2, or as LeRobot: "
            '\'{"observation.images.top": "observation.images.camera1"}\''
        ) from error
    return dict(pairs)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = command_parser(
        "smolvla train",
        "Train SmolVLA on LeRobot datasets (v3.0). Several GPUs: start with torchrun.",
        "smolvla train --checkpoint lerobot/smolvla_base --dataset data/my_task --output out/mine",
    )
    add_arguments(made, TrainSettings)
    made.add_argument(  # as LeRobot spells it
        "--rename_map",
        nargs="+",
        action="extend",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    return made


def parse(arguments: Sequence[str] | None = None) -> TrainSettings:
    """Read the command line.

    Raises:
        ValueError: options contradict each other.
    """
    given = parser().parse_args(arguments)
    if not getattr(given, "resume", False):
        return from_arguments(TrainSettings, given)
    if extra := sorted(set(vars(given)) - {"output", "resume"}):
        raise TrainingError(
            f"--resume goes on with the options in {CONFIG}; leave out "
            f"{', '.join(map(flag, extra))}"
        )
    return TrainSettings.load(given.output)
