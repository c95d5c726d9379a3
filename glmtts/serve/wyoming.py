"""The Wyoming protocol of home automation: JSON lines and PCM over TCP, no keys by design."""

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable

with warnings.catch_warnings():  # its audio module imports audioop, which it does not need here
    warnings.simplefilter("ignore", DeprecationWarning)
    from wyoming.audio import AudioChunk, AudioStart, AudioStop

from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from glmtts import __version__
from glmtts.errors import BadInput, GlmTtsError
from glmtts.serve.encode import pcm16
from glmtts.serve.engine import Speech, TextSource, new_id
from glmtts.serve.errors import as_api_error
from glmtts.serve.schemas import Spoken
from glmtts.serve.service import Service

log = logging.getLogger(__name__)

LARGEST_EVENT = 1_000_000
ABOUT = Attribution(name="glmtts", url="https://arxiv.org/abs/2512.14291")


async def serve_wyoming(service: Service, host: str, port: int) -> asyncio.Server:
    """Listen; close the returned server to stop."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(service, reader, writer)
        try:
            await client.run()
        except (OSError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
            log.info("A Wyoming client went or sent what cannot be understood: %s", error)
        finally:
            client.stop()
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=LARGEST_EVENT)


class Client:
    """One connection: whole texts, or texts in pieces (start, chunk, stop)."""

    def __init__(
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Nothing is being spoken."""
        self.service, self.reader, self.writer = service, reader, writer
        self._source: TextSource | None = None
        self._speech: Speech | None = None
        self._sending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the client goes."""
        handlers: dict[str, Callable[[Event], Awaitable[None]]] = {
            "describe": self._describe, "ping": self._ping, "synthesize": self._synthesize,
            "synthesize-start": self._start, "synthesize-chunk": self._chunk,
            "synthesize-stop": self._stopped,
        }  # fmt: skip
        while (event := await async_read_event(self.reader)) is not None:
            if handler := handlers.get(event.type):
                try:
                    await handler(event)
                except GlmTtsError as error:
                    await self._tell(Error(text=str(as_api_error(error))).event())

    def stop(self) -> None:
        """The client has gone."""
        if self._speech is not None:
            self._speech.cancel()
        if self._sending is not None:
            self._sending.cancel()

    async def _describe(self, event: Event) -> None:
        assert Describe.is_type(event.type)
        known = await asyncio.to_thread(self.service.voices, "")
        voices = [
            TtsVoice(
                name=voice["name"], attribution=ABOUT, installed=True, version=None,
                description=voice["name"], languages=[voice["language"] or "en"],
            )
            for voice, _ in known
        ]  # fmt: skip
        program = TtsProgram(
            name="glmtts", attribution=ABOUT, installed=True, version=__version__,
            description="GLM-TTS, Mandarin and English", voices=voices,
            supports_synthesize_streaming=True,
        )  # fmt: skip
        await self._tell(Info(tts=[program]).event())

    async def _ping(self, event: Event) -> None:
        await self._tell(Pong(text=Ping.from_event(event).text).event())

    async def _synthesize(self, event: Event) -> None:
        if self._source is not None:
            return  # a client that sends pieces repeats the whole for servers that know no pieces
        said = Synthesize.from_event(event)
        self.service.check_length(said.text)
        self._begin(said.text, said.voice)
        assert self._sending is not None
        await self._sending

    async def _start(self, event: Event) -> None:
        self.stop()
        self._source = TextSource()
        self._begin(self._source, SynthesizeStart.from_event(event).voice)

    async def _chunk(self, event: Event) -> None:
        if self._source is None:
            return
        text = SynthesizeChunk.from_event(event).text
        if self._source.characters + len(text) > self.service.settings.input_characters:
            self.stop()
            self._source = None
            raise BadInput("The text is too long. Send it in parts.")
        self._source.push(text)

    async def _stopped(self, event: Event) -> None:
        assert SynthesizeStop.is_type(event.type)
        if self._source is None or self._sending is None:
            return
        self._source.end()
        self._source = None
        await self._sending
        await self._tell(SynthesizeStopped().event())

    def _begin(self, text: str | TextSource, voice: SynthesizeVoice | None) -> None:
        asked = Spoken.model_validate({"voice": (voice.name if voice else None) or None})
        self._speech, follower = self.service.speak(text, asked, "", new_id("req"))
        self._sending = asyncio.create_task(self._send(self._speech))
        self._sending.add_done_callback(lambda _: follower.update())

    async def _send(self, speech: Speech) -> None:
        rate = self.service.synthesizer.sample_rate
        format_ = {"rate": rate, "width": 2, "channels": 1}
        begun = False
        try:
            async for piece in speech:
                if not begun:
                    await self._tell(AudioStart(**format_).event())
                    begun = True
                await self._tell(AudioChunk(audio=pcm16(piece.audio), **format_).event())
        except GlmTtsError as error:
            await self._tell(Error(text=str(as_api_error(error))).event())
        if begun:
            await self._tell(AudioStop().event())

    async def _tell(self, event: Event) -> None:
        await async_write_event(event, self.writer)
