"""Mandarin readings: pypinyin with the phrases of pypinyin-dict's large_pinyin, no word cutter.

Of five readers tried on 53 polyphones this one was right most often (51), and the training data
were labelled by it. Loading all 412,000 phrases takes 2 s and 200 MB, so only those that occur in a
text are handed to pypinyin, which then answers exactly as with all of them.
"""

import ast
import re
from bisect import bisect_left
from functools import lru_cache
from importlib import resources

from pypinyin import Style, lazy_pinyin
from pypinyin.constants import PHRASES_DICT
from pypinyin.seg import mmseg

_LINE_START = len("    '")


class _PhraseBook:
    """The sorted lines `    '银行': [['yín'], ['háng']],` of the dictionary's source files.

    As a sequence it has one item for each byte: the phrase of the line that byte is in, so that
    `bisect` finds a phrase without reading the rest.
    """

    def __init__(self) -> None:
        folder = resources.files("pypinyin_dict.phrase_pinyin_data")
        bodies: list[bytes] = []
        while (part := folder / f"large_pinyin_{len(bodies)}.py").is_file():
            bodies.append(part.read_bytes().partition(b"{\n")[2].partition(b"\n}")[0] + b"\n")
        assert bodies, "this version of pypinyin-dict keeps its phrases elsewhere"
        self._lines = b"".join(bodies)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, offset: int) -> bytes:
        start = self._lines.rfind(b"\n", 0, offset) + 1 + _LINE_START
        return self._lines[start : self._lines.index(b"'", start)]

    def starting_with(self, prefix: str) -> dict[str, list[list[str]]]:
        """All phrases that start with `prefix`, with the readings of their characters."""
        key = prefix.encode()
        found: dict[str, list[list[str]]] = {}
        offset = bisect_left(self, key)
        while offset < len(self) and self[offset].startswith(key):
            start = self._lines.rfind(b"\n", 0, offset) + 1
            end = self._lines.index(b"\n", offset)
            found |= ast.literal_eval("{" + self._lines[start:end].decode().strip() + "}")
            offset = end + 1
        return found


@lru_cache(maxsize=1)
def _book() -> _PhraseBook:
    return _PhraseBook()


@lru_cache(maxsize=100_000)
def _learn(pair: str) -> None:
    """Hand the phrases that start with these two characters to pypinyin."""
    phrases = _book().starting_with(pair)
    PHRASES_DICT.update(phrases)
    mmseg.seg.train(phrases)  # pyright: ignore


def pinyin(hanzi: str) -> list[str]:
    """Numbered syllables of a run of Hanzi, 5 = neutral; "" where a character has no reading.

    >>> pinyin("银行")
    ['yin2', 'hang2']
    """
    for pair in re.findall("(?=(..))", hanzi):
        _learn(pair)
    syllables = lazy_pinyin(
        hanzi,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        errors=lambda unknown: [""] * len(unknown),  # pyright: ignore
    )
    assert len(syllables) == len(hanzi), f"{hanzi!r} has {len(syllables)} readings"
    return syllables
