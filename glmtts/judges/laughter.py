"""Does somebody laugh, and when? Read `Laughter` first.

The detector tells laughing from speaking: "ha ha" and 哈哈哈 that are only read out do not fire it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmtts.audio import Audio
from glmtts.judges import yamnet
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.prosody import SECONDS_OF_SILENCE, expected_seconds

CLASSES = (
    "Laughter", "Giggle", "Snicker", "Belly laugh", "Chuckle, chortle", "Baby laughter",
)  # fmt: skip
THRESHOLD = 0.1
"""Of 400 clips of plain speech the highest is 0.015; of 300 shouts of game actors 2 reach it."""

LAUGH_TEXT = re.compile(
    r"哈{2,}|嘿{2,}|呵{2,}|嘻{2,}|\b(?:ha[- ]?){2,}|\b(?:he[- ]){2,}he\b|\[laughter\]", re.I
)


def asks_for_laughter(sample: Sample) -> bool:
    """Whether a laugh is written in the text or asked for as its style."""
    return sample.style == "laughter" or bool(LAUGH_TEXT.search(sample.text))


def place(sample: Sample) -> list[float] | None:
    """From when to when the laugh that is written in the text should be heard, give or take 0.5 s.

    The words before it and those behind it take their usual time; it is between them.
    """
    written = LAUGH_TEXT.search(sample.text)
    if written is None:
        return None
    before = expected_seconds(sample.text[: written.start()]) - SECONDS_OF_SILENCE
    after = expected_seconds(sample.text[written.end() :]) - SECONDS_OF_SILENCE
    start, end = before - 0.5, sample.audio.seconds - after + 0.5
    return [round(max(0.0, min(start, end)), 2), round(max(start, end), 2)]


@dataclass(frozen=True)
class Laugh:
    """One stretch of laughter in seconds, and how sure the detector is of it."""

    start_s: float
    end_s: float
    probability: float


class Laughter:
    """The highest probability of laughter anywhere; where, in the detail (`laughs`)."""

    name = "laughter"

    def __init__(self, threshold: float = THRESHOLD, network: yamnet.Yamnet | None = None) -> None:
        """Choose from which probability on a stretch counts as a laugh."""
        self._network = network or yamnet.shared()
        self._columns = self._network.index(*CLASSES)
        self.threshold = threshold
        self.version = f"{self._network.version}, threshold {threshold:g}"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Listen to one sample."""
        curve, starts = self.curve(sample.audio)
        found = stretches(curve, starts, self.threshold, sample.audio.seconds)
        detail: dict[str, object] = {
            "laughs": [[laugh.start_s, laugh.end_s, laugh.probability] for laugh in found],
            "asked": asks_for_laughter(sample),
            "place": place(sample),
        }
        return Score(float(curve.max()), detail=detail)

    def curve(self, audio: Audio) -> tuple[np.ndarray, np.ndarray]:
        """(P,) probability of laughter in each patch of 0.96 s, and (P,) where those begin."""
        heard = self._network.hear(audio)
        return heard.classes[:, self._columns].max(axis=1), heard.starts


def stretches(
    curve: np.ndarray, starts: np.ndarray, threshold: float, seconds: float
) -> list[Laugh]:
    """Runs of patches above the threshold.

    A patch sees 0.96 s and fires when a laugh fills a good part of it: a run is taken to last from
    a quarter into its first patch to a quarter before the end of its last.
    """
    length = yamnet.PATCH_FRAMES * yamnet.FRAME_S
    above = np.concatenate(([False], curve >= threshold, [False]))
    edges = np.flatnonzero(above[1:] != above[:-1])
    found: list[Laugh] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start = float(starts[first]) + length / 4
        end = min(seconds, float(starts[last - 1]) + length * 3 / 4)
        start, peak = min(start, end), float(curve[first:last].max())
        if found and start <= found[-1].end_s:  # patches overlap: one laugh
            before = found.pop()
            start, peak = before.start_s, max(peak, before.probability)
        found.append(Laugh(round(start, 2), round(end, 2), round(peak, 3)))
    return found
