"""Step engines that are not part of the package: separation, denoising, who speaks when.

Each is a function of a sound (recognisers are in `data.scribes`). Asking for one whose package is
missing says which to install; the weights of those that fetch them come from the hub of their
authors, not from us.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glmtts.audio import Audio
from glmtts.data.cut import Turn
from glmtts.errors import BadInput, GlmTtsError, MissingExtra, MissingWeights

Cleaner = Callable[[Audio], Audio]
Diariser = Callable[[Audio], list[Turn]]
"""Who speaks when in a sound; turns of two speakers may overlap."""

PYANNOTE = "pyannote/speaker-diarization-community-1"


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


def diariser(name: str) -> Diariser | None:
    """The engine `name` that tells who speaks when; "" is none.

    Raises:
        BadInput: there is no such engine.
        MissingExtra: its package is not installed.
        MissingWeights: its weights are not here and cannot be fetched.
    """
    if not name:
        return None
    if name not in DIARISERS:
        raise BadInput(f"Unknown engine {name!r} for --diarize. Known: {', '.join(DIARISERS)}.")
    return DIARISERS[name]()


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


def _roformer() -> Cleaner:
    """Mel-Band RoFormer (Wang et al. 2023), the vocals of a mixture; fetches its weights (0.9 GB).

    Raises:
        MissingExtra: melband-roformer-infer is not installed.
        MissingWeights: its weights cannot be fetched.
    """
    try:
        package: Any = import_module("mel_band_roformer")
        loader: Any = import_module("mel_band_roformer.inference").SafeLoaderWithTuple
        config_type: Any = import_module("ml_collections").ConfigDict
        yaml: Any = import_module("yaml")
    except ImportError as error:
        raise MissingExtra("Separation by Mel-Band RoFormer", "separate") from error
    try:
        weights, settings = package.ensure_model_assets(package.DEFAULT_MODEL)
    except (OSError, RuntimeError) as error:
        raise MissingWeights(
            f"The weights of Mel-Band RoFormer cannot be fetched ({error}). Fetch them elsewhere "
            "with melband-roformer-download, and name their folder in "
            "MELBAND_ROFORMER_MODELS_PATH."
        ) from error
    config = config_type(yaml.load(Path(settings).read_text(), Loader=loader))
    model: Any = package.get_model_from_config("mel_band_roformer", config)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    rate = int(config.audio.sample_rate)

    def clean(audio: Audio) -> Audio:
        stereo = audio.resampled(rate).samples[None].repeat(2, 1)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),  # it prints the time that is left
        ):
            warnings.simplefilter("ignore", FutureWarning)  # it asks torch in an old way
            stems, _ = package.demix_track(config, model, stereo, device)
        vocals = torch.from_numpy(np.ascontiguousarray(stems["vocals"], np.float32)).mean(0)
        return Audio(vocals, rate).resampled(audio.sample_rate)

    return clean


def _pyannote() -> Diariser:
    """The diarisation pipeline of pyannote.audio (Bredin 2023), whose weights ask for an account.

    Raises:
        MissingExtra: pyannote.audio is not installed.
        MissingWeights: the weights may not or cannot be fetched.
    """
    try:
        package: Any = import_module("pyannote.audio")
    except ImportError as error:
        raise MissingExtra("Diarisation by pyannote", "diarize") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its advice is ours, below
            pipeline: Any = package.Pipeline.from_pretrained(PYANNOTE)
    except (OSError, ValueError) as error:  # those of the hub are of the first kind
        raise _closed(str(error)) from error
    if pipeline is None:
        raise _closed("access is restricted")
    if torch.cuda.is_available():
        pipeline.to(torch.device("cuda"))

    def turns(audio: Audio) -> list[Turn]:
        sound = {"waveform": audio.samples[None].float(), "sample_rate": audio.sample_rate}
        found: Any = pipeline(sound)
        spoken = getattr(found, "speaker_diarization", found)  # versions before 4 return it bare
        rows: Any = spoken.itertracks(yield_label=True)
        return [Turn(float(part.start), float(part.end), str(who)) for part, _, who in rows]

    return turns


def _closed(why: str) -> MissingWeights:
    return MissingWeights(
        f"The weights of pyannote cannot be fetched ({why.strip()}). Accept their conditions at "
        f"https://hf.co/{PYANNOTE} and log in with: hf auth login"
    )


SEPARATORS: Mapping[str, Callable[[], Cleaner]] = {"demucs": _demucs, "roformer": _roformer}
DENOISERS: Mapping[str, Callable[[], Cleaner]] = {
    "rnnoise": _rnnoise,
    "noisereduce": _noisereduce,
}
DIARISERS: Mapping[str, Callable[[], Diariser]] = {"pyannote": _pyannote}
