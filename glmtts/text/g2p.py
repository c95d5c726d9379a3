"""Pronunciation: a normalised sentence to units with phonemes. Read `analyse_explained` first."""

import re
from collections.abc import Mapping
from itertools import groupby

from glmtts.errors import BadText
from glmtts.text import chinese, english
from glmtts.text.phonemes import arpabet_to_tokens, pinyin_to_tokens
from glmtts.text.units import HANZI, Piece, Unit, require_speech, segment

_ONE_HANZI = re.compile(f"[{HANZI}]$")


def analyse(text: str, forced: Mapping[str, Unit] | None = None) -> list[Unit]:
    """Units of a normalised sentence (Mandarin, English or mixed) with their phonemes.

    Mandarin has lexical tones, as the training data; sandhi is left to the model. Characters that
    no dictionary knows, and signs that are not speech, are left out.

    Args:
        text: A normalised sentence.
        forced: Units of the characters of private use in it.

    Raises:
        BadText: nothing in the text can be spoken, or a character of private use has no unit.
    """
    return [unit for unit, _ in analyse_explained(text, forced)]


def analyse_explained(
    text: str, forced: Mapping[str, Unit] | None = None
) -> list[tuple[Unit, str]]:
    """The units of `analyse`, each with what decided its reading ("" for a mark).

    Raises:
        BadText: as `analyse`.
    """
    forced = forced or {}
    pieces = segment(text, any(_ONE_HANZI.match(unit.surface) for unit in forced.values()))
    shown = [_shown(piece, forced) for piece in pieces]
    mandarin = chinese.read("".join(map(_one_character, pieces, shown)))
    found: list[tuple[Unit, str]] = []
    for hanzi, group in groupby(range(len(pieces)), lambda i: bool(_ONE_HANZI.match(shown[i]))):
        run = list(group)
        words = [] if hanzi else english.read([shown[i] for i in run])
        for place, i in enumerate(run):
            piece = pieces[i]
            if piece.kind == "forced":
                found.append((forced[piece.surface], "forced"))
            elif hanzi:
                syllable, decided_by = mandarin[i]
                if syllable:
                    found.append((Unit(piece.surface, pinyin_to_tokens(syllable)), decided_by))
            else:
                phones, decided_by = words[place]
                found.append((Unit(piece.surface, arpabet_to_tokens(phones)), decided_by))
    require_speech([unit for unit, _ in found], text)
    return found


def _shown(piece: Piece, forced: Mapping[str, Unit]) -> str:
    """What the readers see in place of a piece: of a placeholder the surface of its unit."""
    if piece.kind != "forced":
        return piece.surface
    if piece.surface not in forced:
        raise BadText(
            f"The character {piece.surface!r} is of private use and stands for nothing here. "
            "Remove it from the text."
        )
    return forced[piece.surface].surface or "a"


def _one_character(piece: Piece, shown: str) -> str:
    return shown if piece.kind == "mark" or _ONE_HANZI.match(shown) else "a"
