# SPDX-License-Identifier: Apache-2.0
"""The judge ``classifier``: a small network, trained on recordings whose ends are successes.

``smolvla train-judge`` makes it. PyTorch is imported when the judge is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from smolvla_core.console import write_json
from smolvla_core.judge import JudgeSettings, Opinion, Verdict
from smolvla_core.settings import SettingError, instead_of, same, setting

from smolvla_learning.describing.models import Picture

WIDTH, HEIGHT = 128, 96
"""Size of what the network is shown of each camera [pixels]."""
ABOUT, WEIGHTS = "judge.json", "judge.safetensors"


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(JudgeSettings):
    """Of the judge ``classifier``."""

    in_a_row: int = same(JudgeSettings, "in_a_row", 3)
    model: str = setting("", "Folder that `smolvla train-judge` has written.")
    threshold: float = setting(
        0.0,
        "From which probability on the answer is yes; 0: what the training found on episodes that "
        "it did not see.",
        0.0,
        1.0,
    )


@dataclass(frozen=True)
class About:
    """What is known of a trained classifier; the file `ABOUT`.

    Attributes:
        sentences: that it can judge.
        cameras: names of the cameras that it looks through, in this order.
        threshold: from which probability on the answer is yes.
        false_yes, recall: shares of the unseen frames that are not done, and done, for which it
            says yes then.
        frames: that were learned from, and that were kept apart.
    """

    sentences: tuple[str, ...]
    cameras: tuple[str, ...]
    threshold: float
    false_yes: float
    recall: float
    frames: tuple[int, int]

    def write(self, folder: Path) -> None:
        """Write the file."""
        write_json(folder / ABOUT, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read the file.

        Raises:
            ValueError: there is none, or it is another one.
        """
        file = folder / ABOUT
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in content.items()
            }
            return cls(**values)
        except OSError as error:
            raise ValueError(
                f"{folder} holds no classifier ({ABOUT}: {error.strerror}); smolvla train-judge "
                "makes one"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} cannot be understood ({error}); train again") from error


def shown(image: Picture) -> Picture:
    """Return a camera's image (height, width, 3) as the network gets it, `HEIGHT` x `WIDTH`."""
    resized = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


class ClassifierJudge:
    """See `smolvla_core.judge.Judge`.

    Args:
        folder: that the training has written.
        threshold: from which probability on the answer is yes; 0: that of the training.

    Raises:
        ValueError: there is no such classifier.
    """

    def __init__(self, folder: Path, threshold: float = 0.0) -> None:
        from smolvla_learning.plans.network import load

        self.about = About.read(folder)
        self._threshold = threshold or self.about.threshold
        self._network = load(folder, self.about)

    def judge(self, instruction: str, images: Mapping[str, Picture]) -> Opinion:
        """Look at the images.

        Raises:
            ValueError: the sentence was not learned, or a camera is missing.
        """
        wanted = " ".join(instruction.lower().rstrip(".! ").split())
        if wanted not in self.about.sentences:
            hint = instead_of(wanted, self.about.sentences)
            raise ValueError(f"the classifier has not learned '{wanted}'; {hint}")
        missing = [name for name in self.about.cameras if name not in images]
        if missing:
            raise ValueError(
                f"the classifier looks through camera {', '.join(missing)}, but there is "
                f"{', '.join(images) or 'none'}; see the parameter cameras"
            )
        stacked = np.stack([shown(images[name]) for name in self.about.cameras])
        probability = self.probabilities(stacked[None], [self.about.sentences.index(wanted)])[0]
        verdict = Verdict.YES if probability >= self._threshold else Verdict.NO
        return Opinion(verdict, f"done with {probability:.0%}, yes from {self._threshold:.0%}")

    def probabilities(
        self, pictures: NDArray[np.uint8], sentences: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return (n,) probabilities for pictures (n, cameras, `HEIGHT`, `WIDTH`, 3)."""
        return self._network.probabilities(pictures, sentences)


def create(settings: ClassifierSettings) -> ClassifierJudge:
    """Return the judge that `settings` describe.

    Raises:
        ValueError: there is no such classifier.
    """
    if not settings.model:
        raise SettingError("model", "is not given: the folder that smolvla train-judge wrote")
    import torch

    # It is small, and the control loop and the policy need the other cores.
    torch.set_num_threads(1)
    return ClassifierJudge(Path(settings.model).expanduser(), settings.threshold)
