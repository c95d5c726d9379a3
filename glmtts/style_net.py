"""A small net that tells the manner of speech from statistics of a few curves.

A model asks it whether a candidate is said as it should be (`Proofreader.unlike`); the judges of
styles are such nets, too (`glmtts.judges.styles`).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from glmtts.errors import BadAudio
from glmtts.text.styles import NEUTRAL, STYLES

Hears = Literal["tokens", "sound"]
LEAST_VOICED = 20
"""Voiced frames (0.4 s) below which a manner cannot be told."""
STATISTICS = 17
"""Of `statistics`."""


@dataclass(frozen=True)
class StyleConfig:
    """Of a `StyleNet`.

    Attributes:
        hears: What its statistics are of.
        about: What it was taught with, for reports.
        styles: What it tells apart.
        width: Hidden units.
    """

    hears: Hears
    about: str = ""
    styles: tuple[str, ...] = (NEUTRAL, *STYLES)
    width: int = 16


class StyleNet(nn.Module):
    """`statistics` of a clip -> a score for each style: standardised, one hidden layer."""

    config_type: ClassVar[type[StyleConfig]] = StyleConfig

    def __init__(self, config: StyleConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(STATISTICS))
        self.register_buffer("scale", torch.ones(STATISTICS))
        self.mean: Tensor
        self.scale: Tensor
        self.hidden = nn.Linear(STATISTICS, config.width)
        self.out = nn.Linear(config.width, len(config.styles))

    def forward(self, statistics: Tensor) -> Tensor:
        """Logits: (B, STATISTICS) -> (B, styles)."""
        return self.out(torch.tanh(self.hidden((statistics - self.mean) / self.scale)))

    @torch.inference_mode()
    def chances(self, statistics: Tensor) -> dict[str, float]:
        """The probability of each style for one clip: (STATISTICS,)."""
        found = self(statistics[None])[0].softmax(-1).tolist()
        return dict(zip(self.config.styles, found, strict=True))


def statistics(pitch: np.ndarray, voiced: np.ndarray, third: np.ndarray, tempo: float) -> Tensor:
    """What a manner is told from: (STATISTICS,).

    Whose voice it is does not matter, nor how high it is: speech tokens do not tell that.

    Args:
        pitch: (F,) in semitones, from anything.
        voiced: (F,) where it means something.
        third: (F,) loudness, or how much a phoneme begins.
        tempo: Logarithm of the tempo.

    Raises:
        BadAudio: hardly anything is voiced.
    """
    where = np.flatnonzero(voiced)
    if len(where) < LEAST_VOICED:
        raise BadAudio("Hardly anything is voiced: its manner cannot be told.")
    sung = pitch[where] - np.median(pitch[where])
    place = (where - where[0]) / (where[-1] - where[0])
    tenth = max(3, len(sung) // 10)
    body, last = sung[place < 0.6], place > 0.6
    slope = _slope(place, sung)
    level = sung - slope * place
    inside = third[where[0] : where[-1] + 1]
    half = len(inside) // 2
    low, high = (float(bound) for bound in np.percentile(sung, [5, 95]))
    told: list[float] = [
        sung.std(), low, high,
        sung[: 2 * tenth].mean(), sung[-2 * tenth :].mean() - body.mean(),
        sung[-tenth:].mean() - body.mean(), sung[-3 * tenth :].max(),
        slope, level.std(), _slope(place[~last], sung[~last]),
        _slope(place[last], sung[last]), np.abs(np.diff(sung)).mean(), len(where) / len(inside),
        inside.mean(), inside.std(), inside[half:].mean() - inside[:half].mean(), tempo,
    ]  # fmt: skip
    return torch.tensor(np.asarray(told, np.float32))


def _slope(place: np.ndarray, value: np.ndarray) -> float:
    return float(np.polyfit(place, value, 1)[0]) if np.ptp(place) > 0.02 else 0.0
