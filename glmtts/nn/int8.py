"""Linear layers with 8-bit weights for decoding on a CPU, where reading the weights is the cost.

Weights are rounded to 8 bits, one scale a row. Activations keep 14: each row is written as
`peak / 63 * (high + low / 126)` with whole numbers in -63..63, and both parts go through the 8-bit
kernel in one call, which reads the weights once. Its products are sums of whole numbers and so
exact: a row's result does not depend, in any bit, on the rows beside it or the number of threads.
7 bits a part because kernels without VNNI add two products in 16 bits.
"""

import functools
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from glmtts.checkpoint import quantised
from glmtts.errors import BadInput

HALF = 63
"""Largest whole number of an activation part."""
ENGINES = ("x86", "fbgemm", "onednn")
"""Backends whose 7-bit products are exact."""


class Int8Linear(nn.Module):
    """A linear layer without bias whose weights are 8-bit. For inference only, not to be saved."""

    def __init__(self, weight: Tensor) -> None:
        """Pack a (out, in) weight."""
        super().__init__()
        self.packed = _pack(*quantised(weight.detach().cpu()))
        self.extremes, self.grid = _extremes(weight.shape[1]), _grid()

    @property
    def weight(self) -> Tensor:
        """(out, in) float32, the values that are computed with."""
        return torch.ops.quantized.linear_unpack(self.packed)[0].dequantize()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), float32."""
        rows = x.reshape(-1, x.shape[-1]).float()
        parts, step = _parts(rows, self.extremes, self.grid)
        out = torch.ops.quantized.linear_dynamic(parts, self.packed, True)
        return _joined(out, step, self.grid).view(x.shape[:-1] + out.shape[1:])

    def _save_to_state_dict(self, *_: Any, **__: Any) -> None:
        raise BadInput("An 8-bit packed model cannot be saved. Save the model before packing it.")


def _pack(weight: Tensor, scale: Tensor) -> Any:
    """The backend's own layout of (out, in) int8 rows and their scales."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that these tensors will move to torchao
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        make = torch._make_per_channel_quantized_tensor  # pyright: ignore[reportPrivateImportUsage]
        tensor = make(weight, scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(tensor, None)


def _parts(
    rows: Tensor, extremes: Tensor, grid: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """(n, in) float32 -> (2 n + 1, in) high and low parts and the extremes; (n, 1) scales."""
    half, finer, _ = grid
    step = rows.abs().amax(-1, keepdim=True).clamp_min_(1e-20).div_(half)
    exact = rows / step
    high = exact.round()  # here, or a peak of 63.00001 would move the grid
    low = exact.sub_(high).mul_(finer)
    return torch.cat([high, low, extremes]), step


def _joined(out: Tensor, step: Tensor, grid: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(2 n + 1, out) products of parts -> (n, out)."""
    count = step.shape[0]
    # Not in one operation: a fused product rounds differently at the end of a row.
    return out[count : 2 * count].mul_(grid[2]).add_(out[:count]).mul_(step)


@functools.lru_cache
def _grid() -> tuple[Tensor, Tensor, Tensor]:
    """`HALF`, how much finer the low part is, and back: tensors, for a number is made one anew."""
    with torch.inference_mode(False):
        return torch.tensor(1.0 * HALF), torch.tensor(2.0 * HALF), torch.tensor(0.5 / HALF)


@functools.lru_cache
def _extremes(width: int) -> Tensor:
    """A row (1, width) of the extremes by which the kernel chooses its 7-bit grid: steps of 1."""
    with torch.inference_mode(False):
        row = torch.zeros(1, width)
    row[0, 0], row[0, 1] = -HALF - 1, HALF
    return row


@functools.lru_cache
def exact_kernels() -> bool:
    """Whether this machine's 8-bit kernels compute as `Int8Linear` needs (x86 processors do)."""
    if torch.backends.quantized.engine not in ENGINES:
        return False
    weight = torch.arange(-127, 129, dtype=torch.float32).clamp(max=127).view(8, 32)
    rows = torch.arange(-63, 65, dtype=torch.float32).clamp(max=63).view(4, 32)
    peak = rows.abs().amax(-1, keepdim=True)
    parts, step = _parts(rows / peak, _extremes(32), _grid())
    packed = _pack(weight.to(torch.int8), torch.ones(8))
    out = torch.ops.quantized.linear_dynamic(parts, packed, True)
    return torch.allclose(_joined(out, step, _grid()) * peak, rows @ weight.T, rtol=1e-4)
