"""HiFT, the official 24 kHz vocoder: a harmonic source through an upsampling network and an iSTFT.

Read HiFT.forward first. It is that of CosyVoice 2 (arXiv 2412.10117), after HiFTNet (arXiv
2309.09493): a small network hears the pitch in the mel, nine sines and noise are made of it, and
blocks of convolutions with Snake activations (arXiv 2006.08195) turn mel and source into the
spectrum of a 16-sample STFT. Modules have the names of the official state dict.

Two things differ, neither of which can be heard: the phase is kept in cycles in float64 (upstream
adds up float32 radians), and the noise is a function of the sample's index, so that a stream has
the noise of the whole.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.conv import Conv, UpConv
from glmtts.nn.harmonic import white_noise
from glmtts.nn.stft import overlap_add
from glmtts.nn.vocos import START, Position, Wave

AT_ONCE = 400_000
"""Numbers of a piece of a residual block's input."""
LOUDEST = 100.0
"""Cap of the predicted magnitudes."""


@dataclass(frozen=True)
class HiFTConfig:
    """Sizes of the network (defaults: official).

    Attributes:
        dims: Channels at frame rate; each upsampling halves them.
        harmonics: Sines above the fundamental.
        sine_gain: Amplitude of each sine; a third of it is the level of unvoiced noise.
        voiced_noise: Level of the noise in voiced sound.
        voiced_above_hz: Pitch from which sound counts as voiced.
        up_rates: Factors of the upsamplings.
        up_kernels: Their kernels.
        n_fft: Window of the STFT of source and output, in samples.
        stft_hop: Its hop; times all `up_rates` this is the hop of the mel.
        kernels: Kernels of the residual blocks after each upsampling, which are averaged.
        dilations: Dilations in each of them.
        source_kernels: Kernel of the source's residual block at each upsampling.
        source_dilations: Dilations in each of them.
        slope: Of the leaky ReLUs, but for the last one.
        limit: Largest sample.
        pitch_dims: Channels of the pitch network.
        pitch_layers: Its convolutions.
    """

    dims: int = 512
    harmonics: int = 8
    sine_gain: float = 0.1
    voiced_noise: float = 0.003
    voiced_above_hz: float = 10.0
    up_rates: tuple[int, ...] = (8, 5, 3)
    up_kernels: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    stft_hop: int = 4
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_kernels: tuple[int, ...] = (7, 7, 11)
    source_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1
    limit: float = 0.99
    pitch_dims: int = 512
    pitch_layers: int = 5

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.up_rates) * self.stft_hop

    def rates(self) -> list[int]:
        """Time steps in a mel frame after each upsampling."""
        return [math.prod(self.up_rates[: i + 1]) for i in range(len(self.up_rates))]

    def context(self) -> tuple[int, int]:
        """Mel frames back and ahead that a frame's samples see, rounded up."""
        trunk = 3.0  # frames that convolutions on the mel's path reach to either side
        source = self.pitch_layers + 1.0  # and those on the source's
        for i, rate in enumerate(self.rates()):
            down = self.rates()[-1] // rate
            own = _reach(self.source_kernels[i], self.source_dilations[i]) + 2.0
            branch = source + own / rate + (self.n_fft + 2.0 * down * self.stft_hop) / self.hop
            trunk = max(trunk + self.up_kernels[i] / rate, branch)
            pairs = zip(self.kernels, self.dilations, strict=True)
            trunk += max(_reach(kernel, dilations) for kernel, dilations in pairs) / rate
        trunk += (4.0 * self.stft_hop + self.n_fft) / self.hop
        return math.ceil(trunk), math.ceil(trunk)


def _reach(kernel: int, dilations: tuple[int, ...]) -> float:
    """Steps to either side that a residual block sees."""
    return (kernel - 1) / 2 * sum(dilation + 1 for dilation in dilations)


class Snake(nn.Module):
    """x + sin²(αx) / α with an α for each channel."""

    def __init__(self, dims: int) -> None:
        """Start with α = 1."""
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dims))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if torch.is_grad_enabled():
            return x + torch.sin(x * self.alpha).square() / (self.alpha + 1e-9)
        wave = (x * self.alpha).sin_().square_()
        return torch.addcmul(x, wave, 1.0 / (self.alpha + 1e-9))


class ResBlock(nn.Module):
    """For each dilation: Snake, dilated convolution, Snake, convolution, residual."""

    def __init__(self, dims: int, kernel: int, dilations: tuple[int, ...]) -> None:
        """Make the convolutions of one residual block."""
        super().__init__()
        self.convs1 = nn.ModuleList(Conv(dims, dims, kernel, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(Conv(dims, dims, kernel) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(dims) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(dims) for _ in dilations)
        self.reach, self.piece = int(_reach(kernel, dilations)), AT_ONCE // dims

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), on a CPU in pieces that stay in its cache."""
        total = x.shape[1]
        if torch.is_grad_enabled() or x.device.type != "cpu" or total <= 2 * self.piece:
            return self._whole(x)
        out = torch.empty_like(x)
        for start in range(0, total, self.piece):
            end = min(start + self.piece, total)
            low, high = max(0, start - self.reach), min(total, end + self.reach)
            out[:, start:end] = self._whole(x[:, low:high])[:, start - low : end - low]
        return out

    def _whole(self, x: Tensor) -> Tensor:
        layers = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for first, dilated, second, plain in layers:
            x = x + plain(second(dilated(first(x))))
        return x


class PitchPredictor(nn.Module):
    """Hears the pitch of each frame; where it is below the threshold, there is none."""

    def __init__(self, mels: int, dims: int, layers: int) -> None:
        """Convolutions with ELUs between, then one number a frame."""
        super().__init__()
        parts: list[nn.Module] = []
        for layer in range(layers):
            parts += [Conv(dims if layer else mels, dims, 3), nn.ELU()]
        self.condnet = nn.Sequential(*parts)
        self.classifier = nn.Linear(dims, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, F, M) -> (B, F) Hz."""
        return self.classifier(self.condnet(mel))[..., 0].abs()


class SourceMix(nn.Module):
    """Weights with which the sines become one signal."""

    def __init__(self, sines: int) -> None:
        """One weight a sine."""
        super().__init__()
        self.l_linear = nn.Linear(sines, 1)


class HiFT(nn.Module):
    """The generator. `left` and `right` bound what a frame's samples see."""

    def __init__(self, config: HiFTConfig, mels: int, sample_rate: int) -> None:
        """Make the networks of `config` for a mel of `mels` bins."""
        super().__init__()
        c = self.config = config
        self.sample_rate, self.hop = sample_rate, c.hop
        self.left, self.right = c.context()
        self.m_source = SourceMix(c.harmonics + 1)
        self.conv_pre = Conv(mels, c.dims, 7)
        widths = [c.dims >> i for i in range(len(c.up_rates) + 1)]
        self.ups = nn.ModuleList(
            UpConv(widths[i], widths[i + 1], c.up_kernels[i], rate)
            for i, rate in enumerate(c.up_rates)
        )
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for i, rate in enumerate(c.rates()):
            width, down = widths[i + 1], c.rates()[-1] // rate
            shape = (1, 1, 1, 0) if down == 1 else (2 * down, down, 1, down // 2)
            self.source_downs.append(Conv(c.n_fft + 2, width, *shape))
            self.source_resblocks.append(
                ResBlock(width, c.source_kernels[i], c.source_dilations[i])
            )
            for kernel, dilations in zip(c.kernels, c.dilations, strict=True):
                self.resblocks.append(ResBlock(width, kernel, dilations))
        self.conv_post = Conv(widths[-1], c.n_fft + 2, 7)
        self.f0_predictor = PitchPredictor(mels, c.pitch_dims, c.pitch_layers)

    def forward(self, mel: Tensor, position: Position = START, noise: Tensor | None = None) -> Wave:
        """(B, F, M) -> samples (B, F * hop), with the source in phase with `position`.

        `noise` (B, F * hop, harmonics + 1), standard normal, is used instead of our own.
        """
        source, phases = self.source(self.f0_predictor(mel), position, noise)
        return Wave(self.decode(mel, source), phases)

    def source(
        self, f0: Tensor, position: Position = START, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pitch (B, F) in Hz to the source signal (B, F * hop) and phases as of `Wave`.

        A frame's pitch holds at its centre; between centres the phase runs evenly. Before the
        first centre and after the last one it stands still, as upstream has it. (Upstream draws
        initial phases of the overtones, but its downsampling loses them.)
        """
        c = self.config
        weight = self.m_source.l_linear.weight.float()  # (1, H)
        with torch.no_grad():
            f0 = f0.detach().float()
            sines, phases = self._sines(f0, position)
            voiced = (f0 > c.voiced_above_hz).float()
            level = c.voiced_noise * voiced + c.sine_gain / 3.0 * (1.0 - voiced)
            voiced, level = (x.repeat_interleave(self.hop, dim=1) for x in (voiced, level))
        if noise is None:
            start = torch.full((len(f0),), position.frame * self.hop, device=f0.device)
            # As many independent sources, weighted and added, are one of this level.
            hiss = gaussian_noise(start, level.shape[1]) * weight.square().sum().sqrt()
        else:
            hiss = (noise.float() @ weight.T)[..., 0]
        tone = torch.matmul(weight, sines)[:, 0]  # (B, H, N) -> (B, N)
        mixed = c.sine_gain * voiced * tone + level * hiss + self.m_source.l_linear.bias.float()
        return torch.tanh(mixed), phases

    def _sines(self, f0: Tensor, position: Position) -> tuple[Tensor, Tensor]:
        """(B, F) Hz to sines (B, H, F * hop) and phases (B, F + 1) of the fundamental."""
        count = self.config.harmonics + 1
        numbers = torch.arange(1, count + 1, device=f0.device, dtype=torch.float64)[:, None]
        step = (f0.double()[:, None] * numbers / self.sample_rate) % 1.0  # cycles a sample
        before = F.pad(torch.cumsum(self.hop * step, dim=2), (1, 0))  # (B, H, F + 1)
        before = before + (position.phase * numbers - before[:, :, position.anchor, None])
        before = before.remainder(1.0)
        centre = (before[:, :, :-1] + self.hop * step).remainder(1.0).float()[..., None]
        ahead = F.pad(step[:, :, 1:], (0, 1)).float()[..., None]
        behind = F.pad(step[:, :, 1:], (1, 0)).float()[..., None]
        time = torch.arange(self.hop, device=f0.device) + (0.5 - 0.5 * self.hop)
        half = self.hop // 2
        cycles = torch.cat([centre + behind * time[:half], centre + ahead * time[half:]], dim=-1)
        return cycles.mul_(2.0 * math.pi).sin_().flatten(2), before[:, 0]

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Mel (B, F, M) and source (B, F * hop) to samples (B, F * hop)."""
        c = self.config
        analysis, synthesis = stft_matrices(c.n_fft, mel.device)
        edge = c.n_fft // 2
        padded = F.pad(source[:, None], (edge, edge), mode="reflect")[:, 0]
        spectrum = (padded.unfold(1, c.n_fft, c.stft_hop) @ analysis).to(mel)
        x, count = self.conv_pre(mel), len(c.kernels)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, c.slope))
            if i + 1 == len(self.ups):  # one step more: as many as the STFT has frames
                x = torch.cat([x[:, 1:2], x], dim=1)
            x = x + self.source_resblocks[i](self.source_downs[i](spectrum))
            first, *others = self.resblocks[i * count : (i + 1) * count]
            mean = first(x)
            for block in others:
                mean = mean + block(x)
            x = mean / count
        x = self.conv_post(F.leaky_relu(x)).float()
        magnitude, phase = torch.exp(x[..., : edge + 1]).clamp(max=LOUDEST), x[..., edge + 1 :]
        phase = torch.sin(phase)
        parts = torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=-1)
        samples = overlap_add(parts @ synthesis, c.stft_hop)
        window = torch.hann_window(c.n_fft, device=mel.device).square()
        weight = overlap_add(window.expand(1, x.shape[1], -1), c.stft_hop)
        samples = samples[:, edge:-edge] / weight[:, edge:-edge]
        return samples.clamp(-c.limit, c.limit)


def gaussian_noise(start: Tensor, count: int) -> Tensor:
    """Standard normal noise as a pure function of the absolute sample index: (B, count).

    `start` (B,) is the index of each row's first sample.
    """
    even = white_noise(start, count) / math.sqrt(3.0)
    return torch.erfinv(even.clamp(-1.0 + 2.0**-24, 1.0 - 2.0**-24)) * math.sqrt(2.0)


@lru_cache(maxsize=4)
def stft_matrices(n_fft: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A windowed DFT and its inverse: (n_fft, n_fft + 2) and (n_fft + 2, n_fft), real | imaginary.

    At this size a product with a matrix is quicker than an FFT.
    """
    with torch.inference_mode(False), torch.device("cpu"):
        time = torch.arange(n_fft, dtype=torch.float64)
        angle = 2.0 * math.pi / n_fft * time[:, None] * torch.arange(n_fft // 2 + 1)
        window = torch.hann_window(n_fft, dtype=torch.float64)[:, None]
        waves = torch.cat([torch.cos(angle), -torch.sin(angle)], dim=1) * window
        weight = torch.full((n_fft // 2 + 1,), 2.0 / n_fft, dtype=torch.float64)
        weight[0] = weight[-1] = 1.0 / n_fft
        back = (waves * weight.repeat(2)).T
        return waves.float().to(device), back.float().contiguous().to(device)
