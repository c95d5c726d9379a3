"""Multi-resolution spectrogram discriminator, its losses, and the augmentation in front of it.

UnivNet (arXiv 2106.07889) for the discriminator; least work on CPU: few channels, channels-last.
The augmentation follows GLM-TTS (arXiv 2512.14291 §2.7): gain, sample shift, phase rotation, and
gradients pass through it to the generator.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Features = list[list[Tensor]]
"""For each resolution the output of each layer; the last one is the score map."""


class SpectrogramDiscriminator(nn.Module):
    """Convolutions over one spectrogram; strides fold frequency, time is kept."""

    def __init__(
        self, n_fft: int, hop: int, channels: int, phase: bool, share: float = 1.0
    ) -> None:
        """See the lower `share` of the bins; with `phase` both parts beside the magnitude."""
        super().__init__()
        self.n_fft, self.hop, self.phase = n_fft, hop, phase
        self.bins = round(share * n_fft / 2) + 1
        widths = [3 if phase else 1, *[channels] * 5]
        strides = [(1, 2), (1, 2), (1, 2), (1, 2), (1, 1)]
        kernels = [(3, 9), (3, 9), (3, 9), (3, 9), (3, 3)]
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, k, s, (k[0] // 2, k[1] // 2))
            for i, o, k, s in zip(widths[:-1], widths[1:], kernels, strides, strict=True)
        )
        self.score = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, samples: Tensor) -> list[Tensor]:
        """(B, N) -> outputs (B, C, frames, bins) of each layer."""
        with torch.autocast(samples.device.type, enabled=False):
            window = torch.hann_window(self.n_fft, device=samples.device)
            stft = torch.stft(
                samples.float(), self.n_fft, self.hop, window=window, center=False,
                return_complex=True,
            )[:, : self.bins].transpose(1, 2)  # fmt: skip
            power = stft.real.square() + stft.imag.square() + 1e-6
            squeezed = power**0.15  # magnitude ** 0.3: loud and soft bins count alike
            parts = [squeezed]
            if self.phase:
                scale = squeezed * power**-0.5
                parts += [stft.real * scale, stft.imag * scale]
            x = torch.stack(parts, dim=1).contiguous(memory_format=torch.channels_last)
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            outputs.append(x)
        return [*outputs, self.score(x)]


class Discriminator(nn.Module):
    """Several spectrogram discriminators of different windows."""

    def __init__(
        self,
        channels: int = 16,
        windows: tuple[int, ...] = (2048, 1024, 512),
        phase: bool = False,
        share: float = 1.0,
    ) -> None:
        """One discriminator for each of `windows` samples, with hop a quarter of it."""
        super().__init__()
        self.parts = nn.ModuleList(
            SpectrogramDiscriminator(w, w // 4, channels, phase, share) for w in windows
        )

    def forward(self, samples: Tensor) -> Features:
        """(B, N) -> layer outputs of each resolution."""
        return [part(samples) for part in self.parts]


@dataclass(frozen=True)
class Augmentation:
    """One random change for each row of a batch; real and generated sound get the same one.

    Attributes:
        gain: (B, 1) factor.
        shift: Samples dropped in front of every row.
        rotation: (B, 1) radians by which the phase of every frequency turns.
    """

    gain: Tensor
    shift: int
    rotation: Tensor

    @classmethod
    def draw(cls, rows: int, device: torch.device, most_shift: int = 240) -> "Augmentation":
        """Draw from torch's generator: ±6 dB, 0 … `most_shift` samples, any rotation."""
        gain_db = torch.rand(rows, 1, device=device) * 12.0 - 6.0
        shift = int(torch.randint(0, most_shift + 1, ()))
        rotation = torch.rand(rows, 1, device=device) * (2.0 * math.pi)
        return cls(10.0 ** (gain_db / 20.0), shift, rotation)

    def __call__(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, N - shift), differentiable."""
        count = samples.shape[1]
        bins = torch.fft.rfft(samples.float())
        turn = torch.polar(torch.ones_like(self.rotation), self.rotation)
        turned = torch.fft.irfft(bins * turn, count)
        return (turned * self.gain)[:, self.shift :]


def discriminator_loss(real: Features, fake: Features) -> Tensor:
    """Hinge loss, mean over resolutions."""
    terms = [
        F.relu(1.0 - r[-1].float()).mean() + F.relu(1.0 + f[-1].float()).mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).mean()


def generator_losses(real: Features, fake: Features) -> tuple[Tensor, Tensor]:
    """Adversarial (hinge) and feature-matching loss (L1 relative to the real layer's mean)."""
    adversarial = torch.stack([-f[-1].float().mean() for f in fake]).mean()
    matching = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean().clamp(1e-4)
        for r, f in zip(real, fake, strict=True)
        for a, b in zip(r[:-1], f[:-1], strict=True)
    ]
    return adversarial, torch.stack(matching).mean()
