"""Speech over HTTP: OpenAI's endpoint, captioned speech, what became of a text, its readings."""

import base64
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from glmtts.serve.errors import ApiError
from glmtts.serve.schemas import ERRORS, NormalizeRequest, SpeechRequest
from glmtts.serve.service import MODEL_ALIASES, Service, line_json
from glmtts.serve.sound import (
    Bytes,
    SoundResponse,
    audio_events,
    first_chunk,
    outcome,
    sse_events,
)
from glmtts.text.described import described
from glmtts.text.lexicon import Lexicon
from glmtts.text.readings import own_readings
from glmtts.timing import characters, subtitles

router = APIRouter(responses=ERRORS)


def service_of(request: Request) -> Service:
    """The service behind this application."""
    return request.app.state.service


Here = Annotated[Service, Depends(service_of)]


def started(service: Service, request: Request, body: SpeechRequest) -> Bytes:
    """Check a request and take its text.

    Raises:
        GlmTtsError: it cannot be spoken, or not now.
    """
    service.check_model(body.model)
    service.check_length(body.input)
    speech, follower = service.speak(
        body.input, body, request.state.key, request.state.request_id, body.deadline_s
    )
    return Bytes(service, speech, follower, body.response_format, body.sample_rate)


@router.post(
    "/v1/audio/speech",
    summary="Speak a text",
    response_class=JSONResponse,
    responses={
        200: {
            "description": "Sound as it is made, or server-sent events with stream_format=sse.",
            "content": {
                "audio/mpeg": {"schema": {"type": "string", "format": "binary"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    },
)
async def speak(request: Request, body: SpeechRequest, service: Here) -> SoundResponse:
    """OpenAI's `POST /v1/audio/speech`.

    The sound is sent while it is made; X-Sample-Rate tells its rate, X-Style the emotion that the
    instructions named, X-Ignored that they named none. How the text ended stands in the last event
    with `stream_format=sse`, and at /v1/audio/generations/{X-Request-Id}.
    """
    chunks = started(service, request, body)
    first = await first_chunk(request, chunks)
    headers = {"X-Sample-Rate": str(chunks.sample_rate)}
    if style := service.style(body):
        headers["X-Style"] = style
    elif body.instructions:
        headers["X-Ignored"] = "instructions"
    if body.stream_format == "sse":
        events = sse_events(first, chunks, body.timestamps)
        return SoundResponse(chunks.speech, events, "text/event-stream", headers)
    return SoundResponse(chunks.speech, audio_events(first, chunks), chunks.media_type, headers)


@router.post("/v1/audio/speech/captioned", summary="Speak a text, and tell when each word is said")
async def captioned(request: Request, body: SpeechRequest, service: Here) -> dict[str, Any]:
    """The whole sound in base64, with words, characters and subtitles."""
    chunks = started(service, request, body)
    first = await first_chunk(request, chunks)
    try:
        data = first.data + b"".join([chunk.data async for chunk in chunks])
    finally:
        chunks.speech.cancel()
    lines = chunks.follower.lines
    return {
        "audio": base64.b64encode(data).decode(),
        "media_type": chunks.media_type,
        "sample_rate": chunks.sample_rate,
        "lines": [line_json(line) for line in lines],
        "characters": [
            {"text": c.text, "start_s": round(c.start_s, 3), "end_s": round(c.end_s, 3)}
            for line in lines for c in characters(line)
        ],
        "srt": subtitles(lines, "srt"),
        "vtt": subtitles(lines, "vtt"),
        **outcome(chunks),
    }  # fmt: skip


@router.get("/v1/audio/generations/{request_id}", summary="What became of a text")
async def generation(request_id: str, request: Request, service: Here) -> dict[str, Any]:
    """How a text ended: finish_reason, times, and the words of each sentence.

    The latest thousand are remembered, each for the key that asked for it.
    """
    record = service.records.get(request_id)
    if record is None or record.key != request.state.key:
        raise ApiError(404, "No such text is remembered.", code="not_found", param="request_id")
    return {**vars(record), "key": None}


@router.post("/v1/text/normalize", summary="Show how a text will be read")
async def normalize(body: NormalizeRequest, service: Here) -> dict[str, Any]:
    """Sentences in words, the reading of each word, what decided it, and what else it may be."""
    service.check_length(body.input)
    lexicon = Lexicon.of(body.lexicon) if body.lexicon else None
    sentences = service.synthesizer.frontend(body.input, lexicon)
    found = described(body.input, sentences, "all", explain=True)
    for sentence in found["sentences"]:
        for reading in sentence["readings"]:
            text = reading["text"]
            choices = own_readings(text) if len(text) == 1 and not text.isascii() else ()
            reading["choices"] = list(choices) if len(choices) > 1 else []
    return found


@router.get("/v1/models", summary="List the models")
async def models(service: Here) -> dict[str, Any]:
    """OpenAI's list: the model that is served, and the names that mean it."""
    return {"object": "list", "data": [_model(service, service.synthesizer.manifest.name)]}


@router.get("/v1/models/{name}", summary="A model")
async def model(name: str, service: Here) -> dict[str, Any]:
    """One model."""
    service.check_model(name)
    return _model(service, name)


def _model(service: Service, name: str) -> dict[str, Any]:
    manifest = service.synthesizer.manifest
    return {
        "id": name, "object": "model", "created": 0, "owned_by": "glmtts",
        "license": manifest.license, "sample_rate": service.synthesizer.sample_rate,
        "languages": ["zh", "en"], "styles": list(service.synthesizer.styles),
        "aliases": list(MODEL_ALIASES),
    }  # fmt: skip


@router.get("/health", summary="Alive?", tags=["operation"])
async def health(service: Here) -> dict[str, Any]:
    """Whether the process answers; says nothing of the model."""
    return {"status": "failed" if service.failure else "ok", "time": round(time.time())}


@router.get("/ready", summary="Ready?", tags=["operation"])
async def ready(service: Here) -> JSONResponse:
    """200 once the model has warmed up and until a shutdown begins, else 503."""
    state = "ready" if service.ready else "failed" if service.failure else "not ready"
    return JSONResponse({"status": state}, 200 if service.ready else 503)
