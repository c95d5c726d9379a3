"""Sound as a value: `Audio` (samples with their rate), `AudioSpec` (every rate in one place), mels.

Legend used package-wide: B batch, T text ids, S speech tokens, F mel frames, M mel bins,
N samples, E speaker dimensions, D model dimensions, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from glmtts.errors import BadAudio


@dataclass(frozen=True)
class AudioSpec:
    """The one home of every rate and mel setting (defaults: official, 24 kHz, spec §3.7)."""

    sample_rate: int = 24_000
    hop_length: int = 480
    n_fft: int = 1_920
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8_000.0
    tokens_per_second: float = 25.0

    @property
    def frames_per_second(self) -> float:
        """Mel frames per second of sound."""
        return self.sample_rate / self.hop_length

    @property
    def frames_per_token(self) -> int:
        """Mel frames covered by one speech token."""
        return round(self.frames_per_second / self.tokens_per_second)

    @property
    def samples_per_token(self) -> int:
        """Samples covered by one speech token."""
        return self.frames_per_token * self.hop_length


@dataclass(frozen=True)
class Audio:
    """A mono sound: the sample rate travels with the samples.

    Attributes:
        samples: (N,) float32, nominally in [-1, 1].
        sample_rate: Samples per second.
        finish_reason: How synthesis ended, None for sound that was not synthesised: "stop" (the
            model ended by itself), "length" (cut at the length budget), "repetition" or "silence"
            (the runaway guard cut a loop that its retries did not cure).
    """

    samples: Tensor
    sample_rate: int
    finish_reason: str | None = None

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    @classmethod
    def load(cls, source: str | Path | BinaryIO) -> "Audio":
        """Read any format libsndfile knows (WAV, FLAC, Ogg Opus/Vorbis, MP3), mixed to mono.

        Raises:
            BadAudio: the file is missing, empty, or not readable as sound.
        """
        import soundfile  # here: training reads shards, and must run without it

        try:
            data, rate = soundfile.read(source, dtype="float32", always_2d=True)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise BadAudio(
                f"Cannot read {source!s} as audio ({error}). "
                "Expected a WAV, FLAC, MP3, Ogg or Opus file."
            ) from error
        if data.shape[0] == 0:
            raise BadAudio(f"{source!s} holds no samples. Expected at least a second of speech.")
        mono: np.ndarray = data.mean(axis=1)
        if not np.isfinite(mono).all():
            raise BadAudio(f"{source!s} holds samples that are not numbers (NaN or infinity).")
        return cls(torch.from_numpy(np.ascontiguousarray(mono)), int(rate))

    def save(self, path: str | Path | BinaryIO, format: str | None = None) -> None:
        """Write 16-bit PCM WAV, or the format of the path's suffix (flac, mp3, ogg, opus).

        Raises:
            BadAudio: the folder does not exist or the format is unknown.
        """
        suffix = "" if not isinstance(path, (str, Path)) else Path(path).suffix.lower().lstrip(".")
        kind = (format or suffix or "wav").lower()
        args = {
            "wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None),
            "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
        }.get(kind)  # fmt: skip
        if args is None:
            raise BadAudio(f"Unknown audio format {kind!r}. Known: wav, flac, mp3, ogg, opus.")
        import soundfile

        data = self.samples.detach().float().cpu().clamp(-1.0, 1.0).numpy()
        try:
            soundfile.write(path, data, self.sample_rate, format=args[0], subtype=args[1])
        except (OSError, RuntimeError) as error:
            raise BadAudio(f"Cannot write {path!s} ({error}).") from error

    def resampled(self, sample_rate: int, method: str = "soxr") -> "Audio":
        """The same sound at another rate.

        Args:
            sample_rate: Samples per second wanted.
            method: "soxr" (high quality), or "sinc" for what the official encoders were given
                (`sinc_resampled`).
        """
        if sample_rate == self.sample_rate:
            return self
        if method == "sinc":
            samples = sinc_resampled(self.samples, self.sample_rate, sample_rate)
            return replace(self, samples=samples, sample_rate=sample_rate)
        assert method == "soxr", f"unknown resampling method {method!r}"
        import soxr

        out = soxr.resample(self.samples.cpu().numpy(), self.sample_rate, sample_rate)
        return replace(self, samples=torch.from_numpy(out).float(), sample_rate=sample_rate)

    @staticmethod
    def concat(parts: Sequence["Audio"]) -> "Audio":
        """Join sounds of one rate. The first finish reason that is not "stop" wins.

        Raises:
            BadAudio: no parts, or parts of different rates.
        """
        if not parts:
            raise BadAudio("Nothing to join: no audio was produced.")
        if len({part.sample_rate for part in parts}) > 1:
            raise BadAudio("Cannot join sounds of different sample rates; resample them first.")
        reasons = [part.finish_reason for part in parts if part.finish_reason is not None]
        reason = next((r for r in reasons if r != "stop"), reasons[-1] if reasons else None)
        samples = torch.cat([part.samples for part in parts])
        return Audio(samples, parts[0].sample_rate, reason)


@lru_cache(maxsize=16)
def _sinc_filters(source: int, target: int, crossings: int = 6, rolloff: float = 0.99) -> Tensor:
    """Filters of `sinc_resampled`, one for each output in `source` samples: (target, taps)."""
    edge = min(source, target) * rolloff  # twice the cut-off, in the units of the reduced rates
    half = math.ceil(crossings * source / edge)
    taps = np.arange(-half, half + source) / source
    time = (taps - np.arange(target)[:, None] / target) * edge  # in zero crossings
    window = np.cos(np.clip(time, -crossings, crossings) * (np.pi / crossings / 2)) ** 2
    filters = np.sinc(np.clip(time, -crossings, crossings)) * window * (edge / source)
    return torch.from_numpy(filters.astype(np.float32))


def sinc_resampled(samples: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample as torchaudio does by default: (N,) -> (ceil(N * target_rate / source_rate),).

    A sinc of six zero crossings under a Hann window, cut off at 0.99 of the lower Nyquist frequency
    (Smith, "Digital Audio Resampling"; torchaudio.transforms.Resample). The official system hears
    every reference through it, so its speech tokens want the same numbers; soxr is better.
    """
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    filters = _sinc_filters(source, target).to(samples)
    half = (filters.shape[1] - source) // 2
    padded = torch.nn.functional.pad(samples, (half, half + source))
    out = torch.nn.functional.conv1d(padded[None, None], filters[:, None], stride=source)[0]
    return out.T.reshape(-1)[: -(-target * len(samples) // source)]  # (target, n) -> (target n,)


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale (Auditory Toolbox): linear below 1 kHz, logarithmic above."""
    log_step = math.log(6.4) / 27.0
    linear = hz * 3.0 / 200.0
    return np.where(hz >= 1000.0, 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) / log_step, linear)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Inverse of `hz_to_mel`."""
    log_step = math.log(6.4) / 27.0
    return np.where(mel >= 15.0, 1000.0 * np.exp(log_step * (mel - 15.0)), mel * 200.0 / 3.0)


@lru_cache(maxsize=16)
def mel_basis(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Triangular mel filters with Slaney scale and area norm, (M, n_fft // 2 + 1)."""
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    low, high = hz_to_mel(np.array([f_min, f_max]))
    edges = mel_to_hz(np.linspace(float(low), float(high), n_mels + 2))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    with torch.inference_mode(False):  # what is cached must also serve training
        return torch.from_numpy(filters.astype(np.float32))


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def log_mel(samples: Tensor, spec: AudioSpec) -> Tensor:
    """Natural-log magnitude mel of the flow and the vocoder (spec §3.7): (..., N) -> (..., F, M).

    Frames are centred by reflecting (n_fft - hop) / 2 samples, so F = N // hop_length. Computed in
    float32, or in float64 for samples of that type.
    """
    pad = (spec.n_fft - spec.hop_length) // 2
    flat = _at_least_float32(samples.reshape(-1, samples.shape[-1]))
    flat = torch.nn.functional.pad(flat[:, None], (pad, pad), mode="reflect")[:, 0]
    window = torch.hann_window(spec.n_fft, dtype=flat.dtype, device=samples.device)
    stft = torch.stft(
        flat, spec.n_fft, spec.hop_length, window=window, center=False, return_complex=True
    )
    magnitude = torch.sqrt(stft.real.square() + stft.imag.square() + 1e-9)  # (B, bins, F)
    basis = mel_basis(spec.sample_rate, spec.n_fft, spec.n_mels, spec.f_min, spec.f_max)
    mel = torch.log(torch.clamp(basis.to(magnitude) @ magnitude, min=1e-5))
    mel = mel.transpose(1, 2)  # (B, M, F) -> (B, F, M)
    return mel.reshape(*samples.shape[:-1], *mel.shape[1:])


def whisper_log_mel(
    samples: Tensor, n_mels: int = 80, sample_rate: int = 16_000, lengths: Tensor | None = None
) -> Tensor:
    """Whisper's log10 mel, 25 ms windows every 10 ms: (..., N) -> (..., F, M).

    Floor at 8 decades below the loudest bin of each sound, then (x + 4) / 4 (openai/whisper).
    Whisper hears 16 kHz; at a higher rate the same windows hold the same bins up to 8 kHz, so their
    mel is that of the sound resampled to 16 kHz (equal below the edge of the resampling filter).

    Args:
        samples: Sounds, padded to one length.
        n_mels: M.
        sample_rate: 16000, or a higher multiple of 8000.
        lengths: For samples (B, N), where each sound ends (multiples of 10 ms). Then each gets the
            mel it has alone, and zeros behind; without it, padding counts as sound.
    """
    n_fft, hop = sample_rate // 40, sample_rate // 100
    flat = samples.reshape(-1, samples.shape[-1]).float()
    window = torch.hann_window(n_fft, device=samples.device)
    beyond: Tensor | None = None
    if lengths is not None and bool((lengths < samples.shape[-1]).any()):
        # Reflect each sound at its own end, as `center=True` does at the end of the batch.
        index = torch.arange(samples.shape[-1], device=samples.device)
        last = lengths[:, None] - 1
        index = torch.where(index > last, 2 * last - index, index).clamp(min=0)
        mirrored = flat.gather(1, index)
        beyond = torch.arange(samples.shape[-1] // hop, device=samples.device) >= (
            lengths[:, None] // hop
        )  # (B, F)
        flat = mirrored
    stft = torch.stft(flat, n_fft, hop, window=window, center=True, return_complex=True)
    power = stft[:, :201, :-1].abs().square() * (400 / n_fft) ** 2  # (B, bins up to 8 kHz, F)
    basis = mel_basis(16_000, 400, n_mels, 0.0, 8_000.0).to(power)
    mel = torch.log10(torch.clamp(basis @ power, min=1e-10)).transpose(1, 2)
    loudest = mel if beyond is None else mel.masked_fill(beyond[..., None], -math.inf)
    mel = torch.maximum(mel, loudest.amax(dim=(1, 2), keepdim=True) - 8.0)
    mel = (mel + 4.0) / 4.0
    if beyond is not None:
        mel = mel.masked_fill(beyond[..., None], 0.0)
    return mel.reshape(*samples.shape[:-1], *mel.shape[1:])


@lru_cache(maxsize=4)
def _kaldi_basis(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Kaldi's triangles from 20 Hz to Nyquist, even in HTK's mel, no norm: (M, n_fft // 2)."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    bins = mel(np.arange(n_fft // 2) * sample_rate / n_fft)
    low, high = mel(np.array([20.0, sample_rate / 2]))
    edges = np.linspace(float(low), float(high), n_mels + 2)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32))


def kaldi_fbank(samples: Tensor, sample_rate: int = 16_000, n_mels: int = 80) -> Tensor:
    """Kaldi's log mel energies, 25 ms windows every 10 ms, no dither: (N,) -> (F, M).

    Each window loses its mean, is pre-emphasised by 0.97 and weighted by Povey's window (Hann's to
    the power of 0.85). Only whole windows count: F = 1 + (N - window) // hop, or 0 below 25 ms.
    Computed in float32, or in float64 for samples of that type.

    Samples stay in [-1, 1] (Kaldi itself works on 16-bit integers), as CAM++ of GLM-TTS is fed.
    """
    window, hop = sample_rate // 40, sample_rate // 100
    if len(samples) < window:
        return samples.new_zeros(0, n_mels)
    frames = _at_least_float32(samples).unfold(0, window, hop)  # (F, window)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    hann = torch.hann_window(window, periodic=False, dtype=frames.dtype, device=frames.device)
    n_fft = 1 << (window - 1).bit_length()
    windows = (frames - 0.97 * before) * hann.pow(0.85)
    spectrum = cast("Tensor", torch.fft.rfft(windows, n=n_fft))
    power = spectrum.abs().square()[:, :-1]  # (F, bins without Nyquist)
    energies = power @ _kaldi_basis(sample_rate, n_fft, n_mels).to(power).T
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()
