"""A harmonic-plus-noise vocoder: excitation signals through predicted time-varying filters.

Pitch and voicing are predicted, a pulse train of that pitch and white noise are made, and each is
shaped by a filter that changes every few milliseconds; nothing else makes sound. Pitch and phase
thus come from the source, and spectral losses alone train it to a clear voice.

Two things keep training out of a whisper. Averaged over random phase, log |a + b| is
log max(|a|, |b|): the weaker source gets no gradient. So the pulses are gated by the true voicing,
which leaves unvoiced sound to the noise, and at low frequencies the noise starts far below the
pulses.

Sources: neural source-filter models (arXiv 1904.12088); complex-cepstrum filters of the neural
homomorphic vocoder (Liu et al., Interspeech 2020); a backbone as in Vocos (arXiv 2306.00814).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.nn.packed import linear
from glmtts.nn.refiner import Refiner, RefinerConfig
from glmtts.nn.stft import overlap_add
from glmtts.nn.threads import steady
from glmtts.nn.vocos import START, Backbone, Position, Wave

LOWEST_HZ, HIGHEST_HZ = 50.0, 1000.0
PITCH_BINS = 160
MEL_SHIFT, MEL_SCALE = 4.0, 4.0
BEFORE, AFTER = 4, 2
"""Frames beside a frame that touch its samples: ringing of the filters, pitch interpolation."""


def white_noise(start: Tensor, count: int) -> Tensor:
    """Uniform white noise of unit variance as a pure function of the absolute sample index.

    The index is scrambled by the 32-bit finaliser of MurmurHash3, twice, in 64-bit arithmetic.

    Args:
        start: (B,) int64 index of each row's first sample.
        count: Samples a row.

    Returns:
        (B, count) float32.
    """
    x = start[:, None] + torch.arange(count, device=start.device)
    for salt in (0x9E3779B9, 0x7F4A7C15):
        x = (x + salt) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        x = x ^ (x >> 16)
    return (x.float() * 2.0**-31 - 1.0) * math.sqrt(3.0)


def pulse_train(cycles: Tensor, frequency: Tensor, sample_rate: int) -> Tensor:
    """All harmonics of `frequency` below Nyquist, in phase and of equal size: unit power.

    The sum of K cosines in closed form (Dirichlet kernel), so the cost does not grow with K.

    Args:
        cycles: (B, N) float64 phase in cycles.
        frequency: (B, N) Hz.
        sample_rate: Samples per second.
    """
    harmonics = torch.floor(0.5 * sample_rate / frequency)
    half = (math.pi * (cycles - cycles.round())).float()  # half the phase, in [-pi/2, pi/2]
    near_zero = half.abs() < 1e-4
    kernel = torch.sin((2.0 * harmonics + 1.0) * half) / torch.where(near_zero, 1.0, half.sin())
    total = 0.5 * (torch.where(near_zero, 2.0 * harmonics + 1.0, kernel) - 1.0)
    return total * torch.sqrt(2.0 / harmonics)


def fundamental_phase(samples: Tensor, cycles: Tensor, sample_rate: int) -> Tensor:
    """How far the fundamental of recorded speech is ahead of a tracked one, in cycles: (B, N).

    The samples are turned down by the track and averaged over 30 ms, which leaves the fundamental
    alone; its angle is unwrapped. Where there is no voice the angle wanders and means nothing.

    Args:
        samples: (B, N).
        cycles: (B, N) float64, the integral of the tracked frequency.
        sample_rate: Samples per second.
    """
    turn = (-2.0 * math.pi * cycles.remainder(1.0)).float()
    turned = samples.float() * torch.polar(torch.ones_like(turn), turn)
    window = torch.hann_window(round(0.03 * sample_rate), device=samples.device)
    count, half = samples.shape[1], len(window) // 2
    size = count + len(window)
    spectrum = torch.fft.fft(turned, size) * torch.fft.fft(window, size)
    angle = torch.fft.ifft(spectrum)[:, half : half + count].angle().double() / (2.0 * math.pi)
    steps = torch.diff(angle, dim=1)
    return angle[:, :1] + F.pad((steps - steps.round()).cumsum(dim=1), (1, 0))


@lru_cache(maxsize=16)
def cepstral_basis(order: int, n_fft: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (order, n_fft // 2 + 1): a cepstrum to a complex log-spectrum."""
    with torch.inference_mode(False):  # what is cached must also serve training
        angle = torch.arange(order)[:, None] * torch.linspace(0.0, math.pi, n_fft // 2 + 1)
        return torch.cos(angle).to(device), torch.sin(angle).to(device)


def damping(order: int) -> Tensor:
    """Scale of each cepstral coefficient, (order,): the fine structure must not learn fastest."""
    return 1.0 / (1.0 + 0.25 * torch.arange(order, device="cpu"))


def pulse_share(bins: int, sample_rate: int, breathy: tuple[float, float]) -> Tensor:
    """Amplitude the pulses keep at each frequency, (bins,): 1 below `breathy`, 0 above."""
    low, high = breathy
    hertz = torch.linspace(0.0, sample_rate / 2, bins, device="cpu")
    return torch.sin(0.5 * math.pi * ((high - hertz) / (high - low)).clamp(0.0, 1.0))


def projection(order: int, bins: int) -> Tensor:
    """Least-squares cepstrum of a log-spectrum over `bins` frequencies: (bins, order)."""
    angle = (torch.arange(bins, device="cpu")[:, None] + 0.5) * (math.pi / bins)
    basis = torch.cos(angle * torch.arange(order, device="cpu"))
    return basis * (2.0 - (torch.arange(order, device="cpu") == 0).float()) / bins


class HarmonicVocoder(nn.Module):
    """Predicts pitch and two filters a sub-frame; `left`, `right` bound what a frame's samples see.

    The harmonic filter is minimum-phase by its cepstrum plus a learned phase; the noise filter has
    no phase, and its noise is modulated in step with the pitch.
    """

    def __init__(
        self,
        mels: int,
        sample_rate: int,
        hop: int,
        dims: int,
        blocks: int,
        hidden: int,
        kernel: int,
        lookahead: int,
        subframes: int,
        pitches: int,
        cepstrum: int,
        noise_cepstrum: int,
        breathy: tuple[float, float],
        envelope: Tensor,
        refiner: RefinerConfig | None = None,
    ) -> None:
        """`subframes` filters and `pitches` pitch points a frame, cepstra of the given orders.

        Between the two frequencies of `breathy` (Hz) the power of the pulses goes over to the
        noise. Spectral losses would rather buzz there: against a noisy target an even spectrum is
        closer than other noise. Training starts from filters that follow the mel: `envelope`
        (mels, bins) interpolates its bins over frequencies from 0 to Nyquist. With a `refiner`
        pulses and noise go through one before they are added.
        """
        super().__init__()
        self.sample_rate, self.hop = sample_rate, hop
        self.subframes, self.pitches, self.breathy = subframes, pitches, breathy
        self.parts = (cepstrum, cepstrum, noise_cepstrum, 2)
        self.backbone = Backbone(mels, dims, blocks, hidden, kernel, lookahead)
        self.pitch_head = nn.Linear(dims, pitches * (PITCH_BINS + 1))
        # The filters also see the mel itself: its level passes through no normalisation.
        self.filter_head = nn.Linear(dims + mels, subframes * sum(self.parts))
        with torch.no_grad():
            weight = self.filter_head.weight.mul_(0.05).unflatten(0, (subframes, -1))
            bias = self.filter_head.bias.zero_().unflatten(0, (subframes, -1))
            bins = envelope.shape[1]
            # Unit-power sources yield the mel at a log gain of -0.7; the noise starts lower where
            # there are pulses.
            pulses = pulse_share(bins, sample_rate, breathy)
            levels = (torch.full((bins,), -0.7, device="cpu"), -0.7 - 2.0 * pulses)
            starts = (0, 2 * cepstrum)
            for order, first, level in zip((cepstrum, noise_cepstrum), starts, levels, strict=True):
                to_cepstrum = projection(order, bins) / damping(order)
                end = first + order
                weight[:, first:end, dims:] = MEL_SCALE * (envelope @ to_cepstrum).T
                bias[:, first:end] = (level - MEL_SHIFT) @ to_cepstrum
        self.left, self.right = self.backbone.left + BEFORE, self.backbone.right + AFTER
        self.refiner = Refiner(refiner, dims + mels, sample_rate, hop) if refiner else None
        if self.refiner is not None:
            self.left, self.right = self.left + self.refiner.left, self.right + self.refiner.right

    def controls(self, mel: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """What is predicted from mel (B, F, M).

        Returns:
            (B, F * pitches, PITCH_BINS + 1) logits of pitch and, last, voicing; the filters:
            cepstrum, extra phase, noise cepstrum and noise modulation, each (B, F * subframes, ·);
            and the features (B, F, dims + M) they were made of.
        """
        batch, frames, _ = mel.shape
        hidden = self.backbone(mel)
        logits = linear(self.pitch_head, hidden).float()
        logits = logits.reshape(batch, frames * self.pitches, PITCH_BINS + 1)
        features = torch.cat([hidden, (mel + MEL_SHIFT) / MEL_SCALE], dim=-1)
        filters = linear(self.filter_head, features).float()
        filters = filters.reshape(batch, frames * self.subframes, sum(self.parts))
        return logits, list(filters.split(self.parts, dim=-1)), features

    def forward(self, mel: Tensor, position: Position = START) -> Wave:
        """(B, F, M) -> samples (B, F * hop), with the source in phase with `position`."""
        logits, filters, features = self.controls(mel)
        pitch, voicing = pitch_of(logits), voicing_of(logits)
        return self.synthesise(pitch, voicing, filters, features, position)

    def synthesise(
        self,
        pitch: Tensor,
        voicing: Tensor,
        filters: list[Tensor],
        features: Tensor,
        position: Position = START,
        noise_start: Tensor | None = None,
        follow: Tensor | None = None,
    ) -> Wave:
        """Sources and filters to samples.

        Args:
            pitch: (B, F * pitches) Hz.
            voicing: (B, F * pitches) gain of the pulses, 0 … 1.
            filters: As `controls` returns them.
            features: As `controls` returns them.
            position: Where the window lies.
            noise_start: (B,) sample index at which the noise of each row starts, instead of the
                position's.
            follow: (B, N) recorded samples whose fundamental the pulses keep in step with, so that
                the phases of the harmonics can be learnt.
        """
        with torch.autocast(pitch.device.type, enabled=False):
            batch, frames = pitch.shape[0], pitch.shape[1] // self.pitches
            count = frames * self.hop
            with torch.no_grad():
                frequency = interpolate(pitch.float(), self.hop // self.pitches)  # (B, N)
                cycles = torch.cumsum(frequency.double() / self.sample_rate, dim=1)
                cycles = F.pad(cycles, (1, 0))
                shift = position.phase - cycles[:, position.anchor * self.hop, None]
                cycles = cycles + shift
                phases = cycles[:, :: self.hop].remainder(1.0)
                cycles = cycles[:, :count]
                if follow is not None:
                    cycles = cycles + fundamental_phase(follow, cycles, self.sample_rate)
                gate = interpolate(voicing.float(), self.hop // self.pitches)
                pulses = pulse_train(cycles, frequency, self.sample_rate) * gate
                angle = (2.0 * math.pi * cycles.remainder(1.0)).float()
                if noise_start is None:
                    noise_start = torch.full((batch,), position.frame * self.hop).to(pitch.device)
                noise = white_noise(noise_start, count)
            harmonic, phase, hiss, beat = filters
            step = self.hop // self.subframes
            beat = torch.tanh(beat).repeat_interleave(step, dim=1)  # (B, N, 2)
            wave = beat[..., 0] * torch.cos(angle) + beat[..., 1] * torch.sin(angle)
            noise = noise * (1.0 + wave)
            gate = voicing.float().repeat_interleave(self.subframes // self.pitches, dim=1)
            tone, breath = self._filter(pulses, noise, gate, harmonic, phase, hiss, step)
        samples = tone + breath if self.refiner is None else self.refiner(tone, breath, features)
        return Wave(samples, phases)

    def _filter(
        self,
        pulses: Tensor,
        noise: Tensor,
        gate: Tensor,
        harmonic: Tensor,
        phase: Tensor,
        hiss: Tensor,
        step: int,
    ) -> tuple[Tensor, Tensor]:
        """Cut both sources into windows of two steps, filter each window, add them up."""
        size = 8 * step  # window 2, room for a response of 2 steps before and 4 after
        count = pulses.shape[1]
        window = torch.hann_window(2 * step, device=pulses.device)
        sources = F.pad(torch.cat([pulses, noise]), (step // 2, step - step // 2))
        pieces = sources.unfold(1, 2 * step, step) * window  # (2B, F * subframes, 2 * step)
        bins = torch.fft.rfft(pieces, size, dim=-1)
        pulse_bins, noise_bins = bins.chunk(2)
        harmonic = harmonic * damping(harmonic.shape[-1]).to(harmonic)
        phase = phase * damping(phase.shape[-1]).to(phase)
        hiss = hiss * damping(hiss.shape[-1]).to(hiss)
        cosines, sines = cepstral_basis(harmonic.shape[-1], size, harmonic.device)
        noise_cosines, _ = cepstral_basis(hiss.shape[-1], size, hiss.device)
        with steady():
            log_magnitude = harmonic @ cosines
            angle = -(harmonic + phase) @ sines
            log_noise = hiss @ noise_cosines
        gain = torch.exp(log_magnitude.clamp(max=4.0))
        noise_gain = torch.exp(log_noise.clamp(max=4.0))
        share = pulse_share(size // 2 + 1, self.sample_rate, self.breathy).to(gain)
        handed_over = gain * gate[..., None] * torch.sqrt(1.0 - share.square())
        noise_gain = torch.sqrt(noise_gain.square() + handed_over.square())
        gain = gain * share
        response = torch.complex(gain * torch.cos(angle), gain * torch.sin(angle))
        filtered = [pulse_bins * response, noise_bins * noise_gain]
        if self.refiner is None:  # one transform does
            filtered = [filtered[0] + filtered[1]]
        out = torch.fft.irfft(torch.cat(filtered), size, dim=-1)
        lead = 2 * step
        whole = overlap_add(out.roll(lead, dims=-1), step)
        start = lead + step // 2
        whole = whole[:, start : start + count]
        if self.refiner is None:
            return whole, torch.zeros_like(whole)
        tone, breath = whole.chunk(2)
        return tone, breath


def pitch_centres(device: torch.device) -> Tensor:
    """log2 Hz of each pitch bin, (PITCH_BINS,)."""
    low, high = math.log2(LOWEST_HZ), math.log2(HIGHEST_HZ)
    return torch.linspace(low, high, PITCH_BINS, device=device)


def pitch_of(logits: Tensor) -> Tensor:
    """Expected pitch: (..., PITCH_BINS + 1) -> (...) Hz."""
    chances = torch.softmax(logits[..., :-1], dim=-1)
    with steady():
        return torch.exp2(chances @ pitch_centres(logits.device))


def voicing_of(logits: Tensor) -> Tensor:
    """Probability that there is a pitch: (..., PITCH_BINS + 1) -> (...)."""
    return torch.sigmoid(logits[..., -1])


def pitch_loss(logits: Tensor, pitch: Tensor, voiced: Tensor) -> Tensor:
    """Cross entropy of voicing; on voiced points that of pitch (blurred targets) and its error.

    Args:
        logits: (..., PITCH_BINS + 1).
        pitch: (...) Hz.
        voiced: (...) bool.
    """
    centres = pitch_centres(logits.device)
    voicing = F.binary_cross_entropy_with_logits(logits[..., -1], voiced.to(logits.dtype))
    logits = logits[..., :-1]
    target = torch.log2(pitch.clamp(LOWEST_HZ, HIGHEST_HZ))
    width = 1.25 * (centres[1] - centres[0])
    blurred = torch.softmax(-0.5 * ((centres - target[..., None]) / width).square(), dim=-1)
    entropy = -(blurred * torch.log_softmax(logits, dim=-1)).sum(-1)
    semitones = 12.0 * (torch.softmax(logits, dim=-1) @ centres - target).abs()
    loss = (entropy + semitones) * voiced
    return voicing + loss.sum() / voiced.sum().clamp(min=1)


def interpolate(points: Tensor, step: int) -> Tensor:
    """Linear interpolation of values at the centres of `step` samples: (B, P) -> (B, P * step)."""
    count = points.shape[1]
    padded = torch.cat([points[:, :1], points, points[:, -1:]], dim=1)
    at = (torch.arange(count * step, device=points.device, dtype=torch.float64) + 0.5) / step + 0.5
    low = at.floor()
    weight = (at - low).float()
    index = low.long()
    return torch.lerp(padded[:, index], padded[:, index + 1], weight)
