# SPDX-License-Identifier: Apache-2.0
"""Guidance through the network's Jacobian, on the golden network and in the engines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smolvla_policy.model.engine import TorchEngine, gradient_engine
from smolvla_policy.model.sampler import make_guidance
from smolvla_policy.model.static_engine import StaticTorchEngine

CPU = torch.device("cpu")
STEPS, DELAY = 4, 2


class Watched(TorchEngine):
    """Keeps what the velocity is computed from."""

    def velocity(self, actions, time_features, context):
        self.context = context
        self.features = [*getattr(self, "features", []), time_features]
        return super().velocity(actions, time_features, context)


def run(engine, inputs, decided, batch=1):
    """Run an engine on the first golden observations."""
    first = {name: value[:batch].numpy() for name, value in inputs.items()}
    engine.steps = STEPS
    return engine.run(
        [first[f"image_u8.{name}"] for name in ("top", "wrist", "side")],
        first["lang_tokens"],
        np.tile(np.linspace(-1.0, 1.0, 6, dtype=np.float32), (batch, 1)),
        first["noise"],
        token_valid=first["lang_mask"],
        decided=decided,
        delay=DELAY,
    )


@pytest.fixture(scope="module")
def decided(build, inputs):
    """Five queued actions that the network would not have chosen itself."""
    return run(TorchEngine(build("float32"), side=64), inputs, None)[:, :5, :6] + 1.0


def by_differences(network, context, features, noise, guidance):
    """Algorithm 1 of the paper, in its direction of time, with central differences."""
    size, width = noise.numel(), 0.01
    shifts = width * torch.eye(size).view(size, *noise.shape[1:])
    many = context.repeat(size)
    actions = noise
    for step in range(STEPS):
        tau = step / STEPS

        def velocity(x, cache, step=step):
            return -network.velocity(x, features[step], cache)

        flow = velocity(actions, context)
        ahead, behind = (velocity(actions + shift, many) for shift in (shifts, -shifts))
        # Row i: how the expected actions change with input i; so this is the transposed.
        slopes = (ahead - behind).view(size, size) / (2 * width)
        jacobian = torch.eye(size) + (1 - tau) * slopes
        expected = actions + (1 - tau) * flow
        error = ((guidance.target - expected) * guidance.weights).flatten()
        squared = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        strength = min(10.0, (1 - tau) / (tau * squared)) if tau else 10.0
        actions = actions + (flow + strength * (jacobian @ error).view_as(flow)) / STEPS
    return actions


def test_the_correction_is_that_of_the_paper(build, inputs, decided):
    network = build("float32")
    engine = Watched(network, side=64, jacobian=True)
    got = torch.from_numpy(run(engine, inputs, decided))
    guidance = make_guidance(decided, DELAY, got.shape, CPU)
    with torch.no_grad():
        want = by_differences(
            network, engine.context, engine.features, inputs["noise"][:1], guidance
        )
    torch.testing.assert_close(got, want, atol=2e-3, rtol=0.0)
    engine.jacobian = False
    identity = torch.from_numpy(run(engine, inputs, decided))
    assert (identity - want).abs().max() > 0.1


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_close_to_float32(build, inputs, decided, native):
    wide, narrow = (
        run(TorchEngine(network, side=64, jacobian=True), inputs, decided)
        for network in (build("float32"), build("bfloat16", native))
    )
    assert np.abs(narrow - wide).max() < 0.1


@pytest.mark.parametrize("solver", ["euler", "ab2"])
def test_what_was_computed_before_and_around_does_not_matter(build, inputs, decided, solver):
    """Tensors of inference mode, which take part in no gradient, are kept and are around."""
    fresh = TorchEngine(build("float32"), side=64, solver=solver, jacobian=True)
    want = run(fresh, inputs, decided)
    engine = TorchEngine(
        build("float32"), side=64, solver=solver, image_start=(325,), image_end=(320,)
    )
    free = run(engine, inputs, None)
    engine.jacobian = True
    assert np.array_equal(run(engine, inputs, None), free)
    special = run(engine, inputs, decided)
    engine.image_start = engine.image_end = ()
    with torch.inference_mode():
        assert np.array_equal(run(engine, inputs, decided), want)
    assert not np.array_equal(special, want)
    assert not torch.is_inference_mode_enabled()


def test_a_batch_is_guided_one_by_one(build, inputs, decided):
    engine = TorchEngine(build("float32"), side=64, jacobian=True)
    alone = run(engine, inputs, decided)
    twice = run(engine, inputs, np.concatenate((decided, decided - 2.0)), batch=2)
    assert np.abs(twice[0] - alone[0]).max() < 1e-4


def test_a_graph_of_fixed_shapes_refuses(build, inputs, decided):
    engine = StaticTorchEngine(build("float32"), side=64, jacobian=True)
    with pytest.raises(ValueError, match="set cuda_graph to false, or use 'guided'"):
        run(engine, inputs, decided)


@pytest.mark.parametrize(
    ("engine", "device", "dtype", "graph", "remedy"),
    [
        ("openvino", "cpu", "auto", False, "use engine 'torch', or 'guided'"),
        ("auto", "cpu", "int8", False, "use dtype 'auto', or 'guided'"),
        ("auto", "xpu", "auto", False, "use device 'cpu', or 'guided'"),
        ("torch", "cuda", "auto", True, "set cuda_graph to false, or use 'guided'"),
    ],
)
def test_engines_without_gradients_are_refused(engine, device, dtype, graph, remedy):
    with pytest.raises(ValueError, match=remedy):
        gradient_engine(engine, torch.device(device), dtype=dtype, cuda_graph=graph)


@pytest.mark.parametrize(
    ("engine", "device", "graph"),
    [("auto", "cpu", True), ("torch", "cpu", False), ("auto", "cuda", False)],
)
def test_pytorch_computes_them(engine, device, graph):
    chosen = gradient_engine(engine, torch.device(device), dtype="auto", cuda_graph=graph)
    assert chosen == "torch"
