"""Mandarin cut into words: the likeliest path through a lattice. Read `cut` first.

Words and what each costs (the negated logarithm of its frequency) come from a list made by
`glmtts.data.reading_data`, phrases of the pronouncing dictionaries and the package's own join it at
a flat cost, and names are composed: a surname with a given name or a title.
"""

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from glmtts.text import phrases
from glmtts.text.surnames import DOUBLE_SURNAMES, RARELY, SURNAMES, TITLES, WORDS_TOO

LONGEST_WORD = 5


@dataclass(frozen=True)
class Word:
    """A word of a sentence.

    Attributes:
        start: Its first character.
        end: One past its last character.
        tag: Part of speech, one letter as in the list (n v a d r m q p c u f ...); N a person's
            name, S a place, x what is no Hanzi, "?" unknown.
        surname: Characters at its start that are a surname.
    """

    start: int
    end: int
    tag: str
    surname: int = 0

    @property
    def length(self) -> int:
        """Number of characters."""
        return self.end - self.start


_UNKNOWN = 14.0
"""Cost of a character outside the list."""
_PHRASE = {2: 15.0, 3: 16.0}
"""Cost of a phrase that only a pronouncing dictionary lists, by length; longer ones cost 18."""
_OWN_PHRASE = 12.0
_NAME = 1.5
"""Names are rarer elsewhere than in the newspaper whose names were counted."""
_RARE_SURNAME = 11.0
_COMMON_SURNAME = 11.0
"""Other surnames than those of `SURNAMES` make names only up to this cost."""
_GIVEN = 9.0
"""Cost of a character in a given name that the newspaper's names lack, unless it is rare itself."""
_AT_START, _BEFORE_TITLE, _WORD_TOO = -1.5, -4.0, 3.0
"""A name is likelier at the start of a clause, and before a title."""
_LONG_TITLES = tuple(title for title in TITLES if len(title) > 1)
CLAUSE_MARKS = frozenset("，。！？；：、…,.!?;:")
_NICKNAME = {"老": 4.0, "小": 5.0, "阿": 6.0}


def _assets_text(name: str) -> bytes:
    return (resources.files("glmtts") / "assets" / "text" / name).read_bytes()


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, tuple[float, str]]:
    """Cost and part of speech of each listed word, loaded at first use (0.1 s)."""
    listed: dict[str, tuple[float, str]] = {}
    for line in gzip.decompress(_assets_text("words.txt.gz")).decode().split("\n"):
        halves, tag, *words = line.split(" ")
        listed.update(dict.fromkeys(words, (int(halves) / 2, tag)))
    return listed


@lru_cache(maxsize=1)
def _name_costs() -> dict[str, dict[str, float]]:
    return json.loads(_assets_text("names.json"))


def tag_of(word: str) -> str:
    """Part of speech of a word, "?" if it is not listed."""
    return vocabulary().get(word, (0.0, "?"))[1]


def cut(line: str) -> list[Word]:
    """The words of a sentence in which every unit is one character; what is no Hanzi stays alone.

    >>> [line[word.start : word.end] for word in cut(line := "他们都会说英语")]
    ['他们', '都', '会', '说', '英语']
    """
    size = len(line)
    best = [0.0] + [float("inf")] * size
    last: list[Word | None] = [None] * (size + 1)

    def offer(start: int, end: int, cost: float, tag: str, surname: int = 0) -> None:
        if best[start] + cost < best[end]:
            best[end] = best[start] + cost
            last[end] = Word(start, end, tag, surname)

    listed = vocabulary()
    for i in range(size):
        if not "\u3400" <= line[i] <= "\u9fff":
            offer(i, i + 1, 0.0, "x")
            continue
        for end in range(i + 1, min(size, i + LONGEST_WORD) + 1):
            word = line[i:end]
            if word in listed:
                cost, tag = listed[word]
                surname = 1 if tag == "N" and _is_name(word) else 0
                offer(i, end, cost, tag, surname)
            elif end == i + 1:
                offer(i, end, _UNKNOWN, "?")
        for phrase in phrases.starting_at(line, i):
            length = len(phrase)
            if phrases.is_own(phrase):
                offer(i, i + length, min(_OWN_PHRASE, listed.get(phrase, (99.0,))[0]), "?")
            elif phrase not in listed:
                offer(i, i + length, _PHRASE.get(length, 18.0), "?")
        for end, cost, surname in _names_at(line, i):
            offer(i, end, cost, "N", surname)
    words: list[Word] = []
    end = size
    while end:
        word = last[end]
        assert word
        words.append(word)
        end = word.start
    return words[::-1]


def _names_at(line: str, i: int) -> list[tuple[int, float, int]]:
    """Names that may start at character `i`: where they end, their cost, length of the surname."""
    found: list[tuple[int, float, int]] = []
    length = 2 if line[i : i + 2] in DOUBLE_SURNAMES else 1
    cost = _surname_cost(line[i : i + length])
    if cost is not None:
        if i == 0 or line[i - 1] in CLAUSE_MARKS:
            cost += _AT_START
        after = i + length
        if length == 2:
            found.append((after, cost, 2))
        for title, extra in TITLES.items():
            if line.startswith(title, after):
                found.append((after + len(title), cost + extra, length))
        for size in (1, 2) if line[i] not in RARELY or length == 2 else ():
            given = line[after : after + size]
            if len(given) == size and all("\u4e00" <= char <= "\u9fff" for char in given):
                places = ("single",) if size == 1 else ("first", "second")
                extra = sum(map(_given_cost, places, given))
                if any(line.startswith(title, after + size) for title in _LONG_TITLES):
                    extra += _BEFORE_TITLE
                elif line[i] in WORDS_TOO:
                    extra += _WORD_TOO / size
                found.append((after + size, cost + extra, length))
    if line[i] in _NICKNAME and line[i + 1 : i + 2] in SURNAMES:
        called = _surname_cost(line[i + 1])
        assert called is not None
        found.append((i + 2, called + _NICKNAME[line[i]], 0))
    return found


def _is_name(word: str) -> bool:
    """Whether a word listed as a name is one with a surname that has a reading of its own."""
    if word[0] not in SURNAMES or word[0] in RARELY:
        return False
    return len(word) == 3 or (len(word) == 2 and _given_cost("single", word[1]) <= 7.5)


def _surname_cost(surname: str) -> float | None:
    cost = _name_costs()["surname"].get(surname, 99.0) + _NAME
    if surname in SURNAMES or surname in DOUBLE_SURNAMES:
        return min(cost, _RARE_SURNAME)
    return cost if cost <= _COMMON_SURNAME else None


def _given_cost(place: str, char: str) -> float:
    alone, tag = vocabulary().get(char, (_UNKNOWN, ""))
    cost = min(_name_costs()[place].get(char, _GIVEN), max(7.0, alone - 3))
    return cost + max(0.0, 8.0 - alone) if tag in "vdpcurm" else cost
