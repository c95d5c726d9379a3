"""`glmtts voice …`: voices of a model and of the user, without loading the model where possible."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from glmtts import adapters, checkpoint, hub
from glmtts.audio import Audio
from glmtts.cloning import MAX_SECONDS, best_stretch, trimmed
from glmtts.errors import BadInput, CheckpointError
from glmtts.voice import Voice
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


def add_adapted(
    name: str, adapter: Path, *, gender: str | None = None, force: bool = False, model: str
) -> Path:
    """Store the voice that a training left in the folder `adapter`; returns its file.

    Raises:
        BadInput: the name cannot be used, or everything was trained and there is no adapter.
        CheckpointError: the folder holds no trained voice, or one for another model.
    """
    checked_name(name)
    voice, card = trained(adapter)
    if full := [part for part, about in card["parts"].items() if not about["rank"]]:
        raise BadInput(
            f"In {adapter} all of {' and '.join(full)} was trained: there is no adapter to add. "
            f"Make a model of it with: glmtts voice merge {adapter} OUT"
        )
    folder = hub.resolve(model)
    for part in card["parts"]:
        if adapters.load(adapter / part).base != adapters.fingerprint(folder / part):
            raise CheckpointError(
                f"{adapter} was trained on the model {card['base']!r}, not on {model!r}. "
                f"Add it with: --model {card['base']}"
            )
    kept = replace(voice, name=name, adapter=str(adapter), gender=gender or voice.gender)
    return library(model).add(kept, overwrite=force)


def trained(folder: Path) -> tuple[Voice, dict[str, Any]]:
    """The reference of a trained voice, and what is written about it.

    Raises:
        CheckpointError: the folder is not what a training leaves.
    """
    try:
        card: dict[str, Any] = json.loads((folder / "voice.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} holds no trained voice ({error}). Expected the folder `voice` that "
            "`glmtts train voice` leaves."
        ) from error
    return Voice.load(folder / "reference.safetensors"), card


def merge(folder: Path, out: Path, *, model: str) -> Path:
    """Make a model of its own of a trained voice; it needs no adapters and can be trained on.

    The model's other parts are copied. Its only new voice is the trained one.

    Raises:
        CheckpointError: the folder holds no trained voice, or one for another model.
        BadInput: `out` exists.
    """
    from glmtts.flow import TokenToMel
    from glmtts.lm import TextToSpeechTokens
    from glmtts.nn.adapted import merge

    if out.exists():
        raise BadInput(f"{out} exists. Name a new folder.")
    voice, card = trained(folder)
    base = hub.resolve(model)
    draft = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(base, draft)
    for part, about in card["parts"].items():
        if not about["rank"]:
            shutil.rmtree(draft / part)
            shutil.copytree(folder / part, draft / part)
            continue
        adapter = adapters.load(folder / part)
        if adapter.base != adapters.fingerprint(base / part):
            raise CheckpointError(f"{folder} was trained on {card['base']!r}, not on {model!r}.")
        if part == "lm":
            component = checkpoint.load(TextToSpeechTokens, base / part)
            if any("embed_tokens" in name for name in adapter.parts):
                component = component.untied()
        else:
            component = checkpoint.load(TokenToMel, base / part)
        merge(component, adapter)
        checkpoint.save(component, draft / part)
    name = checked_name(voice.name)
    replace(voice, adapter="").save(draft / "voices" / f"{name}.safetensors")
    draft.rename(out)
    return out
