"""Chinese names in English text: words in pinyin to the ARPAbet that English speakers use.

English spelling rules make nothing of them (Xiamen, Zhengzhou, Qing); what is pinyin beyond doubt
is read as syllables, the last one stressed, as in Beijing.
"""

import re

from glmtts.text.phonemes import syllables_in

_INITIALS = {
    "zh": "JH", "ch": "CH", "sh": "SH", "b": "B", "p": "P", "m": "M", "f": "F", "d": "D", "t": "T",
    "n": "N", "l": "L", "g": "G", "k": "K", "h": "HH", "j": "JH", "q": "CH", "x": "SH", "r": "R",
    "z": "Z", "c": "T S", "s": "S", "y": "Y", "w": "W", "": "",
}  # fmt: skip
_FINALS = {
    "a": "AA", "o": "AO", "e": "AH", "i": "IY", "u": "UW", "ai": "AY", "ei": "EY", "ao": "AW",
    "ou": "OW", "an": "AA N", "en": "AH N", "ang": "AA NG", "eng": "AH NG", "ong": "UH NG",
    "er": "ER", "ia": "Y AA", "ie": "Y EH", "iao": "Y AW", "iu": "Y OW", "ian": "Y EH N",
    "in": "IH N", "iang": "Y AA NG", "ing": "IH NG", "iong": "Y UH NG", "ua": "W AA", "uo": "W AO",
    "uai": "W AY", "ui": "W EY", "uan": "W AA N", "un": "UH N", "uang": "W AA NG", "ue": "W EH",
}  # fmt: skip
_HISSED = {"zh": "ER", "ch": "ER", "sh": "ER", "r": "ER", "z": "IH", "c": "IH", "s": "IH"}
"""What i is behind them."""
_OWN = {"yan": "EH N", "ye": "EH", "yuan": "W EH N", "yue": "W EH"}
"""Finals that sound otherwise there."""
_SYLLABLE = re.compile("(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]?)(.+)5")
_CERTAIN = re.compile("zh|x(?=[iu])|q(?=i|u[ane])|uang|iang")
"""No other language of names spells so."""
_NAMES = frozenset(
    "zhang zhou zhao zhu zheng zhong xu xie xia xiao xiong xue cao cai cui qian qin qiu qing "  # noqa: SIM905
    "jiang chongqing guangzhou guangxi guangdong suzhou hangzhou zhengzhou xiamen xinjiang "
    "zhejiang kunming wuhan tianjin nanjing qingdao sichuan hainan yunnan hunan hubei henan "
    "hebei shandong shanxi jiangsu jiangxi fujian guizhou gansu liaoning jilin ningxia wuxi "
    "ningbo foshan dongguan dalian lanzhou changsha guiyang nanning hefei nanchang taiyuan "
    "zhuhai wenzhou jinan yangzhou xi'an xian yan'an".split()
)
"""Surnames, dynasties and places that the dictionaries lack or have otherwise."""


def pinyin_name(word: str, *, listed: bool) -> tuple[str, ...]:
    """ARPAbet of a Chinese name, () where a word need not be one.

    >>> pinyin_name("xiamen", listed=False)
    ('SH', 'Y', 'AA2', 'M', 'AH1', 'N')

    Args:
        word: In lower case; it was written with a capital.
        listed: The CMU dictionary has the word.
    """
    if word not in _NAMES and (listed or not _CERTAIN.search(word)):
        return ()
    runs = [syllables_in(part) for part in word.split("'")]
    syllables = [match.groups() for run in runs for match in map(_SYLLABLE.fullmatch, run) if match]
    known = all(runs) and all(final in _FINALS for _, final in syllables)
    if not known or (len(syllables) < 2 and word not in _NAMES):
        return ()
    phones: list[str] = []
    for number, (initial, final) in enumerate(syllables):
        vowel = _OWN.get(initial + final) or _FINALS[final]
        if final == "i":
            vowel = _HISSED.get(initial, "IY")
        last = number == len(syllables) - 1
        stress = "1" if last else "2" if number == 0 else "0"
        head = "" if (initial, final) == ("y", "i") else _INITIALS[initial]
        for phone in f"{head} {vowel}".split():
            phones.append(phone + stress if phone[0] in "AEIOU" else phone)
    return tuple(phones)
