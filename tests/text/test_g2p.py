"""Pronunciations a listener would accept, for Mandarin, English and both in one sentence."""

import pytest

from glmtts.errors import BadText
from glmtts.text.chinese import pinyin
from glmtts.text.english import pronounce, pronounce_run
from glmtts.text.g2p import analyse
from glmtts.text.misaki import teacher_to_arpabet
from glmtts.text.phonemes import PHONEME_TOKENS
from glmtts.text.spelling import spell


@pytest.mark.parametrize(
    ("hanzi", "syllables"),
    [
        ("重庆银行行长", "chong2 qing4 yin2 hang2 hang2 zhang3"),
        ("还没还书", "hai2 mei2 huan2 shu1"),
        ("音乐会很快乐", "yin1 yue4 hui4 hen3 kuai4 le4"),
        ("我们的", "wo3 men5 de5"),
        ("绿女", "lv4 nv3"),
    ],
)
def test_polyphones_follow_their_words(hanzi: str, syllables: str) -> None:
    assert " ".join(pinyin(hanzi)) == syllables


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("hello", "HH AH0 L OW1"),
        ("HELLO", "HH AH0 L OW1"),
        ("the", "DH AH0"),
        ("boss's", "B AO1 S IH0 Z"),
        ("USA's", "Y UW1 EH1 S EY1 Z"),
        ("iPhone", "AY1 F OW2 N"),
        ("PyTorch", "P AY1 T AO1 R CH"),
        ("US", "Y UW2 EH1 S"),
        ("us", "AH0 S"),
        ("DVDs", "D IY2 V IY2 D IY1 Z"),
        ("XKCD", "EH2 K S K EY2 S IY2 D IY1"),
        ("rootstock", "R UW1 T S T AA2 K"),
        ("walkable", "W AO1 K AH0 B AH0 L"),
        ("unhackable", "AH0 N HH AE1 K AH0 B AH0 L"),
        ("well-known", "W EH1 L N OW1 N"),
    ],
)
def test_english_words(word: str, phones: str) -> None:
    assert " ".join(pronounce(word)) == phones


def test_words_no_dictionary_knows_are_spelled_by_rule() -> None:
    assert spell("glorp") == ("G", "L", "AO1", "R", "P")
    assert spell("blick") == ("B", "L", "IH1", "K")
    assert spell("thane") == ("TH", "EY1", "N")
    assert sum(phone.endswith("1") for phone in spell("zantification")) == 1


def test_the_and_to_depend_on_the_next_sound() -> None:
    spoken = pronounce_run(["the", "apple", "to", "eat", "the", "fox"])
    assert spoken[0] == ("DH", "IY0")
    assert spoken[2] == ("T", "UH0")
    assert spoken[4] == ("DH", "AH0")


def test_a_mixed_sentence_has_a_unit_for_each_hanzi_word_and_mark() -> None:
    units = analyse("我用Python, 很好!")
    assert [unit.surface for unit in units] == ["我", "用", "Python", "，", "很", "好", "！"]
    assert units[0].phonemes == ("<|UO3|>",)
    assert units[2].phonemes[0] == "<|EN_P|>"
    assert units[3].phonemes == ()
    assert {p for unit in units for p in unit.phonemes} <= set(PHONEME_TOKENS)


def test_characters_without_a_reading_are_left_out() -> None:
    assert [unit.surface for unit in analyse("㐂好")] == ["好"]
    with pytest.raises(BadText, match="can be spoken"):
        analyse("㐂。")


def test_the_teachers_phonemes_become_arpabet() -> None:
    words = teacher_to_arpabet("lˈQθ tə ɡˌQ ˌɒn ʃˈɔːt nˈQtɪs, bˈɜɹd...wˈɔTəɹ.")
    assert [" ".join(word) for word in words] == [
        "L OW1 TH", "T AH0", "G OW2", "AA2 N", "SH AO1 T",
        "N OW1 T IH0 S", "B ER1 D", "W AO1 T ER0",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not a phoneme symbol"):
        teacher_to_arpabet("x§")
