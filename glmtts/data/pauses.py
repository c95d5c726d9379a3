"""Punctuation as it was spoken: a comma where the speaker paused, none where there was no pause.

Forced alignment tells when each unit is said, the levels tell where nothing is said; the silence
between two units is their gap. `threshold` is learnt from all gaps (paper §2.1), `repaired` applies
it to one clip.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from glmtts.audio import Audio
from glmtts.text.readings import IS_HANZI
from glmtts.text.units import Unit
from glmtts.vad import FRAME_SECONDS, VadOptions, speech_mask

DEVIATIONS = 2.6
"""Standard deviations above the mean gap at which a pause is meant (paper §2.1 writes 2.6 σ², which
adds seconds to squared seconds; σ is taken here)."""
LEAST, MOST = 0.15, 0.6
"""Bounds of the threshold in seconds: stops (a /t/ is up to 0.1 s of silence) are no pauses, and
0.6 s always is one."""
NONE = 0.03
"""Seconds below which there is no pause at all."""
COMMAS = "，,"


def gaps(audio: Audio, units: Sequence[Unit], alignment: npt.ArrayLike) -> list[float]:
    """Seconds of silence after each spoken unit but the last: (spoken units - 1,).

    Args:
        audio: The clip.
        units: What it says, with marks.
        alignment: (S,) index of the phoneme spoken in each equal part of the clip, rising.

    Returns:
        Empty where the alignment failed.
    """
    sizes = [len(unit.phonemes) for unit in units if unit.phonemes]
    owner = np.repeat(np.arange(len(sizes)), sizes)  # phoneme -> unit
    steps = np.asarray(alignment)
    if len(sizes) < 2 or not len(steps) or (steps < 0).any() or steps.max() >= len(owner):
        return []
    said = owner[steps]
    silent = ~speech_mask(audio, VadOptions(min_speech=0.03, max_gap=0.0))
    middles = [float(np.flatnonzero(said == k).mean()) for k in range(len(sizes)) if k in said]
    if len(middles) != len(sizes):
        return []
    seconds = audio.seconds / len(steps)
    at = [round((middle + 0.5) * seconds / FRAME_SECONDS) for middle in middles]
    # Between the middles of two units lies one boundary: all silence there is its gap.
    return [round(float(silent[a:b].sum()) * FRAME_SECONDS, 3) for a, b in pairwise(at)]


def inner(units: Sequence[Unit], found: Sequence[float]) -> list[float]:
    """The gaps at which no mark stands: how this speaker runs words together."""
    marked = _marks(units)
    return [gap for gap, mark in zip(found, marked, strict=True) if not mark]


def threshold(found: Sequence[float]) -> float:
    """From which gap on, in seconds, a pause is meant: mean + 2.6 deviations of unmarked gaps."""
    if not found:
        return MOST
    values = np.asarray(found, np.float64)
    value = float(values.mean() + DEVIATIONS * values.std())
    return float(np.clip(value, LEAST, MOST))


def repaired(
    units: Sequence[Unit], found: Sequence[float], least: float, *, remove: bool
) -> list[Unit]:
    """The units with a comma at each pause that has no mark.

    Args:
        units: What the clip says, with marks.
        found: Its gaps; empty: nothing is changed.
        least: Seconds from which a gap is a pause.
        remove: Take away commas without any pause (they are the recogniser's, not the author's).
    """
    if not found:
        return list(units)
    comma = Unit("，" if any(IS_HANZI.match(unit.surface) for unit in units) else ",")
    out: list[Unit] = []
    spoken = -1
    for index, unit in enumerate(units):
        inside = 0 <= spoken < len(found)
        if remove and unit.surface in COMMAS and inside and found[spoken] <= NONE:
            continue
        out.append(unit)
        if not unit.phonemes:
            continue
        spoken += 1
        follows = index + 1 < len(units) and bool(units[index + 1].phonemes)
        if follows and spoken < len(found) and found[spoken] >= least:
            out.append(comma)
    return out


def spelled(units: Sequence[Unit]) -> str:
    """Units as people write them: spaces between words and behind the marks of English."""
    text = ""
    for unit, after in zip(units, [*units[1:], None], strict=True):
        text += unit.surface
        latin = unit.surface[-1:].isascii()
        word = after is not None and bool(after.phonemes) and after.surface[:1].isascii()
        text += " " if latin and word else ""
    return text.strip()


def _marks(units: Sequence[Unit]) -> list[bool]:
    """For each spoken unit but the last, whether a mark follows it."""
    spoken = [index for index, unit in enumerate(units) if unit.phonemes]
    return [b - a > 1 for a, b in pairwise(spoken)]
