# SPDX-License-Identifier: Apache-2.0
"""Find a dataset: a local folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import errno
import os
import re
from functools import partial
from pathlib import Path

from smolvla_learning.dataset.layout import INFO, VERSION, DatasetError
from smolvla_learning.dataset.metadata import read_info

HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")
PATTERNS = ["meta/*", "data/*", "videos/*"]
"""What is downloaded; `*` stands for folders, too."""


def find_dataset(source: str | Path) -> Path:
    """Return the folder that holds a dataset.

    Args:
        source: a folder; or a hub id such as ``lerobot/svla_so101_pickplace``, which is looked
            for where LeRobot keeps its datasets (``HF_LEROBOT_HOME``), then in the cache of the
            hub (LeRobot's own if it has the dataset) and on the hub. ``owner/name@revision``
            asks for a branch, tag or commit; without it the tag v3.0 is taken if there is one,
            as LeRobot does, else the main branch.

    Returns:
        The folder with ``meta``, ``data`` and ``videos``; it may turn out to be no dataset.

    Raises:
        DatasetError: there is none, it cannot be downloaded, or is of a version that is not
            read.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        return folder
    asked = HUB_ID.fullmatch(str(source))
    if asked is None:
        raise DatasetError(
            f"{source}: no LeRobot dataset (there is no such folder, and it is no hub id like "
            "owner/name)"
        )
    repo_id, revision = asked.groups()
    home = _lerobot_home()
    if revision is None and (home / repo_id / INFO).is_file():
        return home / repo_id
    cache = home / "hub"
    known = (cache / f"datasets--{repo_id.replace('/', '--')}").is_dir()
    return _download(repo_id, revision, cache if known else None)


def _lerobot_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_LEROBOT_HOME") or f"{hub}/lerobot").expanduser()


def _download(repo_id: str, revision: str | None, cache: Path | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    download = partial(snapshot_download, repo_id, repo_type="dataset", cache_dir=cache)
    wanted = [revision] if revision else [VERSION, None]
    folder = None
    try:
        for name in wanted:
            try:
                # First what says the version: an old dataset is not worth its gigabytes.
                found = download(revision=name, allow_patterns=[INFO])
            except (errors.RevisionNotFoundError, errors.LocalEntryNotFoundError):
                if name is wanted[-1]:
                    raise
                continue
            folder = Path(found)
            break
        assert folder is not None
        read_info(folder, repo_id)
        download(revision=folder.name, allow_patterns=PATTERNS)
    except DatasetError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"dataset {repo_id!r}: {_reason(repo_id, revision, error)}") from error
    return folder


def _reason(repo_id: str, revision: str | None, error: Exception) -> str:
    """Say why a dataset cannot be had, and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "its owner asks for consent; give it on the dataset's page on the Hugging Face Hub, "
            "then log in with `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "there is no folder of this name here and no such dataset on the Hugging Face Hub; "
            "check the name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no branch, tag or commit {revision!r} on the Hugging Face Hub"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room, or set HF_HOME to a folder on another disk"
    at = f" --revision {revision}" if revision else ""
    reason = (str(error).strip().splitlines() or [""])[0]
    return (
        f"there is no folder of this name here, it is not complete in the cache of the Hugging "
        f"Face Hub, and the hub cannot be reached ({type(error).__name__}: {reason}). Give a "
        "folder; or, where there is a network and HF_HUB_OFFLINE is not set, run `hf download "
        f"--repo-type dataset {repo_id}{at}`"
    )
