# SPDX-License-Identifier: Apache-2.0
"""Datasets: what is recorded here, LeRobot reads, edits, shows and trains on; and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from smolvla_learning.dataset import Dataset

from smolvla_policy import SmolVLAPolicy

from .checkpoint import SHIPPED
from .demonstrations import recordings, simulated
from .steps import ROOT, Check, StepError

PART = "datasets"
SMALL = ROOT / "src/smolvla_learning/smolvla_learning/training/architectures/small.json"
NAME = "local/dataset"
"""LeRobot wants a name of the hub for what lies in a folder."""

Edit = Callable[[Check, str, Path, Path], list[Path]]
"""Edits a dataset by LeRobot's tool (check, log, dataset, empty folder) -> what came out."""


def into_new(operation: str, **settings: object) -> Edit:
    """Return an operation that writes a new dataset."""

    def run(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
        options = [f"--operation.{name}={_text(value)}" for name, value in settings.items()]
        check.tool(
            log,
            "lerobot-edit-dataset",
            *(f"--repo_id={NAME}", f"--root={dataset}", f"--operation.type={operation}"),
            *(f"--new_repo_id={NAME}_new", f"--new_root={out / 'new'}", *options),
        )
        return [out / "new"]

    return run


def split(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
    """Split off the last episode."""
    last = Dataset.open(dataset).num_episodes - 1
    parts = {"train": list(range(last)), "val": [last]}
    check.tool(
        log,
        "lerobot-edit-dataset",
        *(f"--repo_id={NAME}", f"--root={dataset}", "--operation.type=split"),
        *(f"--new_root={out}", f"--operation.splits={json.dumps(parts)}"),
    )
    return [out / "train", out / "val"]


def merge(joined: bool) -> Edit:
    """Return the merging with a second recording, into common files or not."""

    def run(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
        other = simulated(check, "simulation_second", seed=50)
        flag = _text(joined)
        check.tool(
            log,
            "lerobot-edit-dataset",
            *("--operation.type=merge", f"--new_repo_id={NAME}_new", f"--new_root={out / 'new'}"),
            f"--operation.repo_ids={json.dumps([NAME, NAME + '_second'])}",
            f"--operation.roots={json.dumps([str(dataset), str(other)])}",
            *(f"--operation.concatenate_{part}={flag}" for part in ("videos", "data")),
        )
        return [out / "new"]

    return run


def modify_tasks(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
    """Give new instructions, which LeRobot does in place."""
    shutil.copytree(dataset, out / "new")
    check.tool(
        log,
        "lerobot-edit-dataset",
        *(f"--repo_id={NAME}", f"--root={out / 'new'}", "--operation.type=modify_tasks"),
        "--operation.new_task=lift the cube",
        f"--operation.episode_tasks={json.dumps({'0': 'push the cube'})}",
    )
    found = set(Dataset.open(out / "new").tasks)
    if found != {"lift the cube", "push the cube"}:
        raise StepError(f"the instructions read {sorted(found)}")
    return [out / "new"]


def pictures_to_videos(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
    """Let LeRobot write the dataset with pictures, and turn those into videos."""
    check.in_lerobot(f"{log}_pictures", "pictures", dataset, out / "pictures")
    check.tool(
        log,
        "lerobot-edit-dataset",
        *(f"--repo_id={NAME}", f"--root={out / 'pictures'}", f"--new_root={out / 'new'}"),
        *("--operation.type=convert_image_to_video", "--operation.num_workers=1"),
    )
    made = [out / "pictures", out / "new"]
    for result in made:
        equal_frames(check, f"{log}_{result.name}", result)
    return made


def info(check: Check, log: str, dataset: Path, out: Path) -> list[Path]:
    """Ask LeRobot what the dataset is."""
    text = check.tool(
        log,
        "lerobot-edit-dataset",
        *(f"--repo_id={NAME}", f"--root={dataset}", "--operation.type=info"),
    )
    opened = Dataset.open(dataset)
    for wanted in (f"Total episode: {opened.num_episodes} ", f"FPS: {opened.fps}"):
        if wanted not in text:
            raise StepError(f"it does not print {wanted!r}")
    return []


OPERATIONS: dict[str, Edit] = {
    "info": info,
    "delete_episodes": into_new("delete_episodes", episode_indices=[0]),
    "split": split,
    "merge": merge(joined=True),
    "remove_feature": into_new("remove_feature", feature_names=["observation.images.wrist"]),
    "modify_tasks": modify_tasks,
    "recompute_stats": into_new("recompute_stats", skip_image_video=False),
    "reencode_videos hevc": into_new("reencode_videos", **{"rgb_encoder.vcodec": "hevc"}),
}
"""For every recording."""
ONCE: dict[str, Edit] = {
    "merge, files kept": merge(joined=False),
    "reencode_videos h264": into_new("reencode_videos", **{"rgb_encoder.vcodec": "h264"}),
    "reencode_videos libsvtav1": into_new(
        "reencode_videos", **{"rgb_encoder.vcodec": "libsvtav1"}
    ),
    "convert_image_to_video": pictures_to_videos,
}
"""For the first: other settings, and what is for pictures, which no recording here has."""


def _text(value: object) -> str:
    if isinstance(value, list):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def equal_frames(check: Check, name: str, dataset: Path) -> str:
    """Let LeRobot read every frame and compare it with what is read here.

    Raises:
        StepError: a number, a pixel or an instruction differs.
    """
    answer = check.work / "frames_read" / f"{name}.npz"
    answer.parent.mkdir(parents=True, exist_ok=True)
    check.in_lerobot(f"read_{name}", "read", dataset, answer)
    theirs, opened = np.load(answer), Dataset.open(dataset)
    numbers = ("observation.state", "action", "timestamp", "frame_index", "episode_index")
    for column in (*numbers, "index", "task_index"):
        if not np.array_equal(theirs[column], opened.column(column)):
            raise StepError(f"{column} differs")
    for camera in opened.cameras:
        episodes = range(opened.num_episodes)
        ours = np.stack([image for at in episodes for image in opened.frames(camera, at)])
        if not np.array_equal(theirs[camera], ours.transpose(0, 3, 1, 2)):
            raise StepError(f"{camera} differs")
    tasks = [opened.tasks[at] for at in opened.column("task_index")]
    if theirs["task"].tolist() != tasks:
        raise StepError("instructions differ")
    return (
        f"{opened.num_episodes} episodes, {opened.num_frames} frames, "
        f"{len(opened.cameras)} cameras: all equal"
    )


def inspect(check: Check, log: str, dataset: Path) -> None:
    """Let this suite look at a dataset."""
    check.ours(log, "dataset", "inspect", dataset, "--deep")


def train_here(check: Check, log: str, datasets: list[Path], *start: str | Path) -> None:
    """Train two steps here on the datasets together; every frame is decoded for it."""
    out = check.work / "trained" / log
    shutil.rmtree(out, ignore_errors=True)
    check.ours(
        log,
        *("train", "--dataset", *datasets, *start, "--output", out),
        *("--steps", "2", "--batch-size", "2", "--device", "cpu", "--precision", "float32"),
        *("--cache", check.work / "frames"),
    )


def train_there(check: Check, log: str, dataset: Path, checkpoint: Path = SHIPPED) -> str:
    """Let LeRobot train a checkpoint for two steps, and load the result here."""
    out = check.work / "trained_by_lerobot" / log
    shutil.rmtree(out, ignore_errors=True)
    text = check.tool(
        log,
        *("lerobot-train", f"--policy.path={checkpoint}", "--policy.push_to_hub=false"),
        *("--policy.device=cpu", f"--dataset.repo_id={NAME}", f"--dataset.root={dataset}"),
        *("--steps=2", "--batch_size=2", "--num_workers=0", "--log_freq=1", "--save_freq=2"),
        *("--env_eval_freq=0", "--wandb.enable=false", f"--output_dir={out}"),
        cwd=checkpoint,
    )
    losses = [word[5:] for word in text.split() if word.startswith("loss:")]
    made = out / "checkpoints" / "last" / "pretrained_model"
    shutil.copytree(checkpoint / "vlm", made / "vlm")  # named relative to the checkpoint
    policy = SmolVLAPolicy.from_pretrained(made)
    policy.warm_up()
    return f"losses {', '.join(losses)}; its checkpoint runs here"


def show(check: Check, log: str, dataset: Path) -> str:
    """Let LeRobot's viewer write its file."""
    out = check.work / "viewed" / log
    shutil.rmtree(out, ignore_errors=True)
    check.tool(
        log,
        *("lerobot-dataset-viz", "--repo-id", NAME, "--root", dataset, "--episode-index", "1"),
        *("--save", "1", "--output-dir", out, "--num-workers", "0"),
    )
    files = list(out.glob("*.rrd"))
    if not files:
        raise StepError("no .rrd file was written")
    return f"{files[0].stat().st_size / 1000:.0f} kB .rrd"


def judge(check: Check, name: str, dataset: Path, operations: dict[str, Edit]) -> None:
    """Run all steps on one recording."""
    with check.step(PART, f"{name}: LeRobotDataset") as notes:
        inspect(check, f"inspect_{name}", dataset)
        notes.append(equal_frames(check, name, dataset))
    with check.step(PART, f"{name}: lerobot-dataset-viz") as notes:
        notes.append(show(check, f"viz_{name}", dataset))
    with check.step(PART, f"{name}: lerobot-train") as notes:
        notes.append(train_there(check, f"lerobot_train_{name}", dataset))
    results: list[Path] = []
    for operation, do in operations.items():
        with check.step(PART, f"{name}: {operation}") as notes:
            log = f"{name}_{operation.replace(',', '').replace(' ', '_')}"
            out = check.work / "edited" / log
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            made = do(check, log, dataset, out)
            for at, result in enumerate(made):
                opened = Dataset.open(result)
                notes.append(f"{opened.num_episodes} episodes, {opened.num_frames} frames")
                inspect(check, f"{log}_inspect_{at}", result)
            if operation == "remove_feature":
                train_here(check, f"{log}_train", made, "--architecture", SMALL)
                notes.append("sound, trained on")
            elif made:
                results += made
                notes.append("sound")
    with check.step(PART, f"{name}: training here on the edited") as notes:
        train_here(check, f"{name}_edited_train", results, "--checkpoint", SHIPPED)
        notes.append(f"2 steps on {len(results)} datasets together")


def run(check: Check) -> None:
    """Check the datasets."""
    found: dict[str, Path] = {}
    with check.step(PART, "recordings") as notes:
        found = recordings(check)
        notes.append(", ".join(found))
    for at, (name, dataset) in enumerate(found.items()):
        judge(check, name, dataset, OPERATIONS if at else {**OPERATIONS, **ONCE})
