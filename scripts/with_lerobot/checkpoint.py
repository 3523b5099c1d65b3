# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: the same observation and noise, the same actions, here and in LeRobot.

Every case is a checkpoint folder made from the one that comes with this suite. Both load it;
both save what they loaded, and each loads what the other saved. All four answers must agree.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from smolvla_policy import SmolVLAPolicy

from .demonstrations import simulated
from .steps import ROOT, Check, StepError

PART = "checkpoints"
SHIPPED = ROOT / "src/smolvla_sim/smolvla_sim/checkpoints/smolvla_so100_sim"
TOLERANCE = 1e-4
"""Of the largest action; what is left are the roundings of float32."""
VLM = "stand-in/small-vlm"
"""The hub's name of the shipped checkpoint's VLM in a cache that is made here."""
IMAGES = "observation.images."
TASK = "put the red cube into the bowl"
OBSERVATIONS = 2
SIZES = ((4, 4), (7, 8), (8, 7), (12, 12), (14, 7), (6, 16), (32, 32))
MODES = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
DISABLED = "disabled step"
"""A case that LeRobot 0.4 has no class for."""

Statistics = dict[str, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Case:
    """One kind of checkpoint.

    Attributes:
        folder: of the checkpoint, as LeRobot is given it.
        cameras: by the robot's names.
        state: sizes of the observed states.
        still: state dimension that never moved -> where it stands.
        given: what this suite is given; `folder` if None.
        foreign: the given one names files by paths of another machine. What is saved keeps the
            names, and LeRobot looks nowhere else.
    """

    folder: Path
    cameras: tuple[str, ...] = (IMAGES + "top", IMAGES + "wrist")
    state: int = 6
    still: dict[int, float] | None = None
    given: str | None = None
    foreign: bool = False


class Edited:
    """A copy of the shipped checkpoint with changes."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(SHIPPED, folder)
        shutil.rmtree(folder / "vlm")
        shutil.rmtree(folder / "tokenizer")
        self.folder = folder
        self.config(lambda raw: raw.update(vlm_model_name=VLM))

        def tokenizer(step: dict[str, Any]) -> None:
            step["config"]["tokenizer_name"] = VLM
            step.pop("artifacts", None)

        self.step("policy_preprocessor.json", "tokenizer_processor", tokenizer)

    def config(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change ``config.json``."""
        _edit(self.folder / "config.json", change)

    def step(self, file: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change one step of a processor file."""

        def find(content: dict[str, Any]) -> None:
            for step in content["steps"]:
                if step["registry_name"] == name:
                    change(step)

        _edit(self.folder / file, find)

    def normalization(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the settings of both normalization steps."""
        for file, name in (
            ("policy_preprocessor.json", "normalizer_processor"),
            ("policy_postprocessor.json", "unnormalizer_processor"),
        ):
            self.step(file, name, lambda step: change(step["config"]))

    def cameras(self, names: tuple[str, ...], renamed: dict[str, str], empty: int = 0) -> None:
        """Declare these cameras, the way a fine-tuned smolvla_base does."""
        padding = tuple(f"empty_camera_{at}" for at in range(empty))

        def declare(raw: dict[str, Any]) -> None:
            inputs = {"observation.state": raw["input_features"]["observation.state"]}
            for name in (*names, *padding):
                inputs[IMAGES + name] = {"type": "VISUAL", "shape": [3, 256, 256]}
            raw.update(input_features=inputs, empty_cameras=empty)

        mapping = {IMAGES + ours: IMAGES + theirs for ours, theirs in renamed.items()}
        self.config(declare)
        self.step(
            "policy_preprocessor.json",
            "rename_observations_processor",
            lambda step: step["config"].update(rename_map=mapping),
        )

    def statistics(self, statistics: Statistics) -> None:
        """Replace the statistics."""
        flat = {
            f"{feature}.{name}": np.asarray(values, np.float32)
            for feature, entries in statistics.items()
            for name, values in entries.items()
        }
        for path in self.folder.glob("*normalizer_processor.safetensors"):
            save_file(flat, path)

    def sizes(self, state: int, action: int) -> None:
        """Declare these sizes of state and action, in the processors too."""
        shapes = {"observation.state": state, "action": action}

        def declare(raw: dict[str, Any]) -> None:
            raw["input_features"]["observation.state"]["shape"] = [state]
            raw["output_features"]["action"]["shape"] = [action]

        def features(settings: dict[str, Any]) -> None:
            for name, feature in settings["features"].items():
                if name in shapes:
                    feature["shape"] = [shapes[name]]

        self.config(declare)
        self.normalization(features)


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2))


def invented(state: int, action: int, still: dict[str, int] | None = None) -> Statistics:
    """Return statistics of all modes; `still` says which dimension of a feature never moved."""
    random = np.random.default_rng(100 * state + action)
    made: Statistics = {}
    for feature, size in (("observation.state", state), ("action", action)):
        middle, half = random.uniform(-40, 40, size), random.uniform(20, 60, size)
        if still and feature in still:
            half[still[feature]] = 0.0
        shares = {"min": -1, "max": 1, "q01": -0.9, "q99": 0.9, "q10": -0.6, "q90": 0.6}
        values = {name: middle + share * half for name, share in shares.items()}
        values |= {"mean": middle, "std": half / 2}
        made[feature] = {name: value.astype(np.float32) for name, value in values.items()}
    return made


def cases(check: Check) -> dict[str, Callable[[], Case]]:
    """Return name -> maker of each case."""
    made = check.work / "checkpoints"

    def edited(name: str) -> Edited:
        return Edited(made / name.replace(" ", "_").replace(",", ""))

    def trained() -> Case:
        return Case(train(check, "checkpoints_train", simulated(check)))

    def renamed() -> Case:
        base = edited("base of three cameras")
        base.cameras(("camera1", "camera2", "camera3"), {})
        base.sizes(4, 7)
        base.statistics(invented(4, 7))
        names = ("--rename-map", "top=camera1", "wrist=camera2")
        return Case(train(check, "rename_map_train", simulated(check), base.folder, *names))

    def cameras(name: str, declared: int, renamed: dict[str, str], empty: int = 0) -> Case:
        one = edited(name)
        one.cameras(tuple(f"camera{at}" for at in range(1, declared + 1)), renamed, empty)
        return Case(one.folder, tuple(IMAGES + camera for camera in renamed))

    def stale_state() -> Case:
        one = edited("stale state shape")
        one.sizes(6, 14)
        one.statistics(invented(14, 14))
        return Case(one.folder, state=14)

    def zero_std() -> Case:
        one = edited("zero std")
        statistics = invented(6, 6, {"observation.state": 4, "action": 1})
        one.statistics(statistics)
        still = {4: float(statistics["observation.state"]["mean"][4])}
        return Case(one.folder, still=still)

    def mode(name: str) -> Case:
        one = edited(f"constant {name}")
        statistics = invented(7, 7, {"observation.state": 2, "action": 5})
        one.sizes(7, 7)
        # As a dataset has them; then only the mode's own decide.
        one.statistics(statistics)
        mapping = {"VISUAL": "IDENTITY", "STATE": name, "ACTION": name}
        one.config(lambda raw: raw.update(normalization_mapping=mapping))
        one.normalization(lambda settings: settings.update(norm_map=mapping))
        still = {2: float(statistics["observation.state"][MODES[name][0]][2])}
        return Case(one.folder, state=7, still=still)

    def disabled() -> Case:
        one = edited(DISABLED)
        step = {"registry_name": "relative_actions_processor", "config": {"enabled": False}}
        _edit(
            one.folder / "policy_preprocessor.json",
            lambda content: content["steps"].insert(3, step),
        )
        return Case(one.folder)

    def averaged(which: str) -> Case:
        out = made / "with_ema"
        for step, factor in (("000002", 1.0), ("000004", 1.5)):
            for name, scale in (("pretrained_model", factor), ("pretrained_model_ema", 0.9)):
                one = Edited(out / "checkpoints" / step / name)
                weights = load_file(one.folder / "model.safetensors")
                key = "model.action_out_proj.bias"
                weights[key] = weights[key] * np.asarray(scale, weights[key].dtype)
                save_file(weights, one.folder / "model.safetensors")
        last = out / "checkpoints" / "last"
        last.unlink(missing_ok=True)
        last.symlink_to("000004")
        # The output folder stands for its newest plain weights; the average is named.
        given = str(out) if which == "pretrained_model" else None
        return Case(last / which, given=given)

    def nested() -> Case:
        repository = "stand-in/nested"
        root = hub_folder(check, repository)
        for step in ("000800", "001200"):
            folder = Edited(root / "checkpoints" / step / "pretrained_model").folder
        return Case(folder, given=repository)

    def moved() -> Case:
        one, theirs = edited("paths of another machine"), edited("paths of this machine")
        elsewhere = f"/no/such/folder/{VLM.split('/')[1]}"
        one.config(lambda raw: raw.update(vlm_model_name=elsewhere))
        one.step(
            "policy_preprocessor.json",
            "tokenizer_processor",
            lambda step: step["config"].update(tokenizer_name=elsewhere),
        )
        return Case(theirs.folder, given=str(one.folder), foreign=True)

    def sized(state: int, action: int) -> Case:
        one = edited(f"sizes {state} {action}")
        one.sizes(state, action)
        one.statistics(invented(state, action))
        return Case(one.folder, state=state)

    front, hand = {"front": "camera1"}, {"hand": "camera2"}
    declared: dict[str, tuple[int, dict[str, str], int]] = {
        "two of three cameras": (3, {"front": "camera1", "hand": "camera3"}, 0),
        "one of three cameras": (3, hand, 0),
        "empty_cameras 1": (2, front | hand, 1),
        "one of two, empty_cameras 1": (2, front, 1),
    }
    return {
        "as shipped": lambda: Case(SHIPPED),
        "trained here": trained,
        "trained here with --rename-map": renamed,
        **{name: partial(cameras, name, *given) for name, given in declared.items()},
        "config says 6 states, there are 14": stale_state,
        "std 0": zero_std,
        **{f"{name} with constant dimensions": partial(mode, name) for name in MODES},
        DISABLED: disabled,
        **{
            f"output folder with EMA: {which}": partial(averaged, which)
            for which in ("pretrained_model", "pretrained_model_ema")
        },
        "nested on the hub": nested,
        "paths of another machine": moved,
        **{f"state {n}, action {m}": partial(sized, n, m) for n, m in SIZES},
    }


def train(check: Check, name: str, dataset: Path, checkpoint: Path = SHIPPED, *more: str) -> Path:
    """Train two steps here and return the checkpoint."""
    out = check.work / "trained" / name
    shutil.rmtree(out, ignore_errors=True)
    check.ours(
        name,
        *("train", "--dataset", dataset, "--checkpoint", checkpoint),
        *("--output", out, "--steps", "2", "--batch-size", "2", "--device", "cpu"),
        *("--precision", "float32", "--cache", check.work / "frames"),
        *more,
    )
    return out / "checkpoints" / "last" / "pretrained_model"


def hub_folder(check: Check, repository: str) -> Path:
    """Make the folder of a repository in the hub's cache of this check and return it, empty."""
    commit = "0" * 40
    place = check.work / "hub" / f"models--{repository.replace('/', '--')}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def observations(path: Path, policy: SmolVLAPolicy, case: Case) -> None:
    """Write observations within the statistics of the checkpoint."""
    random = np.random.default_rng(7)
    bounds = policy.statistics["observation.state"]
    middle, spread = bounds["mean"], bounds["std"]
    states = middle + spread * random.uniform(-1.5, 1.5, (OBSERVATIONS, case.state))
    for dimension, value in (case.still or {}).items():
        states[:, dimension] = value
    width = int(policy.config.max_action_dim)
    noise = random.standard_normal((OBSERVATIONS, policy.chunk_size, width), dtype=np.float32)
    images: dict[str, Any] = {
        name: random.integers(0, 256, (OBSERVATIONS, 60, 80, 3)).astype(np.uint8)
        for name in case.cameras
    }
    np.savez(path, task=TASK, state=states.astype(np.float32), noise=noise, **images)


def answer(policy: SmolVLAPolicy, path: Path, cameras: tuple[str, ...]) -> NDArray[np.float32]:
    """Answer the observations here."""
    content = np.load(path)
    return np.stack(
        [
            policy.predict_chunk(
                {name: content[name][at] for name in cameras}, state, TASK, content["noise"][at]
            )
            for at, state in enumerate(content["state"])
        ]
    )


@dataclass
class Pending:
    """A case on its way through the four answers, in a folder of its own."""

    name: str
    case: Case
    folder: Path
    ours: NDArray[np.float32]

    @property
    def observations(self) -> Path:
        """The file that all answer."""
        return self.folder / "observations.npz"

    @property
    def saved_there(self) -> Path:
        """What LeRobot saves."""
        return self.folder / "saved_there"


def prepare(check: Check, name: str, case: Case, at: int) -> Pending:
    """Load, answer and save a case here."""
    folder = check.work / "answers" / f"{at:02d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    policy = SmolVLAPolicy.from_pretrained(case.given or case.folder, dtype="float32")
    observations(folder / "observations.npz", policy, case)
    ours = answer(policy, folder / "observations.npz", case.cameras)
    policy.save_pretrained(folder / "saved_here")
    return Pending(name, case, folder, ours)


def old_can(one: Pending) -> bool:
    """Say whether LeRobot 0.4 can be asked to read what is saved here."""
    return not one.case.foreign and one.name != DISABLED


def ask(check: Check, python: Path, name: str, pending: list[Pending], save: bool) -> None:
    """Let LeRobot answer for the folders themselves and for what was saved here."""

    def job(one: Pending, checkpoint: Path, kind: str, **more: str) -> dict[str, str]:
        answer = str(one.folder / f"{name}_{kind}.npz")
        given = {"observations": str(one.observations), "checkpoint": str(checkpoint)}
        return {**given, "answer": answer, **more}

    jobs = []
    for one in pending:
        if save:
            jobs.append(job(one, one.case.folder, "same", save=str(one.saved_there)))
        jobs.append(job(one, one.folder / "saved_here", "saved"))
    path = check.work / f"{name}_jobs.json"
    path.write_text(json.dumps(jobs))
    check.in_lerobot(f"checkpoints_{name}", "predict", path, python=python)


def answered(label: str, path: Path) -> NDArray[np.float32]:
    """Return LeRobot's answer.

    Raises:
        StepError: it gave none.
    """
    if not path.exists():
        raise StepError(f"{label}: LeRobot gave no answer")
    content = np.load(path)
    if "error" in content:
        raise StepError(f"{label}: {content['error']}")
    actions: NDArray[np.float32] = content["actions"]
    return actions


def compare(label: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return the largest difference as a share of the largest action.

    Raises:
        StepError: it is too large.
    """
    if ours.shape != theirs.shape:
        raise StepError(f"{label}: shapes {ours.shape} here, {theirs.shape} there")
    share = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    if not share <= TOLERANCE:
        raise StepError(f"{label}: differs by {share:.1e} of the scale")
    return share


def judge(check: Check, one: Pending) -> list[str]:
    """Compare the answers to one case.

    Raises:
        StepError: they differ.
    """
    names = {"the same folder": "today_same"}
    if not one.case.foreign:
        names["ours read there"] = "today_saved"
    if check.old_lerobot is not None and old_can(one):
        names["ours read by the old one"] = "old_saved"
    shares = {
        label: compare(label, one.ours, answered(label, one.folder / f"{name}.npz"))
        for label, name in names.items()
    }
    vlm = one.case.folder / "vlm"
    if vlm.is_dir():  # LeRobot does not take it along
        shutil.copytree(vlm, one.saved_there / "vlm", dirs_exist_ok=True)
    policy = SmolVLAPolicy.from_pretrained(one.saved_there, dtype="float32")
    again = answer(policy, one.observations, one.case.cameras)
    shares["theirs read here"] = compare("theirs read here", one.ours, again)
    return [f"{label} {share:.0e}" for label, share in shares.items()]


def run(check: Check) -> None:
    """Check the checkpoints."""
    tiny = hub_folder(check, VLM)
    shutil.copytree(SHIPPED / "vlm", tiny, dirs_exist_ok=True)
    pending: list[Pending] = []
    for at, (name, make) in enumerate(cases(check).items()):
        try:
            pending.append(prepare(check, name, make(), at))
        except Exception as error:
            with check.step(PART, name):
                raise StepError(f"here: {type(error).__name__}: {error}") from error
    with check.step(PART, "LeRobot answers") as notes:
        ask(check, check.lerobot, "today", pending, save=True)
        notes.append(f"{len(pending)} cases")
    if check.old_lerobot is not None:
        with check.step(PART, "LeRobot 0.4 answers") as notes:
            able = [one for one in pending if old_can(one)]
            ask(check, check.old_lerobot, "old", able, save=False)
            notes.append(f"{len(able)} cases")
    for one in pending:
        with check.step(PART, one.name) as notes:
            notes.extend(judge(check, one))
