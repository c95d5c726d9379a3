"""Numbers of one step from all ranks, brought together as means and counts."""

from dataclasses import dataclass, field

import torch.distributed as dist

from glmtts.train.common import Run


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
