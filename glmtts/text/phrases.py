"""Readings of phrases: pypinyin-dict's large_pinyin, and this package's own. Read `readings` first.

Loading all 412,000 phrases of large_pinyin takes 2 s and 200 MB, so only those that occur in a text
are handed to pypinyin.
"""

import re
from bisect import bisect_left
from functools import lru_cache
from importlib import resources

from pypinyin import Style, lazy_pinyin
from pypinyin.constants import PHRASES_DICT
from pypinyin.seg import mmseg

_LINE_START = len("    '")
_SAMPLE = 4096
_CHOICES = re.compile(r"\[([^\[\]]+)\]")
_QUOTED = re.compile("'([^']+)'")
_MARKED = re.compile(r"(.)(?:\[([a-z]+[1-5])\])?")


class _PhraseBook:
    """The sorted lines `    '银行': [['yín'], ['háng']],` of the dictionary's source files.

    A sample of the phrases tells which few lines to look through for one.
    """

    def __init__(self) -> None:
        folder = resources.files("pypinyin_dict.phrase_pinyin_data")
        bodies: list[bytes] = []
        while (part := folder / f"large_pinyin_{len(bodies)}.py").is_file():
            bodies.append(part.read_bytes().partition(b"{\n")[2].partition(b"\n}")[0] + b"\n")
        assert bodies, "this version of pypinyin-dict keeps its phrases elsewhere"
        self._lines = b"\n" + b"".join(bodies)
        found = self._lines.find
        starts = (found(b"\n", offset) + 1 for offset in range(0, len(self._lines) - 1, _SAMPLE))
        self._starts = [start for start in dict.fromkeys(starts) if start < len(self._lines)]
        self._sample = [self._phrase(start) for start in self._starts]

    def _phrase(self, start: int) -> bytes:
        start += _LINE_START
        return self._lines[start : self._lines.index(b"'", start)]

    def starting_with(self, prefix: str) -> dict[str, list[list[str]]]:
        """All phrases that start with `prefix`, with the readings of their characters."""
        key = prefix.encode()
        first = max(0, bisect_left(self._sample, key) - 1)
        behind = bisect_left(self._sample, key + b"\xff")
        end = self._starts[behind] if behind < len(self._starts) else len(self._lines)
        found: dict[str, list[list[str]]] = {}
        line_start = b"\n    '" + key
        offset = self._lines.find(line_start, self._starts[first] - 1, end)
        while offset >= 0:
            stop = self._lines.index(b"\n", offset + 1)
            phrase, _, readings = self._lines[offset + 1 : stop].decode().partition("': ")
            found[phrase[_LINE_START:]] = [
                _QUOTED.findall(choices) for choices in _CHOICES.findall(readings)
            ]
            offset = self._lines.find(line_start, stop, end)
        return found


@lru_cache(maxsize=1)
def _book() -> _PhraseBook:
    return _PhraseBook()


@lru_cache(maxsize=1)
def own() -> dict[str, dict[int, str]]:
    """Our own phrases: which of their characters have which reading."""
    return _marked("phrases.txt") | places()


@lru_cache(maxsize=1)
def places() -> dict[str, dict[int, str]]:
    """The same of places."""
    return _marked("places.txt")


def _marked(name: str) -> dict[str, dict[int, str]]:
    text = (resources.files("glmtts") / "assets" / "text" / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found: dict[str, dict[int, str]] = {}
    for item in " ".join(lines).split():
        pairs = _MARKED.findall(item)
        marked = {i: reading for i, (_, reading) in enumerate(pairs) if reading}
        found["".join(char for char, _ in pairs)] = marked
    return found


@lru_cache(maxsize=1)
def _own_starts() -> dict[str, list[str]]:
    starts: dict[str, list[str]] = {}
    for phrase in own():
        starts.setdefault(phrase[:2], []).append(phrase)
    return starts


@lru_cache(maxsize=100_000)
def _starting(pair: str) -> tuple[str, ...]:
    """Phrases that start with two characters, ours included; pypinyin knows them from then on."""
    phrases = _book().starting_with(pair)
    PHRASES_DICT.update(phrases)
    mmseg.seg.train(phrases)  # pyright: ignore
    return (*phrases, *(p for p in _own_starts().get(pair, ()) if p not in phrases))


def starting_at(line: str, position: int) -> list[str]:
    """The phrases found in `line` from `position` on."""
    return [p for p in _starting(line[position : position + 2]) if line.startswith(p, position)]


def is_own(phrase: str) -> bool:
    """Whether the package lists a reading of this phrase itself."""
    return phrase in own()


def is_listed(phrase: str) -> bool:
    """Whether a pronouncing dictionary lists this phrase."""
    return phrase in _starting(phrase[:2])


def readings(word: str) -> list[str]:
    """Numbered syllables of the characters of one word, 5 = neutral; "" where there is none.

    A word no dictionary lists is read as the longest phrases in it are.
    """
    return list(_readings(word))


@lru_cache(maxsize=50_000)
def _readings(word: str) -> tuple[str, ...]:
    for i in range(len(word) - 1):
        _starting(word[i : i + 2])
    syllables = lazy_pinyin(
        word,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        errors=lambda unknown: [""] * len(unknown),  # pyright: ignore
    )
    assert len(syllables) == len(word), f"{word!r} has {len(syllables)} readings"
    place = max((p for p in _own_starts().get(word[:2], ()) if is_place_of(word, p)), default="")
    for i, reading in (own().get(word) or own().get(place, {})).items():
        syllables[i] = reading
    return tuple(syllables)


def is_place_of(word: str, place: str) -> bool:
    """Whether a word is one of our places or starts with it."""
    return place in places() and word.startswith(place)
