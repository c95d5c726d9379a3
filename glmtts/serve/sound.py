"""A text's sound on its way to one listener: encoded, resampled, watched for who hangs up."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import soxr
import torch
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from glmtts.audio import Audio
from glmtts.errors import Cancelled, GlmTtsError
from glmtts.serve.encode import Encoder, encoder
from glmtts.serve.engine import Speech
from glmtts.serve.errors import as_api_error
from glmtts.serve.service import Follower, Service, line_json
from glmtts.timing import Line


class Bytes(AsyncIterator["Chunk"]):
    """A text as encoded bytes, with the lines they complete."""

    def __init__(
        self,
        service: Service,
        speech: Speech,
        follower: Follower,
        kind: str,
        sample_rate: int | None = None,
    ) -> None:
        """Encode `speech` as `kind`.

        Raises:
            GlmTtsError: the format is not available.
        """
        own = service.synthesizer.sample_rate
        self.speech, self.follower = speech, follower
        self.sample_rate = sample_rate or own
        try:
            self._encoder: Encoder = encoder(
                kind, self.sample_rate,
                mark=service.settings.mark, watermark=service.settings.watermark,
            )  # fmt: skip
        except GlmTtsError:
            speech.cancel()
            raise
        self.tokens_per_second = service.synthesizer.manifest.audio.tokens_per_second
        self._resampler = None
        if self.sample_rate != own:
            self._resampler = soxr.ResampleStream(own, self.sample_rate, 1, dtype="float32")
        self._ended = False

    @property
    def media_type(self) -> str:
        """Of the bytes."""
        return self._encoder.media_type

    async def __anext__(self) -> "Chunk":
        """The next bytes.

        Raises:
            GlmTtsError: why there are none.
        """
        if self._ended:
            raise StopAsyncIteration
        try:
            piece = await anext(self.speech)
        except StopAsyncIteration:
            self._ended = True
            self.follower.update()
            rest = self._resampled(Audio(torch.zeros(0), self.sample_rate), last=True)
            data = self._encoder.push(rest) if rest.samples.numel() else b""
            return Chunk(data + self._encoder.finish(), None)
        except BaseException:
            self.follower.update()
            raise
        line = self.follower.clock.push(piece)
        self.follower.heard(line)
        return Chunk(self._encoder.push(self._resampled(piece.audio)), line)

    def _resampled(self, audio: Audio, last: bool = False) -> Audio:
        if self._resampler is None:
            return audio
        samples = audio.samples.numpy().astype(np.float32)
        out = self._resampler.resample_chunk(samples, last=last)
        return Audio(torch.from_numpy(out), self.sample_rate)


class Chunk:
    """Bytes, and the line that ends with them, if one does."""

    def __init__(self, data: bytes, line: Line | None) -> None:
        """Hold both."""
        self.data, self.line = data, line


async def first_chunk(request: Request, chunks: Bytes) -> Chunk:
    """Wait for the first bytes, unless the client hangs up before.

    Raises:
        GlmTtsError: there will be none; an answer can still say why.
    """
    waiting = asyncio.ensure_future(_first(chunks))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            chunks.speech.cancel()
            raise Cancelled("The client has gone.")
        return waiting.result()
    except BaseException:
        chunks.speech.cancel()
        raise
    finally:
        gone.cancel()
        waiting.cancel()


async def _first(chunks: Bytes) -> Chunk:
    """The first bytes that hold sound, so that errors are answered as such."""
    data = b""
    while True:
        chunk = await anext(chunks)
        data += chunk.data
        if chunks.speech.seconds:
            return Chunk(data, chunk.line)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class SoundResponse(Response):
    """Sends what `events` yields while it is made, and cancels the text when the client goes."""

    def __init__(
        self,
        speech: Speech,
        events: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        """Prepare the head."""
        self.status_code, self.media_type, self.background = 200, None, None
        self.init_headers({**headers, "Content-Type": media_type, "Cache-Control": "no-store"})
        self._speech, self._events = speech, events

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """The headers as they are: the length is not known."""
        self.raw_headers = [
            (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in (headers or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        sending = asyncio.ensure_future(self._send(send))
        watching = asyncio.ensure_future(self._watch(receive))
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except OSError:  # the client went while we sent
            pass
        finally:
            self._speech.cancel()
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async for data in self._events:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _watch(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


async def audio_events(first: Chunk, chunks: Bytes) -> AsyncIterator[bytes]:
    """The bytes alone. An error in the middle cannot be told but by breaking off."""
    yield first.data
    async for chunk in chunks:
        if chunk.data:
            yield chunk.data


async def sse_events(first: Chunk, chunks: Bytes, timestamps: bool) -> AsyncIterator[bytes]:
    """OpenAI's events: deltas, then done; an error in the middle is an event too."""

    def of(chunk: Chunk) -> bytes:
        out = b""
        if chunk.data:
            audio = base64.b64encode(chunk.data).decode()
            out += sse({"type": "speech.audio.delta", "audio": audio})
        if timestamps and chunk.line:
            out += sse({"type": "speech.audio.timestamps", **line_json(chunk.line)})
        return out

    yield of(first)
    try:
        async for chunk in chunks:
            if data := of(chunk):
                yield data
    except GlmTtsError as error:
        yield sse({"type": "error", **as_api_error(error).body})
        return
    yield sse({"type": "speech.audio.done", **outcome(chunks)})


def outcome(chunks: Bytes) -> dict[str, Any]:
    """How a text ended, with OpenAI's `usage` (characters in, speech tokens out)."""
    record = chunks.follower.record
    tokens = round(record.seconds * chunks.tokens_per_second)
    return {
        "usage": {
            "input_tokens": record.characters, "output_tokens": tokens,
            "total_tokens": record.characters + tokens,
        },
        "finish_reason": record.finish_reason,
        "request_id": record.id,
        "seconds": round(record.seconds, 3),
        "first_audio_s": round(record.first_audio_s or 0.0, 3),
        "underruns": record.underruns,
    }  # fmt: skip


def sse(event: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
