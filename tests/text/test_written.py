"""Sentences reach the official language model in the spelling it was taught."""

import pytest

from glmtts.text.normalize import normalise
from glmtts.text.written import as_written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("今天、天气不错！", "今天，天气不错。"),
        ("你好吗？", "你好吗?"),
        ("好；行：对…", "好，行，对。"),
        ("我用GPT。", "我用gpt。"),
        ("他说OK! 走吧", "他说ok。走吧。"),
        ("没有句号", "没有句号。"),
        ("等等，", "等等。"),
        ("Well-known facts: don't shout!", "well known facts: don't shout."),
        ("Really?", "really?"),
        ("No end", "no end."),
        ("A comma,", "a comma."),
        ("", ""),
    ],
)
def test_spelling(text: str, written: str) -> None:
    assert as_written(text) == written
    assert as_written(written) == written


def test_numbers_are_words_by_then() -> None:
    assert as_written(normalise("3.5米！")) == "三点五米。"
