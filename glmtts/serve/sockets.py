"""Text that still comes, over a WebSocket: append, flush, end, cancel. Read `Conversation`.

    client                                          server
    {"type": "start", "voice": …, …}                {"type": "started", "request_id": …, …}
    {"type": "append", "text": "…"}   (any number)  <binary frames of sound>
    {"type": "flush"}                               {"type": "line", "words": […], …}
    {"type": "end"}                                 {"type": "done", "finish_reason": …}
    {"type": "cancel"}                              {"type": "cancelled"}
                                                    {"type": "error", "error": {…}}

`start` may be left out; after `done`, `cancelled` or an error the next text may begin.
"""

import asyncio
import base64
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from glmtts.errors import Cancelled, GlmTtsError
from glmtts.serve.engine import TextSource, new_id
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.guard import known
from glmtts.serve.schemas import Format, Spoken
from glmtts.serve.service import Service, line_json
from glmtts.serve.sound import Bytes, outcome

router = APIRouter()

LARGEST_MESSAGE = 64_000


class Start(Spoken):
    """How the text will be spoken."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["start"] = "start"
    model: Annotated[str, StringConstraints(max_length=200)] = "default"
    response_format: Format = "pcm"
    sample_rate: Literal[8000, 16000, 22050, 24000, 32000, 44100, 48000] | None = None
    encoding: Literal["binary", "base64"] = "binary"
    timestamps: bool = False
    api_key: Annotated[str, StringConstraints(max_length=400)] | None = None


class Append(BaseModel):
    """More of the text."""

    type: Literal["append"]
    text: Annotated[str, StringConstraints(max_length=LARGEST_MESSAGE)]


class Sign(BaseModel):
    """Speak what is there; no more will come; stop."""

    type: Literal["flush", "end", "cancel"]


class Message(BaseModel):
    """Any of them."""

    body: Annotated[Start | Append | Sign, Field(discriminator="type")]


@router.websocket("/v1/audio/speech/stream")
async def stream(socket: WebSocket) -> None:
    """Speak texts one after the other while they come."""
    await socket.accept()
    await Conversation(socket).run()


class Conversation:
    """One client, and the text that is being spoken for it."""

    def __init__(self, socket: WebSocket) -> None:
        """Nothing is being spoken."""
        self.socket = socket
        self.service: Service = socket.app.state.service
        self.key: str | None = socket.scope["state"]["key"]
        self._source: TextSource | None = None
        self._chunks: Bytes | None = None
        self._sending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the client goes, or says nothing for too long."""
        idle = self.service.settings.socket_idle_s
        try:
            while True:
                try:
                    text = await asyncio.wait_for(self._receive(), idle)
                except (asyncio.TimeoutError, TimeoutError):
                    if self._sending is not None:
                        continue  # it listens
                    await self.socket.close(1001, f"Nothing was said for {idle:g} s.")
                    return
                try:
                    await self._take(text)
                except GlmTtsError as error:
                    await self._tell({"type": "error", **as_api_error(error).body})
                    if isinstance(error, ApiError) and error.status == 401:
                        await self.socket.close(1008)
                        return
        except (WebSocketDisconnect, RuntimeError):  # gone, also while we were sending
            pass
        finally:
            await self._stop()

    async def _receive(self) -> str:
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text = message.get("text")
        return text if text is not None else ""

    async def _take(self, text: str) -> None:
        """Do what a message asks for.

        Raises:
            GlmTtsError: it cannot be done.
        """
        message = parsed(text)
        if isinstance(message, Start):
            await self._start(message)
        elif isinstance(message, Append):
            if self._source is None:
                await self._start(Start.model_validate({"type": "start"}))
            assert self._source is not None
            if self._source.characters + len(message.text) > self.service.settings.input_characters:
                await self._stop()
                raise ApiError(
                    400, f"A text may have {self.service.settings.input_characters} characters. "
                    "End it, and start another one.", code="too_long", param="text",
                )  # fmt: skip
            self._source.push(message.text)
        elif message.type == "cancel":
            await self._stop()
            await self._tell({"type": "cancelled"})
        elif self._source is None:
            raise ApiError(400, f"There is no text to {message.type}.", code="no_text")
        elif message.type == "flush":
            self._source.flush()
        else:
            self._source.end()

    async def _start(self, start: Start) -> None:
        if self._source is not None:
            raise ApiError(409, "A text is being spoken. End or cancel it first.", code="busy")
        if self.key is None:
            self.key = known(self.service.keys, start.api_key or "")
        self.service.check_model(start.model)
        source = TextSource()
        speech, follower = self.service.speak(source, start, self.key, new_id("req"))
        chunks = Bytes(self.service, speech, follower, start.response_format, start.sample_rate)
        self._source, self._chunks = source, chunks
        await self._tell(
            {
                "type": "started", "request_id": speech.id, "sample_rate": chunks.sample_rate,
                "media_type": chunks.media_type,
            }
        )  # fmt: skip
        self._sending = asyncio.create_task(self._send(chunks, start))

    async def _send(self, chunks: Bytes, start: Start) -> None:
        """Send sound as it is made, and in the end how it ended."""
        last: dict[str, Any]
        try:
            async for chunk in chunks:
                if chunk.data and start.encoding == "base64":
                    audio = base64.b64encode(chunk.data).decode()
                    await self._tell({"type": "audio", "audio": audio})
                elif chunk.data:
                    await self.socket.send_bytes(chunk.data)
                if start.timestamps and chunk.line:
                    await self._tell({"type": "line", **line_json(chunk.line)})
            last = {"type": "done", **outcome(chunks)}
        except Cancelled:
            return
        except GlmTtsError as error:
            last = {"type": "error", **as_api_error(error).body}
        except (WebSocketDisconnect, RuntimeError, OSError):
            chunks.speech.cancel()
            return
        self._source = self._chunks = self._sending = None
        await self._tell(last)

    async def _stop(self) -> None:
        """Give up what is being spoken, if anything is."""
        if self._chunks is not None:
            self._chunks.speech.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self._source = self._chunks = self._sending = None

    async def _tell(self, event: dict[str, Any]) -> None:
        if self.socket.application_state is WebSocketState.CONNECTED:
            await self.socket.send_text(json.dumps(event, ensure_ascii=False))


def parsed(text: str) -> Start | Append | Sign:
    """A message of the client.

    Raises:
        ApiError: it is none.
    """
    if len(text) > LARGEST_MESSAGE:
        raise ApiError(413, f"A message may have {LARGEST_MESSAGE} characters.", code="too_large")
    try:
        data = json.loads(text)
        return Message.model_validate({"body": data}).body
    except (ValueError, RecursionError) as error:
        why = "it is no JSON"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc'][1:])) or 'message'}: {first['msg']}"
        raise ApiError(
            400, f"This message cannot be understood ({why}). Expected JSON with type start, "
            "append, flush, end or cancel.", code="bad_message",
        ) from None  # fmt: skip
