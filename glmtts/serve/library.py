"""Voices over HTTP: list, upload with consent, delete, and who used them."""

import asyncio
import hashlib
import io
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile

from glmtts.audio import Audio
from glmtts.errors import BadAudio, BadInput
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.fetch import fetch
from glmtts.serve.schemas import ERRORS
from glmtts.serve.service import VOICE_ALIASES, Service, checked_consent
from glmtts.serve.speech import Here
from glmtts.serve.store import VoiceRecord
from glmtts.voices import VoiceDescription, checked_name

router = APIRouter(tags=["voices"], responses=ERRORS)

LONGEST_CLIP_S = 60.0
"""A clip is decoded up to here; the model takes 30 s."""
HIGHEST_RATE = 192_000
MOST_CHANNELS = 8


def told(voice: VoiceDescription, record: VoiceRecord | None) -> dict[str, Any]:
    """A voice as JSON."""
    return {
        "id": record.id if record else voice["name"],
        "name": voice["name"],
        "language": voice["language"],
        "gender": voice["gender"],
        "seconds": voice["seconds"],
        "bundled": voice["bundled"],
        "created": record.created if record else None,
        "consent": record.consent if record else None,
    }


@router.get("/v1/audio/voices", summary="List the voices")
async def voices(request: Request, service: Here) -> dict[str, Any]:
    """The voices of the model, of this machine, and those uploaded with the caller's key."""
    known = await asyncio.to_thread(service.voices, request.state.key)
    return {"voices": [told(*item) for item in known]}


@router.post("/v1/audio/voices", status_code=201, summary="Clone a voice")
async def add_voice(
    request: Request,
    service: Here,
    name: Annotated[str, Form(description="Letters, digits, - and _.", max_length=200)],
    consent: Annotated[
        str, Form(description="Who agrees that the voice is cloned, in words.", max_length=4_000)
    ],
    audio_sample: Annotated[
        UploadFile | None, File(description="4 to 10 s of one person: WAV, FLAC, MP3, Ogg, Opus.")
    ] = None,
    audio_url: Annotated[
        str | None, Form(description="Fetched instead, if this server allows its host.")
    ] = None,
    transcript: Annotated[str, Form(description="What the clip says.", max_length=2_000)] = "",
    language: Annotated[str, Form(pattern="^(zh|en|)$")] = "",
    gender: Annotated[str, Form(pattern="^(female|male|)$")] = "",
) -> dict[str, Any]:
    """Clone the speaker of a clip. Clone only voices whose owners agree; the statement is kept."""
    key, s = request.state.key, service.settings
    try:
        name, statement = checked_name(name), checked_consent(consent)
    except BadInput as error:
        param = "consent" if "consent" in str(error) else "name"
        raise as_api_error(error, param) from error
    if name in VOICE_ALIASES:
        raise ApiError(400, f"{name!r} means the default voice here.", code="taken", param="name")
    if (audio_sample is None) == (audio_url is None):
        raise ApiError(400, "Expected either audio_sample or audio_url.", param="audio_sample")
    if audio_sample is not None:
        data = await audio_sample.read(s.upload_bytes + 1)
    else:
        data = await fetch(audio_url or "", s.fetch_hosts, s.upload_bytes)
    if len(data) > s.upload_bytes:
        raise ApiError(413, f"A clip may have {s.upload_bytes} bytes.", code="too_large")
    library = service.synthesizer.voices
    if name in library.names():
        raise ApiError(409, f"A voice named {name!r} exists.", code="taken", param="name")

    def clone() -> None:
        clip = decoded(data)
        with service.synthesizer.turn():
            voice = service.synthesizer.encoder(clip, transcript, name, language, gender)
        library.add(voice)

    await asyncio.to_thread(clone)
    record = service.store.add_voice(name, key, hashlib.sha256(data).hexdigest(), statement)
    service.store.note(
        key, "create", name, request.state.request_id,
        consent=statement, clip_sha256=record.clip_sha256,
    )  # fmt: skip
    return told(await _described(service, name, key), record)


@router.get("/v1/audio/voices/{name}", summary="A voice")
async def one_voice(name: str, request: Request, service: Here) -> dict[str, Any]:
    """One voice, by name or id."""
    name, record = _found(service, name, request.state.key)
    return told(await _described(service, name, request.state.key), record)


@router.delete("/v1/audio/voices/{name}", summary="Delete a voice")
async def remove_voice(name: str, request: Request, service: Here) -> dict[str, Any]:
    """Delete a voice that was uploaded with the same key."""
    name, record = _found(service, name, request.state.key)
    if record is None:
        raise ApiError(
            403, "Only voices uploaded here can be deleted here.", code="not_yours", param="name"
        )
    await asyncio.to_thread(service.synthesizer.voices.remove, name)
    service.store.remove_voice(name)
    service.store.note(request.state.key, "delete", name, request.state.request_id)
    return {"id": record.id, "name": name, "deleted": True}


@router.get("/v1/audio/voices/{name}/audit", summary="Who used a voice")
async def audit(name: str, request: Request, service: Here) -> dict[str, Any]:
    """The audit log of a voice that was uploaded with the same key, newest first."""
    name, record = _found(service, name, request.state.key)
    lines = service.store.audit(name) if record else []
    return {"voice": name, "record": asdict(record) if record else None, "lines": lines}


def _found(service: Service, name: str, key: str) -> tuple[str, VoiceRecord | None]:
    record = service.store.voice(name)
    name = record.name if record else name
    if name not in service.voice_names(key):
        raise ApiError(404, f"No voice named {name[:60]!r}.", code="voice_not_found", param="name")
    return name, record


async def _described(service: Service, name: str, key: str) -> VoiceDescription:
    known = await asyncio.to_thread(service.voices, key)
    return next(voice for voice, _ in known if voice["name"] == name)


def decoded(data: bytes) -> Audio:
    """A clip, decoded in this process by libsndfile, within limits that are checked first.

    Raises:
        BadAudio: it is no sound, or too much of it.
    """
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(data))
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise BadAudio(
            "The clip cannot be read. Expected a WAV, FLAC, MP3, Ogg or Opus file."
        ) from error
    rate, channels, frames = int(info.samplerate), int(info.channels), int(info.frames)
    if not (1 <= channels <= MOST_CHANNELS and 4_000 <= rate <= HIGHEST_RATE):
        raise BadAudio(
            f"The clip has {channels} channels at {rate} Hz. "
            f"Expected at most {MOST_CHANNELS}, at 4,000 to {HIGHEST_RATE:,} Hz."
        )
    if not 0 < frames <= LONGEST_CLIP_S * rate:
        raise BadAudio(
            f"The clip is {frames / rate:.1f} s long. Expected 1 to 30 s of one person speaking."
        )
    try:
        return Audio.load(io.BytesIO(data))
    except BadAudio as error:
        raise BadAudio("The clip is damaged, or holds no sound.") from error
