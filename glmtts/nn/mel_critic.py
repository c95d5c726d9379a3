"""A critic of mels: tells recorded frames from generated ones, patch by patch.

Least squares (LSGAN, arXiv 1611.04076), a patch of 25 frames at a time, beside the coarse mel that
was asked for (a conditional critic, as in pix2pix, arXiv 1611.07004): a mel must not only look like
speech but like that speech.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Verdict:
    """What a critic makes of a batch.

    Attributes:
        score: (B, 1, F / 2, bands), 1 for recorded and 0 for generated.
        layers: (B, C, frames, bands) outputs of the layers before it.
        masks: (B, 1, frames, 1) which frames count, for each layer and, last, the score.
    """

    score: Tensor
    layers: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]

    def distance(self, goal: float) -> Tensor:
        """Mean square of the scores' distance to `goal`."""
        return _mean((self.score.float() - goal).square(), self.masks[-1])

    def unlike(self, other: "Verdict") -> Tensor:
        """Feature matching: L1 of the layers relative to the mean of the other's, their mean."""
        parts = [
            _mean((mine.float() - theirs.float()).abs(), mask)
            / theirs.float().abs().mean().clamp(min=1e-3)
            for mine, theirs, mask in zip(self.layers, other.layers, self.masks, strict=False)
        ]
        return torch.stack(parts).mean()


class MelCritic(nn.Module):
    """Four convolutions over time and frequency, and a score for each patch."""

    def __init__(self, channels: int = 24) -> None:
        """Build with fresh weights; `channels` of the first layer, the last has four times them."""
        super().__init__()
        widths = [2, channels, 2 * channels, 4 * channels, 4 * channels]
        kernels = [(5, 3), (5, 4), (5, 4), (5, 4)]
        self.strides = [(1, 1), (1, 2), (2, 2), (1, 2)]
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, kernel, stride, (2, 1))
            for i, o, kernel, stride in zip(
                widths[:-1], widths[1:], kernels, self.strides, strict=True
            )
        )
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, mel: Tensor, coarse: Tensor, frames: Tensor) -> Verdict:
        """Judge.

        Args:
            mel: (B, F, M) normalised, generated or recorded.
            coarse: (B, F, M) what was asked for.
            frames: (B, F) which frames are judged.
        """
        x, mask = torch.stack((mel, coarse), 1), frames[:, None, :, None].float()
        layers: list[Tensor] = []
        masks: list[Tensor] = []
        for layer, stride in zip(self.layers, self.strides, strict=True):
            x = F.leaky_relu(layer(x), 0.2)
            mask = mask[:, :, :: stride[0]]
            layers.append(x)
            masks.append(mask)
        return Verdict(self.score(x), tuple(layers), (*masks, mask))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum() * values.shape[1] * values.shape[3]
    return (values * mask).sum() / count.clamp(min=1)
