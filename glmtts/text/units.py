"""A sentence cut into units: Hanzi, words and punctuation marks, in reading order.

Everything that pairs text with phonemes (pronunciation, training records) cuts with `segment`, so
that training and inference see the same units.
"""

import re
from typing import NamedTuple

from glmtts.errors import BadText

HANZI = "\u4e00-\u9fff\u3400-\u4dbf〇"
"""Character class of the Hanzi that may be spoken (for use inside [...] of a pattern)."""


class Unit(NamedTuple):
    """A Hanzi, an English word or a punctuation mark.

    Attributes:
        surface: As written.
        phonemes: Its phoneme tokens (`glmtts.text.phonemes`); none for a punctuation mark.
    """

    surface: str
    phonemes: tuple[str, ...] = ()


_WORD = "[A-Za-z]+(?:['’-][A-Za-z]+)*"
_MARK = "[，。！？；：、…—–～,.!?;:~]+"
FORCED = "\ue000-\uf8ff"
"""Character class of the placeholders of units whose reading is given."""
_PIECE = re.compile(
    f"(?P<hanzi>[{HANZI}])|(?P<word>{_WORD})|(?P<mark>{_MARK})|(?P<forced>[{FORCED}])"
)
_HAS_HANZI = re.compile(f"[{HANZI}]")

_ZH_MARKS = {"，": "，,、；;：:—–～~", "。": "。.…", "！": "！!", "？": "？?"}
_EN_MARKS = {",": "，,、—–～~", ".": "。.…", "!": "！!", "?": "？?", ";": "；;", ":": "：:"}
_STRENGTH = "，,：:；;。.！!？?"


def _inverted(marks: dict[str, str]) -> dict[str, str]:
    return {variant: mark for mark, variants in marks.items() for variant in variants}


_MARKS = {True: _inverted(_ZH_MARKS), False: _inverted(_EN_MARKS)}


class Piece(NamedTuple):
    """A unit before it has phonemes; `kind` is "hanzi", "word", "mark" or "forced"."""

    kind: str
    surface: str


def segment(text: str, mandarin: bool = False) -> list[Piece]:
    """Cut `text` into Hanzi, words and marks; the rest (spaces, quotes, symbols) is left out.

    A run of marks becomes its strongest one, full width where the text has Hanzi, and never stands
    first. Mandarin keeps four marks (，。！？), English six (,.!?;:). A character of private use
    is a piece of the kind "forced".

    Args:
        text: A normalised sentence.
        mandarin: It is Mandarin although no Hanzi may be left in it.
    """
    marks = _MARKS[mandarin or bool(_HAS_HANZI.search(text))]
    pieces: list[Piece] = []
    for match in _PIECE.finditer(text):
        kind, surface = str(match.lastgroup), match[0]
        if kind != "mark":
            pieces.append(Piece(kind, surface.replace("’", "'")))
            continue
        found = [marks[char] for char in surface]
        if pieces and pieces[-1].kind == "mark":
            found.append(pieces.pop().surface)
        if pieces:
            pieces.append(Piece("mark", max(found, key=_STRENGTH.index)))
    return pieces


def require_speech(units: list[Unit], text: str) -> list[Unit]:
    """`units`, provided one of them can be spoken.

    Raises:
        BadText: none can.
    """
    if any(unit.phonemes for unit in units):
        return units
    shown = text.strip()[:40]
    raise BadText(
        f"Nothing in the text can be spoken: {shown!r}. Expected Chinese or English words."
    )
