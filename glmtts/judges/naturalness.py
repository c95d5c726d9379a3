"""Does it sound like good speech? DistillMOS, trained to guess mean opinion scores, 1 to 5."""

import contextlib
import io
import sys
import types
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import torch

from glmtts.errors import BadAudio
from glmtts.judges.base import Sample, Score, Verdict, judged
from glmtts.judges.needs import needed

SAMPLE_RATE = 16_000
PEAK = 0.8
"""Sounds are brought to this peak: loudness is no quality."""


class Mos:
    """DistillMOS (Stahl and Gamper, arXiv:2502.05356), whose weights come in its package."""

    name = "mos"

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingPackage: distillmos or xls-r-sqa are not installed.
            MissingExtra: einops is not installed.
        """
        with (
            _without_torchaudio(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),  # it prints where its weights are
        ):
            warnings.simplefilter("ignore")
            module = needed("distillmos", "The MOS judge")
            self._model: Any = module.ConvTransformerSQAModel().eval()
        self.version = f"DistillMOS {metadata.version('distillmos')}"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """See `glmtts.judges.base.Judge`."""
        return judged(samples, self.judge)

    @torch.inference_mode()
    def judge(self, sample: Sample) -> Score:
        """Judge one sample.

        Raises:
            BadAudio: it is silence.
        """
        heard = sample.audio.resampled(SAMPLE_RATE).samples.float().cpu()
        if not heard.numel() or not heard.any():
            raise BadAudio("Silence has no quality. Expected speech.")
        return Score(float(self._model(heard[None] / heard.abs().max() * PEAK)))


class _without_torchaudio:
    """Lets a package be imported that needs torchaudio only for a command line of its own."""

    def __enter__(self) -> None:
        self._added = "torchaudio" not in sys.modules and not _installed("torchaudio")
        if self._added:
            sys.modules["torchaudio"] = types.ModuleType("torchaudio")

    def __exit__(self, *error: object) -> None:
        if self._added:
            del sys.modules["torchaudio"]


def _installed(module: str) -> bool:
    try:
        __import__(module)
    except (ImportError, OSError):  # the build for another torch cannot be loaded
        return False
    return True
