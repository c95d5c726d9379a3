"""Whatever the text, what comes out can be spoken, and nothing else does."""

import re
import time
from pathlib import Path

import pytest

from glmtts.errors import BadText
from glmtts.text.normalize import Normalizer, normalise
from glmtts.text.sentences import length, split

CASES = [
    tuple(line.split("\t"))
    for name in ("normalize_zh.tsv", "normalize_en.tsv")
    for line in (Path(__file__).parent / "cases" / name).read_text("utf-8").splitlines()
]
SPEAKABLE = re.compile(r"[\u4e00-\u9fffA-Za-z' ，。！？；：、…,.!?;:-]+")


@pytest.mark.parametrize(("written", "spoken"), CASES, ids=[case[0][:20] for case in CASES])
def test_text_is_written_out(written: str, spoken: str) -> None:
    assert normalise(written) == spoken


@pytest.mark.parametrize("written", [case[0] for case in CASES])
def test_the_result_is_speakable_and_stays_as_it_is(written: str) -> None:
    spoken = normalise(written)
    assert SPEAKABLE.fullmatch(spoken)
    assert normalise(spoken) == spoken


@pytest.mark.parametrize(
    "text", ["", "   \n\t", "😀🎉", "。。。！", "...", "---", "한국어", "\u200b"]
)
def test_text_without_speech_is_refused(text: str) -> None:
    with pytest.raises(BadText, match="Nothing in the text can be spoken"):
        Normalizer()(text)


def test_numbers_alone_follow_the_language_asked_for() -> None:
    assert normalise("123") == "一百二十三"
    assert normalise("123", "en") == "one hundred and twenty-three"
    assert normalise("Twelve? 12!") == "Twelve? twelve!"


def test_lines_and_lists_become_sentences() -> None:
    text = "# 标题\n\n正文第一行\n- 项目一\n1. 项目二\n```\n```\n---\nThe end"
    assert normalise(text) == "标题。正文第一行。项目一。一，项目二。The end"


def test_sentences_are_cut_after_their_marks() -> None:
    text = "今天天气真不错，我们去公园。你觉得怎么样呢？"
    text += "Let us walk to the park. It is a very sunny day!"
    assert split(text) == [
        "今天天气真不错，我们去公园。",
        "你觉得怎么样呢？",
        "Let us walk to the park.",
        "It is a very sunny day!",
    ]


def test_short_sentences_join_their_neighbours() -> None:
    assert split("好。我们现在就出发吧。") == ["好。我们现在就出发吧。"]


@pytest.mark.parametrize(
    "text",
    [
        "长" * 1000,
        "我们一起去散步，" * 100,
        "the quick brown fox jumps over the lazy dog " * 60,
        "这是Python和English混合的长句子，没有句号，" * 40,
        "一千二百三十四" * 60,
    ],
)
def test_long_sentences_are_cut_without_losing_anything(text: str) -> None:
    parts = Normalizer()(text)
    assert all(length(part) <= 60 for part in parts)
    assert all(length(part) >= 5 for part in parts)
    squeezed = "".join(re.findall(r"\w", "".join(parts)))
    assert squeezed == "".join(re.findall(r"\w", text))
    if "fox" in text:
        assert set(" ".join(parts).split()) == set(text.split())
    assert not any(part[0] in "，。,." for part in parts)


@pytest.mark.parametrize(
    "text",
    [
        "今天是2024年3月5日，气温37.5℃。" * 1500,
        "It costs $1234.50 on Jan 3rd. " * 1100,
        "1" * 33_000,
        "a.1-" * 8000,
        "[a" * 16_000,
        " " * 33_000 + "a",
    ],
    ids=["zh", "en", "digits", "dots", "brackets", "spaces"],
)
def test_a_long_text_is_fast(text: str) -> None:
    begun = time.process_time()
    assert Normalizer()(text)
    assert time.process_time() - begun < 20.0  # backtracking takes minutes


def test_no_digit_survives_any_mixture() -> None:
    signs = [
        "1",
        "23",
        ".",
        ",",
        "-",
        ":",
        "/",
        "%",
        "年",
        "个",
        "$",
        "kg",
        " ",
        "a",
        "第",
        "°",
        "x2",
    ]
    for first in signs:
        for second in signs:
            for third in signs:
                text = normalise(f"{first}{second}7{third}好")
                assert SPEAKABLE.fullmatch(text), text
                assert normalise(text) == text
