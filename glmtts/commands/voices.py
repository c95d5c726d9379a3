"""`glmtts voice …`: voices of a model and of the user, without loading the model where possible."""

import sys
from pathlib import Path

from glmtts import hub
from glmtts.audio import Audio
from glmtts.cloning import MAX_SECONDS, best_stretch, trimmed
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
    transcribe: bool = False,
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
        MissingExtra: `transcribe` asks for the recogniser, which is not installed.
    """
    checked_name(name)
    voices = library(model)
    audio = Audio.load(clip)
    if transcribe:
        if trim_long and trimmed(audio).seconds > MAX_SECONDS:
            audio = best_stretch(audio)  # the transcript must say what is cloned, no more
        transcript = transcribed(audio, language or "")
    from glmtts.synthesizer import Synthesizer

    encode = Synthesizer.load(model, device=device).encoder
    voice = encode(audio, transcript, name, language or "", gender or "", trim_long=trim_long)
    return voices.add(voice, overwrite=force)


def transcribed(audio: Audio, language: str = "") -> str:
    """What a recording says, printed to standard error too: a wrong transcript spoils a voice.

    Raises:
        MissingExtra: the recogniser is not installed.
        BadAudio: nothing is said in the recording.
    """
    from glmtts.recognizer import Recognizer

    heard = Recognizer().transcribe(audio, language)
    print(f"Heard: {heard.text}", file=sys.stderr, flush=True)
    return heard.text
