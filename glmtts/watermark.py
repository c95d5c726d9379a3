"""A watermark that is not heard: which of two neighbouring bands is a little louder, by a key.

Time is cut into slots of 32 ms and the spectrum from 0.4 to 5.6 kHz into pairs of bands. In each
slot the key says for each pair which band is raised and which is lowered, by 1 dB. A listener takes
that for timbre; who knows the key adds thousands of such coins up and finds that they fall as
the key says. This is spread-spectrum patchwork (Bender et al., "Techniques for data hiding", 1996)
on band energies, so it outlives what keeps the energies: codecs, resampling, cutting, noise. It
does not outlive a change of tempo or pitch, and who has the key can take it out.
"""

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glmtts.audio import Audio
from glmtts.errors import BadInput

Samples = NDArray[np.float64]

PUBLIC_KEY = "glmtts"
"""Known to all: tells who looks for it that a machine spoke. A secret key proves whose it was."""

WINDOW_S = 0.032
FRAMES = 2
"""Frames, half a window apart, in a slot. Fewer give more coins: a score for 5 s of speech of 6.1
with 5, 8.5 with 3, 10.6 with 2, 12.9 with 1 (medians of 12 clips), but a rougher sound."""
SLOTS = 256
"""Slots until the pattern begins again, 8 s."""
EDGES = (13, 15, 17, 19, 22, 25, 28, 32, 37, 42, 48, 55, 62, 71, 81, 92, 105, 120, 137, 156, 180)
"""Of the bands, in steps of 31.25 Hz; each about a seventh wider than the one below."""
PAIRS = (len(EDGES) - 1) // 2
DETECT_RATE = 16_000
LOWEST_RATE = 12_000
"""Sounds of fewer samples a second have no room for the bands."""
FINE = 4
"""Places within a slot at which its beginning is looked for."""
CHANCE = 1e-6
"""How often a sound without a watermark may be taken for one with it."""


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        found: Whether the sound bears the watermark of the key.
        score: Standard deviations above what chance gives, at the best place.
        chance: How likely a sound without it scores so high.
        seconds: Length of the sound.
    """

    found: bool
    score: float
    chance: float
    seconds: float


def pattern(key: str) -> NDArray[np.float64]:
    """The coins of a key: (SLOTS, PAIRS) of -1 and 1.

    Raises:
        BadInput: the key is empty.
    """
    if not key:
        raise BadInput("A watermark needs a key. Give any text that you will remember.")
    digest = hashlib.sha256(b"glmtts watermark 1\0" + key.encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    return rng.integers(0, 2, (SLOTS, PAIRS)).astype(np.float64) * 2 - 1


class Watermarker:
    """Marks a sound as it comes: joined, what `push` and `finish` give is as long as what came."""

    def __init__(self, key: str, sample_rate: int, strength_db: float = 1.0) -> None:
        """Begin at the pattern's first slot.

        Args:
            key: Names the pattern.
            sample_rate: Of all that comes.
            strength_db: By how much bands are raised and lowered.

        Raises:
            BadInput: an empty key, a rate below 12 kHz, or a strength outside 0.1 to 3.
        """
        if sample_rate < LOWEST_RATE:
            raise BadInput(
                f"{sample_rate} samples a second are too few for a watermark. "
                f"Expected at least {LOWEST_RATE}."
            )
        if not 0.1 <= strength_db <= 3.0:
            raise BadInput(f"Strength {strength_db} dB makes no sense. Expected 0.1 to 3.")
        self.sample_rate = sample_rate
        self._half = round(sample_rate * WINDOW_S / 2)
        size = 2 * self._half
        self._window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
        self._gains = np.ones((SLOTS, self._half + 1))
        coins = pattern(key)
        for pair in range(PAIRS):
            for side, low, high in ((1, *EDGES[2 * pair :][:2]), (-1, *EDGES[2 * pair + 1 :][:2])):
                decibels = side * strength_db * coins[:, pair : pair + 1]
                self._gains[:, low:high] = 10 ** (decibels / 20)
        self._waiting = np.zeros(self._half)  # half a window of nothing before the beginning
        self._tail = np.zeros(self._half)
        self._frames = 0

    def push(self, audio: Audio) -> Audio:
        """Mark what comes next; up to a window (32 ms) of it is kept until more is known.

        Raises:
            BadInput: it has another sample rate.
        """
        if audio.sample_rate != self.sample_rate:
            raise BadInput(
                f"This watermark is for {self.sample_rate} samples a second, the sound has "
                f"{audio.sample_rate}. Use audio.resampled({self.sample_rate})."
            )
        samples = audio.samples.detach().double().cpu().numpy()
        return self._audio(self._marked(samples), audio.finish_reason)

    def finish(self) -> Audio:
        """The rest."""
        return self._audio(self._marked(np.zeros(2 * self._half))[: len(self._waiting)])

    def _marked(self, samples: Samples) -> Samples:
        """Add samples; those that are finished. The first half window is before the beginning."""
        half = self._half
        self._waiting = np.concatenate([self._waiting, samples])
        done: list[Samples] = []
        while len(self._waiting) >= 2 * half:
            spectrum = np.fft.rfft(self._waiting[: 2 * half] * self._window)
            spectrum *= self._gains[self._frames // FRAMES % SLOTS]
            frame = np.fft.irfft(spectrum, 2 * half) * self._window
            if self._frames:
                done.append(self._tail + frame[:half])
            self._tail, self._waiting = frame[half:], self._waiting[half:]
            self._frames += 1
        return np.concatenate(done) if done else np.zeros(0)

    def _audio(self, samples: Samples, reason: Any = None) -> Audio:
        return Audio(torch.from_numpy(samples.astype(np.float32)), self.sample_rate, reason)


def marked(audio: Audio, key: str = PUBLIC_KEY, strength_db: float = 1.0) -> Audio:
    """A sound with the watermark of a key.

    Raises:
        BadInput: see `Watermarker`.
    """
    marker = Watermarker(key, audio.sample_rate, strength_db)
    return Audio.concat([marker.push(audio), marker.finish()])


def detect(audio: Audio, key: str = PUBLIC_KEY) -> Detection:
    """Look for the watermark of a key, from wherever the sound begins.

    Raises:
        BadInput: an empty key, or less than a second of sound.
    """
    if audio.seconds < 1.0:
        raise BadInput(f"{audio.seconds:.1f} s are too short to tell. Give at least a second.")
    coins = pattern(key)
    values = _contrasts(audio.resampled(DETECT_RATE).samples.double().cpu().numpy())
    spectrum: Any = np.conj(np.fft.rfft(coins, axis=0))
    best = 0.0
    for start in range(FINE):
        slots = (len(values) - start) // FINE
        mean = values[start : start + slots * FINE].reshape(slots, FINE, PAIRS).mean(1)
        folded = np.zeros((SLOTS, PAIRS))
        np.add.at(folded, np.arange(slots) % SLOTS, mean)
        # The same coins meet at each return of the pattern: only their sums are independent.
        fits = np.fft.irfft(np.fft.rfft(folded, axis=0) * spectrum, SLOTS, axis=0).sum(1)
        best = max(best, float(fits.max()) / max(1e-12, math.sqrt(float(np.square(folded).sum()))))
    chance = min(1.0, FINE * SLOTS * 0.5 * math.erfc(best / math.sqrt(2)))
    return Detection(chance < CHANCE, best, chance, audio.seconds)


def _contrasts(samples: Samples) -> Samples:
    """(n, PAIRS): how much louder the lower band of each pair is than usual, every 8 ms."""
    size = round(DETECT_RATE * WINDOW_S)
    step = size // 2 * FRAMES // FINE
    padded = np.pad(samples, size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    bands = np.stack([power[:, a:b].sum(1) for a, b in pairwise(EDGES)], 1)
    loud = bands.max(0) * 1e-5 + 1e-12  # 50 dB below the loudest there is nothing to be trusted
    level = np.log(bands + loud)
    contrast = level[:, 0::2] - level[:, 1::2]
    kernel = np.hanning(3 * FINE + 3)[1:-1]  # what lasts longer than a slot is the speaker
    kernel /= kernel.sum()
    count = np.convolve(np.ones(len(contrast)), kernel, "same")
    usual = np.stack([np.convolve(c, kernel, "same") / count for c in contrast.T], 1)
    contrast -= usual
    spread = np.sqrt(np.mean(np.square(contrast), 0)) + 1e-12
    return np.clip(contrast / spread, -2.5, 2.5)
