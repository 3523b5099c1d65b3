# SPDX-License-Identifier: Apache-2.0
"""Is this machine fast enough, and when must the next chunk be asked for?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.latency import LatencyWindow, best_threshold, least_threshold

from smolvla_policy.backends.smolvla import create, engine_for
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checks.rows import Row
from smolvla_policy.model.engine import choose_engine, missing_openvino
from smolvla_policy.model.sizes import choose_device

CAMERA_SIZE = (480, 640)
"""Of the made-up images, where none was received."""
MOST_MEMORY = 0.9


@dataclass(frozen=True)
class Measured:
    """Chunks that were timed.

    Attributes:
        seconds: of each chunk.
        chunk_size: rows of a chunk.
        device: where they were computed.
        dtype: in which number type.
    """

    seconds: tuple[float, ...]
    chunk_size: int
    device: str
    dtype: str


def check_device(settings: SmolVLASettings, weights: Path) -> list[Row]:
    """Check that the device is there and has the memory."""
    try:
        device = choose_device(settings.device)
    except ValueError as error:
        return [Row.fix("device", error)]
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
        free = float(torch.cuda.mem_get_info(device)[0])
    else:
        name, free = str(device), available_memory()
    chosen = f"auto is {name}" if settings.device == "auto" else name
    try:
        asked = engine_for(settings)
        engine = choose_engine(asked, device)
    except ValueError as error:
        return [Row.fix("device", error)]
    library = "OpenVINO" if engine == "openvino" else "PyTorch"
    found = f"{chosen}, {library} {version(engine)}"
    rows = [Row.ok_or_warn("device", found, "".join(missing_openvino(asked, device)))]
    # bfloat16 in the file may be widened to float32.
    factor = 1 if settings.dtype == "bfloat16" else 2
    needed = factor * weights.stat().st_size
    found = f"weights take up to {needed / 1e9:.2f} GB"
    if math.isnan(free):
        rows.append(Row.skipped("memory", f"{found}; what is free is unknown here"))
    elif needed > MOST_MEMORY * free:
        advice = "close other programs, set dtype to bfloat16, or use another device"
        rows.append(Row.fix("memory", f"{found}, {free / 1e9:.1f} GB are free", advice))
    else:
        rows.append(Row.ok("memory", f"{found}, {free / 1e9:.1f} GB are free"))
    return rows


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Return how many bytes a new program can have; NaN where that is unknown."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return math.nan
    for line in lines:
        if line.startswith("MemAvailable:"):
            return 1024.0 * float(line.split()[1])
    return math.nan


def measure(
    settings: SmolVLASettings,
    images: Mapping[str, NDArray[np.uint8]],
    task: str,
    chunks: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Load the checkpoint as `policy_node` does and time some chunks after the warm-up.

    Args:
        settings: of `policy_node`.
        images: camera -> uint8 (height, width, 3), where received; others are made up.
        task: the instruction; a made-up one where it is empty.
        chunks: how many are timed.
        clock: seconds.

    Raises:
        ValueError: it cannot be loaded.
    """
    # Units change nothing about the time, and must not keep it from being measured.
    backend = create(replace(settings, units="radians", allow_units_mismatch=True))
    try:
        random = np.random.default_rng(0)
        observation = Observation(
            {
                name: images[name]
                if name in images
                else random.integers(0, 256, (*CAMERA_SIZE, 3)).astype(np.uint8)
                for name in backend.cameras
            },
            backend.joint_names,
            np.zeros(len(backend.joint_names)),
            task.strip() or "pick up the cube",
        )
        rows = backend.infer(
            observation, ChunkRequest(1, 0, np.zeros((0, len(backend.joint_names))), 0)
        )
        request = ChunkRequest(2, 0, rows, 0)  # to continue them may take longer
        seconds = []
        for _ in range(chunks):
            started = clock()
            backend.infer(observation, request)
            seconds.append(clock() - started)
        return Measured(tuple(seconds), backend.chunk_size, backend.device, backend.dtype)
    finally:
        backend.close()


def check_latency(
    measured: Measured,
    period: float,
    threshold: float,
    actions_per_chunk: int = 0,
    state_offset: int = 0,
) -> list[Row]:
    """Say how long a chunk takes, and whether g hides it.

    Args:
        measured: chunks.
        period: between two actions [s].
        threshold: g, the executor's ``chunk_size_threshold``; below 0: it chooses.
        actions_per_chunk: the executor's; 0 for all.
        state_offset: chunks begin so many actions after their request, at most.
    """
    ordered = sorted(measured.seconds)
    middle, worst = ordered[len(ordered) // 2], ordered[-1]
    window = LatencyWindow()
    for seconds in measured.seconds:
        window.add(seconds)
    delay = window.expected_delay(period)  # as the executor expects it
    rows = measured.chunk_size + min(delay, state_offset)  # from the request on
    rows = min(rows, actions_per_chunk or rows)
    times = (
        f"{middle:.3f} s, worst of {len(ordered)} {worst:.3f} s ({measured.device}, "
        f"{measured.dtype}): {delay} actions of {period * 1000:.0f} ms pass meanwhile"
    )
    latency = Row.ok("latency", times)
    lasting = f"a chunk lasts {rows * period:.2f} s ({rows} actions)"
    if threshold == 0.0:
        advice = f"the arm stands still for {worst:.2f} s after each chunk: it is synchronous"
        return [latency, Row.warn("g", f"chunk_size_threshold is 0; {lasting}", advice)]
    least = least_threshold(delay, rows)
    if chosen := threshold < 0.0:
        whole = min(measured.chunk_size, actions_per_chunk or rows)
        threshold = best_threshold(delay, whole, rows - whole)
    if least is None:
        # Actions stand still meanwhile, so nothing is lost but time.
        found = (
            f"{lasting}; to hide {delay} actions it would have to have {2 * delay}: the arm will "
            "move and wait by turns, whatever chunk_size_threshold is"
        )
        found += f"; {threshold:g} is chosen, with which it moves most" if chosen else ""
        advice = "a faster device, fewer cameras, or a checkpoint with longer chunks"
        if delay <= measured.chunk_size:
            advice += f" or one trained for the delay (smolvla train --state-offset {delay})"
        return [latency, Row.warn("g", found, advice)]
    by = " (chosen)" if chosen else ""
    found = f"chunk_size_threshold is {threshold:g}{by}, needed {least:.2f}; {lasting}"
    if threshold < least:
        advice = f"set chunk_size_threshold to {min(1.0, least + 0.1):.2f} or more"
        return [latency, Row.fix("g", found, advice)]
    return [latency, Row.ok("g", found)]
