"""Plain words about how to speak."""

import pytest

from glmtts.text.instructions import emotion_of


@pytest.mark.parametrize(
    ("said", "style"),
    [
        ("speak happily", "happy"), ("Speak in a cheerful and positive tone.", "happy"),
        ("sad and slow", "sad"), ("You are ANGRY.", "angry"), ("[surprised]", "surprised"),
        ("Sound amazed, as if you can't believe it", "surprised"), ("happy", "happy"),
        ("高兴地说", "happy"), ("用悲伤的语气朗读", "sad"), ("非常生气", "angry"),
        ("带着惊讶的语气", "surprised"), ("语气平静", "neutral"), ("Neutral, please.", "neutral"),
    ],
)  # fmt: skip
def test_one_emotion_is_understood(said: str, style: str) -> None:
    assert emotion_of(said) == style


@pytest.mark.parametrize(
    ("said", "style"),
    [
        ("Don't sound angry.", None), ("别生气", None), ("not sad but happy", "happy"),
        ("without anger or sadness", None), ("你不要显得难过，要开心一点", "happy"),
        ("He is unhappy", "sad"), ("听起来不高兴", "sad"), ("calm, but a little sad", "sad"),
    ],
)  # fmt: skip
def test_what_is_denied_is_not_asked_for(said: str, style: str | None) -> None:
    assert emotion_of(said) == style


@pytest.mark.parametrize(
    "said",
    ["", "Speak slowly, with a French accent.", "慢一点", "First happy, then sad", "又高兴又难过",
     "Read this madam's saddlery nomad", "像朋友一样说"],
)  # fmt: skip
def test_no_emotion_or_several_are_none(said: str) -> None:
    assert emotion_of(said) is None
