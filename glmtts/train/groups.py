"""Groups of answers: drawn, judged, drawn again where they teach nothing. Read `collect` first.

Dynamic sampling after DAPO (Yu et al. 2025, §3.2) and GLM-TTS (paper §2.4), with two changes that
rewards need which are nearly always 0 or 1 (emotion, laughter). The official rule draws a group
anew while its rewards deviate by less than 0.01, and then trains on the last draw alone: a rare
answer looks as common as in the draw that happened to hold it, and where all is well already it
draws until something fails. Here answers drawn later join the earlier ones, so that the mean they
are measured by stays that of the policy; and groups that are right throughout are left alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.lm import Rollouts
from glmtts.rewards.base import Score, Verdict
from glmtts.train.cases import Case
from glmtts.train.policy import group_advantages, standardised
from glmtts.train.scoring import Answer, Weight

Use = Literal["useful", "solved", "alike", "unjudged"]
"""What a group is good for: answers differ; all are right; all are alike; too few were judged."""
SOLVED = 0.95
"""A reward whose best is 1 counts as reached from here on."""

Draw = Callable[[Sequence[Case], Sequence[Sequence[int]]], list[Rollouts]]
"""Cases and the seeds of the answers wanted of each, to the answers."""


@dataclass
class Group:
    """The answers to one case, and what the rewards say of them.

    Attributes:
        case: What was asked for.
        rollouts: The answers.
        verdicts: Of each answer, by reward.
        rolls: How often answers were drawn.
    """

    case: Case
    rollouts: Rollouts
    verdicts: list[dict[str, Verdict]]
    rolls: int = 1
    judged: list[int] = field(default_factory=list[int])
    """Answers that every weighted reward could judge."""

    def values(self, name: str) -> list[float]:
        """A reward of the judged answers."""
        scores = (self.verdicts[row][name] for row in self.judged)
        return [score.value for score in scores if isinstance(score, Score)]

    def use(self, weights: Sequence[Weight]) -> Use:
        """What the group is good for."""
        if len(self.judged) < 2:
            return "unjudged"
        if self.advantages(weights)[1]:
            return "useful"
        right = all(min(self.values(w.name)) >= SOLVED for w in weights)
        return "solved" if right else "alike"

    def advantages(self, weights: Sequence[Weight]) -> tuple[Tensor, bool]:
        """(n,) of the judged answers, and whether they differ: see `policy.group_advantages`."""
        return group_advantages(
            {w.name: self.values(w.name) for w in weights},
            {w.name: w.weight for w in weights},
            {w.name: w.spread for w in weights},
        )

    def token_credit(self, weights: Sequence[Weight]) -> Tensor | None:
        """(n, S) standardised credit of each draw of the judged answers, or None without any.

        Of all weighted rewards that give credit to tokens. The end has the mean of its answer.
        """
        total: Tensor | None = None
        masks = self.rollouts.masks[self.judged].cpu()
        for weight in weights:
            parts: list[Tensor] = []
            for row in self.judged:
                score = self.verdicts[row][weight.name]
                if not isinstance(score, Score) or score.tokens is None or not len(score.tokens):
                    break
                credit = torch.from_numpy(np.asarray(score.tokens, dtype=np.float64))
                draws = int(self.rollouts.masks[row].sum())
                parts.append(torch.cat([credit, credit.mean()[None]])[:draws])
            if len(parts) < len(self.judged):
                continue
            assert [len(part) for part in parts] == [int(row.sum()) for row in masks], (
                "credit for each speech token"
            )
            scaled = standardised(torch.cat(parts)) * weight.weight
            placed = torch.zeros(masks.shape, dtype=torch.float64).masked_scatter(masks, scaled)
            total = placed if total is None else total + placed
        return total

    def selected(self) -> Rollouts:
        """The judged answers alone."""
        r, rows = self.rollouts, torch.tensor(self.judged, device=self.rollouts.tokens.device)
        width = int(r.masks[rows].sum(-1).max())
        return Rollouts(
            r.sequence, r.tokens[rows, :width], r.lengths[rows], r.logprobs[rows, :width],
            r.masks[rows, :width], tuple(r.finish[row] for row in self.judged), r.shortest,
            r.held and r.held.of(r.held.places[rows, :width]),
        )  # fmt: skip


def collect(
    cases: Sequence[Case],
    draw: Draw,
    score: Callable[[Sequence[Answer]], list[dict[str, Verdict]]],
    weights: Sequence[Weight],
    seeds: Callable[[int, int], Sequence[int]],
    rerolls: int = 0,
) -> list[Group]:
    """Draw answers to each case and judge them; draw more where all are alike.

    Args:
        cases: What to say.
        draw: The policy.
        score: The rewards.
        weights: Which of them count, and how much.
        seeds: (number of the case, roll) -> a seed for each answer wanted.
        rerolls: How often more answers are drawn for a case whose answers are alike.

    Returns:
        A group for each case, whatever it is good for.
    """
    groups: dict[int, Group] = {}
    wanted = list(range(len(cases)))
    for roll in range(1 + rerolls):
        asked = [cases[i] for i in wanted]
        drawn = draw(asked, [seeds(i, roll) for i in wanted])
        rolled = [Group(case, rollouts, []) for case, rollouts in zip(asked, drawn, strict=True)]
        verdicts = iter(score([answer for group in rolled for answer in answers_of(group)]))
        for i, rollouts in zip(wanted, drawn, strict=True):
            found = [next(verdicts) for _ in rollouts.finish]
            groups[i] = _joined(groups.get(i), cases[i], rollouts, found, weights)
        wanted = [i for i in wanted if groups[i].use(weights) == "alike"]
        if not wanted:
            break
    return [groups[i] for i in range(len(cases))]


def answers_of(group: Group) -> list[Answer]:
    """The answers of a group, one by one."""
    return [
        Answer(group.case, tuple(group.rollouts.speech(row)), finish)
        for row, finish in enumerate(group.rollouts.finish)
    ]


def pooled(one: Rollouts, other: Rollouts) -> Rollouts:
    """Answers to one text, together."""
    width = max(one.tokens.shape[1], other.tokens.shape[1])

    def wide(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([F.pad(part, (0, width - part.shape[1])) for part in (x, y)])

    return Rollouts(
        one.sequence, wide(one.tokens, other.tokens), torch.cat([one.lengths, other.lengths]),
        wide(one.logprobs, other.logprobs), wide(one.masks, other.masks),
        one.finish + other.finish, one.shortest,
        one.held and other.held and one.held.of(wide(one.held.places, other.held.places)),
    )  # fmt: skip


def _joined(
    group: Group | None,
    case: Case,
    rollouts: Rollouts,
    verdicts: list[dict[str, Verdict]],
    weights: Sequence[Weight],
) -> Group:
    """A group with the answers of another roll."""
    rolls = 1
    if group is not None:
        rollouts, verdicts = pooled(group.rollouts, rollouts), group.verdicts + verdicts
        rolls = group.rolls + 1
    judged = [
        row
        for row, found in enumerate(verdicts)
        if all(isinstance(found[weight.name], Score) for weight in weights)
    ]
    return Group(case, rollouts, verdicts, rolls, judged)
