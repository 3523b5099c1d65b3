# SPDX-License-Identifier: Apache-2.0
"""Golden data and the golden checkpoint's network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from smolvla_policy.checkpoint.config import read_config
from smolvla_policy.checkpoint.vlm import model_sizes, read_vlm_config
from smolvla_policy.checkpoint.weights import TensorFile, load_weights
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.sizes import choose_precision

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def golden():
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


@pytest.fixture(scope="session")
def inputs():
    return load_file(GOLDEN / "inputs.safetensors")


@pytest.fixture(scope="session")
def meta():
    return json.loads((GOLDEN / "meta.json").read_text())


@pytest.fixture(scope="session")
def build():
    """Return a function that loads the golden network in a precision."""

    def make(
        dtype: str, native_bfloat16: bool | None = None, device: torch.device = CPU
    ) -> SmolVLANetwork:
        folder = GOLDEN / "ckpt"
        config = read_config(folder)
        precision = choose_precision(
            dtype, device, load_vlm_weights=True, native_bfloat16=native_bfloat16
        )
        with TensorFile(folder / "model.safetensors") as file:
            sizes = model_sizes(config, read_vlm_config(config, folder, file), "golden")
            network = SmolVLANetwork(sizes, precision)
            load_weights(network, folder, file, device)
        return network

    return make
