"""Samples as plain values, to cross processes and machines: no shared memory, no shared files."""

from typing import Any

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.judges.base import Sample

Packed = dict[str, Any]


def _pack_audio(audio: Audio | None) -> tuple[np.ndarray, int, str | None] | None:
    if audio is None:
        return None
    samples = audio.samples.detach().float().cpu().numpy()
    return np.ascontiguousarray(samples), audio.sample_rate, audio.finish_reason


def _unpack_audio(packed: tuple[np.ndarray, int, str | None] | None) -> Audio | None:
    if packed is None:
        return None
    samples, rate, reason = packed
    return Audio(torch.from_numpy(np.array(samples)), rate, reason)


def pack(sample: Sample) -> Packed:
    """A sample as arrays and strings."""
    return {
        "audio": _pack_audio(sample.audio), "text": sample.text, "language": sample.language,
        "prompt": _pack_audio(sample.prompt), "style": sample.style,
        "reference": _pack_audio(sample.reference),
    }  # fmt: skip


def unpack(packed: Packed) -> Sample:
    """The sample that was packed."""
    audio = _unpack_audio(packed["audio"])
    assert audio is not None, "a sample without audio"
    return Sample(
        audio, packed["text"], packed["language"], _unpack_audio(packed["prompt"]),
        packed["style"], _unpack_audio(packed["reference"]),
    )  # fmt: skip
