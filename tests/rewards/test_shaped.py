"""Rewards: what judges find, made to be raised."""

import math

import numpy as np
import pytest

from glmtts.errors import BadInput
from glmtts.judges.base import Failed, Sample, Score
from glmtts.judges.intelligibility import Cer
from glmtts.rewards import shaped
from glmtts.rewards.shaped import LaughterReward, Reward, WantedReward, reward, score
from tests.judging import Letters, Recites, sample


def test_official_formulas() -> None:
    anything = sample("x")
    assert shaped.error_reward(anything, Score(0.0)) == 1.0
    assert shaped.error_reward(anything, Score(0.4)) == pytest.approx(math.exp(-1.0))
    assert shaped.cosine_reward(anything, Score(-1.0)) == 0.0
    assert shaped.cosine_reward(anything, Score(0.5)) == 0.75
    assert shaped.mos_reward(anything, Score(3.0)) == 0.5
    assert shaped.duration_reward(anything, Score(2.0)) == pytest.approx(0.5)
    assert shaped.duration_reward(anything, Score(0.5)) == pytest.approx(0.5)


def test_a_reward_keeps_what_the_judge_found() -> None:
    cer = Reward(Cer(Recites("the whether", "hi")), shaped.error_reward, rule="exp(-2.5 CER)")
    first, _ = cer([sample("the weather"), sample("hi")])
    assert isinstance(first, Score)
    assert first.value == pytest.approx(math.exp(-1.25))
    assert (first.detail["found"], first.detail["heard"]) == (0.5, "the whether")
    assert cer.name == "cer"
    assert cer.version.endswith("exp(-2.5 CER)")


def test_a_sample_that_one_reward_cannot_judge_is_dropped_and_counted() -> None:
    found = score([Letters(), shaped.Seconds()], [sample("ab"), sample("fail"), sample("abc")])
    assert found.names == ("letters", "seconds")
    assert found.kept.tolist() == [True, False, True]
    assert found.failures == {"letters": 1, "seconds": 0}
    assert np.isnan(found.values[1, 0])
    assert found.values[found.kept, 0].tolist() == [2.0, 3.0]
    assert found.reasons() == ["letters: BadInput: nothing to count"]
    assert score([Letters()], []).values.shape == (0, 1)


def test_a_judge_that_answers_too_few_is_refused() -> None:
    class Silent:
        name, version = "silent", "1"

        def __call__(self, samples: list[Sample]) -> list[Score | Failed]:
            return []

    with pytest.raises(BadInput, match="answered 0 of 1"):
        score([Silent()], [sample("x")])
    with pytest.raises(BadInput, match="answered 0 of 1"):
        Reward(Silent(), shaped.value_reward)([sample("x")])


def test_rewards_have_names() -> None:
    assert reward("seconds")([sample("x", seconds=20.0)]) == [Score(2.0)]
    assert reward("duration").name == "duration"
    with pytest.raises(BadInput, match="Known: cer, token-cer"):
        WantedReward("beauty")
    with pytest.raises(BadInput, match="Known: whisper-base"):
        reward("cer=nobody")
    with pytest.raises(BadInput, match="has no kinds"):
        reward("seconds=long")


@pytest.mark.parametrize(
    ("text", "heard", "wanted"),
    [
        ("哈哈哈，你真逗。", "你真逗。", 1.0),
        ("哈哈哈，你真逗。", "哈哈哈,你真逗", 0.0),
        ("Ha ha ha, how funny.", "how funny", 1.0),
        ("Ha ha ha, how funny.", "Haha, how funny", 0.0),
        ("你真逗。", "你真逗", 0.0),
    ],
)
def test_by_the_papers_rule_a_laugh_is_what_the_recogniser_leaves_out(
    text: str, heard: str, wanted: float
) -> None:
    judge = LaughterReward("deleted", ears=Recites(heard))
    (found,) = judge([sample(text, language="zh" if "你" in text else "en")])
    assert isinstance(found, Score)
    assert found.value == wanted


def test_there_are_three_laughter_rules() -> None:
    with pytest.raises(BadInput, match="Known: detector, deleted, both"):
        LaughterReward("loud")
