"""How far two readings of one clip are apart, and which part of a long transcript a clip says."""

import re
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from glmtts.text.frontend import Frontend
from glmtts.text.units import Unit

SENTENCE_LENGTH = 10_000
"""Texts of clips are read at once, never split."""


def units_of(text: str) -> list[Unit]:
    """What a text says, unit by unit, with marks: numbers in words, readings by the front end.

    Raises:
        BadText: a reading written into the text does not exist.
    """
    sentences = Frontend(max_length=SENTENCE_LENGTH)(text)
    return [unit for sentence in sentences for unit in sentence.units]


def phonemes_of(units: Sequence[Unit]) -> list[str]:
    """The phoneme tokens of units."""
    return [phoneme for unit in units for phoneme in unit.phonemes]


def sounds(phonemes: Sequence[str]) -> list[str]:
    """Phonemes without tone and stress, which listeners disagree about."""
    return [re.sub(r"\d", "", phoneme) for phoneme in phonemes]


def keys(units: Sequence[Unit]) -> list[str]:
    """What is compared of each spoken unit: its sounds, so that homophones are the same."""
    return ["".join(sounds(unit.phonemes)) for unit in units if unit.phonemes]


def error_rate(reference: Sequence[str], heard: Sequence[str]) -> float:
    """Edits that make `heard` of `reference`, as a share of its length; 1 where it is empty."""
    return Levenshtein.distance(reference, heard) / len(reference) if reference else 1.0


def split(transcript: Sequence[Unit], heard: Sequence[Sequence[Unit]]) -> list[list[Unit]]:
    """Give each clip of a recording its part of the transcript of the whole.

    The transcript and what was recognised in all clips are aligned by their sounds; a unit belongs
    to the clip that says it, or to that of its neighbour before.

    Args:
        transcript: Units of the whole recording, with marks.
        heard: Units recognised in each clip, in order.

    Returns:
        The units of each clip, with their marks.
    """
    spoken = [index for index, unit in enumerate(transcript) if unit.phonemes]
    clip_of = [clip for clip, units in enumerate(heard) for unit in units if unit.phonemes]
    found = [key for units in heard for key in keys(units)]
    owner: dict[int, int] = {}
    opcodes = Levenshtein.opcodes(keys(transcript), found)
    for code in opcodes:
        if code.tag in ("equal", "replace"):
            pairs = zip(
                range(code.src_start, code.src_end), range(code.dest_start, code.dest_end),
                strict=True,
            )  # fmt: skip
            owner |= {spoken[a]: clip_of[b] for a, b in pairs}
    parts: list[list[Unit]] = [[] for _ in heard]
    clip = min(owner.values(), default=0)
    for index, unit in enumerate(transcript):
        clip = max(clip, owner.get(index, clip))
        if parts:
            parts[clip].append(unit)
    return parts
