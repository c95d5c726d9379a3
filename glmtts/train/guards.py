"""Who watches the rewards: quantities that must not leave their margins while a policy learns.

A policy does what pays. When a reward can be had by speaking slower, by saying one thing only or by
sounding worse, some quantity that nobody rewards drifts away first; then the run ends or goes back.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from glmtts.errors import TrainingStopped
from glmtts.train.common import Run
from glmtts.train.curves import draw_curves

WATCHED = ("mos", "sim")
QUANTITIES = ("length", "entropy", "kl", *WATCHED)


@dataclass(frozen=True)
class Limits:
    """Margins, seen from the first steps of the run. 0 switches one off."""

    length: float = 0.2
    """Largest relative change of speech tokens a text id, longer or shorter."""
    entropy: float = 0.6
    """Largest relative fall of the entropy of what is drawn from."""
    kl: float = 0.0
    """Largest divergence from the first policy (nat a token)."""
    mos: float = 0.2
    """Largest fall of what the watched judge `mos` says, if there is one."""
    sim: float = 0.05
    """Largest fall of what the watched judge `sim` says."""
    first: int = 20
    """Steps at the beginning whose mean the others are compared with."""
    window: int = 20
    """Latest steps that are averaged. Texts differ: with four a step the mean length of five steps
    strays by 6 % without any drift, that of twenty by 3 %."""
    watch_window: int = 5
    """The same for watched judges, which listen now and then."""
    action: Literal["stop", "rollback"] = "stop"
    """stop: the run ends with an error that says why, the last weights within margins are kept;
    rollback: it goes on from those at half the learning rate, and stops after three times."""


@dataclass
class Guards:
    """The margins, and what has been seen so far.

    Attributes:
        limits: The margins.
        base: Mean of the first steps, by quantity.
        recent: Latest values, by quantity.
        breaches: How often a margin was left.
        rate: Factor on the learning rate, halved at each return.
    """

    limits: Limits
    base: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    recent: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    breaches: int = 0
    rate: float = 1.0

    def check(self, values: Mapping[str, float]) -> str | None:
        """Take the values of a step; what has left its margin, in words, or None.

        Args:
            values: Of this step, as far as measured: "length", "entropy", "kl", and what judges
                say that are not rewarded, "watched_mos", "watched_sim". Others are ignored.
        """
        breach = None
        for name in QUANTITIES:
            value = values.get(f"watched_{name}" if name in WATCHED else name)
            if value is None or not getattr(self.limits, name):
                continue
            base = self.base.setdefault(name, [])
            if len(base) < self.limits.first:
                base.append(value)
                continue
            recent = self.recent.setdefault(name, [])
            recent.append(value)
            window = self.limits.watch_window if name in WATCHED else self.limits.window
            del recent[:-window]
            if len(recent) == window:
                breach = breach or self._breach(name)
        return breach

    @property
    def steady(self) -> bool:
        """Whether the latest values are well within: at most half of each margin is used."""
        return not any(self._breach(name, 0.5) for name, seen in self.recent.items() if seen)

    def forget_recent(self) -> None:
        """Look at what comes from now on only."""
        self.recent.clear()

    def _breach(self, name: str, share: float = 1.0) -> str | None:
        """The sentence about a quantity that is beyond a share of its margin."""
        base = sum(self.base[name]) / len(self.base[name])
        now = sum(self.recent[name]) / len(self.recent[name])
        margin = share * float(getattr(self.limits, name))
        change = now - base
        beyond = {
            "length": abs(change) > margin * abs(base),
            "entropy": -change > margin * abs(base),
            "kl": now > margin,
        }.get(name, -change > margin)
        if not beyond:
            return None
        relative = name in ("length", "entropy")
        limit = f"{margin:.0%} of it" if relative else f"{margin:g}"
        return f"{name} went from {base:.3g} to {now:.3g}, the margin is {limit}"

    def state_dict(self) -> dict[str, Any]:
        """What has been seen."""
        return {
            "base": self.base, "recent": self.recent,
            "breaches": self.breaches, "rate": self.rate,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what had been seen."""
        self.base = {name: list(seen) for name, seen in state["base"].items()}
        self.recent = {name: list(seen) for name, seen in state["recent"].items()}
        self.breaches, self.rate = state["breaches"], state["rate"]


def keep_steady(folder: Path) -> None:
    """Copy a checkpoint to `steady/`, the last one whose quantities were well within margins."""
    draft, steady = folder.parent / f".steady_{os.getpid()}", folder.parent / "steady"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft)
    shutil.rmtree(steady, ignore_errors=True)
    draft.rename(steady)


def go_back(run: Run, step: int, breach: str, stateful: dict[str, Any]) -> None:
    """Take the last steady weights, at half the learning rate."""
    steady = run.restore(run.out / "steady", stateful, ("model", "optimizer"))
    guards: Guards = stateful["guards"]
    guards.forget_recent()
    guards.rate /= 2
    if run.main:
        print(f"step {step}: {breach}. Back to the weights after step {steady}, "
              "with half the learning rate.", flush=True)  # fmt: skip


def stop(run: Run, step: int, reason: str) -> NoReturn:
    """End the run with an error.

    Raises:
        TrainingStopped: always.
    """
    if run.main:
        draw_curves(run.out)
    run.finish()
    raise TrainingStopped(
        f"Stopped after step {step}: {reason}. The last weights within all margins are in "
        f"{run.out / 'steady'}. Mend the reward, or widen the margin (--guards…), in a new --out."
    )
