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
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
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
from smolvla_policy.model.sizes import ModelSizes, Precision, cpu_has_bfloat16

GRAPHS = ("image", "prefix", "step")
STAGES = 2 * len(GRAPHS)
"""Of a conversion: each graph is exported and compiled."""
IN_PYTORCH = ("text.embedding", "state_proj.", "action_time_mlp_in.")
"""Beginnings of the names of the weights that the graphs lack."""
HIDDEN = -3e4
"""Added to forbidden scores: finite in 16 bits, and beyond every score."""
INTEL_GPU = "GPU"  # OpenVINO's name of it
KEY, WEIGHTS = "key.json", "in_pytorch.safetensors"
VERSIONS = ("source", "openvino", "torch")
"""Parts of the key that a newer one makes worthless."""
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
        """Map (batch, chunk, action_dim), (1, chunk, width), tables, and mask (batch, 1, 1, n)."""
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
        torch.zeros(1, sizes.chunk, expert.hidden),
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
            [(1,), (2,), (2,), (2, 3)],
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
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch at itself
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


class NotQuantizedError(ValueError):
    """There are no int8 graphs of a checkpoint; the text says where they should be."""


@dataclass(frozen=True)
class GraphSource:
    """What a checkpoint's graphs are made from, and where they are kept.

    Attributes:
        name: of the checkpoint, for people.
        files: of its weights.
        sizes: of the network.
        side: of its images in pixels.
        precision: of weights and arithmetic.
        device: ``CPU`` or `INTEL_GPU`.
        load: returns the network with its weights, of a precision.
    """

    name: str
    files: Sequence[Path]
    sizes: ModelSizes
    side: int
    precision: Precision
    device: str
    load: Callable[[Precision], SmolVLANetwork]

    @cached_property
    def key(self) -> dict[str, object]:
        """All that the graphs depend on."""
        return {
            "weights": fingerprint(self.files),
            "sizes": repr(self.sizes),
            "side": self.side,
            "precision": repr(self.precision),
            "source": fingerprint_of_source(),
            "openvino": import_openvino().get_version(),
            "torch": torch.__version__,
            "processor": core().get_property(self.device, "FULL_DEVICE_NAME"),
            "instructions": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        }

    @property
    def folder(self) -> Path:
        """Where the graphs are kept."""
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        return cache_folder() / digest[:24]

    def options(self, graph: str) -> dict[str, object]:
        """Return OpenVINO's options of a graph."""
        precision = self.precision
        parts = {"image": precision.vision, "prefix": precision.text, "step": precision.expert}
        narrow = parts[graph] == torch.bfloat16 and not precision.widen
        if self.device == INTEL_GPU:  # which has no bfloat16
            hint = "f16" if narrow or precision.int8 else "f32"
            return {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if precision.int8:
            narrow = cpu_has_bfloat16()
        return {
            "INFERENCE_PRECISION_HINT": "bf16" if narrow else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # threads that are pinned wait for a busy core
        }

    def read(self) -> Graphs:
        """Return the graphs from the cache.

        Raises:
            FileNotFoundError: there are none.
            Exception: they are damaged, or were made from something else; OpenVINO raises
                RuntimeError for whatever a file does.
        """
        folder = self.folder
        if json.loads((folder / KEY).read_text(encoding="utf-8")) != self.key:
            raise ValueError("made from something else")
        graphs = Graphs(self, {}, load_file(folder / WEIGHTS))
        for name in GRAPHS:
            with (folder / f"{name}.blob").open("rb") as file:
                blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            graphs.blobs[name] = blob
            tensor = import_openvino().Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
            graphs.compiled[name] = core().import_model(tensor, self.device, self.options(name))
            graphs.release(name)
        return graphs

    def make(
        self, done: Callable[[], object], change: Callable[[str, Any], Any] | None = None
    ) -> Graphs:
        """Convert the network.

        Args:
            done: called `STAGES` times.
            change: graph and its `openvino.Model` -> the model that is compiled.
        """
        network = self.load(ExportedPrecision.of(self.precision))
        models = export(network, self.side, done)
        compiled = {}
        for name in GRAPHS:
            model = models.pop(name)
            if change is not None:
                model = change(name, model)
            compiled[name] = core().compile_model(model, self.device, self.options(name))
            done()
        weights = {
            name: parameter.detach()
            for name, parameter in network.named_parameters()
            if name.startswith(IN_PYTORCH)
        }
        return Graphs(self, compiled, weights, network=network)

    def write(self, graphs: Graphs) -> None:
        """Write the cache, which appears under its name only when it is complete.

        Raises:
            OSError: it cannot be written.
        """
        folder = self.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
        try:
            (partial / KEY).write_text(json.dumps(self.key, indent=1), encoding="utf-8")
            weights = {name: tensor.contiguous() for name, tensor in graphs.weights.items()}
            save_file(weights, partial / WEIGHTS)
            for name, model in graphs.compiled.items():
                (partial / f"{name}.blob").write_bytes(model.export_model().getbuffer())
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            self._remove_older()
        except SafetensorError as error:
            raise OSError(str(error)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _remove_older(self) -> None:
        """Remove graphs of the same that other versions of the software made."""
        ours = {name: fact for name, fact in self.key.items() if name not in VERSIONS}
        for path in self.folder.parent.glob(f"*/{KEY}"):
            try:
                key = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if key != self.key and ours.items() <= key.items():
                shutil.rmtree(path.parent, ignore_errors=True)


@dataclass(frozen=True)
class Graphs:
    """Compiled graphs and the weights beside them.

    Attributes:
        source: that they were made from.
        compiled: graph -> `openvino.CompiledModel`.
        weights: parameter of the network -> tensor, of those in `IN_PYTORCH`.
        blobs: graph -> its file in the cache, which it reads; empty where that was not written.
        network: whose weights the graphs read; None where they came from the cache.
        seconds: that the conversion took; 0 where it came from the cache.
    """

    source: GraphSource
    compiled: dict[str, Any]
    weights: Mapping[str, Tensor]
    blobs: dict[str, mmap.mmap] = field(default_factory=dict)
    network: SmolVLANetwork | None = None
    seconds: float = 0.0

    def release(self, graph: str) -> None:
        """Free the memory of a graph's file; what it needs again is read again."""
        blob = self.blobs.get(graph)
        if blob is not None and hasattr(blob, "madvise"):
            blob.madvise(mmap.MADV_DONTNEED)


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


def load_graphs(source: GraphSource) -> Graphs:
    """Return the compiled graphs of a checkpoint, from the cache where they are there.

    What keeps the cache from being used or written is logged.

    Raises:
        NotQuantizedError: they are to be in int8 and are not in the cache.
    """
    try:
        return source.read()
    except FileNotFoundError as error:
        problem = f"{source.folder} lacks {Path(error.filename).name}"
    except Exception as error:
        problem = f"{source.folder}: {str(error).splitlines()[0]}"
        if not source.precision.int8:
            logger.warning("%s; the graphs are made again", problem)
    if source.precision.int8:
        raise NotQuantizedError(f"there are no int8 graphs of it ({problem})")
    started = time.perf_counter()
    with tqdm(total=STAGES, desc=f"graphs of {source.name} for OpenVINO, once", unit="") as bar:
        graphs = source.make(bar.update)
    try:
        source.write(graphs)
        graphs = source.read()
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the next start converts again", source.folder, error
        )
    return replace(graphs, seconds=time.perf_counter() - started)


@cache
def core() -> Any:
    """Return OpenVINO's core, which finds devices and compiles graphs."""
    return import_openvino().Core()


def fingerprint_of_source() -> str:
    """Tell versions of the network's definition apart."""
    made = hashlib.sha256()
    for name in ("decoder", "layers", "network", "openvino_graphs", "vision"):
        made.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return made.hexdigest()
