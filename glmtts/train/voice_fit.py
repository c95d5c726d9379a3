"""One component of a voice learns until it gets no better. Read `fit` from the top."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from glmtts.train.common import Run, adamw, set_lr, warmup_cosine
from glmtts.train.lora import Trained
from glmtts.train.voice_judge import Verdict

Loss = Callable[[int], dict[str, Tensor]]
"""The losses of the batch of a step; "loss" is minimised."""
Listen = Callable[[], Verdict]
"""What a judge hears of the present state."""
PEAKS = {"lm": (1e-3, 1e-4), "flow": (2e-3, 3e-4)}
"""Learning rates of adapters, of everything; those of the flow were measured, see docs/voice.md."""
AUDIBLE = 0.002
"""By how much a judge's score must be higher to count as better."""


class FitSettings(Protocol):
    """What `fit` needs to know of a run, see `train.voice.Config`."""

    out: Path
    full: bool
    steps: int
    flow_steps: int
    lr: float
    weight_decay: float
    warmup: int
    clip: float
    patience: int
    log_every: int
    valid_every: int
    save_every: int


@dataclass(frozen=True)
class Cost:
    """What a component cost.

    Attributes:
        steps: Steps taken.
        best_step: Steps after which it was as it is kept.
        kept_by: "loss" or "judge".
        seconds: Wall time of steps and validation losses; the judge's not counted.
        core_s: Time that the process computed on CPUs for them: on a busy machine it tells more.
        judge_seconds: Wall time of the judge at validations.
    """

    steps: int
    best_step: int
    kept_by: str
    seconds: float
    core_s: float
    judge_seconds: float


def fit(
    run: Run,
    config: FitSettings,
    trained: Trained,
    loss: Loss,
    check: Callable[[], float],
    listen: Listen | None = None,
) -> "Best":
    """Train one component until it stops getting better; it is left in its best state by loss."""
    steps = config.steps if trained.name == "lm" else config.flow_steps
    peak = config.lr or PEAKS[trained.name][config.full]
    optimizer = adamw(trained.model, peak, config.weight_decay)
    best = Best(trained)
    part = Run(
        config.out / trained.name, run.seed, run.device, run.rank, run.world, run.amp,
        keep=1, started=time.monotonic(), board=run.board,
    )  # fmt: skip
    part.out.mkdir(exist_ok=True)
    stateful = {"trained": trained, "optimizer": optimizer, "best": best}
    start = part.resume(stateful)
    if not start:
        best.offer(-1, check, listen)
    for step in run.steps(start, steps):
        if best.bad >= config.patience:
            break
        began = Clock.now()
        set_lr(optimizer, warmup_cosine(step, peak, config.warmup, steps))
        trained.model.train()
        with run.autocast():
            losses = loss(step)
        losses["loss"].backward()
        grad_norm = clip_grad_norm_(trained.learning, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        best.took(step, began)
        if run.due(step, config.log_every):
            each = (time.monotonic() - part.started) / (step + 1 - start)
            shown = {key: value.detach() for key, value in losses.items()}
            part.log(
                step, **shown, grad_norm=grad_norm, minutes_left=each * (steps - step - 1) / 60
            )
        last = step + 1 == steps
        if run.due(step, config.valid_every) or last:  # not when stopped: it would count as one
            heard = best.offer(step, check, listen)
            part.log(
                step, valid=best.latest, best=best.loss, best_step=best.step,
                train_s=best.core_s, **heard.values("judge"),
            )  # fmt: skip
        ends = last or run.stopping or best.bad >= config.patience
        if run.due(step, config.save_every) or ends:
            part.save(step, None, stateful, config)
    if not run.stopping:
        trained.load_state_dict(best.state)
    trained.model.eval()
    return best


@dataclass(frozen=True)
class Clock:
    """A moment: on the wall, and in seconds that the process has computed."""

    wall: float
    core: float

    @classmethod
    def now(cls) -> "Clock":
        """This moment."""
        return cls(time.monotonic(), time.process_time())


class Best:
    """The best states so far: one by validation loss, one by what a judge hears.

    Attributes:
        loss: The least loss.
        step: Its step, -1 for the state before training.
        score: The highest score of the judge.
        judged_step: Its step.
        bad: Validations since either was better.
        latest: Loss of the last validation.
        state: What learns, as it was at `step`.
        judged: What learns, as it was at `judged_step`; None where it is the same.
        steps: Steps taken.
        seconds: Wall time of steps and losses.
        core_s: What the process computed for them.
        judge_seconds: Wall time of the judge.
        kept_by: Which of the two states was kept in the end.
    """

    def __init__(self, trained: Trained) -> None:
        """Begin with the state that `trained` has."""
        self._trained = trained
        self.loss, self.latest, self.step, self.bad = float("inf"), float("inf"), -1, 0
        self.score, self.judged_step = float("-inf"), -1
        self.state = self._copy()
        self.judged: dict[str, Tensor] | None = None
        self.steps, self.seconds, self.core_s, self.judge_seconds = 0, 0.0, 0.0, 0.0
        self.kept_by = "loss"

    def took(self, step: int, began: Clock) -> None:
        """Count a step that began then."""
        self.steps = step + 1
        self._count(began)

    def _count(self, began: Clock) -> None:
        now = Clock.now()
        self.seconds += now.wall - began.wall
        self.core_s += now.core - began.core

    def offer(self, step: int, check: Callable[[], float], listen: Listen | None) -> Verdict:
        """Validate the present state by its loss and, if somebody listens, by the judge."""
        clock = Clock.now()
        self.latest = check()
        self._count(clock)
        began = time.monotonic()
        heard = listen() if listen is not None else Verdict()
        self.judge_seconds += time.monotonic() - began
        better = self.latest < self.loss
        sounds_better = bool(heard.spoken) and heard.score > self.score + AUDIBLE
        if sounds_better:
            self.score, self.judged_step = heard.score, step
            self.judged = None if better else self._copy()
        elif better and self.judged is None:  # the state by loss moves on, the judged one stays
            self.judged = self.state if heard.spoken else None
        if better:
            self.loss, self.step, self.state = self.latest, step, self._copy()
        self.bad = 0 if better or sounds_better else self.bad + 1
        return heard

    def choose(self, listen: Listen) -> None:
        """Leave the component in the state that a judge prefers of the two."""
        self._trained.load_state_dict(self.state)
        if self.judged is None:
            return
        by_loss = listen()
        self._trained.load_state_dict(self.judged)
        by_judge = listen()
        if by_judge.score > by_loss.score:
            self.kept_by = "judge"
        else:
            self._trained.load_state_dict(self.state)

    def cost(self) -> Cost:
        """What it took to get here."""
        best = self.judged_step if self.kept_by == "judge" else self.step
        return Cost(
            self.steps, best + 1, self.kept_by, round(self.seconds, 3), round(self.core_s, 3),
            round(self.judge_seconds, 3),
        )  # fmt: skip

    def _copy(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self._trained.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        for name, value in state.items():
            setattr(self, name, value)
