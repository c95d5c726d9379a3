"""Mandarin readings in context. Read `read` first.

A sentence is cut into words (`words`); a word is read as the dictionaries have it (`phrases`: what
the training data were labelled by), a surname as one, and characters that are still open by rules
on their context (`polyphones`) and a small classifier (`senses`). Tones are lexical.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from pypinyin.seg import mmseg

from glmtts.text import phrases, polyphones
from glmtts.text.polyphones import Context
from glmtts.text.readings import own_readings
from glmtts.text.senses import CLASSIFIED, sense
from glmtts.text.surnames import DOUBLE_SURNAMES, SURNAMES, TITLES
from glmtts.text.words import Word, cut, is_surname, tag_of


class Reading(NamedTuple):
    """How a character is read, and why.

    Attributes:
        syllable: Numbered pinyin, 5 = neutral; "" if no dictionary has the character.
        decided_by: What decided, such as "phrase 银行", "rule 得 dei3", "surname", "character".
    """

    syllable: str
    decided_by: str


def pinyin(hanzi: str) -> list[str]:
    """Numbered syllables of a run of Hanzi, 5 = neutral; "" where a character has no reading.

    >>> pinyin("银行")
    ['yin2', 'hang2']
    """
    return [reading.syllable for reading in read(hanzi)]


def lexical(char: str, syllable: str) -> str:
    """A syllable without tone sandhi: 一 and 不, which phrases have with it, as they are alone."""
    return {"一": "yi1", "不": "bu4"}.get(char, syllable)


def read(line: str) -> list[Reading]:
    """Readings of a sentence in which every unit is one character; "" for what is no Hanzi.

    Marks part clauses; any other character that is no Hanzi stands for a word.
    """
    words = cut(line)
    out: list[Reading] = []
    for index, word in enumerate(words):
        found = _by_dictionary(line[word.start : word.end], word)
        own = phrases.is_own(line[word.start : word.end])
        settled = phrases.own().get(line[word.start : word.end], {})
        before, after = _tag(line, words, index - 1, "^"), _tag(line, words, index + 1, "$")
        for position, reading in enumerate(found, word.start):
            char = line[position]
            if char in SURNAMES and _called(line, position):
                reading = Reading(SURNAMES[char], "surname")
            elif (
                reading.decided_by not in ("", "surname")
                and position - word.start not in settled
                and polyphones.rules(char)
            ):
                context = Context(
                    char, partial(_sense, line, words, index), *_clause(line, position),
                    before if position == word.start else "?",
                    after if position == word.end - 1 else "?",
                    position > word.start or (bool(index) and words[index - 1].length == 1),
                    reading.decided_by == "character"
                    or (word.tag == "?" and word.length == 2 and not own),
                )  # fmt: skip
                rule = polyphones.decide(context)
                if rule and (rule.conditional or reading.decided_by == "character"):
                    reading = Reading(rule.reading, f"rule {char} {rule.reading} ({rule.line})")
            out.append(reading)
    return out


def _sense(line: str, words: Sequence[Word], index: int) -> str:
    known = words[index].length == 1 and line[words[index].start] in CLASSIFIED
    return sense(line, words, index) if known else ""


def _by_dictionary(text: str, word: Word) -> list[Reading]:
    if word.tag == "x":
        return [Reading("", "")]
    start, end = word.surname
    if phrases.is_own(text):
        return _listed(text)
    called = start > 0 or text[end:] in TITLES  # 小任, 曲先生
    if start == end or (phrases.is_listed(text) and not called):  # 朴素 is a word
        found = _listed(text)
        if word.tag == "N" and word.length > 2 and is_surname(text[0]):
            return [found[0], *_given_name(text[0], text[1:], found[1:])]
        return found
    known = DOUBLE_SURNAMES.get(text[start:end]) or SURNAMES.get(text[start:end])
    spoken = known.split() if known else phrases.readings(text[start:end])
    surname = [Reading(syllable, "surname") for syllable in spoken]
    given = text[end:]
    return [*_listed(text[:start]), *surname, *_given_name(text[start:end], given, _listed(given))]


def _given_name(surname: str, given: str, listed: list[Reading]) -> list[Reading]:
    """Readings behind a surname: in a name of two characters nothing is unstressed."""
    no_name = {tag_of(given), tag_of(surname + given[:1])} - {"?", "N"}
    if len(given) < 2 or given in TITLES or no_name:  # 王师傅, 李子树
        return listed
    return [
        Reading(_full(char, reading.syllable), reading.decided_by)
        for char, reading in zip(given, listed, strict=True)
    ]


def _full(char: str, syllable: str) -> str:
    """A reading of a character with a tone of its own, where it has one."""
    if not syllable.endswith("5"):
        return syllable
    return next((own for own in own_readings(char) if own[-1] != "5"), syllable)


def _listed(text: str) -> list[Reading]:
    return [Reading(*pair) for pair in zip(phrases.readings(text), _sources(text), strict=True)]


def _called(line: str, position: int) -> bool:
    """Whether the character is a surname because 姓 stands beside it."""
    return (
        line[position - 1 : position] == "姓" and line[position - 2 : position] not in _NO_SURNAME
    ) or (
        line[position + 1 : position + 2] == "姓"
        and line[position + 2 : position + 3] in ("男", "女", "某", "人", "氏", "青")
    )


_NO_SURNAME = ("百姓", "同姓", "贵姓", "异姓")


def _sources(text: str) -> Iterator[str]:
    """For each character of a word what its dictionary reading comes from."""
    if phrases.is_own(text):
        yield from [f"phrase {text} (own)"] * len(text)
        return
    for part in mmseg.seg.cut(text):  # pyright: ignore
        listed = len(part) > 1 and phrases.is_listed(part)
        yield from [f"phrase {part}" if listed else "character"] * len(part)


_MARK = re.compile("[，。！？；：、…,.!?;:]")


def _clause(line: str, position: int) -> tuple[str, str]:
    """The clause before a character and behind it."""
    start = max((m.end() for m in _MARK.finditer(line, 0, position)), default=0)
    end = _MARK.search(line, position + 1)
    return line[start:position], line[position + 1 : end.start() if end else len(line)]


def _tag(line: str, words: list[Word], index: int, none: str) -> str:
    if not 0 <= index < len(words) or _MARK.match(line[words[index].start]):
        return none
    return words[index].tag
