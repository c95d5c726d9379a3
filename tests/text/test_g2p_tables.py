"""Readings in context, over tables of sentences: characters, names, places, English heteronyms.

polyphones.tsv: sentence, position and character, readings a speaker of the standard accepts, kind,
the round in which the case was written (2 to 6, 8, 10 and 11 were new when first tried), source.
heteronyms.tsv: the same for English words; what is compared leaves the quality of unstressed vowels
aside.
"""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from glmtts.data.reading_data import english_words
from glmtts.errors import BadText
from glmtts.text import chinese, english, phrases, polyphones
from glmtts.text.g2p import analyse, analyse_explained
from glmtts.text.phonemes import PHONEME_TOKENS, pinyin_to_tokens
from glmtts.text.units import Unit, segment
from glmtts.text.words import cut

FOLDER = Path(__file__).parent
LEAST = {"surname": 0.95, "place": 0.95}


def rows(name: str) -> list[list[str]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def check(counts: Counter[str], right: Counter[str], wrong: list[str]) -> None:
    print()
    for kind, count in counts.items():
        print(f"{kind:<24} {right[kind]:>4} of {count:>4}  {right[kind] / count:.1%}")
    print(f"{'all':<24} {right.total():>4} of {counts.total():>4}", *wrong, sep="\n")
    assert right.total() >= 0.97 * counts.total()
    for kind, least in LEAST.items():
        assert right[kind] >= least * counts[kind]


def test_polyphones_surnames_and_places() -> None:
    counts, right, wrong = Counter[str](), Counter[str](), list[str]()
    for sentence, position, char, accepted, kind, _, _ in rows("polyphones.tsv"):
        reading = chinese.read(sentence)[int(position)]
        assert sentence[int(position)] == char
        counts[kind] += 1
        if reading.syllable in accepted.split("/"):
            right[kind] += 1
        else:
            wrong.append(f"{sentence} {char} {accepted}, not {reading}")
    assert counts.total() >= 300
    check(counts, right, wrong)


def heard(phones: str) -> str:
    """Phones without stress 2, unstressed vowels alike; of one vowel the stress does not count."""
    found = phones.replace("2", "0").split()
    vowels = sum(phone[-1].isdigit() for phone in found)
    if vowels == 1:
        return " ".join(phone.rstrip("01") for phone in found).replace("AO", "AA")
    weak = ("AH0", "IH0", "EH0", "UH0", "IY0", "AE0", "AA0", "AO0")
    joined = " ".join("@" if phone in weak else phone for phone in found)
    return joined.replace("AO1", "AA1").replace("@ R", "ER0")


def test_english_heteronyms_letters_and_unknown_words() -> None:
    counts, right, wrong = Counter[str](), Counter[str](), list[str]()
    for sentence, position, word, accepted, kind in rows("heteronyms.tsv"):
        words = [piece.surface for piece in segment(sentence)]
        before = len(segment(sentence[: int(position)]))
        index = words.index(word.rstrip("'"), max(0, before - 1))
        spoken = english.read(words)[index]
        counts[kind] += 1
        if heard(" ".join(spoken.phones)) in map(heard, accepted.split("/")):
            right[kind] += 1
        else:
            wrong.append(f"{sentence} {word}: {accepted}, not {spoken}")
    assert counts.total() >= 120
    check(counts, right, wrong)


def test_ordinary_words_keep_the_readings_the_training_data_have() -> None:
    sentence = "今天天气真不错，我们一起去公园散步吧。"
    expected = "jin1 tian1 tian1 qi4 zhen1 bu4 cuo4  wo3 men5 yi4 qi3 qu4 gong1 yuan2 san4 bu4 ba5 "
    assert " ".join(chinese.pinyin(sentence)) == expected
    spoken = zip("不一天", ("bu2", "yi4", "tian1"), strict=True)
    assert [chinese.lexical(c, s) for c, s in spoken] == ["bu4", "yi1", "tian1"]


def test_words_are_cut_by_frequency() -> None:
    def words(line: str) -> str:
        return " ".join(line[word.start : word.end] for word in cut(line))

    assert words("他们都会说英语") == "他们 都 会 说 英语"
    assert words("研究生命的起源") == "研究 生命 的 起源"
    assert words("任正非，您好") == "任正非 ， 您好"


@pytest.mark.parametrize(
    ("word", "phones", "why"),
    [
        ("dragonfly", "D R AE1 G AH0 N F L AY2", "two listed words"),  # not drago, nfl and -y
        ("furled", "F ER1 L D", "listed word"),  # not fur and led
        ("breathlessness", "B R EH1 TH L AH0 S N AH0 S", "listed word"),  # not breathlessnes and -s
        ("tonally", "T OW1 N AH0 L IY0", "misaki"),
        ("placatory", "P L EY1 K AH0 T AO2 R IY0", "misaki"),
        ("singsonged", "S IH1 NG S AO2 NG D", "listed word"),
        ("NFL", "EH2 N EH2 F EH1 L", "letters"),
        ("gpu", "JH IY2 P IY2 Y UW1", "spelling rules"),  # nobody begins a word with gp
    ],
)
def test_rare_english_words(word: str, phones: str, why: str) -> None:
    spoken = english.explain(word)
    assert " ".join(spoken.phones) == phones
    assert spoken.decided_by.startswith(why)


def test_the_word_list_leaves_out_what_can_be_made_of_listed_words() -> None:
    gold = {
        "Zorb": "zˈɔɹb", "zorb": "zˈɔɹb", "zorbs": "zˈɔɹbz", "zorbing": "zˈAbɪŋ", "walk": "wˈɔk",
        "glorp": {"DEFAULT": "ɡlˈɔɹp", "VERB": "ɡlˈɔɹpt"}, "none": {"DEFAULT": None}, "x2": "ˈɛks",
    }  # fmt: skip
    rows = gzip.decompress(english_words([gold, {"zorb": "zˈAb"}])).decode().splitlines()
    assert rows == ["glorp G L AO1 R P", "zorb Z AO1 R B", "zorbing Z EY1 B IH0 NG"]


@pytest.mark.parametrize(
    ("text", "index", "why"),
    [
        ("他在银行上班。", 3, "phrase 银行"),
        ("我得走了。", 1, "rule 得 dei3"),
        ("单老师来了。", 0, "surname"),
        ("他去了六安。", 3, "phrase 六安 (own)"),
        ("They record songs.", 1, "heteronym record, verb"),
        ("The GPU is new.", 1, "letters"),
        ("A glorp.", 1, "spelling rules"),
        ("It was unhackable.", 2, "listed word with an ending or prefix"),
        ("I like it.", 1, "cmudict"),
    ],
)
def test_every_reading_says_what_decided_it(text: str, index: int, why: str) -> None:
    _, decided_by = analyse_explained(text)[index]
    assert decided_by.startswith(why)


def test_forced_units_are_taken_as_they_are_and_count_as_context() -> None:
    grow = Unit("长", ("<|ZH|>", "<|ANG3|>"))
    units = analyse("这果子真\ue000啊!", {"\ue000": grow})
    assert grow in units
    assert units[-1].surface == "！"
    spoken = analyse_explained("Don't \ue001 it.", {"\ue001": Unit("read", ("<|EN_R|>",))})
    assert spoken[1] == (Unit("read", ("<|EN_R|>",)), "forced")
    bank = analyse_explained("银\ue002", {"\ue002": Unit("行", ("<|X|>", "<|ING2|>"))})
    assert [unit.surface for unit, _ in bank] == ["银", "行"]
    assert analyse("\ue000!", {"\ue000": grow})[-1].surface == "！"
    with pytest.raises(BadText, match="private use"):
        analyse("你好\ue005")


def test_all_tables_hold_readings_that_exist() -> None:
    chars = {line[0] for line in polyphones.table()}
    assert len(chars) > 200
    readings = {rule.reading for char in chars for rule in polyphones.rules(char)}
    own = {reading for marked in phrases.own().values() for reading in marked.values()}
    for reading in readings | own:
        assert set(pinyin_to_tokens(reading)) <= set(PHONEME_TOKENS), reading
    for char in chars:
        for rule in polyphones.rules(char):
            rule.compile()
        assert len(char) == 1
