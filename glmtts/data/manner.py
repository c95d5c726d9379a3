"""Styles for a teacher that has none: its pitch, energy and tempo are bent before it speaks.

The teacher (Kokoro) first predicts how long each phoneme lasts, and a curve of F0 and one of energy
for them; what it speaks follows those. So any speaker and any text can be given a manner by rule.
The rules follow what is known of acted speech (Banse & Scherer 1996, Juslin & Laukka 2003):
joy and anger are higher, louder and quicker with a wide range, sadness is lower, softer and slower
with a narrow one; surprise ends high. How far they go was set by what is left of them in speech
tokens and behind the flow, see `MANNERS`. These are rules, not feelings: real emotional speech,
where it can be had, is the better data, and the same tags take it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glmtts.text.styles import STYLES

VOICED_HZ = 40.0
"""F0 below this is not voiced."""
LOWEST_HZ, HIGHEST_HZ = 55.0, 650.0


@dataclass(frozen=True)
class Manner:
    """How the teacher's curves are bent.

    Attributes:
        pitch: Factor on the median F0.
        spread: Factor on the deviations of log F0 from its median. Tones stay what they are.
        tilt: Semitones by which the clip rises from its beginning to its end, around its middle.
        rise: Semitones by which the last third of the clip is bent up, evenly.
        energy: Added to the energy curve, in its own deviations.
        contrast: Factor on the deviations of the energy from its mean.
        tempo: Factor on the tempo.
    """

    pitch: float = 1.0
    spread: float = 1.0
    tilt: float = 0.0
    rise: float = 0.0
    energy: float = 0.0
    contrast: float = 1.0
    tempo: float = 1.0

    def bend_pitch(self, f0: Tensor) -> Tensor:
        """(..., F) F0 in Hz, unvoiced below `VOICED_HZ` and left as it is there."""
        voiced = f0 > VOICED_HZ
        if not bool(voiced.any()):
            return f0
        middle = f0[voiced].median()
        # The teacher's curves have a third of silence: a clip is what lies between its voices.
        spoken = voiced.reshape(-1, f0.shape[-1]).any(0).nonzero()
        first, last = spoken.min(), spoken.max()
        frames = torch.arange(f0.shape[-1], device=f0.device)
        place = ((frames - first) / (last - first).clamp(min=1)).clamp(0.0, 1.0)
        semitones = self.tilt * (place - 0.5) + self.rise * ((place - 2 / 3) * 3).clamp(min=0.0)
        deviation = (f0.clamp(min=VOICED_HZ) / middle).log() * self.spread
        deviation = deviation + semitones / 12.0 * math.log(2.0)
        bent = (middle * self.pitch * deviation.exp()).clamp(LOWEST_HZ, HIGHEST_HZ)
        return torch.where(voiced, bent, f0)

    def bend_energy(self, energy: Tensor) -> Tensor:
        """(..., F) energy curve."""
        mean, deviation = energy.mean(), energy.std(correction=0)
        return mean + (energy - mean) * self.contrast + self.energy * deviation


MANNERS = {
    "happy": Manner(pitch=1.2, spread=1.45, tilt=14.0, energy=0.2, contrast=1.1, tempo=1.12),
    "sad": Manner(pitch=0.88, spread=0.35, energy=-0.5, contrast=0.8, tempo=0.72),
    "angry": Manner(pitch=1.1, spread=1.2, tilt=-16.0, energy=0.8, contrast=1.5, tempo=1.25),
    "surprised": Manner(pitch=1.1, rise=16.0, energy=0.2, contrast=1.1, tempo=0.95),
}
"""The rule of each style.

Speech tokens of glmtts-nano and its flow keep the tempo, about 0.7 of a slope towards the end, half
of the spread and a tenth of the level of pitch (60 clips copied). Rules of spread and level alone
are lost: with those (spread 0.5 to 1.6, slopes of -3 to 6) a classifier was right for half of the
teacher's own clips. Hence each style has a shape of its own: it climbs, is flat and slow, falls
quickly, or leaps at its end.
"""
assert set(MANNERS) == set(STYLES)
