"""Attention over an utterance, computed in the way that this processor is quickest at."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention: (B, H, F, D), keys and values (B, H, K, D) -> (B, H, F, D).

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        bias: (B or 1, 1, F, K), added to the scores.
    """
    bias = None if bias is None else bias.to(q.dtype)
    if torch.is_grad_enabled() and q.device.type == "cpu":
        # By hand: the backward of the fused kernel costs more than these below 500 frames.
        return _weights(q * q.shape[-1] ** -0.5, k, bias) @ v
    if q.device.type == "cpu" and q.dtype is torch.bfloat16 and not _tiles():
        return _head_by_head(q * q.shape[-1] ** -0.5, k, v, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-1, -2)
    return (scores if bias is None else scores + bias).softmax(-1).to(q.dtype)


def _head_by_head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """As `attend`, the scores of one head at a time, which stay in the processor's cache.

    The fused kernel multiplies bfloat16 at the speed of float32 where it has AVX-512 but no AMX:
    two rows, 12 heads, 800 frames take 45 ms on a Zen 5 core, and 18 this way. As the scores are
    bfloat16 here, the result is off by 0.4 % (root mean square) instead of 0.2 %.
    """
    out = torch.empty_like(q)
    for row in range(len(q)):
        added = None if bias is None else bias[row if len(bias) > 1 else 0, 0]
        for head in range(q.shape[1]):
            torch.mm(_weights(q[row, head], k[row, head], added), v[row, head], out=out[row, head])
    return out


def _tiles() -> bool:
    """Whether the processor has AMX, for which the fused kernel is written."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return supported is not None and supported()
