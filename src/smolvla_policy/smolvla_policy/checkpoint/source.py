# SPDX-License-Identifier: Apache-2.0
"""Find a checkpoint: a local folder, a training output, or a repository of the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_PATTERNS = ["*.json", WEIGHTS, ADAPTER_WEIGHTS, "policy_*.safetensors", "tokenizer/*"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def find_checkpoint(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder that holds a checkpoint.

    Args:
        source: a checkpoint folder; the output folder of a LeRobot training (its
            ``checkpoints/last/pretrained_model`` is taken); or a hub id such as
            ``lerobot/smolvla_base``, downloaded unless it is in the cache.
        revision: branch, tag or commit on the hub.

    Returns:
        The folder with ``config.json``.

    Raises:
        CheckpointError: nothing is there, it cannot be downloaded, or it is no checkpoint.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is a file; give the folder with config.json")
        return _inside(folder)
    if HUB_ID.fullmatch(str(source)):
        return _inside(_download(str(source), revision))
    raise CheckpointError(
        f"checkpoint {str(source)!r} is neither an existing folder nor a hub id (owner/name)"
    )


def _inside(folder: Path) -> Path:
    tries = (".", "pretrained_model", "last/pretrained_model", "checkpoints/last/pretrained_model")
    for inner in tries:
        if (folder / inner / CONFIG).is_file():
            return folder / inner
    if not any(folder.iterdir()):
        raise CheckpointError(f"{folder} is empty; a checkpoint has config.json and {WEIGHTS}")
    raise CheckpointError(
        f"{folder} has no config.json, nor has checkpoints/last/pretrained_model in it; "
        "it is no LeRobot checkpoint"
    )


def _download(repo_id: str, revision: str | None) -> Path:
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            repo_id, revision=revision, allow_patterns=HUB_PATTERNS
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {repo_id!r} cannot be had from the Hugging Face Hub "
            f"({type(error).__name__}: {_first_line(error)}). There is no folder of this name "
            "here; without a network, download it beforehand (`hf download`), or unset "
            "HF_HUB_OFFLINE"
        ) from error
    return Path(folder)


def find_companion(name: str, folder: Path, files: tuple[str, ...]) -> dict[str, Path]:
    """Find files of the model that a checkpoint refers to by name (VLM, tokenizer).

    Looked up in this order: a folder relative to the checkpoint, a folder anywhere, the
    cache of the hub, the hub itself.

    Args:
        name: folder or hub id.
        folder: of the checkpoint.
        files: wanted; the first must be there.

    Returns:
        File name -> path, of those that there are.

    Raises:
        CheckpointError: the first file is nowhere.
    """
    for place in (folder / name, Path(name).expanduser()):
        if (place / files[0]).is_file():
            return {file: place / file for file in files if (place / file).is_file()}
    if not HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"{folder} refers to {name!r}, but no folder of this name holds {files[0]}"
        )
    found: dict[str, Path] = {}
    for file in files:
        try:
            found[file] = cached_or_downloaded(name, file)
        except (OSError, ValueError, RuntimeError) as error:
            if file == files[0]:
                raise CheckpointError(
                    f"{folder} refers to {name!r}, but its {file} is neither in the cache of the "
                    f"Hugging Face Hub nor to be downloaded ({type(error).__name__}: "
                    f"{_first_line(error)}). Download it beforehand (`hf download {name} {file}`)"
                    " or name a local copy"
                ) from error
    return found


def cached_or_downloaded(repo_id: str, file: str) -> Path:
    """Return a file of a hub repository, from the cache without asking the network if there."""
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo_id, file)
    if isinstance(cached, str):
        return Path(cached)
    return Path(huggingface_hub.hf_hub_download(repo_id, file))


def find_weights(folder: Path, name: str = WEIGHTS) -> Path:
    """Return the weights file of a checkpoint folder.

    Raises:
        CheckpointError: it is missing; pickles are named and refused.
    """
    if (folder / name).is_file():
        return folder / name
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} has no {name}, only {', '.join(pickles)}: pickle files can run code when "
            "they are loaded and are never opened here; convert them to safetensors where you "
            "trust them"
        )
    raise CheckpointError(f"{folder} has no {name}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: missing, unreadable, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
