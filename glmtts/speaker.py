"""Sound to a speaker vector by a GE2E LSTM. Read `SpeakerEncoder.embed_batch` first.

The network is the one of Wan et al., "Generalized End-to-End Loss for Speaker Verification"
(arXiv:1710.10467), in the form of the Apache-2.0 package `resemblyzer`, whose published weights
`glmtts.convert.resemblyzer` turns into a component.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from glmtts.audio import Audio, mel_basis
from glmtts.errors import BadAudio
from glmtts.vad import samples_where, speech_mask, widened


@dataclass(frozen=True)
class SpeakerConfig:
    """What a speaker encoder is.

    Attributes:
        sample_rate: Samples per second the network hears.
        n_fft: Samples of one analysis window (25 ms).
        hop_length: Samples between mel frames (10 ms).
        n_mels: Mel bins.
        hidden: Units of each LSTM layer.
        layers: LSTM layers.
        dims: Size of the speaker vector.
        window_frames: Mel frames the network sees at once (1.6 s).
        window_step: Mel frames between the starts of two windows.
        target_dbfs: Quieter sounds are raised to this RMS level; louder ones stay.
    """

    sample_rate: int = 16_000
    n_fft: int = 400
    hop_length: int = 160
    n_mels: int = 40
    hidden: int = 256
    layers: int = 3
    dims: int = 256
    window_frames: int = 160
    window_step: int = 77
    target_dbfs: float = -30.0


class SpeakerEncoder(nn.Module):
    """Who speaks, as a unit-length vector: close for one speaker, far for two."""

    config_type: ClassVar[type[SpeakerConfig]] = SpeakerConfig

    def __init__(self, config: SpeakerConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(config.n_mels, config.hidden, config.layers, batch_first=True)
        self.linear = nn.Linear(config.hidden, config.dims)

    def forward(self, mels: Tensor) -> Tensor:
        """Embed windows: (B, window_frames, M) -> (B, E), each of unit length."""
        hidden, _ = self.lstm(mels)  # (B, window_frames, hidden)
        return functional.normalize(functional.relu(self.linear(hidden[:, -1])), dim=1)

    @torch.no_grad()
    def embed(self, audio: Audio) -> Tensor:
        """The speaker vector of a sound of any rate and length: (E,) float32, unit length, on CPU.

        Raises:
            BadAudio: the sound is empty, digital silence, or holds samples that are not numbers.
        """
        return self.embed_batch([audio])[0]

    @torch.no_grad()
    def embed_batch(self, audios: Sequence[Audio], batch_size: int = 128) -> Tensor:
        """The speaker vectors of several sounds: (B, E) float32, unit length, on CPU.

        Long silences are left out, quiet sounds are raised, and the vectors of windows that
        overlap by half are averaged.

        Args:
            audios: Sounds of any rate and length.
            batch_size: Windows that pass through the network together.

        Raises:
            BadAudio: a sound is empty, digital silence, or holds samples that are not numbers.
        """
        windows = [self._windows(audio) for audio in audios]
        if not windows:
            return torch.zeros(0, self.config.dims)
        stacked = torch.cat(windows).to(self.linear.weight)  # (all windows, window_frames, M)
        vectors = torch.cat([self(part) for part in torch.split(stacked, batch_size)]).float().cpu()
        parts = torch.split(vectors, [len(w) for w in windows])  # each (W, E)
        means = [part.mean(dim=0) for part in parts]
        return functional.normalize(torch.stack(means), dim=1)

    def _windows(self, audio: Audio) -> Tensor:
        """Cut the mel of one sound into windows: (N,) -> (W, window_frames, M), W >= 1."""
        config = self.config
        samples = self._prepared(audio)
        frames = len(samples) // config.hop_length + 1
        # A last window is worth having when sound fills at least three quarters of it.
        spare = max(0, frames - config.window_frames // 4 * 3)
        count = 1 + spare // config.window_step
        needed = (count - 1) * config.window_step + config.window_frames
        short = max(0, needed * config.hop_length - len(samples))
        mel = self._mel(functional.pad(samples, (0, short)))  # (F, M)
        return mel[:needed].unfold(0, config.window_frames, config.window_step).transpose(1, 2)

    def _prepared(self, audio: Audio) -> Tensor:
        """Resample, raise a quiet sound, leave out long silences: (N,) -> (n,)."""
        if audio.samples.numel() == 0 or not bool(torch.isfinite(audio.samples).all()):
            raise BadAudio(
                "Cannot tell the speaker of a sound that is empty or holds samples that are not "
                "numbers. Expected a recording of speech."
            )
        audio = audio.resampled(self.config.sample_rate)
        mask = widened(speech_mask(audio), 0.12, 0.12)
        heard = samples_where(audio, mask) if mask.any() else audio.samples.cpu().numpy()
        level = float(np.sqrt(np.mean(np.square(audio.samples.cpu().numpy(), dtype=np.float64))))
        if level == 0.0:
            raise BadAudio("Cannot tell the speaker of silence. Expected a recording of speech.")
        gain = max(1.0, 10.0 ** (self.config.target_dbfs / 20.0) / level)
        return torch.from_numpy(heard * np.float32(gain))

    def _mel(self, samples: Tensor) -> Tensor:
        """Power mel (no logarithm) with frames centred on multiples of the hop: (n,) -> (F, M)."""
        config = self.config
        stft = torch.stft(
            samples, config.n_fft, config.hop_length, window=torch.hann_window(config.n_fft),
            center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = stft.real.square() + stft.imag.square()  # (bins, F)
        basis = mel_basis(
            config.sample_rate, config.n_fft, config.n_mels, 0.0, config.sample_rate / 2
        )
        return (basis @ power).T
