"""Which groups are learnt from, which are drawn again, and what the answers' advantages are."""

from collections.abc import Sequence

import pytest
import torch

from glmtts.lm import Rollouts
from glmtts.rewards.base import Failed, Score, Verdict
from glmtts.train.cases import Case
from glmtts.train.groups import Group, collect, pooled
from glmtts.train.policy import group_advantages
from glmtts.train.scoring import Answer, Weight
from glmtts.voice import Prompt
from tests.conftest import tiny_voice

CASE = Case("你好", "zh", (5, 6), (), tiny_voice("mei"), Prompt())
EMOTION, CER = Weight("emotion", 1.0, 0.05), Weight("cer", 1.0)
END = 99


def rollouts(values: Sequence[int], length: int = 3) -> Rollouts:
    """Answers that say their own value `length` times and end."""
    tokens = torch.tensor([[value] * length + [END] for value in values])
    return Rollouts(
        torch.tensor([1, 2, 3]), tokens, torch.full((len(values),), length),
        torch.zeros(tokens.shape), torch.ones(tokens.shape, dtype=torch.bool),
        ("stop",) * len(values), 0,
    )  # fmt: skip


class Draws:
    """A policy whose answers are written down: percent of emotion, roll by roll."""

    def __init__(self, *rolls: Sequence[int]) -> None:
        self.rolls, self.seeds = list(rolls), []

    def __call__(self, cases: Sequence[Case], seeds: Sequence[Sequence[int]]) -> list[Rollouts]:
        self.seeds.append([list(s) for s in seeds])
        return [rollouts(self.rolls.pop(0)) for _ in cases]


def said(answers: Sequence[Answer]) -> list[dict[str, Verdict]]:
    return [{"emotion": Score(a.tokens[0] / 100), "cer": Score(0.5)} for a in answers]


def collected(draws: Draws, weights: Sequence[Weight] = (EMOTION, CER), rerolls: int = 3):
    seeds = lambda i, roll: [100 * roll + n for n in range(4)]  # noqa: E731
    return collect([CASE], draws, said, weights, seeds, rerolls)[0]


def advantages_of(group: Group, weights: Sequence[Weight] = (EMOTION, CER)) -> list[float]:
    return group.advantages(weights)[0].tolist()


def test_one_success_among_failures_is_learnt_from_at_once():
    group = collected(Draws([2, 2, 98, 2]))
    assert group.use([EMOTION, CER]) == "useful"
    assert group.rolls == 1
    assert advantages_of(group) == pytest.approx([-(3**-0.5)] * 2 + [3**0.5, -(3**-0.5)])


def test_a_group_that_is_right_throughout_is_neither_drawn_again_nor_learnt_from():
    """The failure the report admits: the official rule keeps drawing until something goes wrong.

    Its threshold (0.01) also blows the last hundredth of a bimodal reward up to full size.
    """
    right = [99, 99, 99, 96]
    group = collected(Draws(right), (EMOTION,))
    assert group.use([EMOTION]) == "solved"
    assert group.rolls == 1
    assert advantages_of(group, [EMOTION]) == [0.0] * 4
    official, differs = group_advantages({"emotion": [value / 100 for value in right]})
    assert differs
    assert official.tolist()[-1] == pytest.approx(-(3**0.5))


def test_answers_drawn_later_join_the_earlier_ones():
    """A success of one in twelve counts as such, not as one in four."""
    draws = Draws([2, 2, 2, 2], [2, 2, 2, 2], [2, 98, 2, 2])
    group = collected(draws)
    assert draws.seeds == [[[0, 1, 2, 3]], [[100, 101, 102, 103]], [[200, 201, 202, 203]]]
    assert group.rolls == 3
    assert len(group.verdicts) == len(group.rollouts.finish) == 12
    got = advantages_of(group)
    assert got[9] == pytest.approx(11**0.5)
    assert [a for i, a in enumerate(got) if i != 9] == pytest.approx([-(11**-0.5)] * 11)


def test_a_hopeless_case_is_given_up():
    group = collected(Draws(*[[2, 2, 2, 3]] * 4))
    assert group.rolls == 4
    assert group.use([EMOTION, CER]) == "alike"


def test_without_dynamic_sampling_nothing_is_drawn_again():
    assert collected(Draws([2, 2, 2, 2]), rerolls=0).rolls == 1


def test_only_cases_whose_answers_are_alike_are_drawn_again():
    draws = Draws([2, 98, 2, 2], [2, 2, 2, 2], [98, 98, 2, 2])
    seeds = lambda i, roll: [10 * i + roll, 10 * i + roll + 5]  # noqa: E731
    groups = collect([CASE, CASE], draws, said, [EMOTION], seeds, 3)
    assert draws.seeds == [[[0, 5], [10, 15]], [[11, 16]]]
    assert [group.rolls for group in groups] == [1, 2]


def test_a_reward_that_fails_drops_its_answer_and_no_other():
    def judge(answers: Sequence[Answer]) -> list[dict[str, Verdict]]:
        verdicts = said(answers)
        verdicts[1]["emotion"] = Failed("the judge is asleep")
        return verdicts

    group = collect([CASE], Draws([2, 98, 98, 2]), judge, [EMOTION], lambda i, r: [0], 0)[0]
    assert group.judged == [0, 2, 3]
    assert group.values("emotion") == [0.02, 0.98, 0.02]
    kept = group.selected()
    assert [kept.speech(row)[0] for row in range(3)] == [2, 98, 2]
    assert advantages_of(group, [EMOTION]) == pytest.approx([-(2**-0.5), 2**0.5, -(2**-0.5)])

    def asleep(answers: Sequence[Answer]) -> list[dict[str, Verdict]]:
        return [{"emotion": Failed("asleep")} for _ in answers]

    group = collect([CASE], Draws([2, 98, 98, 2]), asleep, [EMOTION], lambda i, r: [0], 3)[0]
    assert group.use([EMOTION]) == "unjudged"
    assert group.rolls == 1


def test_each_reward_counts_by_its_weight_however_large_its_values():
    verdicts = [
        {"a": Score(value), "b": Score(1000 * other)}
        for value, other in ((0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0))
    ]
    group = Group(CASE, rollouts([1, 2, 3, 4]), verdicts, judged=[0, 1, 2, 3])
    got = advantages_of(group, [Weight("a", 3.0), Weight("b", 1.0)])
    assert got == pytest.approx([x / (10**0.5) for x in (-2.0, 4.0, -4.0, 2.0)])


def test_credit_goes_to_the_tokens_that_were_right_and_the_end_has_the_mean():
    verdicts: list[dict[str, Verdict]] = [
        {"cer": Score(1.0, torch.tensor([1.0, 1.0, 1.0]).numpy())},
        {"cer": Score(0.0, torch.tensor([1.0, 0.0, 0.5]).numpy())},
    ]
    group = Group(CASE, rollouts([1, 2]), verdicts, judged=[0, 1])
    credit = group.token_credit([CER])
    assert credit is not None
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(credit, (values - values.mean()) / values.std(correction=0))
    verdicts[1] = {"cer": Score(0.0)}
    assert group.token_credit([CER]) is None


def test_pooled_answers_keep_their_lengths():
    both = pooled(rollouts([1], 2), rollouts([2, 3], 4))
    assert [both.speech(row) for row in range(3)] == [[1, 1], [2] * 4, [3] * 4]
    assert both.masks.sum(-1).tolist() == [3, 5, 5]
    assert both.finish == ("stop",) * 3
