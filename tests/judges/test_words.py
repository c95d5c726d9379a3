"""Texts compared as a judge of errors does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.errors import BadText
from glmtts.judges.words import edits, seed_units, spoken_units, syllables


def test_errors_are_told_by_kind_and_place() -> None:
    found = edits(list("今天天气很好"), list("今天气很号吗"))
    assert (found.length, found.deletions, found.substitutions, found.insertions) == (6, 1, 1, 1)
    assert found.rate == 0.5
    covered = [i for e in found.stretches for i in range(e.start, e.stop)]
    assert covered == list(range(6))


def test_an_empty_reference_has_no_error_rate() -> None:
    assert edits(["a"], []).rate == 1.0
    with pytest.raises(BadText, match="at least one word"):
        edits([], ["a"])


@given(st.lists(st.sampled_from("abc")).filter(bool), st.lists(st.sampled_from("abc")))
def test_edits_turn_one_text_into_the_other(wanted: list[str], heard: list[str]) -> None:
    made: list[str] = []
    found = edits(wanted, heard)
    for e in found.stretches:
        kept = e.kind == "equal"
        made += wanted[e.start : e.stop] if kept else heard[e.heard_start : e.heard_stop]
    assert made == heard
    assert found.count >= abs(len(wanted) - len(heard))


def test_seed_tts_counts_characters_and_words_and_leaves_numbers() -> None:
    assert seed_units("我有3个，苹果。OK!", "zh") == list("我有3个苹果OK")
    assert seed_units("It's 5 o'clock — “Mr. Smith”", "en") == [
        "it's",
        "5",
        "o'clock",
        "mr",
        "smith",
    ]


def test_what_a_recogniser_writes_at_will_is_no_error() -> None:
    assert spoken_units("二十分鐘。", "zh") == spoken_units("20分钟", "zh")
    assert spoken_units("It costs $5.", "en") == spoken_units("it costs five dollars", "en")
    assert spoken_units("我用iPhone打电话", "zh")[2] == "iphone"


def test_homophones_have_equal_syllables() -> None:
    assert syllables(list("流利"), tones=True) == syllables(list("流力"), tones=True)
    assert syllables(list("买"), tones=False) == syllables(list("卖"), tones=False)
    assert syllables(list("买"), tones=True) != syllables(list("卖"), tones=True)
