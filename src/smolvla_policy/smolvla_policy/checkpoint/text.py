# SPDX-License-Identifier: Apache-2.0
"""Instructions to token ids, as LeRobot and transformers make them."""

from __future__ import annotations

import logging
from pathlib import Path

from tokenizers import Tokenizer

from smolvla_policy.checkpoint.config import SmolVLAConfig
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.source import (
    HUB_ID,
    VLM_FOLDER,
    CheckpointError,
    find_companion,
    hub_files,
    read_json,
)

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
FAKE_IMAGE_TOKEN = "<fake_token_around_image>"
GLOBAL_IMAGE_TOKEN = "<global-img>"

logger = logging.getLogger(__name__)


class InstructionTokenizer:
    """A checkpoint's tokenizer with the settings that instructions are encoded with.

    Args:
        path: of ``tokenizer.json``.
        config_path: of ``tokenizer_config.json``, if there is one.
        max_length: tokens that an instruction may have.
        truncate: whether a longer one is cut.
        add_newline: whether a line break is put behind the instruction.

    Attributes:
        path: as given.
        config_path: as given.

    Raises:
        CheckpointError: the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        config_path: Path | None,
        *,
        max_length: int,
        truncate: bool = True,
        add_newline: bool = True,
    ) -> None:
        self.path = path
        self.config_path = config_path
        self.max_length = max_length
        self.truncate = truncate
        self.add_newline = add_newline
        settings = {} if config_path is None else read_json(config_path)
        # SmolVLM cuts long texts at their start, the library's default is the end.
        self.truncation_side = str(settings.get("truncation_side", "right"))
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{path} is no tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        pad = settings.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        self.pad_id = 0 if pad is None else self.token_id(str(pad))

    def token_id(self, token: str) -> int:
        """Return the id of a special token.

        Raises:
            CheckpointError: the tokenizer does not have it.
        """
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise CheckpointError(f"{self.path} has no token {token!r}")
        return int(found)

    def count(self, task: str) -> int:
        """Return how many tokens an instruction has before anything is cut."""
        return len(self._tokenizer.encode(self._ended(task)).ids)

    def encode_text(self, text: str) -> list[int]:
        """Encode a text as it is, cut to the maximum length."""
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) > self.max_length and self.truncate:
            logger.warning(
                "instruction of %d tokens is cut to %d: %r", len(ids), self.max_length, text
            )
            cut = slice(-self.max_length, None) if self.truncation_side == "left" else None
            ids = ids[cut] if cut else ids[: self.max_length]
        return ids

    def encode(self, task: str) -> list[int]:
        """Encode an instruction, with the line break that the checkpoint wants behind it."""
        return self.encode_text(self._ended(task))

    def _ended(self, task: str) -> str:
        return task + "\n" if self.add_newline and not task.endswith("\n") else task

    def pad(self, ids: list[int], length: int) -> tuple[list[int], list[bool]]:
        """Pad on the right; return ids and which of them are real."""
        missing = length - len(ids)
        return ids + [self.pad_id] * missing, [True] * len(ids) + [False] * missing


def find_tokenizer(
    folder: Path,
    config: SmolVLAConfig,
    processors: Processors,
    tokenizer: str | Path | None = None,
) -> InstructionTokenizer:
    """Find the tokenizer of a checkpoint.

    Args:
        folder: of the checkpoint.
        config: of the checkpoint.
        processors: of the checkpoint.
        tokenizer: a folder, a ``tokenizer.json`` or a hub id to use instead.

    Returns:
        The tokenizer: the given one, the one in the checkpoint, or the one that it names.

    Raises:
        CheckpointError: there is none; the message says how to get it.
    """
    path, settings = _locate(folder, config, processors, tokenizer)
    return InstructionTokenizer(
        path,
        settings,
        max_length=processors.max_length,
        truncate=processors.truncate,
        add_newline=processors.add_newline,
    )


def _locate(
    folder: Path, config: SmolVLAConfig, processors: Processors, tokenizer: str | Path | None
) -> tuple[Path, Path | None]:
    if tokenizer is not None and Path(tokenizer).expanduser().is_file():
        path = Path(tokenizer).expanduser()
        settings = path.with_name(TOKENIZER_CONFIG)
        return path, settings if settings.is_file() else None
    files = (TOKENIZER, TOKENIZER_CONFIG)
    if tokenizer is not None:
        found = _named(str(tokenizer), files)
        return found[TOKENIZER], found.get(TOKENIZER_CONFIG)
    own = processors.tokenizer_folder or "tokenizer"
    for place in (folder / own, folder):
        if (place / TOKENIZER).is_file():
            settings = place / TOKENIZER_CONFIG
            return place / TOKENIZER, settings if settings.is_file() else None
    # The VLM's is the same, should the folder of the first be of another machine.
    names = dict.fromkeys(filter(None, (processors.tokenizer_name, str(config.vlm_model_name))))
    found = find_companion(
        list(names),
        folder,
        files,
        (own, VLM_FOLDER),
        "; or name a folder that has them with the parameter tokenizer",
    )
    return found[TOKENIZER], found.get(TOKENIZER_CONFIG)


def _named(name: str, files: tuple[str, ...]) -> dict[str, Path]:
    place = Path(name).expanduser()
    if (place / files[0]).is_file():
        return {file: place / file for file in files if (place / file).is_file()}
    trouble = f"is no file, no folder with {files[0]}, and no hub id"
    if HUB_ID.fullmatch(name) and not place.exists():
        try:
            return hub_files(name, files)
        except (OSError, ValueError, RuntimeError) as error:
            trouble = f"is not here, and cannot be downloaded: {type(error).__name__}: {error}"
    raise CheckpointError(f"tokenizer {name!r} {trouble}")
