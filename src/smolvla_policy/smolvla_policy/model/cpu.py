# SPDX-License-Identifier: Apache-2.0
"""Linear maps on the CPU through oneDNN, with the activation in the same pass.

PyTorch sends float32 products to MKL, which is slow for the 50 rows of an action chunk, and
runs an activation as a pass of its own, which costs more than the product itself where the
result does not fit into the cache. PyTorch's compiler uses an operator that avoids both; it is
used here directly if this build has it and it works, and `torch.nn.functional` otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_Operator = Callable[[Tensor, Tensor, "Tensor | None", str, "list[float]", str], Tensor]


@functools.cache
def _onednn() -> _Operator | None:
    """Return PyTorch's fused operator after a small trial, or None."""
    try:
        operator: _Operator = torch.ops.mkldnn._linear_pointwise
        x = torch.linspace(-2.0, 2.0, 12, dtype=torch.float32, device="cpu").view(3, 4)
        got = operator(x, x, None, "gelu", [], "tanh")
        want = functional.gelu(functional.linear(x, x), approximate="tanh")
        return operator if torch.allclose(got, want, atol=1e-5) else None
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Compute ``x @ weight.T + bias``, optionally with a tanh-approximated GELU behind it.

    Args:
        x: (..., inputs).
        weight: (outputs, inputs) of the type of `x`.
        bias: (outputs,) or None.
        gelu: whether the activation follows.

    Returns:
        (..., outputs).
    """
    operator = None
    # bfloat16 goes through oneDNN anyway, and fusing would round differently from LeRobot.
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled():
        operator = _onednn()
    if operator is not None:
        return operator(x, weight, bias, *(("gelu", [], "tanh") if gelu else ("none", [], "")))
    y = functional.linear(x, weight, bias)
    return functional.gelu(y, approximate="tanh") if gelu else y
