# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's graphs in int8: weights and activations, calibrated on observations.

nncf finds the scales; it is imported here alone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smolvla_policy.model.engine import Floats
from smolvla_policy.model.openvino_engine import OpenVINOEngine
from smolvla_policy.model.openvino_graphs import GRAPHS, core, import_openvino
from smolvla_policy.policy import Images, SmolVLAPolicy

NNCF = "3.4.0"
EXACT = (3, 5)
"""So many products at the beginning and at the end of a step stay as they are. The first are small
and take the noise and the time; the last are the expert's last layer and the velocity, and half of
the actions' error would come from that layer alone."""
SMOOTH = 0.5
"""Share of the activations' outliers moved into the weights (SmoothQuant: arXiv 2211.10438)."""
WORTH = 0.9
"""The expert is in int8 where that takes at most this share of its time without: it runs once a
step, and its error goes into the actions directly."""
EVERY = 3
"""Of an observation's steps every third one is calibrated on."""


class Observation(NamedTuple):
    """What a chunk is predicted from, see `SmolVLAPolicy.predict_chunk`."""

    images: Images
    state: Floats
    task: str


@dataclass(frozen=True)
class ActionError:
    """How far actions are from a reference, in the checkpoint's units.

    Attributes:
        largest: (joints,).
        mean: (joints,).
        spread: (joints,) standard deviation of the reference.
    """

    largest: Floats
    mean: Floats
    spread: Floats


class Quantized(NamedTuple):
    """How a quantization went: seconds that it took, and whether the expert is in int8."""

    seconds: float
    expert: bool


def import_nncf() -> Any:
    """Import nncf without its telemetry.

    Raises:
        ValueError: it is not installed.
    """
    import_openvino()  # whose telemetry is nncf's
    try:
        import nncf
    except ImportError as error:
        raise ValueError(f"quantizing needs nncf: pip install nncf=={NNCF}") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def quantize(
    policy: SmolVLAPolicy,
    observations: Iterable[Observation],
    *,
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> Quantized:
    """Quantize a checkpoint and write its int8 graphs into the cache, for dtype ``int8``.

    Args:
        policy: of the engine ``openvino``, not in int8.
        observations: as those that the policy will see; at least one.
        seed: of the noise.
        done: called behind each observation, then `STAGES` times.

    Returns:
        How it went.

    Raises:
        ValueError: nncf is not installed, the policy computes with something else, or there are
            no observations.
        OSError: the cache cannot be written.
    """
    started = time.perf_counter()
    import_nncf()
    engine = policy.engine
    if not isinstance(engine, OpenVINOEngine) or engine.graphs.source.precision.int8:
        raise ValueError("load the checkpoint with engine='openvino' and dtype='auto'")
    source = engine.graphs.source
    source = replace(source, precision=replace(source.precision, int8=True))
    collected = _collect(policy, engine, observations, seed, done)
    if not collected["image"]:
        raise ValueError("there are no observations")

    def change(graph: str, model: Any) -> Any:
        inputs = collected.pop(graph)
        changed = _quantized(graph, model, inputs)
        if graph == "step":
            options = source.options(graph)
            exact, fast = _seconds((model, changed), source.device, options, inputs[0])
            faster.append(fast <= WORTH * exact)
            return changed if faster[-1] else model
        return changed

    faster: list[bool] = []
    source.write(source.make(done, change))
    return Quantized(time.perf_counter() - started, all(faster))


def action_error(
    reference: SmolVLAPolicy,
    policy: SmolVLAPolicy,
    observations: Iterable[Observation],
    seed: int = 0,
) -> ActionError:
    """Compare two policies of one checkpoint on observations, from the same noise."""
    want: list[Floats] = []
    got: list[Floats] = []
    for observation, noise in zip(observations, _noises(policy, seed), strict=False):
        for actions, one in ((want, reference), (got, policy)):
            actions.append(one.predict_chunk(*observation, noise))
    difference = np.abs(np.concatenate(got) - np.concatenate(want))
    return ActionError(difference.max(0), difference.mean(0), np.concatenate(want).std(0))


def _noises(policy: SmolVLAPolicy, seed: int) -> Iterable[Floats]:
    shape = (policy.chunk_size, int(policy.config.max_action_dim))
    random = np.random.default_rng(seed)
    while True:
        yield random.standard_normal(shape, dtype=np.float32)


Inputs = tuple[NDArray[np.float32], ...]


def _collect(
    policy: SmolVLAPolicy,
    engine: OpenVINOEngine,
    observations: Iterable[Observation],
    seed: int,
    done: Callable[[], object],
) -> dict[str, list[Inputs]]:
    """Return inputs of each graph: of each observation one camera, by turns, and some steps."""
    collected: dict[str, list[Inputs]] = {graph: [] for graph in GRAPHS}
    runs: Counter[str] = Counter()
    wanted: Mapping[str, tuple[int, int]] = {}

    def watch(graph: str, inputs: Sequence[NDArray[np.float32]]) -> None:
        first, every = wanted[graph]
        if runs[graph] % every == first:
            collected[graph].append(tuple(array.copy() for array in inputs))
        runs[graph] += 1

    engine.watch = watch
    try:
        for index, (observation, noise) in enumerate(
            zip(observations, _noises(policy, seed), strict=False)
        ):
            runs.clear()
            cameras = len(observation.images)
            wanted = {
                "image": (index % cameras, cameras),
                "prefix": (0, 1),
                "step": (index % EVERY, EVERY),
            }
            policy.predict_chunk(*observation, noise)
            done()
    finally:
        engine.watch = None
    return collected


def _seconds(
    models: Sequence[Any],
    device: str,
    options: Mapping[str, object],
    inputs: Inputs,
    rounds: int = 15,
) -> list[float]:
    """Return how long each of some models takes at best; they run by turns."""
    requests = [
        core().compile_model(model, device, options).create_infer_request() for model in models
    ]
    best = [np.inf] * len(models)
    for _ in range(rounds):
        for index, request in enumerate(requests):
            started = time.perf_counter()
            request.infer(inputs)
            best[index] = min(best[index], time.perf_counter() - started)
    return best


def _quantized(graph: str, model: Any, inputs: list[Inputs]) -> Any:
    nncf = import_nncf()
    exact = []
    if graph == "step":
        products = [
            operation.get_friendly_name()
            for operation in model.get_ordered_ops()
            if operation.get_type_name() == "MatMul"
        ]
        exact = [*products[: EXACT[0]], *products[-EXACT[1] :]]
    with contextlib.redirect_stdout(io.StringIO()):  # its bars
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            # Attention is faster in bfloat16, and correcting biases changes nothing visible.
            ignored_scope=nncf.IgnoredScope(
                names=exact, types=["ScaledDotProductAttention"], validate=False
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True,
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTH),
            ),
        )
