"""Error rates and who is to blame for each speech token."""

import numpy as np
import pytest

from glmtts.judges.base import Failed, Score
from glmtts.judges.intelligibility import Cer, credit, unit_times
from glmtts.judges.words import edits
from glmtts.recognizer import TimedWord
from tests.judging import Recites, sample


def test_errors_are_counted_in_characters_or_words() -> None:
    judge = Cer(Recites("今天天气狠好", "the whether is nice", ""))
    zh, en, silent = judge(
        [
            sample("今天天气很好。", language="zh"),
            sample("The weather is nice today.", language="en"),
            sample("Hello.", language="en"),
        ]
    )
    assert isinstance(zh, Score)
    assert zh.value == pytest.approx(1 / 6)
    assert (zh.detail["per"], zh.detail["substitutions"]) == (0.0, 1)
    assert isinstance(en, Score)
    assert en.value == pytest.approx(2 / 5)
    assert isinstance(silent, Score)
    assert silent.value == 1.0


def test_the_seed_rule_counts_every_addition_and_the_other_rule_stops_at_one() -> None:
    babble = "no no no no no"
    (seed,) = Cer(Recites(babble), "seed")([sample("Yes.")])
    (spoken,) = Cer(Recites(babble))([sample("Yes.")])
    assert isinstance(seed, Score)
    assert isinstance(spoken, Score)
    assert (seed.value, spoken.value) == (5.0, 1.0)


def test_a_text_without_words_cannot_be_judged() -> None:
    (verdict,) = Cer(Recites("hello"))([sample("…")])
    assert isinstance(verdict, Failed)


def words(*spans: tuple[str, float, float]) -> list[TimedWord]:
    return [TimedWord(text, start, end, 1.0) for text, start, end in spans]


def test_numbers_written_in_digits_keep_their_time() -> None:
    times = unit_times(
        ["有", "二", "十", "个"], words(("有", 0.0, 0.2), ("20", 0.2, 0.8), ("个", 0.8, 1.0))
    )
    assert times == [(0.0, 0.2), (0.2, 0.8), (0.2, 0.8), (0.8, 1.0)]


def test_tokens_of_what_is_wrong_get_no_credit() -> None:
    wanted, heard = list("今天很好"), list("今田很好吗")
    spans = [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)]
    tokens = credit(edits(wanted, heard), wanted, spans, 1.0)
    assert tokens.tolist() == [1] * 5 + [0] * 5 + [1] * 10 + [0] * 5


def test_the_gap_where_something_is_missing_gets_no_credit_unless_it_is_a_laugh() -> None:
    spans = [(0.0, 0.2), (0.6, 1.0)]
    missing = credit(edits(list("你也好"), list("你好")), list("你也好"), spans, 1.0)
    assert missing.tolist() == [1] * 5 + [0] * 10 + [1] * 10
    wanted = list("你哈哈好")
    assert np.all(credit(edits(wanted, list("你好")), wanted, spans, 1.0) == 1.0)
