"""Our mels, Kaldi features and resampler against the official ones: mel.safetensors.

Where a sound holds next to nothing, its log-mel shows the rounding of a float32 Fourier transform,
which differs between processors: there the recorded numbers are themselves further than the
tolerance from those of float64. `assert_near` allows twice that distance, and only there.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from glmtts.audio import AudioSpec, kaldi_fbank, log_mel, mel_basis, sinc_resampled
from tests.parity.goldens import FOLDER, Tensors, needs_goldens, read

pytestmark = needs_goldens

Case = tuple[str, dict[str, Any]]
TENSORS, META = read("mel.safetensors") if FOLDER.is_dir() else ({}, {"cases": {}})
MELS: list[Case] = [(k, c) for k, c in META["cases"].items() if "hop" in c]
FBANKS: list[Case] = [(k, c) for k, c in META["cases"].items() if "fbank" in c["kind"]]
AUDIBLE = 4.5
"""Nats above the floor from which on a value is a sound's, not the transform's rounding."""


def wave(name: str, tensors: Tensors = TENSORS) -> torch.Tensor:
    return tensors[name].float() / 32_768


def assert_near(
    compute: Callable[[torch.Tensor], torch.Tensor],
    samples: torch.Tensor,
    recorded: torch.Tensor,
    *,
    audible: torch.Tensor,
    tolerance: float,
    at_floor: float,
) -> None:
    found, exact = compute(samples), compute(samples.double())
    assert found.dtype == torch.float32
    assert found.shape == recorded.shape
    difference = (found - recorded).abs()
    quiet = max(at_floor, 2 * float((recorded - exact).abs().max()))
    assert difference.where(audible, 0.0).max() <= tolerance
    assert difference.where(~audible, 0.0).max() <= quiet
    assert (found - exact).abs().max() <= quiet  # as near to the truth as theirs


@pytest.mark.parametrize(("name", "case"), MELS, ids=lambda x: x if isinstance(x, str) else "")
def test_mels_are_the_official_ones(name: str, case: dict[str, Any]) -> None:
    spec = AudioSpec(case["sr"], case["hop"], case["n_fft"], case["shape"][1])
    recorded = TENSORS[f"{name}.mel"][0].T
    assert_near(
        lambda x: log_mel(x, spec), wave(f"{name}.wav"), recorded,
        audible=recorded > math.log(1e-5) + AUDIBLE, tolerance=2e-4, at_floor=1e-3,
    )  # fmt: skip


def test_filters_are_librosas() -> None:
    found = [key for key in TENSORS if key.startswith("mel_basis_")]
    assert found
    for key in found:
        recorded = TENSORS[key]
        mels, bins = recorded.shape
        ours = mel_basis(int(key.rpartition("_")[2]), 2 * (bins - 1), mels, 0.0, 8_000.0)
        assert (ours - recorded).abs().max() <= 1e-8, key


@pytest.mark.parametrize(("name", "case"), FBANKS, ids=lambda x: x if isinstance(x, str) else "")
def test_speaker_features_are_kaldis(name: str, case: dict[str, Any]) -> None:
    rate, mels = case["sr"], case["shape"][1]

    def centred(samples: torch.Tensor) -> torch.Tensor:
        features = kaldi_fbank(samples, rate, mels)
        return features - features.mean(0)

    samples, recorded = wave(f"{name}.wav"), TENSORS[f"{name}.fbank"]
    assert recorded.shape == tuple(case["shape"])
    audible = recorded > math.log(torch.finfo(torch.float32).eps) + AUDIBLE
    for compute, expected in (
        (lambda x: kaldi_fbank(x, rate, mels), recorded),
        (centred, TENSORS[f"{name}.fbank_cmn"]),
    ):
        assert_near(compute, samples, expected, audible=audible, tolerance=2e-3, at_floor=2e-3)


def test_resampling_is_torchaudios() -> None:
    found = [key for key in TENSORS if key.startswith("resample.out_")]
    assert found
    for key in found:
        source, target = map(int, re.findall(r"\d+", key))
        ours = sinc_resampled(wave(f"resample.in_{source}"), source, target)
        recorded = TENSORS[key].flatten()
        assert ours.shape == recorded.shape
        assert (ours - recorded).abs().max() <= 2e-6, key
