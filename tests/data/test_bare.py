"""Texts that are no sentences."""

import random
import re

import pytest

from glmtts.data.bare import COMMON, SHARES, bare_texts, common_words
from glmtts.data.texts import english_phones, hanzi_pinyin
from glmtts.text.units import HANZI

SENTENCES = [
    "The shepherd sings songs of ships and seas, said Sarah.",
    "Peter picks berries by the big pier, but Betty prefers pears.",
    "Three thin thieves fought for five fine feathers.",
    "Light rain ran left and right, leaving roads red.",
]


def made(lang: str, count: int = 200, seed: int = 3):
    return bare_texts(lang, SENTENCES, count, random.Random(seed))


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_kind_is_there_in_words_only_and_none_twice(lang: str):
    texts = made(lang)
    assert {text.kind for text in texts} == set(SHARES)
    assert len({text.text for text in texts}) == len(texts)
    letters = HANZI + "，。！？" if lang == "zh" else "A-Za-z' ,.!?-"
    for text in texts:
        assert re.fullmatch(f"[{letters}]+", text.text), text
        assert text.lang == lang
    assert made(lang) == texts
    assert made(lang, seed=4) != texts


def test_words_alone_are_short_and_lists_long():
    zh = [text for text in made("zh") if text.kind == "word"]
    assert all(1 <= len(hanzi_pinyin(text.text)) <= 3 for text in zh)
    assert len({len(hanzi_pinyin(text.text)) for text in zh}) > 1
    assert all(len(text.text.split()) <= 2 for text in made("en") if text.kind == "word")
    for text in (*made("zh"), *made("en")):
        if text.kind == "list":
            assert 2 <= len(re.split("[，,]", text.text)) <= 10


def test_lists_are_of_numbers_of_numbers_of_something_and_of_words():
    zh = ("zh", "百分之|第|米", "[零一二三四五六七八九十百千，。！？]+")
    en = ("en", "percent|number|miles", r"(?:\w+teen|\w+ty|one|nine|[, -])+.?")
    for lang, of, number in (zh, en):
        lists = [text.text.lower() for text in made(lang, 800) if text.kind == "list"]
        assert any(re.search(of, text) for text in lists)
        assert any(re.fullmatch(number, text) for text in lists)
        assert any(not re.search(f"[零一二三四五六七八九十]|one|two|six|e?ty|teen|{of}", text)
                   for text in lists)  # fmt: skip


def test_what_is_said_again_is_said_at_least_twice():
    for text in made("en"):
        if text.kind == "again":
            words = re.findall(r"[a-z']+", text.text.lower())
            assert words[0] == words[1]


def test_twisters_begin_with_sounds_that_are_alike():
    for text in made("en"):
        if text.kind == "twister":
            words = re.findall(r"[a-z']+", text.text.lower())
            assert len(words) >= 4
            assert len({english_phones(word)[1] for word in words}) <= 2, text


def test_the_commonest_words_come_first():
    words = common_words("zh", [])
    assert len(words) == COMMON
    assert "是" in words[:10]
    assert common_words("en", ["the cat and the dog", "the end"])[0] == "the"
