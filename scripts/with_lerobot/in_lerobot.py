# SPDX-License-Identifier: Apache-2.0
"""What runs in LeRobot's Python: LeRobot used as its users do, through its public classes.

    python in_lerobot.py predict JOBS.json      checkpoints: load, predict, save
    python in_lerobot.py read DATASET OUT.npz   a dataset, every frame
    python in_lerobot.py pictures DATASET NEW   a dataset again, with pictures for videos
    python in_lerobot.py positions PORT ID OUT.json      where an arm stands
    python in_lerobot.py camera PORT NAME       a camera on the network, until it is ended

It imports nothing of this suite.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def predict(jobs: str) -> None:
    """Answer each job: ``{"checkpoint", "observations", "answer", "save"}``.

    ``observations`` is a npz of ``task``, ``state`` (n, dimensions), ``noise`` (n, chunk,
    dimensions) and a uint8 (n, height, width, 3) for each camera. ``answer`` becomes a npz
    of ``actions`` (n, chunk, dimensions), or of ``error``. ``save``, if it is there, is the
    folder that the policy and its processors are saved to.
    """
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    for job in json.loads(Path(jobs).read_text()):
        try:
            os.chdir(job["checkpoint"])  # it may name its VLM relative to itself
            policy = SmolVLAPolicy.from_pretrained(job["checkpoint"])
            policy.float().eval()
            right_positions(policy)
            before, after = make_pre_post_processors(
                policy.config,
                pretrained_path=job["checkpoint"],
                preprocessor_overrides={"device_processor": {"device": "cpu"}},
            )
            content = np.load(job["observations"])
            chunks = [
                after(
                    policy.predict_action_chunk(
                        before(observation(content, at)),
                        noise=torch.from_numpy(content["noise"][at])[None],
                    )
                )[0].numpy()
                for at in range(len(content["state"]))
            ]
            if "save" in job:
                policy.save_pretrained(job["save"])
                before.save_pretrained(job["save"])
                after.save_pretrained(job["save"])
        except Exception as error:
            np.savez(job["answer"], error=f"{type(error).__name__}: {error}")
        else:
            np.savez(job["answer"], actions=np.stack(chunks))


def right_positions(policy: Any) -> None:
    """Mend the position ids that transformers 4.56 and 4.57 compute wrongly in float32.

    LeRobot is judged here, not they; see docs/explanation/model.md.
    """
    import transformers

    if not transformers.__version__.startswith(("4.56.", "4.57.")):
        return

    def embed(module: Any, _: Any, inputs: dict[str, Any], __: Any) -> Any:
        patches = module.patch_embedding(inputs["pixel_values"]).flatten(2).transpose(1, 2)
        return patches + module.position_embedding.weight  # images fill the whole grid

    vision = policy.model.vlm_with_expert.vlm.model.vision_model
    vision.embeddings.register_forward_hook(embed, with_kwargs=True)


def observation(content: Any, at: int) -> dict[str, Any]:
    """Return one observation as a robot of LeRobot gives it."""
    images = {
        name: torch.from_numpy(content[name][at]).permute(2, 0, 1).float() / 255
        for name in content.files
        if name.startswith("observation.images.")
    }
    state = torch.from_numpy(content["state"][at])
    return {**images, "observation.state": state, "task": str(content["task"])}


def read(dataset: str, answer: str) -> None:
    """Write all frames of a dataset: numbers, uint8 images and tasks."""
    from lerobot.datasets import LeRobotDataset

    opened = LeRobotDataset("local/dataset", root=dataset, return_uint8=True)
    rows: dict[str, list[Any]] = {}
    for at in range(len(opened)):
        for name, value in opened[at].items():
            if isinstance(value, torch.Tensor):
                value = value.numpy()
                if name in opened.meta.image_keys:  # only videos are given as bytes
                    value = np.rint(255 * value).astype(np.uint8)
            rows.setdefault(name, []).append(value)
    arrays: dict[str, Any] = {name: np.stack(values) for name, values in rows.items()}
    np.savez(answer, **arrays)


def pictures(dataset: str, new: str) -> None:
    """Write a dataset again, with its videos as pictures among the rows."""
    from lerobot.datasets import LeRobotDataset

    opened = LeRobotDataset("local/dataset", root=dataset, return_uint8=True)
    own = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    features = {
        name: {**feature, "dtype": "image"} if feature["dtype"] == "video" else feature
        for name, feature in opened.meta.features.items()
        if name not in own
    }
    for feature in features.values():
        feature.pop("info", None)
    written = LeRobotDataset.create(
        "local/pictures", opened.fps, features=features, root=new, use_videos=False
    )
    episode = 0
    for at in range(len(opened)):
        item = opened[at]
        if int(item["episode_index"]) != episode:
            written.save_episode()
            episode = int(item["episode_index"])
        frame = {name: item[name] for name in features}
        for name, feature in features.items():
            if feature["dtype"] == "image":
                frame[name] = frame[name].permute(1, 2, 0).numpy()
        written.add_frame({**frame, "task": item["task"]})
    written.save_episode()
    written.finalize()


def positions(port: str, name: str, answer: str) -> None:
    """Connect to an arm without calibrating it, and write where it stands."""
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    robot = SO101Follower(SO101FollowerConfig(port=port, id=name))
    robot.connect(calibrate=False)
    try:
        observed = {joint: float(value) for joint, value in robot.get_observation().items()}
        content = {"calibrated": robot.is_calibrated, "positions": observed}
    finally:
        robot.disconnect()
    Path(answer).write_text(json.dumps(content))


def camera(port: str, name: str) -> None:
    """Serve moving pictures the way LeRobot's network camera wants them."""
    import cv2
    import zmq

    server = zmq.Context().socket(zmq.PUB)
    server.bind(f"tcp://127.0.0.1:{port}")
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :, 1] = np.linspace(40, 200, 96)
    for at in itertools.count():
        moved = np.roll(picture, 3 * at, axis=1)
        coded = cv2.imencode(".jpg", moved)[1]
        text = base64.b64encode(coded.tobytes()).decode()
        server.send_string(json.dumps({"images": {name: text}}))
        time.sleep(1 / 30)


COMMANDS: dict[str, Callable[..., None]] = {
    "predict": predict,
    "read": read,
    "pictures": pictures,
    "positions": positions,
    "camera": camera,
}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    COMMANDS[command](*arguments)
