"""Breaths made of a speaker's own voice, put into clips, for `claims.py`: is a breath in the codes?

No labelled breath is at hand. An audible breath is noise through the speaker's open mouth: the
spectrum of the most open vowel (`glmtts.data.laughs.timbre`), tilted up, without a pitch, rising
and falling within half a second, well below the speech. It is kept when YAMNet hears breath or a
sigh (of 48 tries it did in 47, in 24 clips of plain speech never).
"""

from dataclasses import dataclass

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.data.laughing import pauses
from glmtts.data.laughs import PERIOD_S, Timbre, timbre
from glmtts.data.pitch import world
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput
from glmtts.judges import yamnet

KINDS = ("Breathing", "Gasp", "Sigh", "Pant", "Sniff")
ENOUGH = 0.3
"""Probability of one of them from which a breath is kept."""
TRIES = 6


@dataclass(frozen=True)
class Breathing:
    """A clip with a breath in it.

    Attributes:
        samples: (N,) float32.
        start_s: Where the breath begins.
        end_s: Where it ends.
    """

    samples: np.ndarray
    start_s: float
    end_s: float


def breath(of: Timbre, rng: np.random.Generator) -> np.ndarray:
    """(N,) float32 samples of one breath, in or out, with a peak of 1."""
    frames = round(rng.uniform(0.3, 0.6) / PERIOD_S)
    lean = rng.choice([0.6, 1.6])  # out: loudest at the beginning; in: at the end
    loud = 0.02 + np.sin(np.pi * np.linspace(0.0, 1.0, frames) ** lean) ** 1.2
    vowel = np.interp(of.hz / rng.uniform(1.0, 1.25), of.hz, of.vowel)
    tilt = (1.0 + np.square(of.hz / rng.uniform(1_200.0, 2_500.0))) ** rng.uniform(0.3, 0.9)
    power = np.outer(np.square(loud), vowel * tilt)
    made: np.ndarray = world().synthesize(
        np.zeros(frames), power, np.ones_like(power), of.sample_rate, PERIOD_S * 1_000
    )
    return (made / max(1e-9, float(np.abs(made).max()))).astype(np.float32)


def heard(samples: np.ndarray, rate: int) -> float:
    """How surely YAMNet hears breath in a sound, 0 to 1."""
    network = yamnet.shared()
    room = np.zeros(rate // 2, np.float32)
    audio = Audio(torch.from_numpy(np.concatenate([room, samples, room])), rate)
    return float(network.hear(audio).classes[:, network.index(*KINDS)].max())


def breathing(corpus: Corpus, clips: int, seed: int, rate: int = 24_000) -> list[Breathing]:
    """Up to so many clips of a corpus with a breath before, between or behind their words."""
    rng, found = np.random.default_rng(seed), list[Breathing]()
    for index in rng.permutation(len(corpus)):
        if len(found) == clips:
            break
        speech = corpus.array("audio", int(index)).astype(np.float32) / 32_768.0
        try:
            voice = timbre(speech, rate)
        except BadInput:
            continue
        for _ in range(TRIES):
            made = breath(voice, rng)
            if heard(made, rate) >= ENOUGH:
                found.append(_put(corpus.clips[int(index)].text, speech, made, rate, rng))
                break
    return found


def _put(
    text: str, speech: np.ndarray, made: np.ndarray, rate: int, rng: np.random.Generator
) -> Breathing:
    """Put a breath, 18 to 30 dB below the loudest of the speech, into a pause or at an end."""
    places = [0, len(speech), *(place for _, place in pauses(text, speech, rate))]
    at = places[int(rng.integers(len(places)))]
    made = made * np.float32(np.abs(speech).max() * 10.0 ** (rng.uniform(-30.0, -18.0) / 20.0))
    room = np.zeros(round(rng.uniform(0.05, 0.15) * rate), np.float32)
    joined = np.concatenate([speech[:at], room, made, room, speech[at:]])
    start = (at + len(room)) / rate
    return Breathing(joined, start, start + len(made) / rate)
