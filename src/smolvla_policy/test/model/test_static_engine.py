# SPDX-License-Identifier: Apache-2.0
"""The path of fixed shapes: equal to the torch engine, and fit to be captured as a CUDA graph."""

from __future__ import annotations

import gc
import weakref
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from smolvla_policy.checkpoint.config import parse_config
from smolvla_policy.checkpoint.synthetic import policy_config
from smolvla_policy.checkpoint.vlm import SMOLVLM2_500M, model_sizes
from smolvla_policy.model.engine import ChunkInputs, TorchEngine
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.sampler import Guidance
from smolvla_policy.model.sizes import Precision
from smolvla_policy.model.static_engine import (
    MAX_PLANS,
    StaticTorchEngine,
    padded_length,
    static_inputs,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
IMAGE_TOKENS = {"image_start": (325, 320), "image_end": (325,)}
# On one engine one after the other: what a chunk leaves behind must not reach the next.
CASES = {
    "three cameras": {"cameras": 3},
    "longer sentence": {"words": 15},
    "next bucket": {"words": 16},
    "continued chunk": {"words": 9, "rows": 5},
    "free chunk, shorter sentence": {"words": 3},
    "padded batch": {"batch": 2, "padding": 4},
    "full batch": {"batch": 2},
    "one camera": {"cameras": 1},
    "absent camera": {"cameras": 1, "absent": 2},
    "continued with fewer steps": {"rows": 3, "steps": 4},
    "read by a trained network": {"rows": 3, "trained": True},
    "other solver": {"steps": 4, "solver": "ab2"},
    "the checkpoint's steps again": {},
}


def run(
    engine,
    cameras=2,
    batch=1,
    words=6,
    padding=0,
    rows=0,
    absent=0,
    steps=0,
    solver="euler",
    trained=False,
):
    """Run an engine on random inputs, which the arguments decide."""
    random = np.random.default_rng((cameras, batch, words, rows, absent))
    sizes = engine.network.sizes
    images = random.integers(0, 256, (cameras, batch, 48, 64, 3), np.uint8)
    valid = np.ones((batch, words), np.bool_)
    if padding:
        valid[-1, words - padding :] = False
    decided = random.standard_normal((batch, rows, 6), np.float32) if rows else None
    engine.steps, engine.solver = steps, solver
    return engine.run(
        list(images),
        random.integers(0, 300, (batch, words)),
        random.standard_normal((batch, 6), np.float32),
        random.standard_normal((batch, sizes.chunk, sizes.action_dim), np.float32),
        absent=absent,
        token_valid=valid if padding else None,
        decided=decided,
        delay=2,
        trained=trained,
    )


@pytest.mark.parametrize("special", [{}, IMAGE_TOKENS], ids=["plain", "image tokens"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_fixed_shapes_give_the_actions_of_the_torch_engine(build, dtype, tolerance, special):
    network = build(dtype, True)
    dynamic = TorchEngine(network, side=64, **special)
    static = StaticTorchEngine(network, side=64, capture=True, **special)
    for name, case in CASES.items():
        difference = run(static, **case) - run(dynamic, **case)
        assert np.abs(difference).max() <= tolerance, name
        assert set(static.stage_times) == set(dynamic.stage_times)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_captured_chunks_are_those_of_the_torch_engine(build, dtype, tolerance):
    network = build(dtype, True, torch.device("cuda"))
    dynamic = TorchEngine(network, side=64)
    static = StaticTorchEngine(network, side=64, capture=True)
    for _ in range(2):  # captured, then replayed
        for name, case in CASES.items():
            difference = run(static, **case) - run(dynamic, **case)
            assert np.abs(difference).max() <= tolerance, name


def chunk_inputs(seed, words, device="cpu", side=64, chunk=8):
    """Make random inputs of a chunk: two cameras, one absent, continued actions."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=random).to(device)

    tokens = torch.randint(0, 300, (1, words), generator=random).to(device)
    actions = (1, chunk, 32)
    guidance = Guidance(draw(*actions), draw(*actions))
    pixels = draw(2, 3, side, side)
    return ChunkInputs(pixels, 1, tokens, None, draw(1, 32), draw(*actions), guidance)


class Operations(TorchDispatchMode):
    """Records operations: their names, and the shapes and the memory of their tensors."""

    def __init__(self):
        super().__init__()
        self.done = []
        self.memory = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        self.done.append((str(operation), *(tuple(tensor.shape) for tensor in tensors)))
        self.memory.update(tensor.untyped_storage().data_ptr() for tensor in tensors)
        return result


class Watched(StaticTorchEngine):
    """Records what it does from the first stage on, and where the inputs of the stages are."""

    def encode_images(self, pixels):
        self.places = [pixels.data_ptr()]
        self.pixels = weakref.ref(pixels)
        self.operations = Operations()
        self.operations.__enter__()
        return super().encode_images(pixels)

    def velocity(self, actions, time_features, context):
        if len(self.places) == 1:
            self.places.append(actions.data_ptr())
        return super().velocity(actions, time_features, context)

    def chunk(self, inputs, mark=lambda: None):
        actions = super().chunk(inputs, mark)
        self.operations.__exit__(None, None, None)
        return actions


def tensors_of(inputs):
    """All tensors of a chunk's inputs."""
    values = [getattr(inputs, part.name) for part in fields(inputs)]
    values += [inputs.guidance.target, inputs.guidance.weights]
    return [value for value in values if isinstance(value, torch.Tensor)]


def test_a_chunk_repeats_the_operations_of_the_one_before_in_the_same_memory(build):
    engine = Watched(build("float32"), side=64, steps=2)
    first, second = chunk_inputs(0, words=4), chunk_inputs(1, words=11)
    second = replace(second, token_valid=torch.ones(1, 11, dtype=torch.bool))
    with torch.inference_mode():
        engine.chunk(first)  # prepares what is kept
        engine.chunk(first)
        operations, places = engine.operations, engine.places
        engine.chunk(second)
    assert engine.places == places
    assert engine.operations.done == operations.done
    given = {x.untyped_storage().data_ptr() for x in tensors_of(first) + tensors_of(second)}
    assert not given & (operations.memory | engine.operations.memory)


def test_what_was_not_used_for_long_is_freed(build):
    engine = Watched(build("float32"), side=64, steps=1)
    first = chunk_inputs(0, words=4)
    with torch.inference_mode():
        engine.chunk(first)
        oldest = engine.pixels
        for absent in range(2, MAX_PLANS + 2):
            assert oldest() is not None
            engine.chunk(replace(first, absent=absent))
    gc.collect()
    assert oldest() is None
    assert engine.pixels() is not None


class OnDevice(TorchDispatchMode):
    """Refuses what a captured chunk may not do; keeps the attention's operands.

    The meta device stands for the GPU: it computes shapes alone, so a value that the host
    wants to know, or a shape that depends on one, is an error there anyway.
    """

    def __init__(self):
        super().__init__()
        self.attention = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device == META, f"{operation} touches the host's memory"
        if operation is torch.ops.aten.scaled_dot_product_attention.default:
            self.attention.append((args, kwargs or {}))
        return result


class NoHostData(TorchFunctionMode):
    """Refuses tensors made from Python's numbers, whose copy to a GPU waits for the host."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy)
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def released():
    """The network of the released checkpoint in its number types, without weights."""
    config = parse_config(policy_config(["top"], 6, {}), "config.json")
    sizes = model_sizes(config, SMOLVLM2_500M, "config.json")
    precision = Precision(torch.bfloat16, torch.bfloat16, torch.bfloat16, widen=False)
    return SmolVLANetwork(sizes, precision).allocate(META)


@pytest.mark.parametrize(
    "options", [{}, {"solver": "ab2", **IMAGE_TOKENS}], ids=["plain", "ab2, image tokens"]
)
def test_a_chunk_never_leaves_the_device(released, options):
    engine = TorchEngine(released, side=512, steps=2, **options)
    inputs = static_inputs(chunk_inputs(0, 7, META, side=512, chunk=50), 15)
    with torch.inference_mode():
        engine.chunk(inputs)  # prepares what is kept
        with NoHostData(), OnDevice():
            assert engine.chunk(inputs).shape == (1, 50, 32)


def test_the_image_encoder_s_attention_is_fit_for_the_flash_kernel(released):
    with torch.inference_mode(), OnDevice() as seen:
        released.encode_images(torch.empty(2, 3, 512, 512, device=META))
    assert len(seen.attention) == released.sizes.vision.layers
    for operands, options in seen.attention:
        assert options.get("attn_mask") is None
        for tensor in operands[:3]:
            assert tensor.dtype == torch.bfloat16
            assert tensor.stride(-1) == 1
            assert tensor.shape[-1] % 8 == 0
            assert tensor.shape[-1] <= 256


@pytest.mark.parametrize(("tokens", "padded"), [(1, 15), (15, 15), (16, 31), (48, 63)])
def test_sentences_share_few_lengths(tokens, padded):
    assert padded_length(tokens) == padded
