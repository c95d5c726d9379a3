"""A second look at the sound of the harmonic vocoder: bin by bin, two hundred times a second.

Filters of a few dozen cepstral coefficients shape whole formants. What they cannot do is treat one
harmonic, or the noise between two, by itself, and below 4 kHz the ear (and every judge of speech)
hears that. So pulses and noise are cut into short windows once more, a network sees both spectra
and what the vocoder knows of the mel, and sets for each bin a gain and a turn of the pulses, a gain
of the noise, and something of its own in proportion to what is there.

Sources: a neural filter behind a harmonic source (arXiv 1904.12088); ConvNeXt blocks at one rate
and an inverse STFT (arXiv 2306.00814); spectra of the source as input (arXiv 2309.09493).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.packed import linear
from glmtts.nn.stft import centred_istft
from glmtts.nn.vocos import ConvNeXtBlock1d

SETTINGS = 5
"""A bin: log gain and turn of the pulses, log gain of the noise, real and imaginary addition."""


@dataclass(frozen=True)
class RefinerConfig:
    """Sizes of a refiner.

    Attributes:
        dims: Channels.
        blocks: ConvNeXt blocks.
        hidden: Channels inside a block's bottleneck.
        kernel: Windows each block sees.
        lookahead: How many of them lie in the future.
        rate: Windows in a mel frame; a divisor of the hop.
        n_fft: Samples of a window.
        top_hz: Bins above are left as they are.
    """

    dims: int = 256
    blocks: int = 6
    hidden: int = 768
    kernel: int = 7
    lookahead: int = 1
    rate: int = 4
    n_fft: int = 480
    top_hz: float = 8_000.0


class Refiner(nn.Module):
    """Pulses and noise, filtered, to samples; at first their sum as it is.

    `left` and `right` bound the mel frames that a frame's samples see beside those that its pulses
    and noise saw.
    """

    def __init__(self, config: RefinerConfig, features: int, sample_rate: int, hop: int) -> None:
        """Work on sound of `hop` samples a frame, of which `features` numbers are known."""
        super().__init__()
        c = self.config = config
        self.step = hop // c.rate
        self.bins = min(round(c.top_hz * c.n_fft / sample_rate), c.n_fft // 2) + 1
        self.known = nn.Linear(features, c.dims)
        self.heard = nn.Linear(6 * self.bins, c.dims)
        self.norm = nn.LayerNorm(c.dims, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock1d(c.dims, c.hidden, c.kernel, c.lookahead, 1.0 / c.blocks)
            for _ in range(c.blocks)
        )
        self.final_norm = nn.LayerNorm(c.dims, eps=1e-6)
        self.settings = nn.Linear(c.dims, SETTINGS * self.bins)
        nn.init.zeros_(self.settings.weight)
        nn.init.zeros_(self.settings.bias)
        overlap = 2 * math.ceil((c.n_fft - self.step) / (2 * self.step))
        self.left = math.ceil((c.blocks * (c.kernel - 1 - c.lookahead) + overlap) / c.rate)
        self.right = math.ceil((c.blocks * c.lookahead + overlap) / c.rate)

    def forward(self, pulses: Tensor, noise: Tensor, features: Tensor) -> Tensor:
        """Filtered sources (B, N) and features (B, N / hop, D) to samples (B, N)."""
        batch = len(pulses)
        spectra = self._spectra(torch.cat([pulses, noise]))  # (2B, T, n_fft // 2 + 1)
        tone, hiss = spectra[:batch], spectra[batch:]
        low = [tone[..., : self.bins], hiss[..., : self.bins]]
        parts = [part for spectrum in low for part in _seen(spectrum)]
        known = linear(self.known, features).repeat_interleave(self.config.rate, dim=1)
        x = self.norm(linear(self.heard, torch.cat(parts, dim=-1).to(known.dtype)) + known)
        for block in self.blocks:
            x = block(x)
        gain, turn, hiss_gain, real, imaginary = (
            linear(self.settings, self.final_norm(x)).float().chunk(SETTINGS, dim=-1)
        )
        mine = torch.polar(torch.exp(gain.clamp(-6.0, 3.0)), turn) * low[0]
        mine = mine + torch.exp(hiss_gain.clamp(-6.0, 3.0)) * low[1]
        level = (low[0].abs() + low[1].abs()).detach()
        mine = mine + torch.complex(level * real, level * imaginary)
        above = (tone + hiss)[..., self.bins :]
        return centred_istft(torch.cat([mine, above], dim=-1), self.config.n_fft, self.step)

    def _spectra(self, samples: Tensor) -> Tensor:
        """(B, N) -> (B, N / step, n_fft // 2 + 1) complex; window t is centred on step t."""
        size, edge = self.config.n_fft, (self.config.n_fft - self.step) // 2
        window = torch.hann_window(size, device=samples.device)
        return torch.fft.rfft(F.pad(samples, (edge, edge)).unfold(1, size, self.step) * window)


def _seen(spectrum: Tensor) -> list[Tensor]:
    """What the network sees of complex bins: log magnitude, and both parts compressed."""
    log = torch.log(spectrum.real.square() + spectrum.imag.square() + 1e-6)
    scale = torch.exp(-0.35 * log)  # magnitude ** 0.3
    return [0.2 * log, spectrum.real * scale, spectrum.imag * scale]
