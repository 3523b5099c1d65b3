# SPDX-License-Identifier: Apache-2.0
"""One side of the inference benchmark: a process that predicts chunks on demand.

LeRobot's side runs in LeRobot's own Python, so this file imports nothing of this suite but where
our side needs it.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

TASK = "pick up the red cube"
HEIGHT, WIDTH = 480, 640
CALIBRATION = 4
"""Observations that a random checkpoint is quantized by: its speed does not depend on them."""

Predict = Callable[[int], dict[str, float]]
"""Predicts a chunk from that many cameras and returns the seconds of the stages."""

About = dict[str, Any]
"""What is to be said of a contender beside its times: ``precision``, ``conversion`` [s]."""


def load_ours(folder: Path, engine: str, asked: dict[str, Any]) -> tuple[Predict, About]:
    """Load the checkpoint with this package."""
    import numpy as np
    from smolvla_core.backend import ChunkRequest

    from smolvla_policy.backends.continuation import continuation
    from smolvla_policy.backends.smolvla_settings import JACOBIAN
    from smolvla_policy.checkpoint.source import CheckpointError
    from smolvla_policy.policy import SmolVLAPolicy

    conversion = 0.0
    load = partial(
        SmolVLAPolicy.from_pretrained,
        folder,
        device=asked["device"],
        engine=engine,
        cuda_graph=asked["cuda_graph"],
    )
    try:
        policy = load(dtype=asked["dtype"])
    except CheckpointError:
        if not asked["random"] or asked["dtype"] != "int8":
            raise
        conversion = quantize_random(load(dtype="auto"))
        policy = load(dtype="int8")
    policy.engine.steps, policy.engine.solver = asked["num_steps"], asked["solver"]
    policy.engine.profile = True
    method, rows = asked["real_time_chunking"], policy.chunk_size
    policy.engine.jacobian = method == JACOBIAN
    # Half a chunk is queued, and half of that over when the answer comes. What the checkpoint was
    # trained for does not matter to the time.
    queued = np.zeros((rows // 2, policy.action_dim))
    before = continuation(method, rows, rows, ChunkRequest(1, 0, queued, rows // 4))
    decided = before.decided.astype(np.float32)
    state = np.zeros(policy.state_dim, np.float32)
    random = np.random.default_rng(0)
    shape = (policy.chunk_size, int(policy.config.max_action_dim))
    noise = random.standard_normal(shape, dtype=np.float32)
    pictures = {
        name: random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        for name in policy.cameras
    }

    def predict(cameras: int) -> dict[str, float]:
        images = dict(islice(pictures.items(), cameras))
        started = time.perf_counter()
        policy.predict_chunk(
            images,
            state,
            TASK,
            noise,
            decided=decided,
            delay=before.delay,
            trained=before.trained,
        )
        return {**policy.engine.stage_times, "total": time.perf_counter() - started}

    graphs = getattr(policy.engine, "graphs", None)
    if graphs is not None:
        conversion += graphs.seconds
    return predict, {"precision": policy.dtype, "conversion": conversion}


def quantize_random(policy: Any) -> float:
    """Quantize a random checkpoint on random observations; return the seconds that it took."""
    import numpy as np

    from smolvla_policy.quantization import Observation, quantize

    random = np.random.default_rng(1)
    observations = (
        Observation(
            {
                name: random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
                for name in policy.cameras[:1]
            },
            random.standard_normal(policy.state_dim, np.float32),
            TASK,
        )
        for _ in range(CALIBRATION)
    )
    return quantize(policy, observations).seconds


def load_lerobot(folder: Path, dtype: str, device: str) -> tuple[Predict, About]:
    """Load the checkpoint with LeRobot, whose modules have no types here."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.chdir(folder)  # the VLM's configuration is named relative to the checkpoint
    import torch
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    policy = SmolVLAPolicy.from_pretrained(str(folder))
    # The mix of released checkpoints; LeRobot gives it only with the VLM's weights at hand.
    if dtype == "float32":
        policy.float()
    else:
        policy.model.vlm_with_expert.vlm.to(torch.bfloat16)
    policy.to(device).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    names = list(policy.config.image_features)
    torch.manual_seed(0)
    pictures = [torch.rand(3, HEIGHT, WIDTH) for _ in names]
    state = torch.zeros(policy.config.input_features["observation.state"].shape[0])
    noise = torch.randn(1, policy.config.chunk_size, policy.config.max_action_dim, device=device)
    spent: dict[str, float] = {}

    def timed(owner: Any, method: str, stage: str) -> None:
        inner = getattr(owner, method)

        def outer(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = inner(*args, **kwargs)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - started
            return result

        setattr(owner, method, outer)

    timed(policy, "prepare_images", "images")
    timed(policy.model.vlm_with_expert, "embed_image", "images")
    timed(policy.model, "denoise_step", "steps")

    def predict(cameras: int) -> dict[str, float]:
        spent.clear()
        batch = dict(zip(names[:cameras], pictures, strict=False))
        started = time.perf_counter()
        ready = before({**batch, "observation.state": state, "task": TASK})
        after(policy.predict_action_chunk(ready, noise=noise))
        total = time.perf_counter() - started
        rest = total - spent["images"] - spent["steps"]
        return {**spent, "prefix": rest, "total": total}

    return predict, {"precision": dtype, "conversion": 0.0}


def serve(engine: str, asked: dict[str, Any]) -> None:
    """Load one contender and answer each line of standard input, a number of cameras.

    Args:
        engine: one of ours, or ``lerobot``.
        asked: ``folder``, ``dtype``, ``real_time_chunking``, ``random`` (whether the checkpoint
            is made up) and `bench_inference.ASKED`.
    """
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    started = time.perf_counter()
    import torch

    torch.set_num_threads(asked["threads"])
    folder = Path(asked["folder"])
    if engine == "lerobot":
        predict, about = load_lerobot(folder, asked["dtype"], asked["device"])
    else:
        predict, about = load_ours(folder, engine, asked)
    about["load"] = time.perf_counter() - started
    predict(1)  # what cannot compute is found out here
    used = ("torch",) if engine == "torch" else ("torch", engine)
    about["versions"] = {"python": platform.python_version()}
    about["versions"] |= {name: version(name) for name in used}
    print(json.dumps(about), file=output, flush=True)
    for line in sys.stdin:
        times: dict[str, Any] = predict(int(line))
        times["memory"] = peak_memory()
        if asked["device"].startswith("cuda"):
            times["gpu_memory"] = torch.cuda.max_memory_reserved(asked["device"])
        print(json.dumps(times), file=output, flush=True)


def peak_memory() -> float:
    """Return this process's highest resident memory so far in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if platform.system() == "Darwin" else 1024 * peak)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
