"""Mel frames to samples. Read Vocoder.decode, then WaveStream.push.

Five networks behind one interface (`VOCODERS`):

    harmonic       a pulse train and noise through predicted filters, and a refiner; trains on a CPU
    vocos          Vocos, 1-D (arXiv 2306.00814)
    vocos2d        Vocos over time and frequency bands (GLM-TTS, arXiv 2512.14291 §2.7)
    hift           the official 24 kHz vocoder, HiFT
    torchscript    a published archive as it is: the official 32 kHz vocoder

Each of them sees `left` frames back and `right` frames ahead and nothing else (the default harmonic
one: 39 and 9 frames of 20 ms; the official HiFT: 21 and 21), so a stream computes every stretch
once, with that much context, and gives what `decode` gives. The phase of the pulses is carried
along; noise is a function of the sample's index.
"""

import math
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from glmtts.audio import AudioSpec, hz_to_mel, mel_to_hz
from glmtts.errors import BadInput
from glmtts.nn.harmonic import HarmonicVocoder, pitch_loss
from glmtts.nn.hift import HiFT, HiFTConfig
from glmtts.nn.packed import pack
from glmtts.nn.refiner import RefinerConfig
from glmtts.nn.scripted import ScriptedVocoder
from glmtts.nn.vocos import ConvNeXtBlock1d, Position, Vocos
from glmtts.nn.vocos2d import ConvNeXtBlock2d, Vocos2d

BLOB = "generator_jit.pt"
"""The archive of a torchscript vocoder, beside its configuration."""


@dataclass(frozen=True)
class ArchiveConfig:
    """What is known of a TorchScript vocoder from outside.

    Attributes:
        left: Frames back that a frame's samples see.
        right: Frames ahead.
    """

    left: int
    right: int


@dataclass(frozen=True)
class VocoderConfig:
    """What a vocoder is.

    Attributes:
        kind: A key of `VOCODERS`.
        spec: Rates and mel settings.
        dims: Channels.
        blocks: ConvNeXt blocks.
        hidden: Channels inside a block's bottleneck.
        kernel: Frames each layer sees.
        lookahead: How many of them lie in the future.
        bands: Frequency bands (vocos2d).
        subframes: Filters a frame (harmonic).
        pitches: Pitch points a frame (harmonic).
        cepstrum: Order of the harmonic filter (harmonic).
        noise_cepstrum: Order of the noise filter (harmonic).
        breathy_from_hz: Below, voiced sound is made of pulses (harmonic).
        breathy_to_hz: Above, everything is noise (harmonic).
        refiner: Network behind the filters; None: there is none (harmonic).
        hift: The official network; None is the released one (hift, which has no other setting).
        archive: Of the file that is run (torchscript, which has no other setting).
    """

    kind: str = "harmonic"
    spec: AudioSpec = field(default_factory=AudioSpec)
    dims: int = 320
    blocks: int = 6
    hidden: int = 960
    kernel: int = 7
    lookahead: int = 1
    bands: int = 30
    subframes: int = 4
    pitches: int = 2
    cepstrum: int = 96
    noise_cepstrum: int = 48
    breathy_from_hz: float = 3_500.0
    breathy_to_hz: float = 6_000.0
    refiner: RefinerConfig | None = None
    hift: HiFTConfig | None = None
    archive: ArchiveConfig | None = None


def vocos(config: VocoderConfig) -> Vocos:
    """The 1-D network of `config`."""
    return Vocos(
        config.spec.n_mels, config.spec.n_fft, config.spec.hop_length, config.dims, config.blocks,
        config.hidden, config.kernel, config.lookahead,
    )  # fmt: skip


def vocos2d(config: VocoderConfig) -> Vocos2d:
    """The 2-D network of `config`."""
    return Vocos2d(
        config.spec.n_mels, config.spec.n_fft, config.spec.hop_length, config.dims, config.blocks,
        config.hidden, config.kernel, config.lookahead, config.bands,
    )  # fmt: skip


def harmonic(config: VocoderConfig) -> HarmonicVocoder:
    """The harmonic-plus-noise network of `config`."""
    return HarmonicVocoder(
        config.spec.n_mels, config.spec.sample_rate, config.spec.hop_length, config.dims,
        config.blocks, config.hidden, config.kernel, config.lookahead, config.subframes,
        config.pitches, config.cepstrum, config.noise_cepstrum,
        (config.breathy_from_hz, config.breathy_to_hz), envelope_of(config.spec), config.refiner,
    )  # fmt: skip


def hift(config: VocoderConfig) -> HiFT:
    """The official 24 kHz network of `config`.

    Raises:
        BadInput: its upsampling does not make a frame of the spec's hop.
    """
    sizes, spec = config.hift or HiFTConfig(), config.spec
    if sizes.hop != spec.hop_length:
        raise BadInput(
            f"This HiFT makes {sizes.hop} samples a frame, the mel has a hop of {spec.hop_length}. "
            "Make up_rates times stft_hop that number."
        )
    return HiFT(sizes, spec.n_mels, spec.sample_rate)


def torchscript(config: VocoderConfig) -> ScriptedVocoder:
    """A frame for the archive of `config`, which hears mels of magnitudes divided by n_fft."""
    spec, archive = config.spec, config.archive or ArchiveConfig(0, 0)
    return ScriptedVocoder(spec.hop_length, -math.log(spec.n_fft), archive.left, archive.right)


def envelope_of(spec: AudioSpec, bins: int = 512) -> Tensor:
    """Interpolation of a log-mel over `bins` frequencies from 0 to Nyquist: (M, bins).

    Between the centres of the filters linear, outside them constant.
    """
    low, high = (float(hz_to_mel(np.array(hz))) for hz in (spec.f_min, spec.f_max))
    centres = mel_to_hz(np.linspace(low, high, spec.n_mels + 2)[1:-1])
    hertz = (np.arange(bins) + 0.5) * (0.5 * spec.sample_rate / bins)
    unit: list[list[float]] = np.eye(spec.n_mels).tolist()
    rows = [np.interp(hertz, centres, row).tolist() for row in unit]
    return torch.tensor(rows, device="cpu")


VOCODERS = {
    "harmonic": harmonic, "vocos": vocos, "vocos2d": vocos2d, "hift": hift,
    "torchscript": torchscript,
}  # fmt: skip


class Vocoder(nn.Module):
    """Log-mel (`glmtts.audio.log_mel`) to samples: `decode` at once, `stream` piece by piece."""

    config_type: ClassVar[type[VocoderConfig]] = VocoderConfig

    def __init__(self, config: VocoderConfig) -> None:
        """Build the network of `config.kind` with random weights.

        Raises:
            BadInput: the kind is unknown.
        """
        super().__init__()
        if config.kind not in VOCODERS:
            raise BadInput(f"Unknown vocoder {config.kind!r}. Known: {', '.join(VOCODERS)}.")
        self.config = config
        self.spec = config.spec
        self.network = VOCODERS[config.kind](config)

    @property
    def blob_name(self) -> str:
        """The file that `glmtts.checkpoint` keeps beside the tensors; "" for none."""
        return BLOB if isinstance(self.network, ScriptedVocoder) else ""

    @property
    def blob(self) -> bytes:
        """The archive of a torchscript vocoder; of any other kind b""."""
        return self.network.archive if isinstance(self.network, ScriptedVocoder) else b""

    @blob.setter
    def blob(self, data: bytes) -> None:
        assert isinstance(self.network, ScriptedVocoder), f"{self.config.kind} has no archive"
        self.network.archive = data

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that mels must have."""
        return next(chain(self.parameters(), self.buffers()))

    def forward(
        self,
        mel: Tensor,
        pitch: Tensor | None = None,
        voiced: Tensor | None = None,
        follow: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Mel (B, F, M) to samples (B, F * hop).

        Args:
            mel: (B, F, M).
            pitch: (B, F * pitches) true pitch in Hz: `reconstruct` instead.
            voiced: (B, F * pitches) bool, with `pitch`.
            follow: (B, F * hop) recorded samples to keep in step with, with `pitch`.
        """
        if pitch is None or voiced is None:
            return self.network(mel).samples
        return self.reconstruct(mel, pitch, voiced, follow)

    def reconstruct(
        self, mel: Tensor, pitch: Tensor, voiced: Tensor, follow: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples (B, N) for training, made with the true pitch, and the pitch loss.

        Networks without a pitch ignore it and have no such loss. Noise is drawn from torch's
        generator, another stretch for each row.
        """
        if not isinstance(self.network, HarmonicVocoder):
            return self.network(mel).samples, mel.new_zeros(())
        logits, filters, features = self.network.controls(mel)
        start = torch.randint(0, 2**31, (mel.shape[0],), device=mel.device)
        wave = self.network.synthesise(
            pitch, voiced, filters, features, noise_start=start, follow=follow
        )
        return wave.samples, pitch_loss(logits, pitch, voiced)

    @torch.no_grad()
    def decode(self, mel: Tensor) -> Tensor:
        """Mel (F, M) to samples (F * hop,) on the device of the weights."""
        if mel.shape[0] == 0:
            return mel.new_zeros(0)
        return self.network(mel[None].to(self.like)).samples[0]

    def packed(self, dtype: torch.dtype = torch.float32) -> "Vocoder":
        """Make the network ready for inference on this machine, for good, and return it.

        Args:
            dtype: Type of the matrix products inside the ConvNeXt blocks (two thirds of the work).
                The stream between the blocks, norms, heads and all that is made of them stay
                float32.
        """
        for part in self.network.modules():
            if isinstance(part, (ConvNeXtBlock1d, ConvNeXtBlock2d)):
                part.rise.to(dtype)
                part.fall.to(dtype)
        for part in self.network.modules():
            if isinstance(part, nn.Linear):
                pack(part)
        return self

    def stream(self) -> "WaveStream":
        """Start decoding one utterance piece by piece."""
        return WaveStream(self)


class WaveStream:
    """Decodes one utterance as its mel arrives. The module itself keeps no state."""

    def __init__(self, vocoder: Vocoder) -> None:
        """Start at the beginning of an utterance."""
        self._network = vocoder.network
        self._hop = vocoder.spec.hop_length
        self._like = vocoder.like
        self._mel = self._like.new_zeros(0, vocoder.spec.n_mels)
        self._first = 0  # index of the first frame in self._mel
        self._done = 0  # frames whose samples were returned
        self._anchor, self._phase = 0, 0.0  # a frame at which the source's phase is known
        self._ended = False

    @torch.no_grad()
    def push(self, mel: Tensor, *, last: bool) -> Tensor:
        """Take the next frames, return the samples that are final now.

        Args:
            mel: (f, M), any f; may be empty.
            last: No more frames follow: return everything.

        Returns:
            (n,) samples; the pieces of an utterance joined are what `decode` returns.

        Raises:
            BadInput: the stream has ended.
        """
        if self._ended:
            raise BadInput("This stream has ended. Start another with Vocoder.stream().")
        self._ended = last
        self._mel = torch.cat([self._mel, mel.to(self._like)])
        total = self._first + len(self._mel)
        right = self._network.right
        until = total if last else total - right
        if until <= self._done:
            return self._like.new_zeros(0)
        position = Position(self._first, self._anchor - self._first, self._phase)
        wave = self._network(self._mel[None], position)
        start = (self._done - self._first) * self._hop
        samples = wave.samples[0, start : (until - self._first) * self._hop]
        self._done = until
        if wave.phases is not None:  # as far as the pitch is final
            self._anchor = max(self._anchor, until - 2)
            self._phase = float(wave.phases[0, self._anchor - self._first])
        keep = max(self._first, until - self._network.left - 2)
        self._mel = self._mel[keep - self._first :]
        self._first = keep
        return samples
