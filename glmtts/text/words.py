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
        surname: Where a surname begins and ends in it, as line[start + a : start + b].
    """

    start: int
    end: int
    tag: str
    surname: tuple[int, int] = (0, 0)

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
_AT_START, _BEFORE_TITLE, _AFTER_TITLE, _WORD_TOO = -1.5, -4.0, -3.0, 2.5
"""A name is likelier at the start of a clause, and before a title."""
_LONG_TITLES = tuple(title for title in TITLES if len(title) > 1)
_INTRODUCED = (
    *_LONG_TITLES, "和", "与", "跟", "、", "叫", "名叫", "叫做", "演员", "歌手", "作家",
    "主持人", "作者", "选手", "主演", "队员", "运动员", "画家", "诗人", "明星", "球员",
    "员工", "客户", "患者", "网友", "代表", "专家", "学者", "名将",
)  # fmt: skip
CLAUSE_MARKS = frozenset("，。！？；：、…,.!?;:")
_NICKNAME = {"老": 3.0, "小": 3.5, "阿": 5.0}
_NICKNAMED = SURNAMES.keys() - RARELY
_PREFIXES = frozenset("单区")
"""They make words with any noun: 单店 is nobody, unless a title says so."""


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


def is_surname(char: str) -> bool:
    """Whether a character is usual enough a surname to make names."""
    return _surname_cost(char) is not None


def cut(line: str) -> list[Word]:
    """The words of a sentence in which every unit is one character; what is no Hanzi stays alone.

    >>> [line[word.start : word.end] for word in cut(line := "他们都会说英语")]
    ['他们', '都', '会', '说', '英语']
    """
    size = len(line)
    best = [0.0] + [float("inf")] * size
    last: list[Word | None] = [None] * (size + 1)

    def offer(
        start: int, end: int, cost: float, tag: str, surname: tuple[int, int] = (0, 0)
    ) -> None:
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
                surname = 2 if word[:2] in DOUBLE_SURNAMES else int(tag == "N" and _is_name(word))
                offer(i, end, cost, tag, (0, surname))
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


def _names_at(line: str, i: int) -> list[tuple[int, float, tuple[int, int]]]:
    """Names that may start at character `i`: where they end, their cost, place of the surname."""
    found: list[tuple[int, float, tuple[int, int]]] = []
    length = 2 if line[i : i + 2] in DOUBLE_SURNAMES else 1
    cost = _surname_cost(line[i : i + length])
    if cost is not None:
        introduced = line.endswith(_INTRODUCED, 0, i)
        if introduced:
            cost += _AFTER_TITLE
        elif i == 0 or line[i - 1] in CLAUSE_MARKS:
            cost += _AT_START
        after = i + length
        if length == 2:
            found.append((after, cost, (0, 2)))
        for title, extra in TITLES.items():
            if line.startswith(title, after):
                found.append((after + len(title), cost + extra, (0, length)))
        for size in (1, 2) if length == 2 or _is_usual(line, i) else ():
            given = line[after : after + size]
            if len(given) == size and all("\u4e00" <= char <= "\u9fff" for char in given):
                titled = any(line.startswith(title, after + size) for title in _LONG_TITLES)
                if size == 1 and line[i] in _PREFIXES and not (titled or introduced):
                    continue
                places = ("single",) if size == 1 else ("first", "second")
                extra = sum(map(_given_cost, places, given))
                if titled:
                    extra += _BEFORE_TITLE
                elif line[i] in WORDS_TOO and not line.endswith("叫", 0, i):
                    extra += _WORD_TOO / size
                found.append((after + size, cost + extra, (0, length)))
    if line[i] in _NICKNAME and line[i + 1 : i + 2] in _NICKNAMED:
        called = _surname_cost(line[i + 1])
        assert called is not None
        found.append((i + 2, called + _NICKNAME[line[i]], (1, 2)))
    return found


def _is_usual(line: str, i: int) -> bool:
    """Whether character `i` may be a surname without a title behind it."""
    return line[i] not in RARELY or f"姓{line[i]}" in line


def _is_name(word: str) -> bool:
    """Whether a word listed as a name is one with a surname that has a reading of its own."""
    if word[0] not in SURNAMES or word[0] in RARELY:
        return False
    if len(word) == 3:
        return tag_of(word[:2]) in "?N"
    return len(word) == 2 and _given_cost("single", word[1]) <= 7.5


def _surname_cost(surname: str) -> float | None:
    cost = _name_costs()["surname"].get(surname, 99.0) + _NAME
    if surname in SURNAMES or surname in DOUBLE_SURNAMES:
        return min(cost, _RARE_SURNAME)
    return cost if cost <= _COMMON_SURNAME else None


def _given_cost(place: str, char: str) -> float:
    alone, tag = vocabulary().get(char, (_UNKNOWN, ""))
    cost = min(_name_costs()[place].get(char, _GIVEN), max(7.0, alone - 3))
    return cost + max(0.0, 8.0 - alone) if tag in "vdpcurm" else cost
