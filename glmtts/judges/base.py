"""What a judge hears and what it answers: the one contract of evaluation and rewards.

A judge is a callable on many samples at once. It answers each of them, in order, with a `Score` or
with `Failed` when it could not judge: a failure never becomes a number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from glmtts.audio import Audio


@dataclass(frozen=True)
class Sample:
    """One piece of speech and what it was meant to be.

    Attributes:
        audio: The speech.
        text: What should be said.
        language: "zh" or "en".
        prompt: The clip whose voice was asked for.
        style: The manner that was asked for, such as "happy" or "laughter".
        reference: A recording of the same text by a person.
    """

    audio: Audio
    text: str
    language: str
    prompt: Audio | None = None
    style: str | None = None
    reference: Audio | None = None


@dataclass(frozen=True)
class Score:
    """What a judge found in one sample.

    Attributes:
        value: The metric or the reward.
        tokens: (S,) credit of each speech token, 25 a second, where the judge can tell.
        detail: What else it found, ready for JSON.
    """

    value: float
    tokens: NDArray[np.float32] | None = None
    detail: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class Failed:
    """A judge could not judge a sample; never a zero.

    Attributes:
        reason: What happened.
    """

    reason: str


Verdict = Score | Failed


@runtime_checkable
class Judge(Protocol):
    """A judge of speech.

    Attributes:
        name: What it judges, such as "cer".
        version: Which model or rule judges, with its version: equal versions judge equally.
    """

    name: str
    version: str

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """A verdict for each sample, in order."""
        ...


def judged(samples: Sequence[Sample], judge: Callable[[Sample], Score]) -> list[Verdict]:
    """`judge` on each sample by itself; whatever it raises becomes the reason of a `Failed`.

    Ctrl-C and a lack of memory are not verdicts: they are raised.
    """
    verdicts: list[Verdict] = []
    for sample in samples:
        try:
            score = judge(sample)
        except MemoryError:
            raise
        except Exception as error:  # a judge is a plug-in: anything can go wrong inside
            verdicts.append(Failed(f"{type(error).__name__}: {error}"))
            continue
        if not np.isfinite(score.value):
            verdicts.append(Failed(f"The judge answered {score.value}, which is no number."))
            continue
        verdicts.append(score)
    return verdicts
