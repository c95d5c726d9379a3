"""Texts to countable units, and what distinguishes two of them. Read `Edits` first.

Two ways of preparing a text before counting:

- `seed_units`, as seed-tts-eval does (BytedanceSpeech/seed-tts-eval, run_wer.py): punctuation is
  dropped, Mandarin is counted by character, English by word in lower case; numbers stay as written.
- `spoken_units`: traditional characters become simplified and numbers words first, because a
  recogniser writes 二十分钟 as 20分钟 at will.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from glmtts.errors import BadText
from glmtts.judges.needs import needed

Rule = Literal["seed", "spoken"]

STYLE_TAG = re.compile(r"\[(?:neutral|happy|sad|angry|surprised|laughter)\]\s*", re.I)
"""Tags of manner in a text; they are not said."""
_NOT_SAID = re.compile(r"\[[^\[\]\s]{1,24}(?: [A-Z0-9 ]+)?\]|<\|[^|]+\|>")
"""Tags, and readings such as 长[zhang3] and read[R EH1 D]."""


@dataclass(frozen=True)
class Edit:
    """One stretch where two sequences differ or agree, as indices into both.

    Attributes:
        kind: What happened to the reference.
        start: First unit of the reference.
        stop: One past its last.
        heard_start: First unit of what was heard.
        heard_stop: One past its last.
    """

    kind: Literal["equal", "replace", "delete", "insert"]
    start: int
    stop: int
    heard_start: int
    heard_stop: int


@dataclass(frozen=True)
class Edits:
    """The fewest edits that turn a reference into what was heard (Levenshtein).

    Attributes:
        length: Units of the reference.
        substitutions: Units replaced.
        deletions: Units missing.
        insertions: Units added.
        stretches: Where.
    """

    length: int
    substitutions: int
    deletions: int
    insertions: int
    stretches: tuple[Edit, ...]

    @property
    def count(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits for each unit of the reference; above 1 where much was added."""
        return self.count / self.length


def edits(reference: Sequence[str], heard: Sequence[str]) -> Edits:
    """Compare two sequences of units.

    Raises:
        BadText: the reference is empty.
        MissingExtra: rapidfuzz is not installed.
    """
    if not reference:
        raise BadText("An error rate needs a reference text with at least one word in it.")
    ops: Any = needed("rapidfuzz.distance", "Comparing texts").Levenshtein.opcodes(reference, heard)
    stretches = tuple(
        Edit(op.tag, op.src_start, op.src_end, op.dest_start, op.dest_end) for op in ops
    )
    return Edits(
        len(reference),
        sum(e.stop - e.start for e in stretches if e.kind == "replace"),
        sum(e.stop - e.start for e in stretches if e.kind == "delete"),
        sum(e.heard_stop - e.heard_start for e in stretches if e.kind == "insert"),
        stretches,
    )


def units(text: str, language: str, rule: Rule = "spoken") -> list[str]:
    """A text as the units its errors are counted in: Hanzi and foreign words, or English words.

    Args:
        text: Of one utterance.
        language: "zh" or "en".
        rule: "seed" or "spoken", see the module.

    Raises:
        MissingExtra: zhon (seed), or wetext and opencc (spoken) are not installed.
    """
    return seed_units(text, language) if rule == "seed" else spoken_units(text, language)


def seed_units(text: str, language: str) -> list[str]:
    """Units of seed-tts-eval; what the recogniser heard is simplified by the caller before."""
    text = text.translate(_seed_punctuation())
    return text.lower().split() if language == "en" else [c for c in text if not c.isspace()]


@lru_cache(maxsize=1)
def _seed_punctuation() -> dict[int, None]:
    marks = str(needed("zhon.hanzi", "Counting errors as seed-tts-eval does").punctuation)
    return {ord(mark): None for mark in marks + string.punctuation if mark != "'"}


def spoken_units(text: str, language: str) -> list[str]:
    """Units of what is said: simplified, numbers in words, no punctuation, lower case."""
    text = _NOT_SAID.sub("", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", unicodedata.normalize("NFKC", text))
    if language == "zh":
        text = simplified(text)
    text = _in_words(language)(text).lower().replace("’", "'")
    words = re.sub(r"[^\w']|_", " ", text).split()
    if language == "en":
        return words
    return [unit for word in words for unit in re.findall(r"[a-z']+|.", word)]


def simplified(text: str) -> str:
    """Traditional characters to simplified ones.

    Raises:
        MissingExtra: opencc is not installed.
    """
    return str(_converter().convert(text))


@lru_cache(maxsize=1)
def _converter() -> Any:
    return needed("opencc", "Comparing Mandarin texts").OpenCC("t2s")


@lru_cache(maxsize=2)
def _in_words(language: str) -> Callable[[str], str]:
    normalizer = needed("wetext", "Comparing texts with numbers").Normalizer
    return normalizer(lang=language, operator="tn").normalize


def syllables(hanzi: Sequence[str], *, tones: bool) -> list[str]:
    """Pinyin of Mandarin units, each by itself, so that homophones are equal.

    Dictionary phrases would read a character one way in the reference and another in what was
    heard, only because a neighbour was misheard.
    """
    from pypinyin import Style, lazy_pinyin

    style = Style.TONE3 if tones else Style.NORMAL
    return [syllable for unit in hanzi for syllable in lazy_pinyin(unit, style=style)]
