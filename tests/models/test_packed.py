"""Layers laid out for oneDNN give what the plain ones give, for any number of rows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from glmtts.nn.packed import linear, pack, rounded


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1,), (7,), (16,), (2, 150), (3, 5, 20), (257,), (600,)])
@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
def test_a_packed_layer_is_the_plain_one(shape: tuple[int, ...], gelu: str | None) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 40), torch.randn(*shape, 24)
    plain = layer(x) if gelu is None else F.gelu(layer(x), approximate=gelu)
    pack(layer)
    packed = linear(layer, x, gelu)
    assert packed.shape == plain.shape
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)
    turned = linear(layer, x.transpose(0, -2), gelu)  # not contiguous
    torch.testing.assert_close(turned, plain.transpose(0, -2), atol=1e-5, rtol=1e-5)


def test_lengths_share_the_code_that_is_made_for_them() -> None:
    assert all(rounded(rows) >= rows for rows in range(2_000))
    assert [rounded(rows) for rows in (0, 1, 16, 17, 256, 257, 600)] == [
        0, 16, 16, 32, 256, 320, 640,
    ]  # fmt: skip
    assert len({rounded(rows) for rows in range(1, 2_001)}) < 50
    assert all(rounded(rows) < 1.25 * rows for rows in range(80, 2_000))
