"""Shards with audio to crops for the vocoder. Read VocoderBatches.batch first."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from glmtts.audio import AudioSpec, log_mel
from glmtts.data.pitch import track_pitch
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput

MARGIN = 2
"""Frames of real sound beside a crop, so that the mel at its edges is the true one."""


@dataclass(frozen=True)
class VocoderBatch:
    """Crops of equal length.

    Attributes:
        samples: (B, N) float32.
        mel: (B, F, M) log-mel of the samples, N = F * hop.
        pitch: (B, P) Hz, interpolated where unvoiced.
        voiced: (B, P) bool.
    """

    samples: Tensor
    mel: Tensor
    pitch: Tensor
    voiced: Tensor

    def to(self, device: torch.device) -> "VocoderBatch":
        """The same batch on `device`."""
        return VocoderBatch(
            self.samples.to(device), self.mel.to(device), self.pitch.to(device),
            self.voiced.to(device),
        )  # fmt: skip


class PitchTrack:
    """F0 of every clip of a folder of shards, tracked once and kept beside them."""

    def __init__(self, folder: str | Path, corpus: Corpus, sample_rate: int, step: int) -> None:
        """Read `pitch-<step>.safetensors` of each folder, made first where it is missing.

        Args:
            folder: As given to `Corpus` (several: separated by commas).
            corpus: The corpus of that folder.
            sample_rate: Of the audio.
            step: Samples between pitch points.

        Raises:
            BadInput: a file belongs to other shards.
            MissingExtra: a file is missing and pyworld is not installed.
        """
        self._tracks: list[np.ndarray] = []
        parts = str(folder).split(",")
        for part in parts:
            path = Path(part) / f"pitch-{step}.safetensors"
            clips = corpus if len(parts) == 1 else Corpus(part)
            if not path.exists():
                _write_tracks(path, clips, sample_rate, step)
            data = load_file(path)
            offsets = data["offsets"]
            lengths = [clips.length("audio", i) // step for i in range(len(clips))]
            if not np.array_equal(np.diff(offsets), lengths):
                raise BadInput(f"{path} belongs to other shards. Remove it to have it made again.")
            self._tracks += np.split(data["pitch"].astype(np.float32), offsets[1:-1])

    def __getitem__(self, clip: int) -> np.ndarray:
        """(P,) float32 Hz of clip number `clip`, 0 where unvoiced."""
        return without_spikes(self._tracks[clip])


def _write_tracks(path: Path, corpus: Corpus, sample_rate: int, step: int) -> None:
    tracks = [track_pitch(corpus.array("audio", i), sample_rate, step) for i in range(len(corpus))]
    offsets = np.cumsum([0, *map(len, tracks)], dtype=np.int64)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")  # ranks may write at once
    save_file({"pitch": np.concatenate(tracks).astype(np.float16), "offsets": offsets}, temporary)
    temporary.rename(path)


def without_spikes(pitch: np.ndarray) -> np.ndarray:
    """Call points unvoiced (0) that lie over 2 semitones off the median of the 7 around them."""
    wide = np.lib.stride_tricks.sliding_window_view(np.pad(pitch, 3), 7)
    known = np.where(wide > 0, wide, np.nan)
    known[:, 3] = np.where(pitch > 0, pitch, 1.0)  # never a row of nothing
    ratio = np.maximum(pitch, 1.0) / np.nanmedian(known, axis=1)
    return np.where(np.abs(np.log2(ratio)) < 1.0 / 6.0, pitch, 0.0).astype(np.float32)


def without_gaps(pitch: np.ndarray) -> np.ndarray:
    """Fill unvoiced points (0) by linear interpolation in log-Hz; 150 Hz if none is voiced."""
    voiced = np.flatnonzero(pitch > 0)
    if len(voiced) == 0:
        return np.full_like(pitch, 150.0)
    filled = np.interp(np.arange(len(pitch)), voiced, np.log(pitch[voiced]))
    return np.exp(filled).astype(np.float32)


def widened(voiced: np.ndarray, points: int = 2) -> np.ndarray:
    """Call `points` points on either side of voiced ones voiced too: trackers give up too early."""
    wide = np.lib.stride_tricks.sliding_window_view(np.pad(voiced, points), 2 * points + 1)
    return np.asarray(wide.any(axis=1))


class VocoderBatches:
    """Random crops; batch `step` depends on (seed, rank, step) alone."""

    def __init__(
        self,
        folder: str,
        spec: AudioSpec,
        *,
        rows: int,
        frames: int,
        pitches: int,
        seed: int = 0,
        rank: int = 0,
        raised: float = 0.0,
        raised_by: float = 1.0,
    ) -> None:
        """Index the shards.

        Args:
            folder: Shards with `audio`.
            spec: Of the mel.
            rows: Crops a batch.
            frames: Mel frames of a crop.
            pitches: Pitch points a frame.
            seed: Of the crops.
            rank: Of this process.
            raised: Share of the crops that are played faster, and so higher, than recorded.
            raised_by: The largest factor of that.
        """
        self.corpus, self.spec = Corpus(folder), spec
        self.rows, self.frames, self.pitches = rows, frames, pitches
        self.seed, self.rank = seed, rank
        self.raised, self.raised_by = raised, raised_by
        self.step_size = spec.hop_length // pitches
        self.pitch = PitchTrack(folder, self.corpus, spec.sample_rate, self.step_size)
        lengths = np.array([self.corpus.length("audio", i) for i in range(len(self.corpus))])
        self._cumulative = np.cumsum(lengths / lengths.sum())

    def batch(self, step: int) -> VocoderBatch:
        """Crops of clips drawn in proportion to their length, at gains of -9 to +3 dB."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        rows: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(self.rows):
            clip = min(int(np.searchsorted(self._cumulative, rng.random())), len(self.corpus) - 1)
            points = self.corpus.length("audio", clip) // self.step_size
            factor = 1.0
            if self.raised and rng.random() < self.raised:
                factor = self.raised_by ** rng.random()
            wanted = math.ceil(self.frames * self.pitches * factor)
            start = int(rng.integers(0, max(1, points - wanted + 1)))
            samples, pitch = self.crop(clip, start, factor)
            gain = 10.0 ** (rng.uniform(-9.0, 3.0) / 20.0)
            rows.append((np.clip(samples * gain, -1.0, 1.0), pitch))
        return self.collate(rows)

    def crop(self, clip: int, start: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Samples with margins, and pitch (negative: unvoiced), from pitch point `start`.

        With a factor the clip is played that much faster: tempo, pitch and formants rise alike.
        """
        audio, hop = self.corpus.array("audio", clip), self.spec.hop_length
        count = (self.frames + 2 * MARGIN) * hop
        source = math.ceil(count * factor)
        samples = np.zeros(source, np.float32)
        first = start * self.step_size - round(MARGIN * hop * factor)
        low, high = max(0, first), min(len(audio), first + source)
        samples[low - first : high - first] = audio[low:high] / 32768.0
        if factor != 1.0:
            rate = self.spec.sample_rate
            samples = soxr.resample(samples, rate * factor, rate)
            samples = np.pad(samples, (0, max(0, count - len(samples))))[:count]
        whole = self.pitch[clip]
        at = np.rint(start + np.arange(self.frames * self.pitches) * factor).astype(np.int64)
        nearest = np.minimum(at, len(whole) - 1)
        voiced = widened(whole > 0)[nearest] & (at < len(whole))
        track = without_gaps(whole)[nearest] * factor
        return samples, np.where(voiced, track, -track).astype(np.float32)

    def collate(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> VocoderBatch:
        """Crops with margins to a batch; the sign of the pitch says whether it is voiced."""
        wide = torch.from_numpy(np.stack([samples for samples, _ in rows]))
        mel = log_mel(wide, self.spec)[:, MARGIN:-MARGIN]
        margin = MARGIN * self.spec.hop_length
        pitch = torch.from_numpy(np.stack([track for _, track in rows]))
        return VocoderBatch(wide[:, margin:-margin], mel, pitch.abs(), pitch > 0)
