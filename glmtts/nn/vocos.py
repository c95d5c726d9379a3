"""Vocos (arXiv 2306.00814): ConvNeXt blocks at frame rate, then an inverse STFT.

No transposed convolution: the network works at the mel's frame rate and predicts the magnitude and
phase of every STFT bin. Every layer sees a bounded number of frames; `lookahead` of each kernel's
frames lie in the future.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.packed import linear
from glmtts.nn.stft import centred_istft
from glmtts.nn.threads import steady


@dataclass(frozen=True)
class Position:
    """Where a window of frames lies in its utterance (everything at its default: the start).

    Attributes:
        frame: Index of the window's first frame in the utterance.
        anchor: A frame of the window, counted from its start, whose phase is known.
        phase: Phase of the harmonic source at the start of frame `anchor`, in cycles.
    """

    frame: int = 0
    anchor: int = 0
    phase: float = 0.0


START = Position()


@dataclass(frozen=True)
class Wave:
    """What a vocoder network makes of a window of frames.

    Attributes:
        samples: (B, F * hop).
        phases: (B, F + 1) float64, cycles of the harmonic source at each frame's start; None
            without a source.
    """

    samples: Tensor
    phases: Tensor | None = None


class DepthwiseConv1d(nn.Module):
    """Depthwise convolution over frames, (B, F, D) -> (B, F, D), with chosen look-ahead."""

    def __init__(self, dims: int, kernel: int, lookahead: int) -> None:
        """`lookahead` of the `kernel` taps lie after the frame."""
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(kernel, dims), std=kernel**-0.5))
        self.bias = nn.Parameter(torch.zeros(dims))
        self.pads = (kernel - 1 - lookahead, lookahead)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, D) -> (B, F, D)."""
        frames = x.shape[1]
        padded = F.pad(x, (0, 0, *self.pads))
        # A sum of shifted products: faster on CPU than a grouped convolution and its gradient.
        out = self.bias
        for tap, weight in enumerate(self.weight.unbind()):
            out = torch.addcmul(out, padded[:, tap : tap + frames], weight)
        return out


class ConvNeXtBlock1d(nn.Module):
    """Depthwise convolution, norm, inverted bottleneck, layer scale, residual."""

    def __init__(self, dims: int, hidden: int, kernel: int, lookahead: int, scale: float) -> None:
        """Make a block of `dims` channels with `hidden` in its bottleneck."""
        super().__init__()
        self.mix = DepthwiseConv1d(dims, kernel, lookahead)
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.rise = nn.Linear(dims, hidden)
        self.fall = nn.Linear(hidden, dims)
        self.scale = nn.Parameter(torch.full((dims,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, D) -> (B, F, D)."""
        y = self.norm(self.mix(x)).to(self.rise.weight.dtype)
        y = linear(self.fall, linear(self.rise, y, gelu="none"))
        return x + self.scale * y.to(x.dtype)


class Backbone(nn.Module):
    """Mel to features at frame rate: an embedding convolution and ConvNeXt blocks."""

    def __init__(
        self, mels: int, dims: int, blocks: int, hidden: int, kernel: int, lookahead: int
    ) -> None:
        """Every layer has kernel `kernel`, of which `lookahead` taps lie in the future."""
        super().__init__()
        self.pads = (kernel - 1 - lookahead, lookahead)
        self.embed = nn.Conv1d(mels, dims, kernel)
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock1d(dims, hidden, kernel, lookahead, 1.0 / blocks) for _ in range(blocks)
        )
        self.final_norm = nn.LayerNorm(dims, eps=1e-6)
        self.left = (blocks + 1) * self.pads[0]
        self.right = (blocks + 1) * self.pads[1]

    def forward(self, mel: Tensor) -> Tensor:
        """(B, F, M) -> (B, F, D); frame f sees mel frames f - left … f + right."""
        # Outside the utterance there is silence, the floor of the log-mel, not zeros.
        padded = F.pad((mel + 4.0) / 4.0, (0, 0, *self.pads), value=-1.88)
        with steady():
            x = self.embed(padded.transpose(1, 2)).transpose(1, 2)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)


def spectrum_of(log_magnitude: Tensor, phase: Tensor) -> Tensor:
    """Complex bins from what a head predicts; magnitudes are capped at 100 as in Vocos."""
    magnitude = torch.exp(log_magnitude.clamp(max=4.6))
    return torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))


class Vocos(nn.Module):
    """Vocos, 1-D: backbone and iSTFT head. `left` and `right` bound what a frame's samples see."""

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
    ) -> None:
        """Predict n_fft // 2 + 1 bins a frame."""
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.backbone = Backbone(mels, dims, blocks, hidden, kernel, lookahead)
        self.head = nn.Linear(dims, n_fft + 2)
        overlap = -(-(n_fft - hop) // (2 * hop))  # frames on either side that share samples
        self.left, self.right = self.backbone.left + overlap, self.backbone.right + overlap

    def forward(self, mel: Tensor, position: Position = START) -> Wave:
        """(B, F, M) -> samples (B, F * hop); the same wherever in the utterance."""
        bins = linear(self.head, self.backbone(mel)).float()
        log_magnitude, phase = bins.chunk(2, dim=-1)
        return Wave(centred_istft(spectrum_of(log_magnitude, phase), self.n_fft, self.hop))
