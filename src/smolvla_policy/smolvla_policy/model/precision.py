# SPDX-License-Identifier: Apache-2.0
"""Number types: which part of the network holds and computes what.

LeRobot runs released checkpoints in a mix: the language model and the action expert in
bfloat16, the five small projections and the key and value projections of the cross-attention
layers in float32, and the image encoder in bfloat16 or float32, depending on
``load_vlm_weights``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

NAMES = ("auto", "float32", "bfloat16")


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
    """

    vision: torch.dtype
    text: torch.dtype
    expert: torch.dtype
    widen: bool = False

    @property
    def name(self) -> str:
        """Short text for people: what the values are."""
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
    """Turn a user's wish into number types.

    Args:
        dtype: ``float32``, ``bfloat16`` (the mix of released checkpoints), or ``auto``/None:
            what LeRobot would run for this checkpoint.
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
    wish = "auto" if dtype is None else str(dtype).replace("torch.", "")
    if wish not in NAMES:
        raise ValueError(f"dtype {dtype!r} is unknown; choose one of {', '.join(NAMES)}")
    if wish == "float32" or (wish == "auto" and vlm_dtype == "float32" and not load_vlm_weights):
        return Precision(torch.float32, torch.float32, torch.float32)
    if native_bfloat16 is None:
        native_bfloat16 = device.type != "cpu" or cpu_has_bfloat16()
    vision = torch.float32 if wish == "auto" and not load_vlm_weights else torch.bfloat16
    return Precision(vision, torch.bfloat16, torch.bfloat16, widen=not native_bfloat16)


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether this processor multiplies bfloat16 in hardware.

    Args:
        cpuinfo: the kernel's description of the processor.

    Returns:
        True for x86 with avx512_bf16 or amx_bf16 and for ARM with bf16; False where the file
        cannot be read.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        key, _, flags = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
    return False


def choose_device(device: str | torch.device) -> torch.device:
    """Turn ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto`` into a device that is there.

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
        raise ValueError(
            f"device {device!r} is unknown; choose cpu, cuda, cuda:0, mps or auto"
        ) from error
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
    elif chosen.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device {device!r} is not supported; choose cpu, cuda, mps or auto")
    return chosen
