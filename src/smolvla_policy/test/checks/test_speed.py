# SPDX-License-Identifier: Apache-2.0
"""Latency and g: the threshold that is asked for is the one that the executor needs."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from smolvla_policy.backends import smolvla
from smolvla_policy.checks import speed
from smolvla_policy.checks.rows import Status
from smolvla_policy.checks.speed import Measured, check_latency, least_threshold

# The rig of the executor's own tests.
_spec = importlib.util.spec_from_file_location(
    "executor_rig", Path(__file__).parents[3] / "smolvla_executor/test/core/conftest.py"
)
rig_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig_module)
PERIOD = rig_module.PERIOD


def starved(threshold, delay, rows):
    """Run the executor; return how many cycles it held once it had begun."""
    rig = rig_module.Rig(chunk_size_threshold=threshold, alignment="tick", aggregate="latest")
    # A hair earlier than the cycle in which it is needed.
    rig.policy = lambda request: rig.post_chunk(
        delay * PERIOD - 1e-3, rig_module.chunk_for(request, rows)
    )
    rig.start()
    rig.run_until(rig_module.State.RUNNING)
    before = len(rig.outputs)
    rig.cycle(200)
    return sum(output.state != rig_module.State.RUNNING for output in rig.outputs[before:])


@pytest.mark.parametrize("rows", [10, 16])
@pytest.mark.parametrize("delay", [1, 2, 3, 5, 8])
def test_the_least_threshold_is_where_the_executor_ceases_to_wait(rows, delay):
    least = least_threshold(delay, rows)
    if least is None:
        assert 2 * delay > rows
        assert starved(1.0, delay, rows) > 0
        return
    assert starved(least, delay, rows) == 0
    if least >= 1.0 / rows:
        assert starved(least - 1.0 / rows, delay, rows) > 0


def rows_for(seconds, threshold=0.7, chunk=50, period=1 / 30, **changes):
    return check_latency(Measured(seconds, chunk, "cpu", "x"), period, threshold, **changes)


def test_what_the_executor_chooses_is_told():
    hidden = rows_for((0.3,) * 3, -1.0)[1]
    assert hidden.status is Status.OK
    assert "chunk_size_threshold is 0.3 (chosen), needed" in hidden.found
    row = rows_for((1.5,) * 3, -1.0)[1]
    assert row.status is Status.WARN
    assert "; 0.5 is chosen, with which it moves most" in row.found
    assert "smolvla train --state-offset 45" in row.advice
    assert "; 0 is chosen, with which" in rows_for((1.8,) * 3, -1.0)[1].found
    assert "; 0.5 is chosen, with" in rows_for((1.8,) * 3, -1.0, state_offset=30)[1].found


def test_a_threshold_that_hides_the_latency():
    latency, g = rows_for((0.30, 0.31, 0.95))
    assert latency.status is Status.OK
    # One outlier does not count, as in the executor.
    assert "0.310 s, worst of 3 0.950 s (cpu, x): 10 actions of 33 ms" in latency.found
    assert g.status is Status.OK
    assert "a chunk lasts 1.67 s (50 actions)" in g.found


def test_a_threshold_that_is_too_low():
    g = rows_for((0.70,) * 3, threshold=0.1)[1]
    assert g.status is Status.FIX
    assert g.found.startswith("chunk_size_threshold is 0.1, needed 0.4")
    assert "set chunk_size_threshold to 0.5" in g.advice


def test_chunks_that_are_too_short_whatever_the_threshold():
    g = rows_for((1.2,) * 3)[1]
    assert g.status is Status.WARN
    assert "move and wait by turns" in g.found
    # Fewer actions of a chunk are used, so it lasts shorter.
    assert rows_for((0.30,) * 3)[1].status is Status.OK
    assert rows_for((0.30,) * 3, actions_per_chunk=10)[1].status is Status.WARN


def test_a_chunk_that_begins_where_the_arm_will_be_reaches_farther():
    assert rows_for((1.2,) * 3, state_offset=30)[1].status is Status.OK
    assert "(80 actions)" in rows_for((1.2,) * 3, state_offset=30)[1].found


def test_synchronous_execution_is_told():
    g = rows_for((0.4,) * 3, threshold=0.0)[1]
    assert g.status is Status.WARN
    assert "stands still for 0.40 s after each chunk" in g.advice


def test_chunks_are_timed_on_the_golden_checkpoint(settings):
    ticks = iter(np.arange(100) * 0.25)
    images = {"top": np.zeros((48, 64, 3), np.uint8)}
    measured = speed.measure(settings, images, "", clock=lambda: next(ticks))
    assert measured.seconds == (0.25, 0.25, 0.25)
    assert (measured.chunk_size, measured.device[:3]) == (8, "cpu")


def test_the_chunks_that_are_timed_continue_one(settings, monkeypatch):
    seen = []

    def watched(settings):
        backend = smolvla.create(settings)
        infer = backend.infer

        def keep(observation, request):
            seen.append(len(request.committed))
            return infer(observation, request)

        monkeypatch.setattr(backend, "infer", keep)
        return backend

    monkeypatch.setattr(speed, "create", watched)
    measured = speed.measure(replace(settings, real_time_chunking="jacobian"), {}, "go", chunks=2)
    assert seen == [0, 8, 8]
    assert len(measured.seconds) == 2
    assert measured.device == "cpu"


def test_the_jacobian_takes_pytorch(settings, folder):
    weights = folder / "model.safetensors"
    asked = replace(settings, real_time_chunking="jacobian")
    assert "PyTorch" in speed.check_device(asked, weights)[0].found
    (row,) = speed.check_device(replace(asked, engine="openvino"), weights)
    assert row.status is Status.FIX
    assert "use engine 'torch'" in row.found


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_check_measures_the_engine_that_the_node_will_use(settings, engine):
    measured = speed.measure(replace(settings, engine=engine), {}, "go", chunks=1)
    assert ("openvino" in measured.device) == (engine == "openvino")


def test_without_openvino_the_check_says_what_is_lost(settings, folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
    )
    weights = folder / "model.safetensors"
    assert speed.check_device(settings, weights)[0].status == Status.WARN
    assert speed.check_device(replace(settings, engine="torch"), weights)[0].status == Status.OK
    asked = speed.check_device(replace(settings, engine="openvino"), weights)
    assert asked[0].status == Status.FIX


def test_the_device(settings, folder):
    weights = folder / "model.safetensors"
    device, memory = speed.check_device(replace(settings, device="cpu"), weights)
    assert (device.status, device.found.split(",")[0]) == (Status.OK, "cpu")
    assert memory.status is Status.OK
    (row,) = speed.check_device(replace(settings, device="cuda:77"), weights)
    assert row.status is Status.FIX
    (row,) = speed.check_device(replace(settings, device="abacus"), weights)
    assert "unknown" in row.found
    (row,) = speed.check_device(replace(settings, device="xpu", engine="torch"), weights)
    assert "openvino" in row.found


def test_an_intel_gpu_that_is_absent(settings, folder):
    openvino = pytest.importorskip("openvino")
    if "GPU" in openvino.Core().available_devices:
        pytest.skip("it is there")
    (row,) = speed.check_device(replace(settings, device="xpu"), folder / "model.safetensors")
    assert row.status is Status.FIX
    assert "driver" in row.found


def test_memory_that_is_too_little(settings, folder, tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   100 kB\n")
    assert speed.available_memory(meminfo) == 102_400
    assert math.isnan(speed.available_memory(tmp_path / "nothing"))
    monkeypatch.setattr(speed, "available_memory", lambda: 102_400.0)
    memory = speed.check_device(settings, folder / "model.safetensors")[1]
    assert memory.status is Status.FIX
    assert "bfloat16" in memory.advice
