"""A normalised text cut into sentences that a model can speak in one breath."""

import re
from itertools import accumulate

from glmtts.text.spans import PROTECTED
from glmtts.text.units import HANZI

_LATIN = 0.3
"""Length of a Latin letter, in Hanzi: 200 letters last about as long as 60 Hanzi."""

_MARKS = "，。！？；：、…,.!?;:"
_ENDS = re.compile("(?<=[。！？!?；;…])\\s*|(?<=[.])\\s+|(?<=[A-Za-z][.])(?=[^A-Za-z.\\s])")
_NUMBER = (
    "(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    "fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|"
    "ninety|hundred|thousand|million|billion|trillion|point|oh|negative)(?![a-z])"
)
_TOKEN = re.compile(
    f"[零一二三四五六七八九十百千万亿两点幺负分之萬億兩點負]{{2,20}}"
    f"|{_NUMBER}(?:[ -](?:and )?{_NUMBER}){{1,6}}|[A-Za-z'-]{{1,60}}|[{HANZI}{PROTECTED}]"
    f"|[{_MARKS}]| |."
)


def length(text: str) -> float:
    """How long `text` is to speak, in Hanzi; marks and spaces count nothing."""
    return sum(map(_weight, text))


def _weight(char: str) -> float:
    if char in _MARKS or char in " '-":
        return 0.0
    return _LATIN if char.isascii() else 1.0


def split(text: str, *, min_length: int = 5, max_length: int = 60) -> list[str]:
    """Cut a normalised text into sentences.

    Cuts come after 。！？；… and after a full stop; a sentence longer than `max_length` is cut at
    commas, else between words, else between Hanzi, in parts of about the same length; never inside
    a number. A part shorter than `min_length` joins a neighbour; where both together would be
    longer than `max_length`, the two are cut anew into halves.

    Args:
        text: What `normalise` returned.
        min_length: In Hanzi; a Latin letter counts 0.3.
        max_length: In Hanzi.
    """
    return [
        text[start:end] for start, end in ranges(text, min_length=min_length, max_length=max_length)
    ]


def ranges(text: str, *, min_length: int = 5, max_length: int = 60) -> list[tuple[int, int]]:
    """As `split`: first character of each sentence, and one past its last."""
    assert 0 < min_length <= max_length / 2, "two short sentences must fit into one"
    return _Cutter(text, min_length, max_length).sentences()


class _Cutter:
    """One text with the length of every beginning of it, so that lengths cost nothing."""

    def __init__(self, text: str, shortest: float, limit: float) -> None:
        self.text = text
        self.shortest = shortest
        self.limit = limit
        tenths = (round(_weight(char) * 10) for char in text)
        self.upto = list(accumulate(tenths, initial=0))

    def length(self, start: int, end: int) -> float:
        return (self.upto[end] - self.upto[start]) / 10

    def sentences(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        ends = [match.start() for match in _ENDS.finditer(self.text)]
        for start, end in zip([0, *ends], [*ends, len(self.text)], strict=True):
            if self.length(start, end):
                found += self.cut(*self.trimmed(start, end))
        out: list[tuple[int, int]] = []
        for start, end in found:
            if out and min(self.length(start, end), self.length(*out[-1])) < self.shortest:
                before, _ = out.pop()
                out += self.cut(before, end)
            else:
                out.append((start, end))
        return out

    def trimmed(self, start: int, end: int) -> tuple[int, int]:
        sentence = self.text[start:end]
        start += len(sentence) - len(sentence.lstrip())
        return start, start + len(sentence.strip())

    def cut(self, start: int, end: int) -> list[tuple[int, int]]:
        """Parts of a stretch, none longer than the limit."""
        if self.length(start, end) <= self.limit:
            return [(start, end)]
        places = [start + match.end() for match in _TOKEN.finditer(self.text[start:end])]
        parts: list[tuple[int, int]] = []
        first = 0
        while self.length(start, end) > self.limit:
            left = self.length(start, end)
            target = left / -(-left // self.limit)
            stop = self.best_cut(places, first, start, end, target)
            parts.append(self.trimmed(start, places[stop]))
            start, first = places[stop], stop + 1
        return [*parts, self.trimmed(start, end)]

    def best_cut(self, places: list[int], first: int, start: int, end: int, target: float) -> int:
        """Index of the place to cut at: near `target`, after a mark if there is one."""
        after_mark, after_space, anywhere = list[int](), list[int](), list[int]()
        for stop in range(first, len(places) - 1):
            place = places[stop]
            if self.length(start, place) > self.limit:
                break
            if self.text[place] in _MARKS:  # a mark stays with what it follows
                continue
            anywhere.append(stop)
            near, far = self.length(start, place), self.length(place, end)
            if near < self.limit / 4 or far < self.shortest:
                continue
            before = self.text[start:place]
            if before.rstrip()[-1:] in _MARKS:
                after_mark.append(stop)
            elif before[-1] == " ":
                after_space.append(stop)
        choice = after_mark or after_space or anywhere or [first]
        return min(choice, key=lambda stop: abs(self.length(start, places[stop]) - target))
