"""`glmtts voice …`: voices of a model and of the user, without loading the model where possible."""

from pathlib import Path

from glmtts import hub
from glmtts.audio import Audio
from glmtts.voices import VoiceDescription, VoiceLibrary, checked_name


def library(model: str) -> VoiceLibrary:
    """The voices at hand with `model`.

    Raises:
        UnknownModel: there is no such model.
    """
    return VoiceLibrary(hub.resolve(model) / "voices")


def describe(name: str, model: str) -> VoiceDescription:
    """What is known of one voice.

    Raises:
        UnknownVoice: there is none of this name.
    """
    voices = library(model)
    voices.get(name)
    return next(item for item in voices.describe() if item["name"] == name)


def add(
    name: str,
    clip: str,
    *,
    transcript: str = "",
    language: str | None = None,
    gender: str | None = None,
    trim_long: bool = False,
    force: bool = False,
    model: str = "glmtts-nano",
    device: str = "auto",
) -> Path:
    """Clone the voice of the recording `clip` and store it; returns its file.

    Raises:
        BadInput: the name cannot be used (found out before anything slow happens), or the
            transcript or the recording is unfit.
    """
    checked_name(name)
    voices = library(model)
    audio = Audio.load(clip)
    from glmtts.synthesizer import Synthesizer

    encode = Synthesizer.load(model, device=device).encoder
    voice = encode(audio, transcript, name, language or "", gender or "", trim_long=trim_long)
    return voices.add(voice, overwrite=force)
