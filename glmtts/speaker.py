"""Sound to a speaker vector. Read `SpeakerEncoder.embed_batch` first.

Two networks behind one interface (`SpeakerConfig.kind`):

    ge2e        the LSTM of Wan et al., "Generalized End-to-End Loss for Speaker Verification"
                (arXiv:1710.10467), in the form of the Apache-2.0 package `resemblyzer`, whose
                published weights `glmtts.convert.resemblyzer` turns into a component
    campplus    CAM++ (arXiv:2303.00332), the official system's: an ONNX graph beside config.json,
                run by onnxruntime
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from glmtts.audio import Audio, kaldi_fbank, mel_basis
from glmtts.errors import BadAudio, BadInput
from glmtts.nn.onnx_graph import OnnxGraph
from glmtts.vad import samples_where, speech_mask, widened


@dataclass(frozen=True)
class SpeakerConfig:
    """What a speaker encoder is.

    Attributes:
        kind: "ge2e" or "campplus".
        sample_rate: Samples per second the network hears.
        n_fft: Samples of one analysis window (25 ms).
        hop_length: Samples between mel frames (10 ms).
        n_mels: Mel bins.
        hidden: Units of each LSTM layer (ge2e).
        layers: LSTM layers (ge2e).
        dims: Size of the speaker vector.
        window_frames: Mel frames the network sees at once, 1.6 s (ge2e).
        window_step: Mel frames between the starts of two windows (ge2e).
        target_dbfs: Quieter sounds are raised to this RMS level; louder ones stay (ge2e).
        graph: Name of the ONNX file in the component's folder (campplus).
    """

    kind: str = "ge2e"
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
    graph: str = "campplus.onnx"

    @classmethod
    def official(cls) -> "SpeakerConfig":
        """The speaker encoder of zai-org/GLM-TTS (spec §3.8)."""
        return cls(kind="campplus", n_mels=80, dims=192)


class SpeakerEncoder(nn.Module):
    """Who speaks, as a unit-length vector: close for one speaker, far for two.

    Attributes:
        blob: The ONNX file of a "campplus" encoder, kept by `glmtts.checkpoint`.
    """

    config_type: ClassVar[type[SpeakerConfig]] = SpeakerConfig

    def __init__(self, config: SpeakerConfig, blob: bytes = b"") -> None:
        """Build with random weights, or around the ONNX file `blob`.

        Raises:
            BadInput: the kind is unknown.
        """
        super().__init__()
        if config.kind not in ("ge2e", "campplus"):
            raise BadInput(f"Unknown speaker encoder {config.kind!r}. Known: ge2e, campplus.")
        self.config = config
        self.blob = blob
        self._graph: OnnxGraph | None = None
        if config.kind == "campplus":
            return
        self.lstm = nn.LSTM(config.n_mels, config.hidden, config.layers, batch_first=True)
        self.linear = nn.Linear(config.hidden, config.dims)

    @property
    def blob_name(self) -> str:
        """Name of the file in the component's folder that holds the network, "" for none."""
        return self.config.graph if self.config.kind == "campplus" else ""

    def forward(self, mels: Tensor) -> Tensor:
        """Embed windows by the LSTM: (B, window_frames, M) -> (B, E), each of unit length."""
        hidden, _ = self.lstm(mels)  # (B, window_frames, hidden)
        return functional.normalize(functional.relu(self.linear(hidden[:, -1])), dim=1)

    @torch.no_grad()
    def embed(self, audio: Audio) -> Tensor:
        """The speaker vector of a sound of any rate and length: (E,) float32, unit length, on CPU.

        Raises:
            BadAudio: the sound is empty, digital silence, or holds samples that are not numbers.
            MissingExtra: the encoder is "campplus" and onnxruntime is not installed.
        """
        return self.embed_batch([audio])[0]

    @torch.no_grad()
    def embed_batch(self, audios: Sequence[Audio], batch_size: int = 128) -> Tensor:
        """The speaker vectors of several sounds: (B, E) float32, unit length, on CPU.

        The LSTM hears windows: long silences are left out, quiet sounds are raised, and the vectors
        of windows that overlap by half are averaged. CAM++ hears each sound whole and as it is.

        Args:
            audios: Sounds of any rate and length.
            batch_size: Windows that pass through the LSTM together.

        Raises:
            BadAudio: a sound is empty, digital silence, holds samples that are not numbers, or is
                too short (25 ms, campplus).
            CheckpointError: the ONNX graph is damaged or is another network (campplus).
            MissingExtra: onnxruntime is not installed (campplus).
        """
        if self.config.kind == "campplus":
            rows = [self._by_graph(audio) for audio in audios]
            return torch.stack(rows) if rows else torch.zeros(0, self.config.dims)
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

    def _by_graph(self, audio: Audio) -> Tensor:
        """The vector of one sound by CAM++ (spec §3.8): (N,) -> (E,)."""
        config = self.config
        _refuse_unheard(audio)
        samples = audio.resampled(config.sample_rate, "sinc").samples.float().cpu()
        features = kaldi_fbank(samples, config.sample_rate, config.n_mels)  # (F, M)
        if len(features) == 0:
            raise BadAudio(
                f"Cannot tell the speaker of {audio.seconds * 1000:.0f} ms of sound. "
                "Expected a recording of speech."
            )
        if self._graph is None or self._graph.data is not self.blob:
            self._graph = OnnxGraph(self.blob)
        features = features - features.mean(0)
        vector = torch.from_numpy(self._graph(features[None].numpy(), config.dims))[0]
        return functional.normalize(vector, dim=0)

    def _prepared(self, audio: Audio) -> Tensor:
        """Resample, raise a quiet sound, leave out long silences: (N,) -> (n,)."""
        _refuse_unheard(audio)
        audio = audio.resampled(self.config.sample_rate)
        mask = widened(speech_mask(audio), 0.12, 0.12)
        heard = samples_where(audio, mask) if mask.any() else audio.samples.cpu().numpy()
        level = float(np.sqrt(np.mean(np.square(audio.samples.cpu().numpy(), dtype=np.float64))))
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


def _refuse_unheard(audio: Audio) -> None:
    if audio.samples.numel() == 0 or not bool(torch.isfinite(audio.samples).all()):
        raise BadAudio(
            "Cannot tell the speaker of a sound that is empty or holds samples that are not "
            "numbers. Expected a recording of speech."
        )
    if not audio.samples.any():
        raise BadAudio("Cannot tell the speaker of silence. Expected a recording of speech.")
