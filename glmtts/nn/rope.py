"""Rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face's Llama."""

import torch
from torch import Tensor


def frequencies(head_dim: int, theta: float, device: torch.device | str | None = None) -> Tensor:
    """Radians a position of each pair: (head_dim / 2,) float32."""
    steps = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32)
    return theta ** (-steps / head_dim)


def rotary(
    positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position: (B, L) -> twice (B, 1, L, head_dim).

    Angles are float32 whatever `dtype` is. The second half of the last axis repeats the first;
    the sine's first half is negated, so that `rotate` is two products and a roll.
    """
    angles = positions.float()[:, None, :, None] * frequencies(head_dim, theta, positions.device)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim / 2) of (B, H, L, head_dim) by their positions' angles."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([second, first], -1) * sin
