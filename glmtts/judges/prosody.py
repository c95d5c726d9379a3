"""What can be measured without a model: pitch, pace, pauses, and speech that ran away."""

import re
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from glmtts.data.pitch import track_pitch
from glmtts.errors import BadAudio
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.vad import FRAME_SECONDS, spans_of, speech_mask

SECONDS_PER_HANZI, SECONDS_PER_LETTER, SECONDS_OF_SILENCE = 0.198, 0.069, 0.23
"""Means of 8,300 clips of the teacher (shared/corpus), at its speed 1."""


def expected_seconds(text: str) -> float:
    """How long a text usually takes."""
    hanzi = len(re.findall(r"[\u3400-\u9fff]", text))
    letters = len(re.findall(r"[A-Za-z0-9]", text))
    return hanzi * SECONDS_PER_HANZI + letters * SECONDS_PER_LETTER + SECONDS_OF_SILENCE


class Pitch:
    """Spread of F0 in semitones (standard deviation over voiced frames); liveliness, roughly.

    The detail holds the median in Hz, the range between the 5th and the 95th percentile in
    semitones, and the share of frames that are voiced.
    """

    name = "pitch"

    def __init__(self) -> None:
        """Nothing is loaded yet; the tracker is WORLD's (extra `train`)."""
        try:
            self.version = f"DIO and StoneMask (pyworld {metadata.version('pyworld-prebuilt')})"
        except metadata.PackageNotFoundError:
            self.version = "DIO and StoneMask (pyworld)"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Measure one sample.

        Raises:
            BadAudio: fewer than ten frames are voiced.
            MissingExtra: pyworld is not installed.
        """
        rate = 16_000
        heard = sample.audio.resampled(rate).samples.float().cpu().numpy()
        f0 = track_pitch(heard, rate, rate // 100)
        voiced = f0[f0 > 0]
        if len(voiced) < 10:
            raise BadAudio("Hardly anything is voiced: its pitch cannot be measured.")
        median = float(np.median(voiced))
        semitones = 12.0 * np.log2(voiced / median)
        low, high = np.percentile(semitones, [5, 95])
        detail: dict[str, object] = {
            "median_hz": round(median, 1),
            "range_semitones": round(float(high - low), 2),
            "voiced": round(len(voiced) / len(f0), 3),
        }
        return Score(float(semitones.std()), detail=detail)


class Pace:
    """Seconds for each second the text usually takes: 1 is usual, 2 twice as slow.

    The detail tells `runaway`: the synthesizer cut a loop, the speech lasts more than three times
    as long as usual and a second more, or it is silent for more than 2 s inside.
    """

    name = "pace"
    version = "seconds by characters, 2"
    longest_silence_s, longest_ratio, spare_s = 2.0, 3.0, 1.0

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Measure one sample."""
        ratio = sample.audio.seconds / expected_seconds(sample.text)
        mask = speech_mask(sample.audio)
        inside = np.flatnonzero(mask)
        gaps = spans_of(~mask[inside[0] : inside[-1] + 1]) if len(inside) else []
        silence = max((last - first for first, last in gaps), default=0) * FRAME_SECONDS
        cut = sample.audio.finish_reason in ("length", "repetition", "silence")
        longest = self.longest_ratio * expected_seconds(sample.text) + self.spare_s
        endless = sample.audio.seconds > longest
        detail: dict[str, object] = {
            "seconds": round(sample.audio.seconds, 3),
            "longest_silence_s": round(silence, 2),
            "finish_reason": sample.audio.finish_reason,
            "runaway": cut or endless or silence > self.longest_silence_s,
        }
        return Score(ratio, detail=detail)
