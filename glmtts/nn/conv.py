"""Convolutions over time on (B, T, C), quick on a CPU.

One core multiplies matrices about as fast as it convolves, so the way to a quicker wide convolution
is to multiply less. `BlockTransform` cuts time into blocks of 24 samples and takes their Fourier
transform, where a kernel of 11 taps costs 2.5 products an output instead of 11. Both transforms are
matrix products as well (at this size no slower than an FFT, and nothing has to be rearranged); a
complex product is made of three real ones (Gauss). In float32 the result differs from a plain
convolution by about 1e-6 of its size.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 24
"""Samples of a block, of which BLOCK + 1 - taps come out."""
TAPS = range(7, 14)
"""Kernels that gain: shorter ones need few products anyway, longer ones waste most of a block."""
ONCE = 64
PRODUCTS = 440
"""Products an output (channels times taps) from which the transforms are worth their while."""


class BlockTransform(NamedTuple):
    """Matrices of a block of n samples and a kernel of k taps; R = 3 n / 2 - 1 products.

    Attributes:
        forward: (R, n), a block of input to what is multiplied.
        kernel: (R, n), a kernel (reversed, padded with zeros) to what it is multiplied by.
        inverse: (n + 1 - k, R), the products to the outputs that the block determines.
    """

    forward: Tensor
    kernel: Tensor
    inverse: Tensor


@lru_cache(maxsize=16)
def block_transform(taps: int) -> BlockTransform:
    """The transform for kernels of `taps` taps, float64 on the CPU."""
    with torch.inference_mode(False), torch.device("cpu"):  # what is cached must serve everyone
        time = torch.arange(BLOCK, dtype=torch.float64)
        bins = torch.arange(1, BLOCK // 2, dtype=torch.float64)[:, None]
        angle = 2.0 * math.pi / BLOCK * bins * time
        real, imag = torch.cos(angle), -torch.sin(angle)
        ends = torch.stack([torch.ones_like(time), torch.cos(math.pi * time)])  # 0 and Nyquist
        # (r + i)·a, r·(b - a), i·(a + b): their first less the third is the real part of
        # (r + ij)(a + bj), the first plus the second is the imaginary one.
        forward = torch.cat([ends, real + imag, real, imag])
        kernel = torch.cat([ends, real, imag - real, real + imag])
        inverse = torch.cat([ends / 2, real + imag, imag, -real]) * (2.0 / BLOCK)
        return BlockTransform(forward, kernel, inverse.T[taps - 1 :].contiguous())


def transformed_kernel(weight: Tensor) -> Tensor:
    """A kernel (O, C, k) ready for `block_convolution`: (R, C, O), float32."""
    padded = F.pad(weight.detach().double().flip(-1), (0, BLOCK - weight.shape[-1]))
    return torch.einsum("ocn,rn->rco", padded, block_transform(weight.shape[-1]).kernel).float()


def block_convolution(
    x: Tensor, kernel: Tensor, bias: Tensor, taps: int, dilation: int = 1
) -> Tensor:
    """Convolve in the transformed domain, zeros outside: (B, T, C) -> (B, T, O).

    Overlap-save: blocks overlap by taps - 1 samples, what wrapped around is not computed. With a
    dilation d, every d-th sample makes a sequence of its own.

    Args:
        x: (B, T, C) float32 on the CPU.
        kernel: (R, C, O) of `transformed_kernel`.
        bias: (O,).
        taps: Taps of the kernel, an odd number.
        dilation: Samples between taps.
    """
    forward, _, inverse = (matrix.float() for matrix in block_transform(taps))
    batch, length, channels = x.shape
    out, step, edge = kernel.shape[2], BLOCK + 1 - taps, dilation * (taps // 2)
    blocks = -(-length // (step * dilation))
    spare = -(-(taps - 1) // step)  # whole blocks of zeros, so that all lie `step` samples apart
    rows = (blocks + spare) * step
    padded = x.new_zeros(batch, rows * dilation, channels)
    padded[:, edge : edge + length] = x
    if dilation > 1:
        padded = padded.view(batch, rows, dilation, channels).transpose(1, 2).contiguous()
    count = batch * dilation * (blocks + spare) - spare
    pieces = padded.as_strided((count, BLOCK, channels), (step * channels, channels, 1))
    samples = x.new_empty(count + spare, step, out)
    # So many that what is in work stays in the cache of each core.
    at_once = max(ONCE, channels // 2) * torch.get_num_threads()
    for start in range(0, count, at_once):
        piece = pieces[start : start + at_once]
        spectrum = torch.bmm(forward.expand(len(piece), -1, -1), piece)
        products = torch.bmm(spectrum.transpose(0, 1), kernel)  # (R, blocks, O)
        products[0] += bias * BLOCK  # the mean of a block
        torch.bmm(
            inverse.expand(len(piece), -1, -1), products.transpose(0, 1),
            out=samples[start : start + len(piece)],
        )  # fmt: skip
    samples = samples.view(batch, dilation, blocks + spare, step, out)[:, :, :blocks]
    samples = samples.reshape(batch, dilation, blocks * step, out).transpose(1, 2)
    return samples.reshape(batch, -1, out)[:, :length]


class Conv(nn.Module):
    """`nn.Conv1d` on (B, T, C); without gradients on a CPU through `block_convolution`."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
    ) -> None:
        """Pad both ends with `padding` zeros, by default as many as keep the length."""
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.normal_(torch.empty(out, channels, kernel), std=(3 * channels * kernel) ** -0.5)
        )
        self.bias = nn.Parameter(torch.zeros(out))
        self.stride, self.dilation = stride, dilation
        self.padding = dilation * (kernel - 1) // 2 if padding is None else padding
        same = stride == 1 and kernel % 2 == 1 and 2 * self.padding == dilation * (kernel - 1)
        self.gains = same and kernel in TAPS and min(channels, out) * kernel >= PRODUCTS
        self._prepared: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T', O)."""
        quick = self.gains and x.device.type == "cpu" and not torch.is_grad_enabled()
        if quick and x.dtype == self.weight.dtype == torch.float32:
            taps = self.weight.shape[2]
            return block_convolution(x, self._kernel(), self.bias, taps, self.dilation)
        # (B, C, 1, T) "channels last" is a view of (B, T, C).
        out = F.conv2d(
            x.transpose(1, 2)[:, :, None], self.weight[:, :, None], self.bias, (1, self.stride),
            (0, self.padding), (1, self.dilation),
        )  # fmt: skip
        return out[:, :, 0].transpose(1, 2)

    def _kernel(self) -> Tensor:
        """The transformed weight, made anew when the weight has changed."""
        version = 0 if self.weight.is_inference() else self.weight._version
        state = (self.weight.data_ptr(), version)
        if self._prepared is None or self._prepared[0] != state:
            self._prepared = (state, transformed_kernel(self.weight))
        return self._prepared[1]

    def __getstate__(self) -> dict[str, object]:
        """Copy and pickle without what can be made anew."""
        return {**self.__dict__, "_prepared": None}


class UpConv(nn.Module):
    """`nn.ConvTranspose1d` on (B, T, C): (B, T * stride, O)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        """`kernel` - `stride` must be even."""
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.normal_(torch.empty(channels, out, kernel), std=(6 * channels) ** -0.5)
        )
        self.bias = nn.Parameter(torch.zeros(out))
        self.stride, self.padding = stride, (kernel - stride) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T * stride, O)."""
        out = F.conv_transpose2d(
            x.transpose(1, 2)[:, :, None], self.weight[:, :, None], self.bias, (1, self.stride),
            (0, self.padding),
        )  # fmt: skip
        return out[:, :, 0].transpose(1, 2)
