"""Step engines that are not part of the package: separation, denoising, other recognisers.

Each is a function of a sound. Asking for one whose package is missing says which to install; the
weights of those that fetch them come from the hub of their authors, not from us.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput, GlmTtsError

Cleaner = Callable[[Audio], Audio]


class MissingPackage(GlmTtsError, ImportError):
    """A step engine was asked for whose package is not installed."""


def cleaner(kind: str, name: str) -> Cleaner | None:
    """The engine `name` of the step `kind` ("separate" or "denoise"); "" is none.

    Raises:
        BadInput: there is no such engine.
        MissingPackage: its package is not installed.
    """
    if not name:
        return None
    known = {"separate": SEPARATORS, "denoise": DENOISERS}[kind]
    if name not in known:
        raise BadInput(f"Unknown engine {name!r} for --{kind}. Known: {', '.join(known)}.")
    return known[name]()


def _package(name: str, install: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"The package {name} is not installed. Install it with: pip install {install}"
        ) from error


def _rnnoise() -> Cleaner:
    """RNNoise (Valin 2018), 48 kHz; its weights are in the wheel."""
    package = _package("pyrnnoise", "pyrnnoise")

    def clean(audio: Audio) -> Audio:
        sound = audio.resampled(48_000)
        pcm = (sound.samples.clamp(-1, 1).numpy() * 32767).astype(np.int16)
        denoiser = package.RNNoise(sample_rate=48_000)
        frames = [part.reshape(-1) for _, part in denoiser.denoise_chunk(pcm[None])]
        out = np.concatenate(frames).astype(np.float32) / 32768.0
        return Audio(torch.from_numpy(out), 48_000).resampled(audio.sample_rate)

    return clean


def _noisereduce() -> Cleaner:
    """Spectral gating (Sainburg 2020); no weights."""
    package = _package("noisereduce", "noisereduce")

    def clean(audio: Audio) -> Audio:
        out = package.reduce_noise(y=audio.samples.numpy(), sr=audio.sample_rate, stationary=True)
        return Audio(torch.from_numpy(np.ascontiguousarray(out, np.float32)), audio.sample_rate)

    return clean


def _demucs() -> Cleaner:
    """HT-Demucs (Rouard et al. 2023): the vocals of a mixture; fetches its weights."""
    api = _package("demucs.api", "demucs")
    separator: Any = api.Separator("htdemucs")

    def clean(audio: Audio) -> Audio:
        rate = int(separator.samplerate)
        stereo = audio.resampled(rate).samples[None].repeat(2, 1)
        _, stems = separator.separate_tensor(stereo, rate)
        return Audio(stems["vocals"].mean(0).float().cpu(), rate).resampled(audio.sample_rate)

    return clean


SEPARATORS: Mapping[str, Callable[[], Cleaner]] = {"demucs": _demucs}
DENOISERS: Mapping[str, Callable[[], Cleaner]] = {
    "rnnoise": _rnnoise,
    "noisereduce": _noisereduce,
}
