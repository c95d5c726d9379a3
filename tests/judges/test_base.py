"""The contract of judges."""

import pytest
import torch

from glmtts.audio import Audio
from glmtts.judges.base import Judge, judged
from glmtts.rewards.base import Failed, Sample, Score

CLIP = Audio(torch.zeros(24_000), 24_000)


def samples(*texts: str) -> list[Sample]:
    return [Sample(CLIP, text, "en") for text in texts]


def count_letters(sample: Sample) -> Score:
    if not sample.text:
        raise ValueError("nothing to count")
    return Score(float("nan") if sample.text == "?" else float(len(sample.text)))


class Letters:
    name, version = "letters", "1"

    def __call__(self, samples: list[Sample]) -> list[Score | Failed]:
        return judged(samples, count_letters)


def test_a_judge_that_fails_on_a_sample_says_why_and_goes_on() -> None:
    assert isinstance(Letters(), Judge)
    first, second, third, fourth = Letters()(samples("one", "", "?", "three"))
    assert (first, fourth) == (Score(3.0), Score(5.0))
    assert second == Failed("ValueError: nothing to count")
    assert isinstance(third, Failed)
    assert "nan" in third.reason


def test_ctrl_c_and_a_lack_of_memory_are_no_verdicts() -> None:
    for kind in (KeyboardInterrupt, MemoryError):

        def stop(sample: Sample, kind: type[BaseException] = kind) -> Score:
            raise kind

        with pytest.raises(kind):
            judged(samples("one"), stop)
