# SPDX-License-Identifier: Apache-2.0
"""Options of a training, on the command line and in ``train_config.json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from smolvla_learning.training.errors import TrainingError
from smolvla_learning.training.fit import RENAME, parse_rename_map
from smolvla_learning.training.state import CONFIG, whole_checkpoints

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass
class TrainOptions:
    """All options; the help text of each is in `parser`."""

    output: str
    dataset: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    checkpoint: str | None = None
    architecture: str | None = None
    keep_statistics: bool = False
    cameras: list[str] = field(default_factory=list)
    rename_map: dict[str, str] | None = None
    empty_cameras: int | None = None
    steps: int = 20_000
    batch_size: int = 64
    accumulate: int = 1
    lr: float | None = None
    warmup_steps: int | None = None
    decay_steps: int | None = None
    decay_lr: float | None = None
    weight_decay: float | None = None
    grad_clip_norm: float | None = None
    freeze_vision_encoder: bool | None = None
    train_expert_only: bool | None = None
    train_state_proj: bool | None = None
    flow_weight: float = 1.0
    grounding_weight: float = 0.0
    draws: int = 1
    brightness: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    noise: float = 0.0
    shift: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 0
    save_every: int = 2000
    log_every: int = 50
    cache: str | None = None
    resume: bool = False

    def save(self) -> None:
        """Write ``train_config.json`` into the output folder."""
        values = {name: value for name, value in asdict(self).items() if name != "resume"}
        path = Path(self.output) / CONFIG
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, output: str) -> TrainOptions:
        """Read the options that a training was started with.

        Raises:
            TrainingError: there are none, or they are of another version.
        """
        path = Path(output) / CONFIG
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "output": output, "resume": True})
        except FileNotFoundError as error:
            raise TrainingError(
                f"{output} is no output folder of a training: {CONFIG} is missing"
            ) from error
        except (TypeError, ValueError) as error:
            raise TrainingError(f"{path} cannot be read: {error}") from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="train",
        description="Train SmolVLA on LeRobot datasets (v3.0). Several GPUs: start with torchrun.",
    )
    add = made.add_argument
    add("--output", required=True, help="folder of checkpoints and metrics")
    add(
        "--dataset",
        nargs="+",
        default=[],
        help="LeRobot datasets: folders, or owner/name[@revision] on the Hugging Face Hub",
    )
    add(
        "--shares",
        nargs="+",
        type=float,
        default=[],
        help="share of the samples from each dataset, those of --scenes behind the others; "
        "default: by the number of frames",
    )
    add(
        "--scenes",
        nargs="+",
        default=[],
        help="datasets of which only the grounding labels are learned, not the actions",
    )
    start = made.add_mutually_exclusive_group()
    start.add_argument("--checkpoint", help="fine-tune this checkpoint (folder or hub id)")
    start.add_argument("--architecture", help="start from random weights: JSON file of the sizes")
    add(
        "--keep-statistics",
        action="store_true",
        help="normalize with the checkpoint's statistics instead of the datasets'",
    )
    add(
        "--cameras",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of the dataset, that are used, in the order in which they take the place of the "
        "checkpoint's where names differ (default: all)",
    )
    add(
        RENAME,
        "--rename_map",
        nargs="+",
        metavar="MAP",
        help="camera of the dataset to camera of the checkpoint: top=camera1 wrist=camera2, or "
        "LeRobot's JSON",
    )
    add(
        "--empty-cameras",
        type=int,
        help="cameras that are padded with an empty image, as LeRobot's field (default: the "
        "checkpoint's)",
    )
    add("--steps", type=int, help="optimizer steps")
    add("--batch-size", type=int, help="observations of one pass on one device")
    add("--accumulate", type=int, help="passes before an optimizer step")
    for name, text in (
        ("lr", "peak learning rate"),
        ("decay-lr", "learning rate at the end"),
        ("weight-decay", "of AdamW"),
        ("grad-clip-norm", "largest norm of the gradients"),
    ):
        add(f"--{name}", type=float, help=f"{text} (default: the checkpoint's)")
    for name, text in (
        ("warmup-steps", "steps of the linear rise"),
        ("decay-steps", "steps of the cosine"),
    ):
        add(f"--{name}", type=int, help=f"{text} (default: the checkpoint's)")
    for name, text in (
        ("freeze-vision-encoder", "keep the image encoder as it is"),
        ("train-expert-only", "keep image encoder and text model as they are"),
        ("train-state-proj", "train the projection of the state"),
    ):
        add(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            default=None,
            help=f"{text} (default: the checkpoint's)",
        )
    add("--flow-weight", type=float, help="weight of the flow-matching loss")
    add(
        "--grounding-weight",
        type=float,
        help="weight of the auxiliary grounding loss (0: off); needs features grounding.<camera>",
    )
    add("--draws", type=int, help="noise draws for each observation")
    for name, text in (
        ("brightness", "spread of the brightness"),
        ("contrast", "spread of the contrast"),
        ("color", "spread of each color channel"),
        ("noise", "noise on each value"),
    ):
        add(f"--{name}", type=float, help=f"image augmentation: {text} (0: none)")
    add("--shift", type=int, help="image augmentation: largest shift in pixels (0: none)")
    add("--device", help="auto, cpu, cuda, cuda:1, mps")
    add(
        "--precision",
        choices=PRECISIONS,
        help="of the products: auto is bfloat16 autocast where the hardware has it",
    )
    add("--threads", type=int, help="of PyTorch on the CPU; 0: its own choice")
    add("--seed", type=int, help="of order, noise and new weights")
    add("--save-every", type=int, help="steps between checkpoints")
    add("--log-every", type=int, help="steps between rows of metrics.csv")
    add("--cache", help="folder for decoded frames")
    add(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in --output, with the options it was started with",
    )
    return made


def parse(arguments: Sequence[str] | None = None) -> TrainOptions:
    """Read the command line.

    Raises:
        TrainingError: options contradict each other.
    """
    given = vars(parser().parse_args(arguments))
    defaults = {entry.name: entry for entry in fields(TrainOptions)}
    values: dict[str, Any] = {
        name: value for name, value in given.items() if value is not None and name in defaults
    }
    if given["resume"]:
        extra = [
            "--" + name.replace("_", "-")
            for name, value in values.items()
            if name not in ("output", "resume") and value not in ([], False)
        ]
        if extra:
            raise TrainingError(
                f"--resume goes on with the options in {CONFIG}; leave out {', '.join(extra)}"
            )
        options = TrainOptions.load(given["output"])
        # Before its first checkpoint a training has nothing to go on from.
        options.resume = bool(whole_checkpoints(Path(options.output)))
        return options
    if "rename_map" in values:
        values["rename_map"] = parse_rename_map(values["rename_map"])
    options = TrainOptions(**values)
    _check(options)
    return options


def _check(options: TrainOptions) -> None:
    if not options.dataset and not options.scenes:
        raise TrainingError("no data: give --dataset FOLDER")
    if options.checkpoint is None and options.architecture is None:
        raise TrainingError(
            "nothing to start from: give --checkpoint to fine-tune or --architecture for new "
            "weights"
        )
    if options.checkpoint is None:
        for name in ("rename_map", "empty_cameras"):
            if getattr(options, name) is not None:
                raise TrainingError(
                    f"--{name.replace('_', '-')} changes a checkpoint; with --architecture there "
                    "is none"
                )
    if options.empty_cameras is not None and options.empty_cameras < 0:
        raise TrainingError(f"--empty-cameras is {options.empty_cameras}; it must be 0 or more")
    for name in ("steps", "batch_size", "accumulate", "draws", "save_every", "log_every"):
        if getattr(options, name) < 1:
            raise TrainingError(f"--{name.replace('_', '-')} must be at least 1")
    sources = len(options.dataset) + len(options.scenes)
    if options.shares and (len(options.shares) != sources or min(options.shares) <= 0):
        raise TrainingError(
            f"--shares needs as many shares above 0 as there are datasets ({sources}), got "
            f"{options.shares}"
        )
    if options.scenes and options.grounding_weight <= 0:
        raise TrainingError("--scenes teach nothing without --grounding-weight above 0")
    if options.flow_weight <= 0 and options.grounding_weight <= 0:
        raise TrainingError("both losses are off: --flow-weight and --grounding-weight are 0")
    if not options.dataset and options.flow_weight > 0:
        raise TrainingError("scenes have no actions to learn: set --flow-weight 0")
