"""English phonemes of the teacher (misaki's symbols, used by Kokoro) to ARPAbet.

Misaki writes IPA with capital letters for diphthongs (hexgrad/misaki, EN_PHONES.md); its British
symbols occur too. Stress stands right before the vowel. British words keep what is heard: no R in
`ʃˈɔːt` (short), SH AO1 T.
"""

import re

_VOWELS = {
    "A": "EY", "I": "AY", "O": "OW", "Q": "OW", "W": "AW", "Y": "OY",
    "i": "IY", "ɪ": "IH", "ᵻ": "IH", "u": "UW", "ʊ": "UH", "ɛ": "EH", "e": "EH",
    "æ": "AE", "a": "AE", "ʌ": "AH", "ə": "AH", "ᵊ": "AH", "ɐ": "AH",
    "ɔ": "AO", "ɑ": "AA", "ɒ": "AA", "ɜɹ": "ER", "ɜː": "ER", "ɜ": "ER", "əɹ": "ER", "ɚ": "ER",
}  # fmt: skip
_CONSONANTS = {
    "b": "B", "d": "D", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "j": "Y", "k": "K", "l": "L",
    "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "s": "S", "ʃ": "SH", "t": "T",
    "T": "T", "ɾ": "T", "ʔ": "T", "θ": "TH", "ð": "DH", "v": "V", "w": "W", "z": "Z", "ʒ": "ZH",
    "ʤ": "JH", "ʧ": "CH",
}  # fmt: skip
_STRESS = {"ˈ": "1", "ˌ": "2"}
_IGNORED = frozenset("ː'\u0303\u0329‍")
_PAUSES = '.,;:!?…—–“”"()'
_SYMBOL = re.compile("ɜɹ|ɜː|əɹ(?!ː)|.", re.DOTALL)
_WORD = re.compile(f"[^{re.escape(_PAUSES)}]+")


def teacher_to_arpabet(phonemes: str) -> list[list[str]]:
    """ARPAbet of each word of a teacher's phoneme string; vowels carry stress 0, 1 or 2.

    Words are separated by spaces and by punctuation, which is left out.

    Raises:
        ValueError: a symbol is not known.
    """
    return [
        phones
        for chunk in phonemes.split()
        for word in _WORD.findall(chunk)
        if (phones := word_to_arpabet(word))
    ]


def word_to_arpabet(word: str) -> list[str]:
    """ARPAbet of one word: `lˈQθ` -> ["L", "OW1", "TH"].

    Raises:
        ValueError: a symbol is not known.
    """
    phones: list[str] = []
    stress = "0"
    for symbol in _SYMBOL.findall(word):
        if symbol in _VOWELS:
            phones.append(_VOWELS[symbol] + stress)
            stress = "0"
        elif symbol in _CONSONANTS:
            phones.append(_CONSONANTS[symbol])
        elif symbol in _STRESS:
            stress = _STRESS[symbol]
        elif symbol not in _IGNORED:
            raise ValueError(f"{symbol!r} in {word!r} is not a phoneme symbol of the teacher.")
    return phones
