"""Who writes down what is said in a clip: Whisper, or recognisers of FunASR. Read `Scribe`.

Whisper-base comes with the extra `eval`. Paraformer and SenseVoice, the pair of the paper (§2.1)
for Mandarin, need the extra `funasr`; their weights come from ModelScope when first used.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput, MissingExtra, MissingWeights
from glmtts.recognizer import PARTS, SAMPLE_RATE, Recognizer, missing

PARAFORMER, PUNCTUATION, SENSEVOICE = "paraformer-zh", "ct-punc", "iic/SenseVoiceSmall"
"""As FunASR names them."""


class Scribe(Protocol):
    """A recogniser of Mandarin or English, or of both."""

    def written(self, audio: Audio, language: str) -> str:
        """What is said, with punctuation; empty where nothing is, or in a foreign language."""
        ...

    def languages(self, audio: Audio) -> Mapping[str, float]:
        """How likely each language is that it knows, by its code."""
        ...


class Whisper:
    """Whisper-base, of 99 languages."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingExtra: faster-whisper or the weights are not installed.
        """
        self._recognizer = Recognizer()

    def written(self, audio: Audio, language: str) -> str:
        """See `Scribe`."""
        return self._recognizer.heard(audio, language).text

    def languages(self, audio: Audio) -> Mapping[str, float]:
        """See `Scribe`."""
        return self._recognizer.languages(audio)


class Paraformer:
    """Paraformer (Gao et al. 2022), Mandarin only, with the punctuation of CT-Transformer."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingExtra: funasr is not installed.
            MissingWeights: the weights cannot be fetched.
        """
        self._model = _auto_model(PARAFORMER, punc_model=PUNCTUATION)

    def written(self, audio: Audio, language: str) -> str:
        """See `Scribe`."""
        return _text(self._model.generate(input=_samples(audio))) if language == "zh" else ""

    def languages(self, audio: Audio) -> Mapping[str, float]:
        """See `Scribe`: it knows no other."""
        return {"zh": 1.0}


class SenseVoice:
    """SenseVoice-Small (An et al. 2024): Mandarin, English, Cantonese, Japanese, Korean."""

    _codes = "zh|en|yue|ja|ko"
    _tag = re.compile(r"<\|([^|]*)\|>")

    def __init__(self) -> None:
        """Load it.

        Raises:
            MissingExtra: funasr is not installed.
            MissingWeights: the weights cannot be fetched.
        """
        self._model = _auto_model(SENSEVOICE)

    def written(self, audio: Audio, language: str) -> str:
        """See `Scribe`."""
        return self._tag.sub("", self._heard(audio, language)).strip()

    def languages(self, audio: Audio) -> Mapping[str, float]:
        """See `Scribe`: it names one, and none where nobody speaks."""
        tag = self._tag.match(self._heard(audio, "auto"))
        return {tag[1]: 1.0} if tag and tag[1] in self._codes.split("|") else {}

    def _heard(self, audio: Audio, language: str) -> str:
        """Its answer: tags of language, mood, event and spelling, then the text."""
        return _text(
            self._model.generate(input=_samples(audio), cache={}, language=language, use_itn=True)
        )


SCRIBES: Mapping[str, Callable[[], Scribe]] = {
    "whisper": Whisper,
    "paraformer": Paraformer,
    "sensevoice": SenseVoice,
}


def scribe(name: str) -> Scribe:
    """The recogniser `name`.

    Raises:
        BadInput: there is none of this name.
        MissingExtra: its package is not installed.
        MissingWeights: its weights cannot be fetched.
    """
    checked(name)
    return SCRIBES[name]()


def checked(name: str) -> None:
    """Refuse a name that is not known.

    Raises:
        BadInput: there is no recogniser of this name.
    """
    if name not in SCRIBES:
        raise BadInput(f"Unknown recogniser {name!r}. Known: {', '.join(SCRIBES)}.")


def installed(name: str) -> bool:
    """Whether the packages of a recogniser are there."""
    packages = ("faster_whisper", *PARTS) if name == "whisper" else ("funasr",)
    return all(find_spec(package) is not None for package in packages)


def absent(name: str) -> MissingExtra:
    """The error that says what to install for a recogniser."""
    return missing() if name == "whisper" else MissingExtra(f"The recogniser {name}", "funasr")


def _auto_model(model: str, **more: str) -> Any:
    try:
        package: Any = import_module("funasr")
    except ImportError as error:
        raise MissingExtra(f"The recogniser {model}", "funasr") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return package.AutoModel(
            model=model, device=device, disable_update=True, disable_pbar=True, log_level="ERROR",
            **more,
        )  # fmt: skip
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        raise MissingWeights(
            f"The weights of {model} cannot be loaded ({error}). Fetch them on a machine with a "
            "network: FunASR keeps them in ModelScope's cache (~/.cache/modelscope)."
        ) from error


def _text(results: Any) -> str:
    return str(results[0].get("text", "")).strip() if results else ""


def _samples(audio: Audio) -> Any:
    """(N,) float32 at 16 kHz."""
    return audio.resampled(SAMPLE_RATE).samples.float().cpu().numpy()
