# SPDX-License-Identifier: Apache-2.0
"""The network as OpenVINO graphs: exported from it, compiled, and cached on disk.

Three graphs: ``image`` encodes one image, ``prefix`` turns a prefix of any length into the keys
and values that the expert reads, ``step`` predicts one velocity. The token embedding, the
projection of the state and the time features stay in PyTorch: they are looked up, not computed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from smolvla_policy.model.layers import Rotary
from smolvla_policy.model.network import ExpertCache, SmolVLANetwork
from smolvla_policy.model.sizes import ModelSizes, Precision

GRAPHS = ("image", "prefix", "step")
IN_PYTORCH = ("text.embedding", "state_proj.", "action_time_mlp_in.")
"""Beginnings of the names of the weights that the graphs lack."""
HIDDEN = -1e30
"""Added to forbidden scores: finite in bfloat16, too, and beyond every score."""
WEIGHTS = "in_pytorch.safetensors"
FINGERPRINT_BYTES = 2**20
LENGTH = 9  # any but 1
"""Of the prefix that the graphs are exported with; they take any."""

logger = logging.getLogger(__name__)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    # Otherwise its import alone reports to a server of its maker; it does without the module.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class _Graph(nn.Module):
    """A part of the network with the weights of that part alone."""

    def __init__(self, network: SmolVLANetwork, parts: Sequence[str]) -> None:
        super().__init__()
        self.network = copy.copy(network)
        self.network._modules = {name: network._modules[name] for name in parts}


class ImageGraph(_Graph):
    """(1, channels, side, side) pixels to image tokens, see `SmolVLANetwork.encode_images`."""

    def __init__(self, network: SmolVLANetwork) -> None:
        super().__init__(network, ("vision", "connector"))

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        return self.network.encode_images(pixels)


class PrefixGraph(_Graph):
    """Prefix embeddings to the keys and values of every layer of the expert, in turns."""

    def __init__(self, network: SmolVLANetwork) -> None:
        super().__init__(network, ("text", "expert"))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, hidden: Tensor) -> list[Tensor]:
        """Map (batch, tokens, width), rotary tables and (batch, 1, tokens, tokens) mask."""
        text = self.network.sizes.text
        mask = hidden.repeat(1, 1, text.heads // text.kv_heads, 1)
        keys_values, _ = self.network.run_text(x, Rotary.of(cos, sin), mask)
        return [part for pair in self.network.expert_layers(keys_values) for part in pair]


class StepGraph(_Graph):
    """Noisy actions, time and the prefix graph's result to the velocity."""

    def __init__(self, network: SmolVLANetwork) -> None:
        expert = ("action_in_proj", "action_time_mlp_in", "action_time_mlp_out", "action_out_proj")
        super().__init__(network, ("expert", *expert))
        chunk = network.sizes.chunk
        self.later: Tensor
        self.register_buffer("later", torch.full((chunk, chunk), HIDDEN).triu(1))

    def forward(
        self,
        actions: Tensor,
        features: Tensor,
        cos: Tensor,
        sin: Tensor,
        hidden: Tensor,
        *layers: Tensor,
    ) -> Tensor:
        """Map (batch, chunk, action_dim), (1, width), tables, (batch, 1, 1, tokens) mask."""
        sizes = self.network.sizes
        chunk = actions.shape[1]
        own = self.later[None, None]
        mask = torch.cat((hidden.expand(-1, -1, chunk, -1), own), dim=3)
        cache = ExpertCache(
            layers=list(zip(layers[::2], layers[1::2], strict=True)),
            self_rotary=Rotary.of(cos, sin),
            cross_rotary=Rotary(torch.arange(chunk)[None], sizes.expert.head_dim),
            self_mask=mask.repeat(1, 1, sizes.expert.heads // sizes.expert.kv_heads, 1),
            cross_mask=hidden,
        )
        return self.network.velocity(actions, features, cache)


class ExportedPrecision(Precision):
    """Float32 arithmetic on weights that are held as narrow as their values are."""

    @property
    def expert_storage(self) -> torch.dtype:  # noqa: D102
        return self.expert

    @classmethod
    def of(cls, precision: Precision) -> ExportedPrecision:
        """Return that of a network of this precision."""
        return cls(precision.vision, precision.text, precision.expert, widen=True)


def export(
    network: SmolVLANetwork, side: int, done: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Export the network's graphs, for one sample and any length of its prefix.

    Args:
        network: with weights, of an `ExportedPrecision`.
        side: of its images in pixels.
        done: called behind each graph.

    Returns:
        Graph -> `openvino.Model`, without a precision of its arithmetic.
    """
    openvino = import_openvino()
    sizes = network.sizes
    text, expert, vision = sizes.text, sizes.expert, sizes.vision

    def rotary(tokens: int, head_dim: int) -> tuple[Tensor, Tensor]:
        made = Rotary(torch.zeros(1, tokens, dtype=torch.long), head_dim)
        return made.cos, made.sin

    square = torch.zeros(1, vision.channels, side, side)
    prefix = (torch.zeros(1, LENGTH, text.hidden), *rotary(LENGTH, text.head_dim))
    suffix = (
        torch.zeros(1, sizes.chunk, sizes.action_dim),
        torch.zeros(1, expert.hidden),
        *rotary(sizes.chunk, expert.head_dim),
    )
    # Separate tensors: the export would take one for an alias of the other.
    kept = [
        torch.zeros(1, expert.kv_heads, LENGTH, expert.head_dim) for _ in range(2 * expert.layers)
    ]
    # Graph, inputs, and the axes of each that have the prefix's length.
    graphs: dict[str, tuple[nn.Module, tuple[Tensor, ...], list[tuple[int, ...]]]] = {
        "image": (ImageGraph(network), (square,), [()]),
        "prefix": (
            PrefixGraph(network),
            (*prefix, torch.zeros(1, 1, LENGTH, LENGTH)),
            [(1,), (1,), (1,), (2, 3)],
        ),
        "step": (
            StepGraph(network),
            (*suffix, torch.zeros(1, 1, 1, LENGTH), *kept),
            [(), (), (), (), (3,), *[(2,)] * len(kept)],
        ),
    }
    models = {}
    for name, (graph, inputs, axes) in graphs.items():
        free = [dict.fromkeys(one, torch.export.Dim.DYNAMIC) for one in axes]
        named = len(free) - len(kept) if name == "step" else len(free)
        shapes = (*free[:named], *([tuple(free[named:])] if name == "step" else []))
        with torch.no_grad():
            exported = torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes)
        models[name] = model = openvino.convert_model(exported)
        places = enumerate(zip(inputs, axes, strict=True))
        model.reshape(
            {
                place: [-1 if axis in one else n for axis, n in enumerate(x.shape)]
                for place, (x, one) in places
            }
        )
        done()
    return models


@dataclass(frozen=True)
class Graphs:
    """Compiled graphs and the weights beside them.

    Attributes:
        compiled: graph -> `openvino.CompiledModel`.
        weights: parameter of the network -> tensor, of those in `IN_PYTORCH`.
        owner: of the memory that the graphs read.
        precision: of the arithmetic, for people.
        seconds: that the conversion took; 0 where it came from the cache.
    """

    compiled: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    owner: object
    precision: str
    seconds: float = 0.0


def cache_folder() -> Path:
    """Return where graphs are kept: beside the hub's cache of models."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(home) / "huggingface") / "smolvla_openvino"


def fingerprint(files: Sequence[Path]) -> str:
    """Tell files of weights apart without reading all of them: by size, time, and both ends."""
    made = hashlib.sha256()
    for path in files:
        facts = path.stat()
        made.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        with path.open("rb") as file:
            made.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, facts.st_size - FINGERPRINT_BYTES))
            made.update(file.read(FINGERPRINT_BYTES))
    return made.hexdigest()


def load_graphs(
    files: Sequence[Path],
    sizes: ModelSizes,
    side: int,
    precision: Precision,
    load: Callable[[Precision], SmolVLANetwork],
) -> Graphs:
    """Return the compiled graphs of a checkpoint, from the cache where they are there.

    Args:
        files: of the checkpoint's weights.
        sizes: of the network.
        side: of its images in pixels.
        precision: of weights and arithmetic.
        load: returns the network with its weights, of a precision; called where the cache cannot
            be used.

    Returns:
        The graphs. What keeps the cache from being used or written is logged.
    """
    core = import_openvino().Core()
    narrow = {"image": precision.vision, "prefix": precision.text, "step": precision.expert}
    configurations = {
        name: {
            "INFERENCE_PRECISION_HINT": "bf16"
            if dtype == torch.bfloat16 and not precision.widen
            else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # threads that are pinned wait for a busy core
        }
        for name, dtype in narrow.items()
    }
    key = {
        "weights": fingerprint(files),
        "sizes": repr(sizes),
        "side": side,
        "precision": repr(precision),
        "source": fingerprint_of_source(),
        "openvino": import_openvino().get_version(),
        "torch": torch.__version__,
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "instructions": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / digest[:24]
    try:
        return Graphs(*_read(core, folder, configurations), precision.name)
    except FileNotFoundError:
        pass
    except Exception as error:  # OpenVINO raises RuntimeError for whatever a damaged file does
        logger.warning("%s: %s; the graphs are made again", folder, str(error).splitlines()[0])
    started = time.perf_counter()
    name = files[0].parent.name
    with tqdm(total=3 * len(GRAPHS), desc=f"graphs of {name} for OpenVINO, once", unit="") as bar:
        network = load(ExportedPrecision.of(precision))
        models = export(network, side, lambda: bar.update(2))
        compiled = {}
        for name in GRAPHS:
            compiled[name] = core.compile_model(models.pop(name), "CPU", configurations[name])
            bar.update()
    weights = {
        name: parameter.detach()
        for name, parameter in network.named_parameters()
        if name.startswith(IN_PYTORCH)
    }
    written = _write(folder, key, compiled, weights)
    seconds = time.perf_counter() - started
    if written:
        return Graphs(*_read(core, folder, configurations), precision.name, seconds)
    return Graphs(compiled, weights, network, precision.name, seconds)


def fingerprint_of_source() -> str:
    """Tell versions of the network's definition apart."""
    made = hashlib.sha256()
    for name in ("decoder", "layers", "network", "openvino_graphs", "vision"):
        made.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return made.hexdigest()


def _read(core: Any, folder: Path, configurations: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the compiled graphs, the weights beside them, and the memory that graphs read."""
    compiled, blobs = {}, []
    for name in GRAPHS:
        with (folder / f"{name}.blob").open("rb") as file:
            blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        blobs.append(blob)
        tensor = import_openvino().Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        compiled[name] = core.import_model(tensor, "CPU", configurations[name])
        # What was copied is not needed twice; what was not is read again when it is needed.
        if hasattr(blob, "madvise"):
            blob.madvise(mmap.MADV_DONTNEED)
    return compiled, load_file(folder / WEIGHTS), blobs


def _write(folder: Path, key: object, compiled: Mapping[str, Any], weights: Any) -> bool:
    """Write the cache, which appears under its name only when it is complete; tell whether."""
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
        (partial / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()}, partial / WEIGHTS
        )
        for name, model in compiled.items():
            (partial / f"{name}.blob").write_bytes(model.export_model().getbuffer())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        logger.warning("%s cannot be written (%s): the next start converts again", folder, error)
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        return False
    return True
