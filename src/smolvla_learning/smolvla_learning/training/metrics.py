# SPDX-License-Identifier: Apache-2.0
"""The record of a training: a CSV file and TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

FILE = "metrics.csv"
TENSORBOARD = "tensorboard"


class Metrics:
    """Writes one row for each report.

    Args:
        folder: of the training's output.
        names: columns behind ``step``.
        step: of a training that is resumed: rows behind it, which a killed run left, go.
    """

    def __init__(self, folder: Path, names: list[str], step: int = 0) -> None:
        self._path = folder / FILE
        self._names = names
        self._keep(step)
        self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step or None)

    def _keep(self, step: int) -> None:
        kept: list[dict[str, str]] = []
        if step and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *self._names], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            row = [f"{values[name]:.6g}" if name in values else "" for name in self._names]
            csv.writer(file).writerow([step, *row])
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._board.close()
