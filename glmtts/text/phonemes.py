"""The phonemes: Mandarin initials and toned finals, English ARPAbet, and their token names.

Mandarin symbols are the official model's (spec §6.6): 21 initials and finals with a tone digit
(1-4, 5 = neutral), completed where the official list has holes. `<|ZH|><|ANG3|>` is zhang3.
English symbols are ARPAbet with stress digits; their tokens carry the prefix EN_ (`<|EN_R|>`),
because AO1, ER2 and most consonants exist in both languages.
"""

import re
from collections.abc import Sequence

from pypinyin.contrib.tone_convert import to_finals, to_initials

INITIALS = tuple("B C CH D F G H J K L M N P Q R S SH T X Z ZH".split())  # noqa: SIM905
FINALS = tuple(
    "A AI AN ANG AO E EI EN ENG ER I IA IAN IANG IAO IE II III IN ING IO IONG IOU O ONG OU "  # noqa: SIM905
    "U UA UAI UAN UANG UEI UEN UENG UO V VAN VE VN".split()
)
SYLLABICS = ("M", "N", "NG", "EH")
"""Interjections written 呣 嗯 欸; spelled as a final with a tone."""

MANDARIN = (
    *INITIALS,
    *(f"{final}{tone}" for final in FINALS for tone in range(1, 6)),
    *(f"{final}{tone}" for final in SYLLABICS for tone in range(1, 6)),
)
VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())  # noqa: SIM905
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())  # noqa: SIM905
ENGLISH = (*CONSONANTS, *(f"{vowel}{stress}" for vowel in VOWELS for stress in range(3)))

_SYLLABLE = re.compile(r"([a-zêü:]+?)([1-5]?)$")
_SYLLABIC = {"m": "M", "hm": "M", "n": "N", "ng": "NG", "hng": "NG", "ê": "EH"}


def token(symbol: str, lang: str = "zh") -> str:
    """The text-tokenizer token of a symbol: `<|ANG3|>`, `<|EN_R|>`."""
    return f"<|{symbol}|>" if lang == "zh" else f"<|EN_{symbol}|>"


PHONEME_TOKENS = (*(token(s) for s in MANDARIN), *(token(s, "en") for s in ENGLISH))
"""Every phoneme token, Mandarin first; the order fixes ids of tokenizers and CTC classes."""

CTC_CLASS = {name: index + 1 for index, name in enumerate(PHONEME_TOKENS)}
"""Class of each phoneme token in the speech tokenizer's CTC head; 0 is the blank."""


def pinyin_to_tokens(syllable: str) -> tuple[str, ...]:
    """One numbered pinyin syllable to phoneme tokens: "zhang3" -> ("<|ZH|>", "<|ANG3|>").

    A missing tone digit means neutral. `v` and `ü` are the same.

    Raises:
        ValueError: not a Mandarin syllable.
    """
    match = _SYLLABLE.match(syllable.strip().lower().replace("u:", "v").replace("ü", "v"))
    if not match:
        raise ValueError(f"{syllable!r} is not a numbered pinyin syllable, such as zhang3.")
    base, tone = match[1], match[2] or "5"
    if base in _SYLLABIC:
        return (token(f"{_SYLLABIC[base]}{tone}"),)
    initial = to_initials(base, strict=True).upper()
    final = to_finals(base, strict=True, v_to_u=False).upper().replace("Ü", "V")
    if final == "I" and initial in ("ZH", "CH", "SH", "R"):
        final = "III"
    elif final == "I" and initial in ("Z", "C", "S"):
        final = "II"
    if final not in FINALS or (initial and initial not in INITIALS):
        raise ValueError(f"{syllable!r} is not a Mandarin syllable.")
    return (*((token(initial),) if initial else ()), token(f"{final}{tone}"))


def arpabet_to_tokens(phones: Sequence[str]) -> tuple[str, ...]:
    """ARPAbet symbols to phoneme tokens; a vowel without a stress digit gets 0.

    Raises:
        ValueError: a symbol is not ARPAbet.
    """
    out: list[str] = []
    for phone in phones:
        symbol = phone.upper()
        symbol = f"{symbol}0" if symbol in VOWELS else symbol
        if symbol not in ENGLISH:
            raise ValueError(f"{phone!r} is not an ARPAbet symbol.")
        out.append(token(symbol, "en"))
    return tuple(out)
