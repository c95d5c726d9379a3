"""Is it what the text says? Error rates by a recogniser, and how likely the text is. See `Cer`."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glmtts.errors import BadInput
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.ears import ByLanguage, Ears, WhisperBase
from glmtts.judges.words import Edits, Rule, edits, syllables, units
from glmtts.recognizer import Recognizer, TimedWord

TOKENS_PER_SECOND = 25.0
LAUGH_UNITS = re.compile(r"[哈嘿呵嘻]|(?:ha|he|hee|heh|hah)+")


class Cer:
    """Error rate of what a recogniser hears: characters in Mandarin, words in English.

    The detail holds the text heard and the edits; in Mandarin also the error rates of syllables
    without tone (`per`, forgives homophones) and with tone (`tone_per`).
    """

    name = "cer"

    def __init__(
        self, ears: Ears | None = None, rule: Rule = "spoken", *, tokens: bool = False
    ) -> None:
        """Choose who listens and how errors are counted.

        Args:
            ears: The recogniser; whisper-base when None.
            rule: "seed" as in seed-tts-eval; "spoken" with numbers in words, and at most 1.
            tokens: Also give each speech token its credit (`credit`), where the recogniser can tell
                when it heard what.
        """
        self.ears = ears or WhisperBase()
        self.rule: Rule = rule
        self.tokens = tokens
        self.version = f"{self.ears.version}, rule {rule}"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Listen to one sample.

        Raises:
            BadText: the sample has no text to compare with.
        """
        heard = self.ears.hear(sample.audio, sample.language)
        wanted = units(sample.text, sample.language, self.rule)
        found = units(heard, sample.language, self.rule)
        different = edits(wanted, found)
        detail: dict[str, object] = {
            "heard": heard,
            "units": different.length,
            "substitutions": different.substitutions,
            "deletions": different.deletions,
            "insertions": different.insertions,
        }
        for key, tones in (("per", False), ("tone_per", True)):
            rate = different.rate
            if sample.language == "zh":
                rate = edits(syllables(wanted, tones=tones), syllables(found, tones=tones)).rate
            detail[key] = min(1.0, rate)
        value = different.rate if self.rule == "seed" else min(1.0, different.rate)
        tokens = None
        if self.tokens:
            times = self.ears.times(sample.audio, heard, sample.language)
            if times is not None:
                spans = unit_times(found, times)
                tokens = credit(different, wanted, spans, sample.audio.seconds)
        return Score(value, tokens, detail)


def unit_times(found: Sequence[str], words: Sequence[TimedWord]) -> list[tuple[float, float]]:
    """When each unit that was heard is said, given the times of the words as they were written.

    Units and words differ where numbers were written out. They are matched character by character;
    what has no match takes the span of the written characters in its place.

    Returns:
        (start, end) in seconds for each of `found`.
    """
    written = [(c, w) for w in words for c in w.text.lower() if c.isalnum()]
    letters = [(c, i) for i, unit in enumerate(found) for c in unit if c.isalnum()]
    spans: list[tuple[float, float] | None] = [None] * len(found)
    if not written or not letters:
        return [(0.0, 0.0)] * len(found)
    matched = edits([c for c, _ in letters], [c for c, _ in written])
    for stretch in matched.stretches:
        first = min(stretch.heard_start, len(written) - 1)
        last = max(first, stretch.heard_stop - 1)
        for position in range(stretch.start, stretch.stop):
            if stretch.kind == "equal":
                word = written[stretch.heard_start + position - stretch.start][1]
                start, end = word.start_s, word.end_s
            else:
                start, end = written[first][1].start_s, written[last][1].end_s
            unit = letters[position][1]
            known = spans[unit]
            spans[unit] = (
                (start, end) if known is None else (min(start, known[0]), max(end, known[1]))
            )
    previous, filled = 0.0, list[tuple[float, float]]()
    for span in spans:
        filled.append(span or (previous, previous))
        previous = filled[-1][1]
    return filled


def credit(
    different: Edits, wanted: Sequence[str], spans: Sequence[tuple[float, float]], seconds: float
) -> NDArray[np.float32]:
    """1 for each speech token of a sound part, 0 where something is wrong: (S,).

    Wrong are the spans of units that were replaced or added, and the gap in which a unit is missing
    (official reward server, spec §8.6). Laughs that a recogniser leaves out are no fault.

    Args:
        different: From what was wanted to what was heard.
        wanted: Units of the reference.
        spans: When each unit heard is said.
        seconds: Length of the speech.
    """
    count = max(1, round(seconds * TOKENS_PER_SECOND))
    tokens = np.ones(count, np.float32)

    def wrong(start: float, end: float) -> None:
        first = min(count - 1, int(start * TOKENS_PER_SECOND))
        tokens[first : max(first + 1, round(end * TOKENS_PER_SECOND))] = 0.0

    for edit in different.stretches:
        if edit.kind in ("replace", "insert"):
            for start, end in spans[edit.heard_start : edit.heard_stop]:
                wrong(start, end)
        elif edit.kind == "delete":
            if all(LAUGH_UNITS.fullmatch(unit) for unit in wanted[edit.start : edit.stop]):
                continue
            before = spans[edit.heard_start - 1][1] if edit.heard_start else 0.0
            after = spans[edit.heard_start][0] if edit.heard_start < len(spans) else seconds
            wrong(min(before, after), max(before, after))
    return tokens


class Likelihood:
    """Mean log-probability of the text's tokens given the sound, by whisper-base (teacher-forced).

    Smoother than an error rate: about -0.3 for the right text and -4 for a wrong one.
    """

    name = "likelihood"

    def __init__(self) -> None:
        """Load Whisper.

        Raises:
            MissingExtra: faster-whisper or the weights are not installed.
        """
        self._recognizer = Recognizer()
        self.version = "whisper-base int8, teacher-forced"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Judge one sample.

        Raises:
            BadInput: the sample is longer than Whisper hears at once.
        """
        if sample.audio.seconds > 30.0:
            raise BadInput(
                f"The speech is {sample.audio.seconds:.0f} s long, Whisper judges at most 30 s. "
                "Split it."
            )
        return Score(self._recognizer.fit(sample.audio, sample.text, sample.language))


def offline(rule: Rule = "spoken", *, tokens: bool = False) -> Cer:
    """`Cer` by whisper-base."""
    return Cer(_whisper_base(), rule, tokens=tokens)


def official(weights: str = "", rule: Rule = "seed") -> Cer:
    """`Cer` by the recognisers of seed-tts-eval."""
    return Cer(ByLanguage(weights), rule)


@lru_cache(maxsize=1)
def _whisper_base() -> WhisperBase:
    return WhisperBase()
