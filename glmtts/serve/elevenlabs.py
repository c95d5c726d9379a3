"""The shape of ElevenLabs' API, for tools that speak it: the same voices, the same engine.

`output_format` is codec_rate_bitrate; codec and rate are obeyed, the bit rate is the encoder's own.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, WebSocket
from starlette.websockets import WebSocketDisconnect

from glmtts.errors import GlmTtsError
from glmtts.serve.engine import TextSource, new_id
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.guard import known
from glmtts.serve.schemas import ERRORS, ElevenRequest, ElevenVoiceSettings, Spoken
from glmtts.serve.service import Service
from glmtts.serve.sound import Bytes, Chunk, SoundResponse, audio_events, first_chunk
from glmtts.serve.speech import Here
from glmtts.timing import Line, characters

router = APIRouter(tags=["elevenlabs"], responses=ERRORS)

RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
CODECS = ("mp3", "pcm", "opus", "wav")
OutputFormat = Annotated[str, Query(max_length=40, examples=["mp3_44100_128", "pcm_24000"])]
DEFAULT_FORMAT = "mp3_24000_64"


def codec_of(output_format: str) -> tuple[str, int]:
    """Codec and rate.

    Raises:
        ApiError: this server has none such.
    """
    codec, _, rest = output_format.partition("_")
    rate = rest.partition("_")[0]
    if codec not in CODECS or not rate.isdigit() or int(rate) not in RATES:
        raise ApiError(
            400, f"Unknown output_format. Codecs: {', '.join(CODECS)}; rates: "
            f"{', '.join(map(str, RATES))}.", code="bad_format", param="output_format",
        )  # fmt: skip
    return codec, int(rate)


def started(
    service: Service, request: Request, voice_id: str, body: ElevenRequest, output_format: str
) -> Bytes:
    """Check a request and take its text.

    Raises:
        GlmTtsError: it cannot be spoken, or not now.
    """
    service.check_length(body.text, param="text")
    codec, rate = codec_of(output_format)
    asked = spoken(voice_id, body.voice_settings.speed if body.voice_settings else 1.0, body.seed)
    speech, follower = service.speak(body.text, asked, request.state.key, request.state.request_id)
    return Bytes(service, speech, follower, codec, rate)


def spoken(voice_id: str, speed: float = 1.0, seed: int | None = None) -> Spoken:
    """Their settings as ours."""
    return Spoken.model_validate({"voice": voice_id, "speed": speed, "seed": seed})


@router.post("/v1/text-to-speech/{voice_id}", summary="Speak a text")
@router.post("/v1/text-to-speech/{voice_id}/stream", summary="Speak a text while it is made")
async def speak(
    voice_id: str, body: ElevenRequest, request: Request, service: Here,
    output_format: OutputFormat = DEFAULT_FORMAT,
) -> SoundResponse:  # fmt: skip
    """Sound as it is made."""
    chunks = started(service, request, voice_id, body, output_format)
    first = await first_chunk(request, chunks)
    headers = {"X-Sample-Rate": str(chunks.sample_rate)}
    return SoundResponse(chunks.speech, audio_events(first, chunks), chunks.media_type, headers)


@router.post("/v1/text-to-speech/{voice_id}/with-timestamps", summary="Sound with characters")
async def with_timestamps(
    voice_id: str, body: ElevenRequest, request: Request, service: Here,
    output_format: OutputFormat = DEFAULT_FORMAT,
) -> dict[str, Any]:  # fmt: skip
    """All of it, with the time of each character."""
    chunks = started(service, request, voice_id, body, output_format)
    first = await first_chunk(request, chunks)
    data = first.data + b"".join([chunk.data async for chunk in chunks])
    found = alignment(chunks.follower.lines)
    return {
        "audio_base64": base64.b64encode(data).decode(),
        "alignment": found,
        "normalized_alignment": found,
    }


@router.post(
    "/v1/text-to-speech/{voice_id}/stream/with-timestamps", summary="Sound with characters, as made"
)
async def stream_with_timestamps(
    voice_id: str, body: ElevenRequest, request: Request, service: Here,
    output_format: OutputFormat = DEFAULT_FORMAT,
) -> SoundResponse:  # fmt: skip
    """A JSON object a line."""
    chunks = started(service, request, voice_id, body, output_format)
    first = await first_chunk(request, chunks)

    def line(chunk: Chunk) -> bytes:
        event = {"audio_base64": base64.b64encode(chunk.data).decode()}
        found = alignment([chunk.line]) if chunk.line else None
        return (json.dumps({**event, "alignment": found}, ensure_ascii=False) + "\n").encode()

    async def events() -> AsyncIterator[bytes]:
        yield line(first)
        async for chunk in chunks:
            if chunk.data or chunk.line:
                yield line(chunk)

    return SoundResponse(chunks.speech, events(), "application/json", {})


def alignment(lines: list[Line]) -> dict[str, list[Any]]:
    """Their three lists."""
    found = [char for line in lines for char in characters(line)]
    return {
        "characters": [char.text for char in found],
        "character_start_times_seconds": [round(char.start_s, 3) for char in found],
        "character_end_times_seconds": [round(char.end_s, 3) for char in found],
    }


@router.get("/v1/voices", summary="List the voices")
async def voices(request: Request, service: Here) -> dict[str, Any]:
    """Their list of voices."""
    known_here = await asyncio.to_thread(service.voices, request.state.key)
    return {
        "voices": [
            {
                "voice_id": record.id if record else voice["name"], "name": voice["name"],
                "category": "premade" if voice["bundled"] else "cloned",
                "labels": {"language": voice["language"], "gender": voice["gender"]},
            }
            for voice, record in known_here
        ]
    }  # fmt: skip


@router.websocket("/v1/text-to-speech/{voice_id}/stream-input")
async def stream_input(
    socket: WebSocket, voice_id: str, output_format: str = DEFAULT_FORMAT
) -> None:
    """Their WebSocket: text with `flush` is spoken at once, an empty text ends."""
    await socket.accept()
    service: Service = socket.app.state.service
    source = TextSource()
    sending: asyncio.Task[None] | None = None
    chunks: Bytes | None = None
    try:
        while True:
            received = await asyncio.wait_for(socket.receive_json(), service.settings.socket_idle_s)
            if not isinstance(received, dict):
                raise ApiError(400, "Expected a JSON object with text.", code="bad_message")
            message = cast("dict[str, Any]", received)
            text = message.get("text")
            if not isinstance(text, str):
                raise ApiError(400, "Expected text in the message.", code="bad_message")
            if sending is None:
                key: str | None = socket.scope["state"]["key"]
                if key is None:
                    key = known(service.keys, str(message.get("xi_api_key", "")))
                codec, rate = codec_of(output_format)
                try:
                    settings: object = message.get("voice_settings") or {}
                    speed = ElevenVoiceSettings.model_validate(settings).speed
                    asked = spoken(voice_id, speed)
                except ValueError:
                    raise ApiError(400, "Expected a speed of 0.25 to 4.", param="speed") from None
                speech, follower = service.speak(source, asked, key, new_id("req"))
                chunks = Bytes(service, speech, follower, codec, rate)
                sending = asyncio.create_task(_send(socket, chunks))
            if source.characters + len(text) > service.settings.input_characters:
                raise ApiError(400, "The text is too long.", code="too_long", param="text")
            if text == "":
                source.end()
                await sending
                break
            source.push(text)
            if message.get("flush"):
                source.flush()
    except GlmTtsError as error:
        await _last(socket, {**as_api_error(error).body})
    except ValueError:
        await _last(socket, ApiError(400, "This is no JSON.", code="bad_message").body)
    except (WebSocketDisconnect, RuntimeError, KeyError, asyncio.TimeoutError):
        pass
    finally:
        if chunks is not None:
            chunks.speech.cancel()
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: WebSocket, chunks: Bytes) -> None:
    try:
        async for chunk in chunks:
            if not chunk.data and not chunk.line:
                continue
            audio = base64.b64encode(chunk.data).decode()
            found = alignment([chunk.line]) if chunk.line else None
            await socket.send_json({"audio": audio, "isFinal": None, "alignment": found})
        await _last(socket, {"audio": None, "isFinal": True})
    except GlmTtsError as error:
        await _last(socket, as_api_error(error).body)


async def _last(socket: WebSocket, event: dict[str, Any]) -> None:
    try:
        await socket.send_json(event)
        await socket.close()
    except (RuntimeError, WebSocketDisconnect):
        pass
