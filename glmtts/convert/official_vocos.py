"""The official 32 kHz vocoder as a component: its TorchScript archive and what it needs to know.

Its architecture is not published; how far it sees is measured here, so that it can be streamed.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from glmtts import checkpoint
from glmtts.audio import AudioSpec
from glmtts.errors import CheckpointError
from glmtts.nn.scripted import ScriptedVocoder, load_script
from glmtts.vocoder import ArchiveConfig, Vocoder, VocoderConfig

SPEC = AudioSpec(sample_rate=32_000, hop_length=640, n_fft=2_560)
"""Rates and mel settings of the released archive (spec §3.7, §4.2)."""

EVERYTHING = 1_000_000
"""Context of an archive that sees a whole utterance: its streams speak at the end."""


def torchscript_vocoder(
    archive: Path, out: Path, *, spec: AudioSpec = SPEC, mels: AudioSpec | None = None
) -> None:
    """Write the component folder around a TorchScript vocoder.

    The archive wants magnitudes divided by the window's length, so the logarithm of that length is
    taken off the mel. A window of the same time holds more samples at a higher rate: a mel of
    24 kHz lies ln(2560 / 1920) = 0.288 nat below that of the same sound at 32 kHz. Both are right
    here when `mels` tells which it is.

    Args:
        archive: The released `generator_jit.ckpt`; only TorchScript is opened, never a pickle.
        out: Folder of the component.
        spec: Rates of the archive.
        mels: Settings of the mels it is going to be given; None = `spec`.

    Raises:
        CheckpointError: the file is missing, damaged, no TorchScript archive, or not a vocoder of
            this rate.
    """
    mels = mels or spec
    if mels.frames_per_second != spec.frames_per_second or mels.n_mels != spec.n_mels:
        raise CheckpointError(
            f"The mels have {mels.n_mels} bins and {mels.frames_per_second:g} frames a second, the "
            f"archive takes {spec.n_mels} and {spec.frames_per_second:g}."
        )
    try:
        data = Path(archive).read_bytes()
        load_script(data, "cpu")
        trial = ScriptedVocoder(spec.hop_length, -math.log(mels.n_fft), 0, 0)
        trial.archive = data
        left, right = measured_context(trial, spec.n_mels)
    except OSError as error:
        raise CheckpointError(f"Cannot read {archive} ({error}). Download the file.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{archive}: {error}") from error
    vocoder = Vocoder(VocoderConfig("torchscript", spec, archive=ArchiveConfig(left, right)))
    assert isinstance(vocoder.network, ScriptedVocoder)
    vocoder.network.shift.fill_(-math.log(mels.n_fft))
    vocoder.blob = data
    checkpoint.save(vocoder, out)


@torch.no_grad()
def measured_context(
    network: ScriptedVocoder, n_mels: int, frames: int = 256, trials: int = 2
) -> tuple[int, int]:
    """Frames back and ahead that a frame's samples depend on, found by changing one frame.

    Returns:
        Left and right, with a frame to spare; `EVERYTHING` for both if either has no end.

    Raises:
        CheckpointError: the archive cannot take a mel, or gives another number of samples.
    """
    rng, middle = torch.Generator().manual_seed(0), frames // 2
    left = right = 0
    for _ in range(trials):
        mel = torch.randn(1, frames, n_mels, generator=rng) - 4.0
        other = mel.clone()
        other[:, middle] += 2.0 * torch.randn(n_mels, generator=rng)
        changed = _changed_frames(network, mel, other)
        if len(changed) and (int(changed[0]) == 0 or int(changed[-1]) == frames - 1):
            return EVERYTHING, EVERYTHING
        if len(changed):
            right = max(right, middle - int(changed[0]) + 1)
            left = max(left, int(changed[-1]) - middle + 1)
    return left, right


def _changed_frames(network: ScriptedVocoder, mel: Tensor, other: Tensor) -> Tensor:
    """Indices of the frames whose samples differ."""
    try:
        before, after = network(mel).samples[0], network(other).samples[0]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:120]
        raise CheckpointError(
            f"The archive cannot take a mel of shape {tuple(mel.shape)} ({reason}). "
            "Is it a vocoder?"
        ) from error
    difference = (before - after).abs() > 1e-6 * before.abs().max().clamp(min=1e-6)
    return difference.view(-1, network.hop).any(1).nonzero()[:, 0]
