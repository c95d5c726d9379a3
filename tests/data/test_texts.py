import random
import re
from pathlib import Path

import pytest

from glmtts.data import texts
from glmtts.data.texts import Text
from glmtts.errors import BadInput

MANDARIN = [
    "我们今天去公园散步。", "这本书的内容非常丰富，值得一看！", "他昨天晚上没有回家吃饭。",
    "老师说学生们都很努力。", "房间很干净，服务也不错。", "春天到了，花都开了。",
]  # fmt: skip
ENGLISH = [
    "The child yawned during the long performance.", "She winked at him.",
    "He gave the horses some fresh water.", "They measured the old bridge carefully.",
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> list[Text]:
    return texts.compose(MANDARIN, ENGLISH, zh=60, en=60, mix=40, seed=1)


def test_the_seed_alone_decides(made: list[Text]):
    assert texts.compose(MANDARIN, ENGLISH, zh=60, en=60, mix=40, seed=1) == made
    assert texts.compose(MANDARIN, ENGLISH, zh=60, en=60, mix=40, seed=2) != made


def test_no_text_comes_twice(made: list[Text]):
    assert len({text.text for text in made}) == len(made)


def test_every_family_is_there(made: list[Text]):
    kinds = {(text.lang, text.kind) for text in made}
    assert {(lang, kind) for lang in ("zh", "en") for kind in texts.SHARES} <= kinds
    assert {("zh", "mix"), ("zh", "corpus"), ("en", "corpus"), ("zh", "carrier")} <= kinds
    assert any("？" in text.text for text in made)
    assert any("!" in text.text for text in made)


def test_texts_hold_words_only(made: list[Text]):
    for text in made:
        assert not re.search(r"[0-9{}_]", text.text), text
        has_latin, has_hanzi = re.search("[A-Za-z]", text.text), re.search("[一-鿿]", text.text)
        assert bool(has_hanzi) is (text.lang == "zh"), text
        assert bool(has_latin) is (text.lang == "en" or text.kind == "mix"), text


def test_every_toned_syllable_of_mandarin_is_said(made: list[Text]):
    said: set[str] = set()
    for text in made:
        if text.lang == "zh":
            said.update(text.pinyin or texts.hanzi_pinyin(text.text))
    assert len(texts.syllables()) > 1_150
    assert set(texts.syllables()) <= said


def test_english_covers_the_phone_pairs_of_the_dictionary(made: list[Text]):
    said = {pair for text in made if text.lang == "en" for pair in texts.diphones(text.text)}
    assert {("S", "T"), ("OY", "L"), ("ZH", "ER"), ("N", "TH"), ("Y", "UW")} <= said
    assert len({pair for pair in said if "#" not in pair}) > 1_000


@pytest.mark.parametrize(
    ("value", "zh", "en"),
    [
        (0, "零", "zero"),
        (10, "十", "ten"),
        (14, "十四", "fourteen"),
        (21, "二十一", "twenty-one"),
        (100, "一百", "one hundred"),
        (105, "一百零五", "one hundred and five"),
        (110, "一百一十", "one hundred and ten"),
        (1_005, "一千零五", "one thousand and five"),
        (1_050, "一千零五十", "one thousand and fifty"),
        (2_345, "二千三百四十五", "two thousand three hundred and forty-five"),
        (10_000, "一万", "ten thousand"),
        (100_005, "十万零五", "one hundred thousand and five"),
        (120_300, "十二万零三百", "one hundred and twenty thousand three hundred"),
    ],
)
def test_numbers_are_read_out(value: int, zh: str, en: str):
    assert texts.zh_number(value) == zh
    assert texts.en_number(value) == en


@pytest.mark.parametrize(
    ("value", "word"),
    [(1, "first"), (8, "eighth"), (12, "twelfth"), (20, "twentieth"), (31, "thirty-first")],
)
def test_ordinals(value: int, word: str):
    assert texts.en_ordinal(value) == word


def test_running_text_is_cut_into_clean_sentences():
    lines = [
        "今天天气很好！！我们去公园玩吧。第1句有数字。NBA的比赛很精彩。短。没有说完的一句",
        "　他说：“明天一定会来的。”大家都很高兴,是吗?",
    ]
    assert texts.mandarin_sentences(lines) == [
        "今天天气很好！", "我们去公园玩吧。", "他说：“明天一定会来的。”", "大家都很高兴，是吗？",
    ]  # fmt: skip


def test_wordnet_lines_give_examples_and_definitions():
    lines = [
        "  1 This software and database is being provided | by someone",
        '00 29 v 01 blow 0 000 | exhale hard; "blow on the soup to cool it down"; "blow!"',
        "00 29 v 01 yawn 0 000 | utter a yawn, as from lack of oxygen or when tired (or not)",
        '00 29 n 01 x 0 000 | an agency of the USA; "the CIA was not amused by that"',
    ]
    assert texts.english_sentences(lines) == [
        "Blow on the soup to cool it down.",
        "Utter a yawn, as from lack of oxygen or when tired.",
    ]


def test_templates_use_no_word_twice():
    rng = random.Random(0)
    for _ in range(50):
        words = texts.fill("{zh_thing}、{zh_thing}、{zh_thing}", rng).split("、")
        assert len(set(words)) == 3


def test_articles_fit_and_sentences_start_with_capitals():
    rng = random.Random(0)
    found = {texts.fill("what a {en_adj} day", rng) for _ in range(200)}
    assert "What an awful day" in found
    assert "What a huge day" in found


def test_an_unknown_family_is_named():
    with pytest.raises(BadInput, match=r"Known: .*zh_question"):
        texts.from_templates("zh_song", 3, random.Random(0))


def test_texts_read_back_as_written(tmp_path: Path, made: list[Text]):
    texts.write_texts(tmp_path / "t.jsonl", made)
    assert texts.read_texts(tmp_path / "t.jsonl") == made
    with pytest.raises(BadInput, match="glmtts data texts"):
        texts.read_texts(tmp_path / "none.jsonl")
