# SPDX-License-Identifier: Apache-2.0
"""Find a checkpoint: a local folder, a training output, or a repository of the hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says what is wrong, where, and what to do."""


SMOLVLM2 = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_CHECKPOINT = re.compile(
    rf"(?P<repo>{HUB_ID.pattern})(?P<inside>/checkpoints/[\w.-]+(/[\w.-]+)?)?/?"
)
"""A hub id, or one with the checkpoint that is meant: ``owner/name/checkpoints/5000``."""
HUB_PATTERNS = ("*.json", WEIGHTS, ADAPTER_WEIGHTS, "policy_*.safetensors", "tokenizer/*")
HUB_FOLDER = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)")
"""How the hub's cache calls the folder of a model."""
VLM_FOLDER = "vlm"
"""Folder in a checkpoint for files of its VLM."""
PLAIN, AVERAGED = "pretrained_model", "pretrained_model_ema"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def find_checkpoint(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder that holds a checkpoint.

    Args:
        source: a checkpoint folder; the output folder of a LeRobot training (its
            ``checkpoints/last/pretrained_model`` is taken, or where there is no ``last`` the
            one with the highest number); or a hub id such as ``lerobot/smolvla_base``,
            downloaded unless it is in the cache. Of a repository with training checkpoints
            alone the highest number is taken; ``owner/name/checkpoints/5000`` names another.
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
    match = HUB_CHECKPOINT.fullmatch(str(source))
    if match:
        return _download(match["repo"], (match["inside"] or "").strip("/"), revision)
    raise CheckpointError(
        f"checkpoint {str(source)!r} is neither an existing folder nor a hub id (owner/name)"
    )


def source_notes(source: str | Path, folder: Path) -> tuple[str, ...]:
    """Say what was chosen where `source` leaves a choice.

    Args:
        source: as given to `find_checkpoint`.
        folder: that it returned.
    """
    notes = []
    taken = folder.parent
    others = [other for other in _numbered(taken.parent) if other != taken]
    asked = any(part.isdecimal() and int(part) == _number(taken) for part in Path(source).parts)
    if _number(taken) >= 0 and others and not asked:
        notes.append(
            f"{taken.name} is taken, the newest of {len(others) + 1} checkpoints; "
            f"for the one before it give {_address(source, others[-1])}"
        )
    averaged = folder.with_name(AVERAGED)
    if folder.name == PLAIN and (averaged / CONFIG).is_file():
        notes.append(
            "the plain weights are taken; for the averaged ones (EMA) beside them give "
            f"{_address(source, averaged)}"
        )
    return tuple(notes)


def _address(source: str | Path, path: Path) -> str:
    """Return what to give for a folder of a training: its path, or its place on the hub."""
    match = None if Path(source).expanduser().exists() else HUB_CHECKPOINT.fullmatch(str(source))
    if match is None:
        return str(path)
    parts = path.parts
    return "/".join([match["repo"], *parts[len(parts) - parts[::-1].index("checkpoints") - 1 :]])


def _number(folder: Path) -> int:
    """Return the number that a training checkpoint is called by, -1 if it is none."""
    return int(folder.name) if folder.name.isdecimal() else -1


def _numbered(folder: Path) -> list[Path]:
    """Return the training checkpoints in a folder, the oldest first."""
    there = folder.iterdir() if folder.is_dir() else ()
    found = [path for path in there if _number(path) >= 0 and (path / PLAIN / CONFIG).is_file()]
    return sorted(found, key=_number)


def _inside(folder: Path) -> Path:
    tries = (".", PLAIN, f"last/{PLAIN}", f"checkpoints/last/{PLAIN}")
    for inner in tries:
        if (folder / inner / CONFIG).is_file():
            return folder / inner
    for place in (folder, folder / "checkpoints"):
        numbered = _numbered(place)
        if numbered:
            return numbered[-1] / PLAIN
    if not any(folder.iterdir()):
        raise CheckpointError(f"{folder} is empty; a checkpoint has config.json and {WEIGHTS}")
    raise CheckpointError(
        f"{folder} has no config.json, nor has checkpoints/last/pretrained_model in it; "
        "it is no LeRobot checkpoint"
    )


def _download(repo_id: str, inside: str, revision: str | None) -> Path:
    """Download the files of one checkpoint of a repository, and of no other one in it."""
    # Their configurations name them.
    folder = _snapshot(repo_id, revision, [CONFIG, f"*/{CONFIG}"])
    place = folder
    if inside:
        name, number, *rest = inside.split("/")
        there = _numbered(folder / name)
        fitting = there[-1:] if number == "last" else []
        fitting += [path for path in there if number.isdecimal() and _number(path) == int(number)]
        place = fitting[0].joinpath(*rest) if fitting else folder / inside
        if not place.is_dir():
            known = ", ".join(path.name for path in there) or "none"
            raise CheckpointError(
                f"{repo_id} on the Hugging Face Hub has no {inside}; checkpoints in it: {known}"
            )
    within = _inside(place).relative_to(folder)
    prefix = "" if within == Path() else f"{within.as_posix()}/"
    others = [] if prefix else ["checkpoints/*"]
    return _snapshot(repo_id, revision, [prefix + p for p in HUB_PATTERNS], others) / within


def _snapshot(
    repo_id: str, revision: str | None, patterns: list[str], others: list[str] | None = None
) -> Path:
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            repo_id, revision=revision, allow_patterns=patterns, ignore_patterns=others
        )
    except (OSError, ValueError, RuntimeError) as error:
        offline = (
            " and without HF_HUB_OFFLINE, which is set" if "HF_HUB_OFFLINE" in os.environ else ""
        )
        raise CheckpointError(
            f"checkpoint {repo_id!r} cannot be had from the Hugging Face Hub "
            f"({type(error).__name__}: {_first_line(error)}). There is no folder of this name "
            f"here; to download it, where there is a network{offline}: `hf download {repo_id}`"
        ) from error
    return Path(folder)


def find_companion(
    names: Sequence[str],
    folder: Path,
    files: tuple[str, ...],
    places: tuple[str, ...],
    otherwise: str = "",
) -> dict[str, Path]:
    """Find files of the model that a checkpoint refers to by name (VLM, tokenizer).

    Looked up in this order: the folders of `companion_here`; the hub's cache and the hub, for
    hub ids; a model of that name in the hub's cache, for a path of another machine.

    Args:
        names: folders or hub ids, the best first.
        folder: of the checkpoint.
        files: wanted; the first must be there.
        places: folders in the checkpoint where the files can be put.
        otherwise: another remedy for the error.

    Returns:
        File name -> path, of those that there are.

    Raises:
        CheckpointError: the first file is nowhere; the message says how to get it.
    """
    here = companion_here(names, folder, files[0], places)
    if here is not None:
        return {file: here / file for file in files if (here / file).is_file()}
    model = model_name(names[0])
    failures = []
    ids = [name for name in names if HUB_ID.fullmatch(name)]
    for name in ids:
        try:
            return hub_files(name, files)
        except (OSError, ValueError, RuntimeError) as error:
            failures.append(f"{type(error).__name__}: {_first_line(error)}")
    found = companion_cached(names, files)
    if found:
        return found
    known = next(iter(ids), SMOLVLM2 if model == model_name(SMOLVLM2) else "")
    reason = f" ({failures[0]})" if failures else ""
    download = f", or where there is a network: `hf download {known} {' '.join(files)}`"
    raise CheckpointError(
        f"{folder} refers to {names[0]!r}; no folder here has its {files[0]}, and it is neither "
        f"in the cache of the Hugging Face Hub nor to be downloaded{reason}. Put "
        f"{' and '.join(files)} of that model into {folder / places[0]}"
        f"{download if known else ''}{otherwise}"
    )


def companion_cached(names: Sequence[str], files: tuple[str, ...]) -> dict[str, Path]:
    """Find files of a model in the hub's cache, whatever folder, owner or revision it has.

    Args:
        names: folders or hub ids, the best first.
        files: wanted.

    Returns:
        File name -> path; empty if the first file is not there.
    """
    for repo in dict.fromkeys(repo for name in names for repo in _cached_repos(name)):
        found = {file: path for file in files if (path := _cached(repo, file)) is not None}
        if files[0] in found:
            return found
        for snapshot in _snapshots(repo):
            if (snapshot / files[0]).is_file():
                return {file: snapshot / file for file in files if (snapshot / file).is_file()}
    return {}


def companion_here(
    names: Sequence[str], folder: Path, file: str, places: tuple[str, ...]
) -> Path | None:
    """Return the folder of this machine that has a file of a model, None if there is none.

    Looked up in this order: the folders of these names, in the checkpoint or anywhere;
    `places`; a folder called like the model in the checkpoint or beside it.

    Args:
        names: folders or hub ids, the best first.
        folder: of the checkpoint.
        file: wanted.
        places: other folders in the checkpoint.
    """
    named = [place for name in names for place in (folder / name, Path(name).expanduser())]
    beside = [place / model_name(name) for name in names for place in (folder, folder.parent)]
    for place in (*named, *(folder / name for name in places), *beside):
        # The checkpoint's own config.json is not the one of its VLM.
        own = file == CONFIG and place.resolve() == folder.resolve()
        if (place / file).is_file() and not own:
            return place
    return None


def hub_files(repo_id: str, files: Sequence[str]) -> dict[str, Path]:
    """Return files of a hub repository, from the cache without asking the network if there.

    Raises:
        OSError, ValueError, RuntimeError: the first file cannot be had.
    """
    import huggingface_hub

    found: dict[str, Path] = {}
    for file in files:
        try:
            path = _cached(repo_id, file) or huggingface_hub.hf_hub_download(repo_id, file)
        except (OSError, ValueError, RuntimeError):
            if file == files[0]:
                raise
        else:
            found[file] = Path(path)
    return found


def model_name(name: str) -> str:
    """Return the model's name in a hub id, a path of any system, or one of the hub's cache."""
    in_cache = HUB_FOLDER.search(name)
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    return in_cache["name"] if in_cache else (parts or [name])[-1]


def _cached_repos(name: str) -> list[str]:
    """Return the hub ids in the cache that a name can mean, the likeliest first."""
    from huggingface_hub.constants import HF_HUB_CACHE

    model, cache = model_name(name), Path(HF_HUB_CACHE)
    parts = [part for part in re.split(r"[/\\]", name) if part]
    likely = ["/".join(parts[-2:]), SMOLVLM2]
    in_cache = HUB_FOLDER.search(name)
    if in_cache:
        likely.insert(0, f"{in_cache['owner']}/{in_cache['name']}")
    there = [HUB_FOLDER.fullmatch(path.name) for path in sorted(cache.glob("models--*"))]
    found = [f"{match['owner']}/{match['name']}" for match in there if match]
    named = [repo for repo in found if repo.rpartition("/")[2] == model]
    return sorted(named, key=lambda repo: likely.index(repo) if repo in likely else len(likely))


def _snapshots(repo_id: str) -> list[Path]:
    """Return the revisions of a repository in the hub's cache, the newest first."""
    from huggingface_hub.constants import HF_HUB_CACHE

    there = (Path(HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}").glob("snapshots/*")
    return sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)


def _cached(repo_id: str, file: str) -> Path | None:
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo_id, file)
    return Path(cached) if isinstance(cached, str) else None


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
