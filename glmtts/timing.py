"""When each word and character is said, and subtitles of it. Read `Clock.words` first.

Models with the tokenizer's phoneme head read their own speech tokens back and know to 40 ms; for
others the words share the sentence by the number of their phonemes, and say so (`exact`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glmtts.audio import AudioSpec
from glmtts.pieces import Piece
from glmtts.proofreader import Proofreader
from glmtts.text.frontend import Sentence


@dataclass(frozen=True)
class Word:
    """A word, or a Hanzi, and when it is said.

    Attributes:
        text: As it is said.
        start_s: Seconds from the beginning of all sound.
        end_s: Its end.
        index: Its first character's place in the text that was given, None where it is not there.
    """

    text: str
    start_s: float
    end_s: float
    index: int | None = None


@dataclass(frozen=True)
class Line:
    """A sentence and its words.

    Attributes:
        text: As it is said.
        start_s: Seconds from the beginning of all sound, behind the silence ahead of it.
        end_s: Its end, without the pause behind it.
        words: In order, without marks.
        exact: Whether they were heard, and not estimated.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...]
    exact: bool


class Clock:
    """Follows the pieces of one text and tells the lines that are complete."""

    def __init__(
        self, spec: AudioSpec, proofreader: Proofreader | None = None, speed: float = 1.0
    ) -> None:
        """Start at 0.

        Args:
            spec: Of the model.
            proofreader: Hears when a phoneme is said.
            speed: As in `SpeakOptions`.
        """
        self._token_s = spec.samples_per_token / spec.sample_rate / speed
        self._proofreader = proofreader
        self._now_s = 0.0
        self._start_s = 0.0
        self._lead_s = 0.0

    def push(self, piece: Piece) -> Line | None:
        """Take the next piece; the line that ends with it, if one does."""
        self._now_s += piece.audio.seconds
        self._lead_s += piece.lead_s
        block = piece.block
        if not block.last:
            return None
        start_s, self._start_s = self._start_s + self._lead_s, self._now_s
        self._lead_s = 0.0
        if not block.speech:
            return None
        end_s = self._now_s - block.pause_s
        spans = None
        phonemes = block.sentence.phonemes
        if self._proofreader and (found := self._proofreader.spans(block.utterance, phonemes)):
            spans = [(start_s + a * self._token_s, start_s + b * self._token_s) for a, b in found]
        return self._line(block.sentence, start_s, end_s, spans)

    def _line(
        self,
        sentence: Sentence,
        start_s: float,
        end_s: float,
        spans: Sequence[tuple[float, float]] | None,
    ) -> Line:
        """A line from the span of each phoneme, or with equal shares for all."""
        exact, count = spans is not None, len(sentence.phonemes)
        if spans is None:
            each = (end_s - start_s) / max(1, count)
            spans = [(start_s + i * each, start_s + (i + 1) * each) for i in range(count)]
        words, done = list[Word](), 0
        for item in sentence.said:
            if size := len(item.unit.phonemes):
                mine = spans[done : done + size]
                done += size
                first, last = min(mine[0][0], end_s), min(mine[-1][1], end_s)
                words.append(Word(item.unit.surface, first, last, item.index))
        return Line(sentence.text, start_s, end_s, tuple(words), exact)


def characters(line: Line) -> list[Word]:
    """Each character of a line's words; those of a Latin word share its time evenly."""
    found: list[Word] = []
    for word in line.words:
        each = (word.end_s - word.start_s) / max(1, len(word.text))
        for place, char in enumerate(word.text):
            index = None if word.index is None else word.index + place
            start = word.start_s + place * each
            found.append(Word(char, start, start + each, index))
    return found


def subtitles(lines: Iterable[Line], kind: str = "srt") -> str:
    """Subtitles, a sentence each, as "srt" or "vtt"."""
    mark = "," if kind == "srt" else "."
    out = [] if kind == "srt" else ["WEBVTT\n"]
    for number, line in enumerate(lines, 1):
        head = f"{number}\n" if kind == "srt" else ""
        when = f"{_clock(line.start_s, mark)} --> {_clock(max(line.end_s, line.start_s), mark)}"
        text = line.text.replace("-->", "→")
        out.append(f"{head}{when}\n{text}\n")
    return "\n".join(out)


def _clock(seconds: float, mark: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"
