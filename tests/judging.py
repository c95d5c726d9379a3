"""Judges for tests: no models, importable by worker processes."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.judges.base import Sample, Score, Verdict, judged


def sample(text: str, seconds: float = 0.1, **more: object) -> Sample:
    """A sample whose sound is silence; most of these judges look at its text alone."""
    clip = Audio(torch.zeros(int(16_000 * seconds)), 16_000)
    return Sample(clip, text, str(more.pop("language", "en")), **more)  # type: ignore[arg-type]


class Letters:
    """Counts letters. Some texts do something else: see `judge`."""

    name, version = "letters", "1"

    def __init__(self, once: Path | None = None) -> None:
        self.once = once

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        if sample.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if sample.text == "die once" and self.once is not None and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if sample.text == "hang":
            time.sleep(60)
        if sample.text == "wait":
            time.sleep(0.5)
        if sample.text == "fail":
            raise BadInput("nothing to count")
        return Score(float(len(sample.text)), detail={"process": os.getpid()})


class Impossible:
    def __init__(self) -> None:
        raise BadInput("the weights are missing")


class Dies:
    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Recites:
    """An `Ears` that hears what it was told, by the text of nothing: in order of calls."""

    version = "recites"

    def __init__(self, *heard: str) -> None:
        self.heard = list(heard)

    def hear(self, audio: Audio, language: str) -> str:
        return self.heard.pop(0)

    def times(self, audio: Audio, text: str, language: str) -> None:
        return None
