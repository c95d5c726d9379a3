"""Attention gives the same result whichever way it is computed."""

import pytest
import torch
from torch import Tensor

from glmtts.nn import attention
from glmtts.nn.attention import attend
from glmtts.nn.masks import attention_bias, block_ends


def inputs(frames: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, frames, 3, 16, generator=draw).transpose(1, 2) for _ in range(3))


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_gives_what_float32_gives(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, masked: bool
) -> None:
    monkeypatch.setattr(attention, "_tiles", lambda: tiles)
    q, k, v = inputs(70)
    bias = attention_bias(block_ends([16], 70)[None], 70) if masked else None
    with torch.inference_mode():
        exact = attend(q, k, v, bias)
        found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), bias)
    assert found.dtype is torch.bfloat16
    error = (found.float() - exact).square().mean().sqrt() / exact.std()
    assert error < 0.01


@pytest.mark.parametrize("masked", [False, True])
def test_training_sees_the_same_attention(masked: bool) -> None:
    q, k, v = inputs(40)
    bias = attention_bias(block_ends([8], 40)[None], 40) if masked else None
    with torch.inference_mode():
        exact = attend(q, k, v, bias)
    torch.testing.assert_close(attend(q, k, v, bias), exact, rtol=1e-5, atol=1e-6)
