# SPDX-License-Identifier: Apache-2.0
"""Building blocks shared by the image encoder, the text model and the action expert.

Linear maps on the CPU go through oneDNN, with the activation in the same pass: PyTorch sends
float32 products to MKL, which is slow for the 50 rows of an action chunk, and runs an activation
as a pass of its own, which costs more than the product itself where the result does not fit into
the cache. PyTorch's compiler uses an operator that avoids both; it is used here directly if this
build has it and it works, and `torch.nn.functional` otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
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
    direct = not (torch.is_grad_enabled() or torch.compiler.is_compiling())
    if x.device.type == "cpu" and x.dtype == torch.float32 and direct:
        operator = _onednn()
    if operator is not None:
        return operator(x, weight, bias, *(("gelu", [], "tanh") if gelu else ("none", [], "")))
    y = functional.linear(x, weight, bias)
    return functional.gelu(y, approximate="tanh") if gelu else y


ROPE_WAVELENGTH = 10_000.0
"""Longest wavelength of the rotary embedding.

LeRobot trains and runs with this value whatever ``rope_theta`` the VLM's configuration names.
"""


class Linear(nn.Module):
    """A linear map that takes care of mixed number types.

    The input is brought to the type of the weight, or, if `widen` is set, both are brought to
    float32 for this product only.

    Args:
        inputs: features in.
        outputs: features out.
        bias: whether a bias is added.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias = nn.Parameter(torch.empty(outputs, device="meta")) if bias else None
        self.widen = False

    def operands(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias in the type that they are used in."""
        if not self.widen:
            return self.weight, self.bias
        return self.weight.float(), None if self.bias is None else self.bias.float()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        weight, bias = self.operands()
        return linear(x.to(weight.dtype), weight, bias)


class RMSNorm(nn.Module):
    """Root-mean-square norm in float32, scaled in the type of the weight.

    Args:
        width: features.
        eps: added to the mean square.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, device="meta"))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last dimension."""
        if x.device.type == "cuda":  # the same in one kernel
            return self.weight * functional.rms_norm(x, x.shape[-1:], eps=self.eps)
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)


class LayerNorm(nn.Module):
    """Layer norm with a bias.

    Args:
        width: features.
        eps: added to the variance.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, device="meta"))
        self.bias = nn.Parameter(torch.empty(width, device="meta"))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last dimension; the result has the type of `x`."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return functional.layer_norm(x, weight.shape, weight, bias, self.eps)


class Rotary:
    """Sines and cosines of the rotary position embedding (RoFormer, half-split layout).

    Args:
        positions: (batch, tokens) integers.
        head_dim: width of one head.
    """

    def __init__(self, positions: Tensor, head_dim: int) -> None:
        half = head_dim // 2
        exponent = torch.arange(half, dtype=torch.float32, device=positions.device) * (
            2.0 / head_dim
        )
        angle = positions.float()[..., None] / ROPE_WAVELENGTH**exponent
        both = torch.cat((angle, angle), dim=-1)[:, None]
        self.cos, self.sin = both.cos(), both.sin()

    @staticmethod
    def of(cos: Tensor, sin: Tensor) -> Rotary:
        """Return the embedding of given tables, each (batch, 1, tokens, head_dim)."""
        made = object.__new__(Rotary)
        made.cos, made.sin = cos, sin
        return made

    def map(self, change: Callable[[Tensor], Tensor]) -> Rotary:
        """Return a copy with `change` applied to sines and cosines."""
        return Rotary.of(change(self.cos), change(self.sin))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate (batch, heads, tokens, head_dim) in float32; the type is kept."""
        wide = x.float()
        half = wide.shape[-1] // 2
        # Written as OpenVINO recognizes it.
        turned = torch.cat((-wide[..., half:], wide[..., :half]), dim=-1)
        return (wide * self.cos + turned * self.sin).to(x.dtype)


def additive_mask(allowed: Tensor, groups: int) -> Tensor:
    """Turn a Boolean mask into what `grouped_attention` adds to its scores.

    Forbidden entries get the lowest finite number, not minus infinity: a row without any
    permission (a padded token) then becomes uniform as in LeRobot instead of NaN.

    Args:
        allowed: (batch, queries, keys) True where a query may read a key.
        groups: query heads per key head.

    Returns:
        (batch, 1, groups * queries, keys) float32.
    """
    mask = torch.zeros(allowed.shape, dtype=torch.float32, device=allowed.device)
    mask.masked_fill_(~allowed, torch.finfo(torch.float32).min)
    return mask.repeat(1, groups, 1)[:, None]


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, fused: bool = False
) -> Tensor:
    """Plain attention, by the quickest way there is that rounds like LeRobot.

    Args:
        q: (batch, heads, queries, head_dim).
        k: (batch, heads, keys, head_dim).
        v: as `k`.
        mask: added to the scores, or None.
        fused: whether LeRobot leaves narrow numbers to PyTorch's fused operator here.

    Returns:
        (batch, heads, queries, head_dim).
    """
    # On a CPU the backward pass of PyTorch's fused operator takes longer than two products.
    plain = q.device.type == "cpu" and torch.is_grad_enabled()
    if (fused or v.dtype == torch.float32) and not plain:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # LeRobot's own attention of bfloat16: only the weights are narrow, scores and softmax are not.
    scores = q.float() @ k.float().transpose(2, 3) * q.shape[-1] ** -0.5
    scores = scores if mask is None else scores + mask
    return scores.softmax(-1).to(v.dtype) @ v


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention without repeating keys and values.

    The query heads that share a key head are laid behind each other as if they were more
    tokens, so that one plain attention per key head remains.

    Args:
        q: (batch, heads, queries, head_dim).
        k: (batch, kv_heads, keys, head_dim).
        v: as `k`.
        mask: from `additive_mask`, or None if everything may be read.

    Returns:
        (batch, queries, heads * head_dim).
    """
    folded = q.to(k.dtype).reshape(q.shape[0], k.shape[1], -1, q.shape[3])
    return attention(folded, k, v, mask).view(q.shape).transpose(1, 2).flatten(2)
