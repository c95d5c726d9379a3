"""Numbers of one step of policy training from all ranks, brought together as means and counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch.distributed as dist

from glmtts.rewards.base import Failed, Score
from glmtts.train.common import Run
from glmtts.train.groups import Group, answers_of
from glmtts.train.scoring import Scorer, Weight


@dataclass
class Tally:
    """Sums with their weights, and counts.

    Attributes:
        sums: Weighted sum and weight of each mean.
        counts: Totals.
    """

    sums: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    counts: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, name: str, value: float, weight: float = 1.0) -> None:
        """Let `value` enter the mean called `name`."""
        total, mass = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (total + value * weight, mass + weight)

    def count(self, name: str, number: float) -> None:
        """Add to the total called `name`."""
        self.counts[name] = self.counts.get(name, 0.0) + number

    def results(self, run: Run) -> dict[str, float]:
        """Means and totals over all ranks, the same on each; means of nothing are left out."""
        parts = [(self.sums, self.counts)]
        if run.world > 1:
            parts: list[tuple[dict[str, tuple[float, float]], dict[str, float]]] = []
            parts += [({}, {})] * run.world
            dist.all_gather_object(parts, (self.sums, self.counts))
        joined = Tally()
        for sums, counts in parts:
            for name, (total, mass) in sums.items():
                before, weight = joined.sums.get(name, (0.0, 0.0))
                joined.sums[name] = (before + total, weight + mass)
            for name, number in counts.items():
                joined.count(name, number)
        means = {name: total / mass for name, (total, mass) in joined.sums.items() if mass}
        return means | joined.counts


def note(
    tally: Tally, groups: Sequence[Group], weights: Sequence[Weight], rewarded: Sequence[Weight]
) -> None:
    """Rewards and their spread, lengths, ends, and what the groups were good for."""
    for group in groups:
        use = group.use(rewarded)
        for kind in ("useful", "solved", "alike", "unjudged"):
            tally.add(kind, float(use == kind))
        tally.add("rolls", group.rolls)
        tally.count("answers", len(group.verdicts))
        tally.count("judged", len(group.judged))
        for length, finish in zip(group.rollouts.lengths, group.rollouts.finish, strict=True):
            tally.add("length", int(length) / len(group.case.text_ids))
            tally.add("ended", float(finish == "stop"))
        for weight in weights:
            values = np.array(group.values(weight.name))
            if len(values):
                tally.add(weight.name, float(values.mean()), len(values))
                tally.add(f"{weight.name}_spread", float(values.std()))
            failed = sum(isinstance(v[weight.name], Failed) for v in group.verdicts)
            tally.count(f"{weight.name}_failed", failed)


def note_watched(tally: Tally, watch: Scorer, groups: Sequence[Group]) -> None:
    """What judges that are not rewarded say of the first two answers of each group."""
    answers = [answer for group in groups for answer in answers_of(group)[:2] if answer.tokens]
    for verdicts in watch(answers):
        for name, verdict in verdicts.items():
            if isinstance(verdict, Score):
                tally.add(f"watched_{name}", verdict.value)
            else:
                tally.count(f"watched_{name}_failed", 1)
