"""What a clip of the teacher's speech says, unit by unit: the text paired with what was spoken."""

from collections.abc import Mapping
from typing import Any

from glmtts.errors import BadInput
from glmtts.text import english, g2p
from glmtts.text.misaki import teacher_to_arpabet
from glmtts.text.phonemes import arpabet_to_tokens, pinyin_to_tokens
from glmtts.text.styles import LAUGHTER, laughs, tag, untagged
from glmtts.text.units import Piece, Unit, segment


def corpus_units(record: Mapping[str, Any]) -> list[Unit]:
    """Units of one manifest record, `[laughter]` among them where it stands in the text.

    Mandarin takes the record's `pinyin` (one syllable a Hanzi), English the teacher's `phonemes`,
    word by word. English words inside Mandarin, and English whose words cannot be paired with the
    teacher's, are pronounced by our own dictionary.

    Raises:
        BadInput: the record has a Hanzi without pinyin, or the reverse.
    """
    places = laughs(record["text"])
    if not places:
        return _spoken(record)
    words = untagged(record["text"])
    units = _spoken({**record, "text": words}) if _letters(words) else []
    for start, _ in reversed(places):
        before = untagged(record["text"][:start]).rstrip()
        at, left = 0, len(_letters(before))
        while at < len(units) and left > 0:
            left -= len(_letters(units[at].surface))
            at += 1
        if before and not before[-1].isalnum() and at < len(units) and not units[at].phonemes:
            at += 1  # behind the mark
        units.insert(at, Unit(tag(LAUGHTER)))
    return units


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def _spoken(record: Mapping[str, Any]) -> list[Unit]:
    text = record["text"]
    if record["lang"] == "en":
        return _english(text, record["phonemes"]) or g2p.analyse(text)
    pieces = segment(text)
    syllables = list(record["pinyin"])
    hanzi = sum(piece.kind == "hanzi" for piece in pieces)
    if hanzi != len(syllables):
        raise BadInput(
            f"{record.get('file', 'A record')}: {hanzi} Hanzi but {len(syllables)} syllables."
        )
    spoken = iter(syllables)
    return [
        Unit(piece.surface, pinyin_to_tokens(next(spoken)))
        if piece.kind == "hanzi"
        else _pronounced(piece)
        for piece in pieces
    ]


def _pronounced(piece: Piece) -> Unit:
    word = piece.kind == "word"
    return Unit(piece.surface, arpabet_to_tokens(english.pronounce(piece.surface)) if word else ())


def _english(text: str, phonemes: str) -> list[Unit]:
    """Pair words with the teacher's; nothing where the numbers of words differ."""
    written, spoken = text.split(), phonemes.split()
    if len(written) != len(spoken):
        return []
    units: list[Unit] = []
    for chunk, sounds in zip(written, spoken, strict=True):
        pieces, words = segment(chunk), teacher_to_arpabet(sounds)
        if len(words) == 1 and sum(piece.kind == "word" for piece in pieces) > 1:
            pieces = _joined(chunk, sounds)  # "e.g." is one word of the teacher's
        if sum(piece.kind == "word" for piece in pieces) != len(words):
            return []
        each = iter(words)
        for piece in pieces:
            sound = arpabet_to_tokens(next(each)) if piece.kind == "word" else ()
            units.append(Unit(piece.surface, sound))
    return units


def _joined(chunk: str, sounds: str) -> list[Piece]:
    marks = [piece for piece in segment(f"a{sounds[-1]}") if piece.kind == "mark"]
    return [Piece("word", chunk.strip("\"'“”‘’()[]").rstrip(",.!?;:")), *marks]
