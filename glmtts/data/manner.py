"""Styles for a teacher that has none: its pitch, energy and tempo are bent before it speaks.

The teacher (Kokoro) first predicts how long each phoneme lasts, and a curve of F0 and one of energy
for them; what it speaks follows those. So any speaker and any text can be given a manner by rule.
The rules follow what is known of acted speech (Banse & Scherer 1996, Juslin & Laukka 2003):
joy and anger are higher, louder and quicker with a wide range, sadness is lower, softer and slower
with a narrow one; surprise ends high. These are rules, not feelings: real emotional speech, where
it can be had, is the better data, and the same tags take it.
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
        rise: Semitones by which the last third of the clip is bent up, evenly.
        energy: Added to the energy curve, in its own deviations.
        contrast: Factor on the deviations of the energy from its mean.
        tempo: Factor on the tempo.
    """

    pitch: float = 1.0
    spread: float = 1.0
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
        place = torch.linspace(0.0, 1.0, f0.shape[-1], device=f0.device)
        rise = self.rise / 12.0 * math.log(2.0) * ((place - 2 / 3) * 3).clamp(min=0.0)
        deviation = (f0.clamp(min=VOICED_HZ) / middle).log() * self.spread + rise
        bent = (middle * self.pitch * deviation.exp()).clamp(LOWEST_HZ, HIGHEST_HZ)
        return torch.where(voiced, bent, f0)

    def bend_energy(self, energy: Tensor) -> Tensor:
        """(..., F) energy curve."""
        mean, deviation = energy.mean(), energy.std(correction=0)
        return mean + (energy - mean) * self.contrast + self.energy * deviation


MANNERS = {
    "happy": Manner(pitch=1.18, spread=1.45, rise=1.0, energy=0.15, contrast=1.1, tempo=1.08),
    "sad": Manner(pitch=0.88, spread=0.5, rise=-1.5, energy=-0.35, contrast=0.85, tempo=0.8),
    "angry": Manner(pitch=1.08, spread=1.3, rise=-3.0, energy=0.5, contrast=1.35, tempo=1.15),
    "surprised": Manner(pitch=1.3, spread=1.6, rise=6.0, energy=0.2, contrast=1.15, tempo=0.97),
}
"""The rule of each style."""
assert set(MANNERS) == set(STYLES)
