# SPDX-License-Identifier: Apache-2.0
"""Sizes of every part of the network, and which part holds and computes what in which type.

LeRobot runs released checkpoints in a mix: the language model and the action expert in
bfloat16, the five small projections and the key and value projections of the cross-attention
layers in float32, and the image encoder in bfloat16 or float32, depending on
``load_vlm_weights``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

EXPERT_MLP_MULTIPLE = 256


@dataclass(frozen=True)
class VisionSizes:
    """Image encoder (SigLIP) and the pixel shuffle behind it.

    Attributes:
        hidden: width of a patch token.
        layers: transformer blocks.
        heads: attention heads.
        mlp: width inside the feed-forward part.
        image: side in pixels of the image that the position embedding was learned for.
        patch: side of a patch in pixels.
        channels: color channels.
        norm_eps: epsilon of the layer norms.
        shuffle: side of the square of patches that pixel shuffle merges into one token.
    """

    hidden: int
    layers: int
    heads: int
    mlp: int
    image: int
    patch: int
    channels: int
    norm_eps: float
    shuffle: int

    @property
    def grid(self) -> int:
        """Patches along one side of the learned position embedding."""
        return self.image // self.patch


@dataclass(frozen=True)
class DecoderSizes:
    """A stack of Llama blocks: the text model or the action expert.

    Attributes:
        hidden: width of a token.
        layers: blocks.
        heads: query heads.
        kv_heads: key and value heads (grouped-query attention).
        head_dim: width of one head.
        mlp: width inside the SwiGLU part.
        norm_eps: epsilon of the RMS norms.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    norm_eps: float


@dataclass(frozen=True)
class ModelSizes:
    """Everything that decides the shape of the network and of its inputs.

    Attributes:
        vision: image encoder.
        text: the text layers that are kept (LeRobot's ``num_vlm_layers``).
        expert: action expert.
        vocabulary: rows of the token embedding.
        state_dim: width that the state is padded to.
        action_dim: width that actions are padded to.
        chunk: actions in a chunk.
        steps: Euler steps of the sampler.
        min_period: shortest period of the time embedding.
        max_period: longest period of the time embedding.
        cross_attention: whether layers alternate between self- and cross-attention.
        self_attention_every: in cross mode every n-th layer attends to the action tokens too;
            0 or less means that none does.
    """

    vision: VisionSizes
    text: DecoderSizes
    expert: DecoderSizes
    vocabulary: int
    state_dim: int
    action_dim: int
    chunk: int
    steps: int
    min_period: float
    max_period: float
    cross_attention: bool
    self_attention_every: int

    def __post_init__(self) -> None:
        """Check what would otherwise fail deep inside the network.

        Raises:
            ValueError: the sizes contradict each other.
        """
        if self.text.layers % self.expert.layers:
            raise ValueError(
                f"{self.text.layers} text layers are no multiple of "
                f"{self.expert.layers} expert layers"
            )
        if (self.text.head_dim, self.text.kv_heads, self.text.heads) != (
            self.expert.head_dim,
            self.expert.kv_heads,
            self.expert.heads,
        ):
            raise ValueError("text model and action expert must share heads and head width")
        if self.text.heads % self.text.kv_heads:
            raise ValueError(
                f"{self.text.heads} query heads do not divide among {self.text.kv_heads} KV heads"
            )
        if self.vision.hidden % self.vision.heads:
            raise ValueError(
                f"vision width {self.vision.hidden} is no multiple of {self.vision.heads} heads"
            )
        if self.expert.hidden % 2:
            raise ValueError(f"expert width {self.expert.hidden} must be even (time embedding)")
        if self.vision.image % self.vision.patch:
            raise ValueError(
                f"image side {self.vision.image} is no multiple of patch {self.vision.patch}"
            )
        for index in range(self.text.layers):
            expert = self.expert_layer(index)
            cross = self.is_cross(index)
            if (expert is None and not cross) or (
                expert is not None and self.is_cross(expert) != cross
            ):
                raise ValueError(
                    f"{self.expert.layers} expert layers beside {self.text.layers} text layers "
                    f"do not fit the attention pattern (every {self.self_attention_every} layers "
                    "self-attention); LeRobot cannot run this configuration either"
                )

    @property
    def image_tokens(self) -> int:
        """Tokens that an image of the learned size becomes."""
        return (self.vision.grid // self.vision.shuffle) ** 2

    def is_cross(self, index: int) -> bool:
        """Whether layer `index` reads the prefix by cross-attention."""
        if not self.cross_attention:
            return False
        return self.self_attention_every <= 0 or index % self.self_attention_every != 0

    def expert_layer(self, index: int) -> int | None:
        """Index of the expert layer that goes with text layer `index`, if any."""
        stride = self.text.layers // self.expert.layers
        return index // stride if index % stride == 0 else None


def expert_sizes(text: DecoderSizes, width_multiplier: float, layers: int) -> DecoderSizes:
    """Derive the action expert from the text model as LeRobot does.

    The feed-forward width is two thirds of four times the width, rounded up to a multiple of
    256.

    Args:
        text: sizes of the text model.
        width_multiplier: ``expert_width_multiplier`` of the checkpoint.
        layers: ``num_expert_layers``; 0 or less means as many as the text model.

    Returns:
        Sizes of the expert; heads are those of the text model.
    """
    hidden = int(text.hidden * width_multiplier)
    mlp = 4 * int(2 * hidden / 3)
    mlp = EXPERT_MLP_MULTIPLE * -(-mlp // EXPERT_MLP_MULTIPLE)
    return DecoderSizes(
        hidden=hidden,
        layers=layers if layers > 0 else text.layers,
        heads=text.heads,
        kv_heads=text.kv_heads,
        head_dim=text.head_dim,
        mlp=mlp,
        norm_eps=text.norm_eps,
    )


NAMES = ("auto", "float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Precision:
    """Number types of the parts of the network.

    Attributes:
        vision: values of image encoder and connector.
        text: values of the text model.
        expert: values of the action expert without its cross-attention projections.
        widen: compute in float32 whatever the values are held in. On a processor without
            bfloat16 instructions this is both several times faster and more exact than
            emulated bfloat16 products: bfloat16 weights are widened where they are used, and
            nothing but the weights is rounded.
        int8: multiply in int8 what was quantized, and the rest in bfloat16 where the processor
            does, whatever the values are held in.
    """

    vision: torch.dtype
    text: torch.dtype
    expert: torch.dtype
    widen: bool = False
    int8: bool = False

    @property
    def name(self) -> str:
        """Short text for people: what the values are."""
        if self.int8:
            return "int8"
        if self.text == torch.float32:
            return "float32"
        return "bfloat16" if self.vision == torch.bfloat16 else "bfloat16, vision float32"

    @property
    def expert_storage(self) -> torch.dtype:
        """Type that expert weights are held in.

        The expert runs once a step: widening it each time would cost more than it saves.
        """
        return torch.float32 if self.widen else self.expert


def choose_precision(
    dtype: str | torch.dtype | None,
    device: torch.device,
    *,
    load_vlm_weights: bool,
    vlm_dtype: str = "bfloat16",
    native_bfloat16: bool | None = None,
) -> Precision:
    """Turn the requested dtype into number types.

    Args:
        dtype: ``float32``, ``bfloat16`` (the mix of released checkpoints), ``int8``, or
            ``auto``/None: what LeRobot would run for this checkpoint.
        device: where the network will compute.
        load_vlm_weights: the checkpoint's field; LeRobot holds the image encoder in bfloat16
            if it is set and in float32 otherwise.
        vlm_dtype: type of text model and expert that the VLM's configuration names.
        native_bfloat16: whether `device` multiplies bfloat16 in hardware; found out if None.

    Returns:
        The number types.

    Raises:
        ValueError: `dtype` is not one of the names.
    """
    requested = "auto" if dtype is None else str(dtype).replace("torch.", "")
    if requested not in NAMES:
        raise ValueError(f"dtype {dtype!r} is unknown; choose one of {', '.join(NAMES)}")
    if requested == "int8":
        # Quantized are the values that the checkpoint has without it.
        values = choose_precision(
            "auto",
            device,
            load_vlm_weights=load_vlm_weights,
            vlm_dtype=vlm_dtype,
            native_bfloat16=native_bfloat16,
        )
        return replace(values, int8=True)
    if requested == "float32" or (
        requested == "auto" and vlm_dtype == "float32" and not load_vlm_weights
    ):
        return Precision(torch.float32, torch.float32, torch.float32)
    if native_bfloat16 is None:
        native_bfloat16 = device.type != "cpu" or cpu_has_bfloat16()
    vision = torch.float32 if requested == "auto" and not load_vlm_weights else torch.bfloat16
    return Precision(vision, torch.bfloat16, torch.bfloat16, widen=not native_bfloat16)


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether this processor multiplies bfloat16 in hardware.

    Args:
        cpuinfo: the kernel's description of the processor.

    Returns:
        True for x86 with avx512_bf16 or amx_bf16 and for ARM with bf16; False where the file
        cannot be read, or oneDNN is limited to an older processor.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if limit.startswith(("SSE", "AVX")) and not {"AMX", "BF16"} & set(limit.split("_")):
        return False
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        key, _, flags = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
    return False


DEVICES = "cpu, cuda, cuda:0, mps, xpu or auto"


def choose_device(device: str | torch.device) -> torch.device:
    """Turn ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu`` or ``auto`` into a device.

    What ``auto`` takes, and all but ``xpu`` (see `choose_engine`), is there.

    Raises:
        ValueError: the device is unknown or absent.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is unknown; choose {DEVICES}") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ValueError(
                f"device {device!r} is absent: PyTorch {torch.__version__} sees no CUDA GPU. "
                "Install a CUDA build of PyTorch and the driver, or use device 'cpu'"
            )
        if (chosen.index or 0) >= count:
            raise ValueError(f"device {device!r} is absent: there are {count} CUDA GPUs")
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {device!r} is absent on this machine; use device 'cpu'")
    elif chosen.type not in ("cpu", "cuda", "mps", "xpu"):
        raise ValueError(f"device {device!r} is not supported; choose {DEVICES}")
    return chosen
