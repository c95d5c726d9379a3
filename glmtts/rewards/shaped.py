"""The rewards: what judges find, shaped so that more is better. Read `Reward`, then `REWARDS`.

Formulas of the official reward server where there is one (spec §8.6): CER exp(-2.5 CER), speaker
(1 + cos) / 2, the probability of the emotion, laughter 1 or 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from glmtts.errors import BadInput
from glmtts.judges import intelligibility
from glmtts.judges.base import Failed, Judge, Sample, Score, Verdict, judged
from glmtts.judges.ears import Ears, WhisperBase
from glmtts.judges.laughter import LAUGH_TEXT, THRESHOLD, Laughter, asks_for_laughter
from glmtts.judges.registry import Wanted, wanted

SHARPNESS = 2.5
"""Of the official CER reward."""

Shape = Callable[[Sample, Score], float]


class Reward:
    """A judge whose findings are shaped into a reward; itself a judge."""

    def __init__(self, judge: Judge, shape: Shape, *, name: str = "", rule: str = "") -> None:
        """Shape what `judge` finds.

        Args:
            judge: Finds a value.
            shape: Sample and score to the reward.
            name: Of the reward; that of the judge when empty.
            rule: The formula, for reports.
        """
        self._judge = judge
        self._shape = shape
        self.name = name or judge.name
        self.version = f"{judge.version}; {rule}" if rule else judge.version

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`; `found` in the detail is what the judge found."""
        verdicts = self._judge(samples)
        if len(verdicts) != len(samples):
            raise BadInput(
                f"The judge {self._judge.name} answered {len(verdicts)} of {len(samples)} samples."
            )
        return [self._shaped(s, v) for s, v in zip(samples, verdicts, strict=True)]

    def _shaped(self, sample: Sample, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Failed):
            return verdict

        def shaped(sample: Sample) -> Score:
            found = {"found": verdict.value, **verdict.detail}
            return replace(verdict, value=self._shape(sample, verdict), detail=found)

        return judged([sample], shaped)[0]


def error_reward(sample: Sample, score: Score) -> float:
    """exp(-2.5 error rate): 1 for none, 0.08 when everything is wrong."""
    return math.exp(-SHARPNESS * score.value)


def cosine_reward(sample: Sample, score: Score) -> float:
    """(1 + cos) / 2."""
    return (1.0 + score.value) / 2.0


def mos_reward(sample: Sample, score: Score) -> float:
    """A mean opinion score of 1 to 5 as 0 to 1."""
    return (score.value - 1.0) / 4.0


def likelihood_reward(sample: Sample, score: Score) -> float:
    """The geometric mean of the tokens' probabilities."""
    return math.exp(score.value)


def value_reward(sample: Sample, score: Score) -> float:
    """What the judge found, as it is."""
    return score.value


def duration_reward(sample: Sample, score: Score) -> float:
    """1 at the usual length of the text, 1/2 at half or twice of it."""
    return math.exp(-abs(math.log(max(score.value, 1e-3))))


class Seconds:
    """Longer is better. No goal for speech: made to see whether a guard stops a hacked reward."""

    name, version = "seconds", "length of the sound in tens of seconds"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, lambda sample: Score(sample.audio.seconds / 10.0))


class LaughterReward:
    """1 where a laugh is asked for and heard, else 0.

    Rule "detector": a laugh is asked for (by the text or the style) and the detector hears one.
    That a laugh is read out ("ha ha ha", 哈哈哈) does not fire it.
    Rule "deleted" is the paper's: of a text with a laugh in it the recogniser writes down no laugh.
    Rule "both" wants both. A text in which no laugh is written has no laugh to delete: there only
    the detector counts.
    """

    name = "laughter"

    def __init__(
        self, rule: str = "detector", threshold: float = THRESHOLD, ears: Ears | None = None
    ) -> None:
        """Choose the rule and from which probability on the detector counts.

        Raises:
            BadInput: an unknown rule.
        """
        if rule not in ("detector", "deleted", "both"):
            raise BadInput(f"No laughter rule {rule!r}. Known: detector, deleted, both.")
        self.rule = rule
        self._detector = Laughter(threshold) if rule != "deleted" else None
        self._ears = None if rule == "detector" else ears or WhisperBase()
        parts = [part.version for part in (self._detector, self._ears) if part is not None]
        self.version = f"{', '.join(parts)}; rule {rule}"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        """Judge one sample."""
        if not asks_for_laughter(sample):
            return Score(0.0, detail={"asked": False})
        detail: dict[str, object] = {"asked": True}
        laughs = True
        if self._detector is not None:
            heard = self._detector.judge(sample)
            detail.update({"laughter": heard.value, "laughs": heard.detail["laughs"]})
            laughs = heard.value >= self._detector.threshold
        written = LAUGH_TEXT.search(sample.text.replace("[laughter]", ""))
        if self._ears is not None and written:
            text = self._ears.hear(sample.audio, sample.language)
            detail["heard"] = text
            laughs = laughs and not LAUGH_TEXT.search(text)
        elif self._detector is None:
            raise BadInput("The rule 'deleted' needs a text with a laugh such as 哈哈 in it.")
        return Score(float(laughs), detail=detail)


def _judged(slot: str, shape: Shape, rule: str, kind: str = "", argument: str = "") -> Reward:
    judge = Wanted(slot, kind, argument)() if kind else wanted(slot)()
    return Reward(judge, shape, rule=rule)


def _cer(kind: str = "", argument: str = "", *, tokens: bool = False) -> Reward:
    if tokens:
        judge: Judge = intelligibility.offline(tokens=True)
        return Reward(judge, error_reward, name="token-cer", rule="exp(-2.5 CER), by token")
    return _judged("cer", error_reward, "exp(-2.5 CER)", kind, argument)


def _sim(kind: str = "", argument: str = "") -> Reward:
    # Not the first kind of the slot: that one judges evaluations.
    return _judged("sim", cosine_reward, "(1 + cos) / 2", kind or "ge2e", argument)


def _emotion(kind: str = "", argument: str = "") -> Reward:
    # Not the first kind of the slot: that one judges evaluations.
    return _judged("emotion", value_reward, "probability of the style", kind or "tokens", argument)


def _duration() -> Reward:
    return Reward(wanted("pace")(), duration_reward, name="duration", rule="exp(-|log ratio|)")


REWARDS: dict[str, Callable[..., Judge]] = {
    "cer": _cer,
    "token-cer": partial(_cer, tokens=True),
    "per": partial(_judged, "per", error_reward, "exp(-2.5 PER)"),
    "likelihood": partial(_judged, "likelihood", likelihood_reward, "exp(mean log-probability)"),
    "sim": _sim,
    "mos": partial(_judged, "mos", mos_reward, "(MOS - 1) / 4"),
    "emotion": _emotion,
    "laughter": LaughterReward,
    "duration": _duration,
    "seconds": Seconds,
}
"""Each reward by name; those with a judge take its kind and argument (`judges.registry.SLOTS`)."""


@dataclass(frozen=True)
class WantedReward:
    """A reward that is asked for: picklable, made where it is needed.

    Attributes:
        asked: NAME, NAME=KIND or NAME=KIND:ARGUMENT; laughter=RULE.
    """

    asked: str

    def __post_init__(self) -> None:
        """Refuse unknown names before anything is loaded.

        Raises:
            BadInput: there is no such reward.
        """
        name = self.asked.partition("=")[0]
        if name not in REWARDS:
            raise BadInput(f"No reward {name!r}. Known: {', '.join(REWARDS)}.")

    def __call__(self) -> Judge:
        """Make it.

        Raises:
            GlmTtsError: a package or weights are missing; the message says which.
        """
        name, _, rest = self.asked.partition("=")
        if not rest:
            return REWARDS[name]()
        if name == "laughter":
            return LaughterReward(rest)
        if name in ("duration", "seconds", "token-cer"):
            raise BadInput(f"The reward {name} has no kinds, got {rest!r}.")
        chosen = wanted(self.asked)
        return REWARDS[name](chosen.kind, chosen.argument)


def reward(asked: str) -> Judge:
    """A reward by name, such as "cer", "sim=dvector", "laughter=both".

    Raises:
        BadInput: there is none of that name.
        GlmTtsError: a package or weights are missing; the message says which.
    """
    return WantedReward(asked)()


@dataclass(frozen=True)
class Scored:
    """What several rewards found in N samples.

    Attributes:
        names: R names.
        values: (N, R) rewards; NaN where one failed.
        verdicts: For each reward those of all samples.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    verdicts: tuple[list[Verdict], ...]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) whether every reward could judge the sample; the others must not be learnt from."""
        return np.array([bool(np.isfinite(row).all()) for row in self.values], dtype=np.bool_)

    @property
    def failures(self) -> dict[str, int]:
        """Samples that each reward could not judge."""
        return dict(zip(self.names, np.isnan(self.values).sum(axis=0).tolist(), strict=True))

    def reasons(self) -> list[str]:
        """Why, each reason once: "cer: BadAudio: …"."""
        found = [
            f"{name}: {verdict.reason}"
            for name, verdicts in zip(self.names, self.verdicts, strict=True)
            for verdict in verdicts
            if isinstance(verdict, Failed)
        ]
        return list(dict.fromkeys(found))


def score(rewards: Sequence[Judge], samples: Sequence[Sample]) -> Scored:
    """All rewards of all samples; failures are kept apart and counted.

    Raises:
        BadInput: a reward did not answer every sample.
    """
    verdicts = tuple(reward(samples) for reward in rewards)
    for one, given in zip(rewards, verdicts, strict=True):
        if len(given) != len(samples):
            raise BadInput(
                f"The reward {one.name} answered {len(given)} of {len(samples)} samples."
            )
    values = np.full((len(samples), len(rewards)), math.nan, dtype=np.float64)
    for column, given in enumerate(verdicts):
        values[:, column] = [v.value if isinstance(v, Score) else math.nan for v in given]
    return Scored(tuple(one.name for one in rewards), values, verdicts)
