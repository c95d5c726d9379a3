"""Texts that are no sentences: words alone, the same again and again, lists, tongue twisters.

A corpus of sentences holds none of them. Everything is a pure function of its arguments.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from glmtts.data.texts import Text, en_number, english_phones, hanzi_pinyin, zh_number
from glmtts.text.words import vocabulary

SHARES = {"word": 0.55, "again": 0.12, "list": 0.13, "twister": 0.2}
"""Parts of each language."""
COMMON = 4_000
"""How many of the commonest words are used."""

_ALIKE = {
    "zh": ("zh z", "ch c", "sh s", "sh x", "n l", "h f", "b p", "d t", "g k", "j q"),
    "en": ("S SH", "P B", "R L", "W V", "F TH", "T D", "K G", "S TH", "CH SH", "M N"),
}
"""First sounds that twisters put side by side."""
_MARKS = {"zh": ("。", "。", "！", "？", ""), "en": (".", ".", "!", "?", "")}
_COMMA = {"zh": "，", "en": ", "}
_SPACE = {"zh": "", "en": " "}
_OF = {
    "zh": (("百分之", ""), ("第", ""), ("", "号"), ("", "年"), ("", "元"), ("", "米")),
    "en": (("", " percent"), ("number ", ""), ("", " dollars"), ("", " degrees"), ("", " miles")),
}
"""What numbers in a list are numbers of: before and behind each."""
_STARTS = {
    "zh": ("密码是", "号码是", "分别是", "请选择", "一共有", "我想要", "他们说的是", "下面是"),
    "en": ("the code is ", "the numbers are ", "please choose ", "we have ", "I would like ",
           "these are ", "they said ", "here are "),
}  # fmt: skip
_LAST = {"zh": ("和", "或者", "还有"), "en": (" and ", " or ", ", and ")}
"""What may stand before a list, and before its last item."""
_INITIAL = re.compile("[zcs]h|[b-df-hj-np-tw-z]")


def bare_texts(lang: str, sentences: Iterable[str], count: int, rng: random.Random) -> list[Text]:
    """Up to `count` different texts of the kinds of `SHARES`.

    Args:
        lang: "zh" or "en".
        sentences: Where English words come from; Mandarin ones are those of the word list.
        count: How many.
        rng: Decides.
    """
    if not count:
        return []
    words = common_words(lang, sentences)
    makers: dict[str, Callable[[], str]] = {
        "word": lambda: _SPACE[lang].join(_phrase(lang, words, rng)),
        "again": lambda: _again(lang, words, rng),
        "list": lambda: _list(lang, words, rng),
        "twister": _twister(lang, words, rng),
    }
    found: dict[str, Text] = {}
    for kind, share in SHARES.items():
        wanted = len(found) + round(share * count)
        for _ in range(20 * round(share * count)):
            if len(found) >= wanted:
                break
            text = makers[kind]()
            text = text[0].upper() + text[1:] + rng.choice(_MARKS[lang])
            found.setdefault(text, Text(lang, text, kind))
    return list(found.values())


def common_words(lang: str, sentences: Iterable[str]) -> list[str]:
    """The `COMMON` commonest words, in Mandarin of one to three characters."""
    if lang == "zh":
        listed = sorted(vocabulary().items(), key=lambda entry: (entry[1][0], entry[0]))
        short = (word for word, _ in listed if len(word) <= 3 and len(hanzi_pinyin(word)))
        return list(islice(short, COMMON))
    counts = Counter(
        word for line in sentences for word in re.findall(r"[a-z]+(?:'[a-z]+)?", line.lower())
    )
    kept = (word for word, _ in counts.most_common() if len(word) > 1 or word in "ai")
    return list(islice((word for word in kept if len(english_phones(word)) > 2), COMMON))


def _common(words: Sequence[str], rng: random.Random) -> str:
    """One of them, the commonest more often."""
    return words[int(len(words) * rng.random() ** 2)]


def _phrase(lang: str, words: Sequence[str], rng: random.Random) -> list[str]:
    """A word, or two of English."""
    first = _common(words, rng)
    if lang == "zh" or rng.random() < 0.5:
        return [first]
    return [first, _common(words, rng)]


def _again(lang: str, words: Sequence[str], rng: random.Random) -> str:
    """A word two to six times, perhaps with commas, perhaps with another one behind."""
    joint = rng.choice((_COMMA[lang], _SPACE[lang]))
    many = [_common(words, rng)] * rng.randint(2, 6)
    if rng.random() < 0.4:
        many += [rng.choice(words)] * rng.randint(1, 3)
    return joint.join(many)


def _list(lang: str, words: Sequence[str], rng: random.Random) -> str:
    """Three to ten numbers, numbers of something, or words, with commas; at times a beginning."""
    count, kind = rng.randint(3, 10), rng.random()
    if kind < 0.3:
        items = [rng.choice(words) for _ in range(min(count, 6))]
    else:
        before, behind = rng.choice(_OF[lang]) if kind < 0.45 else ("", "")
        items = [before + number + behind for number in _numbers(lang, count, rng)]
    start = rng.choice(_STARTS[lang]) if rng.random() < 0.3 else ""
    last = rng.choice(_LAST[lang]) if rng.random() < 0.3 else _COMMA[lang]
    return start + _COMMA[lang].join(items[:-1]) + last + items[-1]


def _numbers(lang: str, count: int, rng: random.Random) -> list[str]:
    """Numbers of one to four digits, at times in equal steps."""
    read = zh_number if lang == "zh" else en_number
    if rng.random() < 0.4:
        first, step = rng.randint(0, 90), rng.choice((1, 1, 1, 2, 3, 5, 10, 11))
        values = list(range(first, first + count * step, step))
    else:
        most = rng.choice((1.0, 2.0, 3.5))
        values = [int(10 ** rng.uniform(0.0, most)) for _ in range(count)]
    return [read(value) for value in values]


def _twister(lang: str, words: Sequence[str], rng: random.Random) -> Callable[[], str]:
    """What makes nonsense of four to nine words that begin with two sounds that are alike."""
    by_sound: dict[str, list[str]] = {}
    for word in words:
        by_sound.setdefault(_first_sound(lang, word), []).append(word)

    pairs = [pair.split() for pair in _ALIKE[lang]]
    pairs = [pair for pair in pairs if all(len(by_sound.get(sound, ())) > 3 for sound in pair)]

    def make() -> str:
        one, other = rng.choice(pairs)
        pool = rng.sample(by_sound[one], 4) + rng.sample(by_sound[other], 4)
        said = [rng.choice(pool) for _ in range(rng.randint(4, 9))]
        half = len(said) // 2
        parts = [_SPACE[lang].join(part) for part in (said[:half], said[half:])]
        return rng.choice((_COMMA[lang], _SPACE[lang])).join(parts)

    return make


def _first_sound(lang: str, word: str) -> str:
    if lang == "en":
        return english_phones(word)[1]
    found = _INITIAL.match(hanzi_pinyin(word)[0])
    return found[0] if found else ""
