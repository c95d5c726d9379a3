"""Pronunciation: a normalised sentence to units with phonemes. Read `analyse` first."""

from itertools import groupby

from glmtts.text import chinese, english
from glmtts.text.phonemes import arpabet_to_tokens, pinyin_to_tokens
from glmtts.text.units import Unit, require_speech, segment


def analyse(text: str) -> list[Unit]:
    """Units of a normalised sentence (Mandarin, English or mixed) with their phonemes.

    Mandarin has lexical tones, as the training data; sandhi is left to the model. Characters that
    no dictionary knows, and signs that are not speech, are left out.

    Raises:
        BadText: nothing in the text can be spoken.
    """
    units: list[Unit] = []
    for kind, group in groupby(segment(text), key=lambda piece: piece.kind):
        surfaces = [piece.surface for piece in group]
        if kind == "hanzi":
            syllables = chinese.pinyin("".join(surfaces))
            units += [
                Unit(hanzi, pinyin_to_tokens(syllable))
                for hanzi, syllable in zip(surfaces, syllables, strict=True)
                if syllable
            ]
        elif kind == "word":
            spoken = english.pronounce_run(surfaces)
            units += [
                Unit(word, arpabet_to_tokens(phones))
                for word, phones in zip(surfaces, spoken, strict=True)
            ]
        else:
            units += [Unit(mark) for mark in surfaces]
    return require_speech(units, text)
