"""Readings that a user gives: `zhang3`, `zhǎng`, `R EH1 D`, `<|ZH|><|ANG3|>`. Read `bind` first.

A reading stands in brackets behind a word, in SSML or in a lexicon. Whether brackets hold one or
ordinary text is decided here, and what does not exist is refused with the nearest that does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from pypinyin.constants import PINYIN_DICT

from glmtts.errors import BadText
from glmtts.text.english import plural
from glmtts.text.phonemes import (
    CONSONANTS,
    ENGLISH,
    FINALS,
    INITIALS,
    MANDARIN,
    PHONEME_TOKENS,
    VOWELS,
    arpabet_to_tokens,
    canonical_pinyin,
    did_you_mean,
    nearest_pinyin,
    nearest_symbols,
    pinyin_to_tokens,
    read_arpabet,
    read_pinyin,
    syllables_in,
    tokens_to_reading,
)
from glmtts.text.units import HANZI

RARE = "\uf900-\ufaff\U00020000-\U000323af"
"""Character class of Hanzi that may be spoken where a reading is given to them."""

IS_HANZI = re.compile(f"[{HANZI}{RARE}]")
_HANZI_AT_END = re.compile(rf"[{HANZI}{RARE}]+\Z")


@dataclass(frozen=True)
class Forced:
    """A reading that no dictionary may change.

    Attributes:
        surface: What is read so: a Hanzi, a word, or the phoneme tokens as they were written.
        phonemes: Phoneme tokens.
        rule: Who decided: "inline", "ssml", "lexicon names.tsv:3".
    """

    surface: str
    phonemes: tuple[str, ...]
    rule: str

    @property
    def reading(self) -> str:
        """The phonemes as people write them."""
        return tokens_to_reading(self.phonemes)


_MANDARIN_TOKEN = re.compile(r"<\|[A-Z]{1,4}[1-5]\|>")


def is_mandarin(text: str) -> bool:
    """Whether a text holds any Hanzi, or Mandarin syllables in phoneme tokens."""
    return bool(IS_HANZI.search(text) or _MANDARIN_TOKEN.search(text))


Binding = tuple[int, list[Forced]]
"""How many characters of the word are read so, counted from its end; and their readings: one for
each Hanzi, or one for all of them."""

_SEPARATORS = re.compile(r"[\s,;'’·-]+")
_PINYIN = re.compile(r"[a-zêüv:\u00c0-\u01dc\u0300-\u030c\u1e3f\u1ebf\u1ec1]+[0-9]{0,2}", re.I)
_TONED = re.compile(r"[0-9]|[\u0300\u0301\u0304\u030c]|[āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜńňǹḿếề]", re.I)
_RUN_TOGETHER = re.compile(r"(?<=[0-9])(?=[^0-9\s])")
_ARPABET = re.compile(r"[A-Za-z]{1,3}[0-9]?")
_REFERENCES = frozenset("ref fig tab eq sec note ver vol app step part page".split())  # noqa: SIM905
"""What a bracket with a number often holds that is no misspelt reading: [fig3]."""


def bind(written: str, before: str) -> Binding | None:
    """The reading in brackets behind a text.

    Args:
        written: What the brackets hold.
        before: The text right before them, as much of it as a reading may be for.

    Returns:
        What it is bound to, or None if the brackets hold ordinary text or nothing readable stands
        before them.

    Raises:
        BadText: they look like a reading that does not exist, or hold more syllables than there
            are Hanzi before them.
    """
    if not before:
        return None
    written = written.strip()
    if IS_HANZI.match(before[-1]):
        return _bind_hanzi(written, before)
    word = _word_at_end(before)
    if not word:
        return None
    phonemes = word_reading(written, strict=any(map(str.isalpha, word)))
    return (len(word), [Forced(word, phonemes, "inline")]) if phonemes else None


_WORD_AT_END = re.compile(r"[A-Za-z0-9]+(?:['’][A-Za-z]+)*\Z")


def _word_at_end(before: str) -> str:
    match = _WORD_AT_END.search(before)
    return match[0] if match else ""


# ----- Mandarin -----------------------------------------------------------------------------------


def _bind_hanzi(written: str, before: str) -> Binding | None:
    if _looks_like_arpabet(written):
        raise BadText(
            f"[{written}] stands behind the Hanzi {before[-1]}, but is ARPAbet. "
            "Expected numbered pinyin, such as [zhang3]."
        )
    hanzi = _HANZI_AT_END.search(before)
    assert hanzi
    syllables = syllables_of(written, hanzi[0])
    return spread(syllables, hanzi[0], written) if syllables else None


def spread(syllables: Sequence[str], hanzi: str, written: str) -> Binding:
    """One syllable for each Hanzi from the end; that of an erhua takes a 儿 along if there is one.

    Raises:
        BadText: there are more syllables than Hanzi.
    """
    found: list[Forced] = []
    left = hanzi
    for syllable in reversed(syllables):
        parts = without_erhua(syllable)
        if len(parts) == 2 and left.endswith("儿") and len(left) > 1:
            found.append(Forced("儿", pinyin_to_tokens(parts.pop()), "inline"))
            left = left[:-1]
        if not left:
            raise BadText(
                f"[{written}] has {len(syllables)} syllables, but only {len(hanzi)} Hanzi "
                f"({hanzi}) stand before it. Write one syllable for each Hanzi."
            )
        phonemes = tuple(p for part in parts for p in pinyin_to_tokens(part))
        found.append(Forced(left[-1], phonemes, "inline"))
        left = left[:-1]
    return len(hanzi) - len(left), found[::-1]


def syllables_of(written: str, hanzi: str = "", *, strict: bool = False) -> list[str]:
    """Numbered syllables of a reading in pinyin, erhua as `huar1`; [] if it is ordinary text.

    A syllable without a tone gets that of the Hanzi's own reading; where it has none such, the
    text is taken for ordinary.

    Args:
        written: `zhang3`, `zhǎng`, `yin2 hang2`, `yin2hang2`, `yínháng`.
        hanzi: What is read so, as far as known.
        strict: It is a reading for certain: whatever is none is refused.

    Raises:
        BadText: it looks like a reading that does not exist.
    """
    parts = [p for p in _SEPARATORS.split(_RUN_TOGETHER.sub(" ", written)) if p]
    if not parts or not all(map(_PINYIN.fullmatch, parts)):
        if strict:
            read_pinyin(written)
        return []
    if len(parts) == 1 and len(parts[0]) <= 2 and parts[0][0].isupper() and not strict:
        return []  # a cell or a footnote: [A1]
    toned = bool(_TONED.search(written))
    out: list[str] = []
    for part, char in zip(parts, _beside(parts, hanzi), strict=True):
        own = own_readings(char)
        reading = canonical(part)
        if reading and not _TONED.search(part):
            reading = next((r for r in own if r[:-1] == reading[:-1]), reading if toned else None)
        cut = [reading] if reading else _several_syllables(part) if toned else []
        if not cut and (strict or (toned and _is_meant(part, own, alone=len(parts) == 1))):
            read_pinyin(part, own)  # refuses
            raise BadText(f"{part!r} has no tone. Write it with one, such as {part}1.")
        if not cut:
            return []
        out += cut
    return out


def _beside(parts: Sequence[str], hanzi: str) -> list[str]:
    """The Hanzi each part of a reading stands for, "" where it is not known."""
    chars = list(hanzi[-len(parts) :])
    return [""] * (len(parts) - len(chars)) + chars


def canonical(written: str) -> str | None:
    """`canonical_pinyin`, and erhua: huar1, nǎr."""
    reading = canonical_pinyin(written)
    if reading:
        return reading
    match = re.fullmatch(r"(.+)r([0-5]?)", written, re.I)
    base = canonical_pinyin(match[1] + match[2]) if match else None
    return f"{base[:-1]}r{base[-1]}" if base else None


def without_erhua(syllable: str) -> list[str]:
    """`huar1` as hua1 and er5; any other syllable alone."""
    if syllable[-2:-1] == "r" and syllable[:-1] != "er":
        return [f"{syllable[:-2]}{syllable[-1]}", "er5"]
    return [syllable]


def _is_meant(part: str, own: Sequence[str], *, alone: bool) -> bool:
    """Whether something with a tone that is no syllable was meant to be one."""
    letters = re.sub("[0-9]", "", part)
    if not alone or canonical_pinyin(letters):
        return len(letters) > 1
    near = nearest_pinyin(part, own)
    if len(letters) < 3:
        return any(reading in own for reading in near) and len(letters) > 1
    return bool(near) and letters.lower() not in _REFERENCES


def _several_syllables(part: str) -> list[str]:
    """Syllables written in one piece with tone marks: yínháng; [] if it is one or none."""
    found = syllables_in(part)
    return found if len(found) > 1 else []


@lru_cache(maxsize=2_000)
def own_readings(hanzi: str) -> tuple[str, ...]:
    """All readings that dictionaries list for a Hanzi, the usual one first."""
    listed = PINYIN_DICT.get(ord(hanzi), "") if len(hanzi) == 1 else ""
    return tuple(r for r in map(canonical_pinyin, listed.split(",") if listed else ()) if r)


# ----- words --------------------------------------------------------------------------------------


def word_reading(written: str, *, strict: bool = False) -> tuple[str, ...]:
    """Phoneme tokens of a reading in brackets behind a word (ARPAbet or pinyin); () if it is none.

    Args:
        written: `R EH1 D`, `r eh1 d`, `wei1 xin4`.
        strict: Refuse what looks like a reading that does not exist.

    Raises:
        BadText: it does.
    """
    symbols = written.split()
    if is_arpabet(symbols):
        return arpabet_to_tokens(symbols)
    if strict and _looks_like_arpabet(written):
        read_arpabet(symbols)
    readings = [canonical(symbol) for symbol in _RUN_TOGETHER.sub(" ", written).split()]
    toned = all(map(_TONED.search, symbols)) and len(written) > 2 and written.islower()
    if not readings or None in readings or not toned:
        return ()
    return tuple(
        token
        for reading in readings
        for part in without_erhua(reading or "")
        for token in pinyin_to_tokens(part)
    )


def is_arpabet(symbols: Sequence[str]) -> bool:
    """Whether these are ARPAbet beyond doubt: with a stressed vowel, or several in capitals."""
    upper = [symbol.upper() for symbol in symbols]
    if not all(symbol in ENGLISH or symbol in VOWELS for symbol in upper):
        return False
    if any(symbol[-1].isdigit() for symbol in upper):
        return True
    vowel = any(symbol in VOWELS for symbol in upper)
    return vowel and len(upper) > 1 and all(symbol.isupper() for symbol in symbols)


def _looks_like_arpabet(written: str) -> bool:
    """Whether most symbols are ARPAbet, so that the others are probably misspelt."""
    symbols = written.split()
    if not symbols or not all(map(_ARPABET.fullmatch, symbols)) or written.upper() != written:
        return is_arpabet(symbols) and any(s[:-1].upper() in VOWELS for s in symbols)
    bases = [re.sub("[0-9]", "", symbol) for symbol in symbols]
    if len(symbols) == 1:
        return bases[0] in VOWELS and bases[0] != symbols[0]
    known = [base for base in bases if base in VOWELS or base in CONSONANTS]
    return 2 * len(known) >= len(bases) and any(map(str.isdigit, written))


def possessive(forced: Forced, ending: str) -> Forced:
    """The forced reading of `read` as that of `read's`."""
    phones = tuple(p[2:-2].removeprefix("EN_") for p in forced.phonemes)
    phonemes = arpabet_to_tokens(plural(phones))
    return Forced(forced.surface + ending, phonemes, forced.rule)


def is_english(phonemes: Sequence[str]) -> bool:
    """Whether phoneme tokens are ARPAbet."""
    return bool(phonemes) and phonemes[0].startswith("<|EN_")


# ----- tokens -------------------------------------------------------------------------------------

TOKENS = re.compile(r"(?:<\|[A-Za-z_]{1,8}[0-9]?\|>)+")
"""A run of what may be phoneme tokens; other tokens of a model look the same."""

_TOKEN = re.compile(r"<\|(.*?)\|>")
_KNOWN = frozenset(PHONEME_TOKENS)
_WITHOUT_TONE = re.compile(f"{'|'.join(FINALS)}|EN_(?:{'|'.join(VOWELS)})")


def of_tokens(written: str) -> list[Forced]:
    """Syllables and words of a run of tokens; other tokens than phonemes are left out.

    Raises:
        BadText: one looks like a phoneme that does not exist, or an initial has no final.
    """
    tokens = _TOKEN.findall(written)
    known = [token for token in tokens if f"<|{token.upper()}|>" in _KNOWN]
    for token in tokens:
        meant = token.isupper() and (token[-1].isdigit() or _WITHOUT_TONE.fullmatch(token) or known)
        if token not in known and meant:
            raise BadText(f"<|{token}|> is not a phoneme. {did_you_mean(_near_tokens(token))}")
    found: list[Forced] = []
    for english, group in groupby(known, key=lambda token: token.upper().startswith("EN_")):
        if english:
            found.append(_of_parts(list(group)))
            continue
        parts: list[str] = []
        for token in group:
            if parts and token.upper() in INITIALS:
                break
            parts.append(token)
            if token.upper() not in INITIALS:
                found.append(_of_parts(parts))
                parts = []
        if parts:
            raise BadText(
                f"<|{parts[0]}|> is an initial without a final behind it. Expected both, such as "
                "<|ZH|><|ANG3|>."
            )
    return found


def _of_parts(tokens: Sequence[str]) -> Forced:
    written = [f"<|{token}|>" for token in tokens]
    return Forced("".join(written), tuple(token.upper() for token in written), "inline")


def _near_tokens(token: str) -> list[str]:
    prefix = "EN_" if token.startswith("EN_") else ""
    near = nearest_symbols(token.removeprefix("EN_"), ENGLISH if prefix else MANDARIN)
    return [f"<|{prefix}{symbol}|>" for symbol in near]
