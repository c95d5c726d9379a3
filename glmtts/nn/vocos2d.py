"""Vocos in two dimensions (GLM-TTS, arXiv 2512.14291 §2.7): ConvNeXt over time and frequency.

The spectrum is cut into bands; the network keeps a (frame, band) grid of features, adds a learned
embedding of each band, and hears the mel again in every block. An inverse STFT makes the samples.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn import grad

from glmtts.nn.packed import linear
from glmtts.nn.stft import centred_istft
from glmtts.nn.vocos import START, Position, Wave, spectrum_of

GROUP = 16


class DepthwiseConv(torch.autograd.Function):
    """Depthwise 2-D convolution whose weight gradient is quick in bfloat16 on CPU.

    oneDNN's depthwise weight gradient is ten times slower than that of a convolution in groups of
    16, whose diagonal it is; both give the same numbers.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:  # pyright: ignore
        """(B, D, H, W) padded input and (D, 1, kh, kw) weight, no padding."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        """Gradients of input and weight."""
        x, weight = ctx.saved_tensors
        dims = x.shape[1]
        to_x = grad.conv2d_input(x.shape, weight, gradient, groups=dims)
        if dims % GROUP or x.device.type != "cpu":
            return to_x, grad.conv2d_weight(x, weight.shape, gradient, groups=dims)
        shape = (dims, GROUP, *weight.shape[2:])
        wide = grad.conv2d_weight(x, shape, gradient, groups=dims // GROUP)
        rows = torch.arange(dims, device=x.device)
        return to_x, wide[rows, rows % GROUP, None]


class ConvNeXtBlock2d(nn.Module):
    """Depthwise 2-D convolution, the mel again, norm, inverted bottleneck, residual."""

    def __init__(
        self,
        mels: int,
        dims: int,
        bands: int,
        hidden: int,
        kernel: int,
        lookahead: int,
        scale: float,
    ) -> None:
        """Kernel: `kernel` frames (`lookahead` of them in the future) × 7 bands."""
        super().__init__()
        self.pads = (3, 3, kernel - 1 - lookahead, lookahead)
        self.weight = nn.Parameter(
            nn.init.normal_(torch.empty(dims, 1, kernel, 7), std=(7 * kernel) ** -0.5)
        )
        self.bands = bands
        self.inject = nn.Linear(mels, dims)
        self.band_shape = nn.Parameter(nn.init.normal_(torch.empty(bands, dims), 1.0, 0.5))
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.rise = nn.Linear(dims, hidden)
        self.fall = nn.Linear(hidden, dims)
        self.scale = nn.Parameter(torch.full((dims,), scale))

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        """Grid (B, F, bands, D) and mel (B, F, M) -> (B, F, bands, D)."""
        grid = x.permute(0, 3, 1, 2)  # channels-last in memory: a view, not a copy
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            grid, weight = grid.to(kind), weight.to(kind)
        mixed = DepthwiseConv.apply(F.pad(grid, self.pads), weight).permute(0, 2, 3, 1)
        mixed = mixed + self.inject(mel)[:, :, None] * self.band_shape
        y = self.norm(mixed).to(self.rise.weight.dtype)
        y = linear(self.fall, linear(self.rise, y, gelu="none"))
        return x + self.scale * y.to(x.dtype)


class Vocos2d(nn.Module):
    """The 2-D generator. `left` and `right` bound what a frame's samples see."""

    def __init__(
        self,
        mels: int,
        n_fft: int,
        hop: int,
        dims: int,
        blocks: int,
        hidden: int,
        kernel: int,
        lookahead: int,
        bands: int,
    ) -> None:
        """Cut n_fft // 2 bins into `bands` equal bands (the last one gets the Nyquist bin)."""
        super().__init__()
        if (n_fft // 2) % bands:
            raise ValueError(f"{n_fft // 2} bins cannot be cut into {bands} equal bands.")
        self.n_fft, self.hop, self.bands = n_fft, hop, bands
        self.width = n_fft // 2 // bands
        self.pads = (kernel - 1 - lookahead, lookahead)
        self.embed = nn.Conv1d(mels, dims, kernel)
        self.band_embedding = nn.Parameter(nn.init.normal_(torch.empty(bands, dims), std=0.5))
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock2d(mels, dims, bands, hidden, kernel, lookahead, 1.0 / blocks)
            for _ in range(blocks)
        )
        self.final_norm = nn.LayerNorm(dims, eps=1e-6)
        self.head = nn.Linear(dims, 2 * (self.width + 1))
        overlap = -(-(n_fft - hop) // (2 * hop))
        self.left = (blocks + 1) * self.pads[0] + overlap
        self.right = (blocks + 1) * self.pads[1] + overlap

    def forward(self, mel: Tensor, position: Position = START) -> Wave:
        """(B, F, M) -> samples (B, F * hop); the same wherever in the utterance."""
        mel = (mel + 4.0) / 4.0
        padded = F.pad(mel, (0, 0, *self.pads), value=-1.88)
        frames = self.embed(padded.transpose(1, 2)).transpose(1, 2)
        x = self.norm(frames[:, :, None] + self.band_embedding)
        for block in self.blocks:
            x = block(x, mel)
        bins = linear(self.head, self.final_norm(x)).float()  # (B, F, bands, 2 * (width + 1))
        log_magnitude, phase = (self._join(part) for part in bins.chunk(2, dim=-1))
        return Wave(centred_istft(spectrum_of(log_magnitude, phase), self.n_fft, self.hop))

    def _join(self, bins: Tensor) -> Tensor:
        """(B, F, bands, width + 1) -> (B, F, n_fft // 2 + 1) (extra bin: last band only)."""
        return torch.cat([bins[..., : self.width].flatten(2), bins[:, :, -1, self.width :]], dim=-1)
