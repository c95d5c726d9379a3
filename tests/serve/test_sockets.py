"""Text in pieces over the native WebSocket, ElevenLabs' and Wyoming, with their own clients."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glmtts.serve.errors import ApiError
from glmtts.serve.sockets import parsed
from tests.serve.humming import SECONDS
from tests.serve.live import Live, live, until_idle

websockets = pytest.importorskip("websockets")

PCM_BYTES = int(SECONDS * 24_000) * 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(running: Live) -> Live:
    running.humming.pause_s = 0.0
    running.humming.calls.clear()
    return running


class Socket:
    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.sound = b""

    async def say(self, **message: object) -> None:
        await self.plain.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message that is no sound."""
        while isinstance(data := await asyncio.wait_for(self.plain.recv(), 10), bytes):
            self.sound += data
        return json.loads(data)

    async def hear_sound(self, count: int) -> None:
        while len(self.sound) < count:
            data = await asyncio.wait_for(self.plain.recv(), 10)
            assert isinstance(data, bytes), data
            self.sound += data


def talk(
    server: Live, what: Callable[[Socket], Awaitable[None]],
    path: str = "/v1/audio/speech/stream", **options: Any,
) -> None:  # fmt: skip
    async def run() -> None:
        url = f"ws://127.0.0.1:{server.port}{path}"
        async with websockets.connect(url, **options) as plain:
            await what(Socket(plain))

    asyncio.run(asyncio.wait_for(run(), 30))


def test_sound_comes_before_the_text_has_ended(server: Live) -> None:
    async def conversation(socket: Socket) -> None:
        await socket.say(type="start", voice="tom", timestamps=True)
        started = await socket.hear()
        assert started["type"] == "started"
        assert started["sample_rate"] == 24_000
        for word in ["Here", "comes", "the", "first", "sentence.", "And"]:
            await socket.say(type="append", text=word + " ")
        line = await socket.hear()
        assert line["text"] == "Here comes the first sentence."
        assert len(socket.sound) == PCM_BYTES
        await socket.say(type="append", text="now this")
        await socket.say(type="flush")
        assert (await socket.hear())["type"] == "line"
        await socket.say(type="append", text="The end is here")
        await socket.say(type="end")
        assert (await socket.hear())["type"] == "line"
        done = await socket.hear()
        assert (done["type"], done["finish_reason"]) == ("done", "stop")
        assert len(socket.sound) == 3 * PCM_BYTES
        # The next text on the same connection, without a start.
        await socket.say(type="append", text="Once more please.")
        await socket.say(type="end")
        assert (await socket.hear())["type"] == "started"
        assert (await socket.hear())["type"] == "done"

    talk(server, conversation)
    assert server.humming.calls[0][1].name == "tom"


def test_cancelling_and_leaving_free_the_slot(server: Live) -> None:
    async def conversation(socket: Socket) -> None:
        await socket.say(type="append", text="This is a whole sentence. " * 5)
        await socket.hear()
        await socket.hear_sound(PCM_BYTES)
        server.humming.pause_s = 30.0
        await socket.say(type="append", text="This is a whole sentence. " * 5)
        await asyncio.sleep(0.1)
        assert server.service.engine.running == 1
        await socket.say(type="cancel")
        while (await socket.hear())["type"] != "cancelled":
            pass
        await asyncio.sleep(0.15)
        assert server.service.engine.running == 0
        await socket.say(type="append", text="This is a whole sentence. " * 5)
        await socket.hear()
        await asyncio.sleep(0.1)
        assert server.service.engine.running == 1

    talk(server, conversation)
    assert until_idle(server) < 0.2


def test_a_wrong_message_is_answered_and_the_conversation_goes_on(server: Live) -> None:
    async def conversation(socket: Socket) -> None:
        for wrong in ("{", "[]", '"end"', "{}", '{"type": "sing"}', '{"type": "append"}',
                      '{"type": "append", "text": 7}', '{"type": "start", "speed": 99}',
                      '{"type": "flush"}', '{"type": "end"}', "[" * 5_000,
                      '{"type": "start", "voice": "nobody"}',
                      '{"type": "start", "voice": "../../etc/passwd"}'):  # fmt: skip
            await socket.plain.send(wrong)
            answer = await socket.hear()
            assert answer["type"] == "error", wrong
            assert set(answer["error"]) == {"message", "type", "param", "code"}
        await socket.plain.send(b"\x00\x01")
        assert (await socket.hear())["type"] == "error"
        await socket.say(type="start", encoding="base64", response_format="mp3")
        await socket.hear()
        await socket.say(type="start")
        assert (await socket.hear())["error"]["code"] == "busy"
        await socket.say(type="append", text="It still speaks.")
        await socket.say(type="end")
        assert len(base64.b64decode((await socket.hear())["audio"])) > 100

    talk(server, conversation)


def test_a_text_without_end_is_refused(server: Live) -> None:
    async def conversation(socket: Socket) -> None:
        await socket.say(type="append", text="word " * 700)
        await socket.hear()
        await socket.say(type="append", text="word " * 700)
        while (answer := await socket.hear())["type"] != "error":
            pass
        assert answer["error"]["code"] == "too_long"

    talk(server, conversation)
    until_idle(server)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["start", "append", "flush", "end", "cancel", "stop"])},
    optional={
        name: JSON
        for name in ("text", "voice", "speed", "seed", "lexicon", "response_format", "api_key")
    },
)


@settings(max_examples=100, deadline=None)
@given(st.text() | JSON.map(json.dumps) | FIELDS.map(json.dumps))
def test_any_message_is_understood_or_refused_in_shape(text: str) -> None:
    status = 0
    try:
        parsed(text)
    except ApiError as error:
        status = error.status
    assert status in (0, 400, 413)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FIELDS.map(json.dumps) | st.binary(max_size=20), max_size=6))
def test_no_sequence_of_messages_breaks_the_server(running: Live, messages: list[Any]) -> None:
    async def conversation(socket: Socket) -> None:
        for message in messages:
            await socket.plain.send(message)
        await socket.say(type="cancel")
        while (answer := await socket.hear())["type"] != "cancelled":
            assert answer.get("error", {}).get("code") != "internal"

    running.humming.pause_s = 0.0
    talk(running, conversation)
    until_idle(running)


# ----- ElevenLabs ---------------------------------------------------------------------------------


def test_the_shape_of_elevenlabs_over_http(server: Live) -> None:
    with httpx.Client(base_url=server.url, timeout=10) as http:
        voices = http.get("/v1/voices").json()["voices"]
        assert {"mei", "tom"} <= {voice["voice_id"] for voice in voices}
        body = {"text": "Hello to you all.", "model_id": "eleven_turbo_v2_5",
                "voice_settings": {"stability": 0.5, "speed": 1.1}}  # fmt: skip
        path = "/v1/text-to-speech/tom"
        sound = http.post(path, json=body, headers={"xi-api-key": "none"})
        assert sound.headers["content-type"] == "audio/mpeg"
        pcm = http.post(path + "/stream?output_format=pcm_16000", json=body)
        assert len(pcm.content) == int(SECONDS * 16_000) * 2
        timed = http.post(path + "/with-timestamps", json=body).json()
        assert len(base64.b64decode(timed["audio_base64"])) > 100
        assert set(timed["alignment"]) == {
            "characters", "character_start_times_seconds", "character_end_times_seconds",
        }  # fmt: skip
        lines = http.post(path + "/stream/with-timestamps", json=body).text.splitlines()
        assert all(json.loads(line) for line in lines)
        assert http.post(path + "?output_format=ulaw_8000", json=body).status_code == 400
        assert http.post("/v1/text-to-speech/nobody", json=body).status_code == 404


def test_the_websocket_of_elevenlabs(server: Live) -> None:
    async def conversation(socket: Socket) -> None:
        await socket.say(text=" ", voice_settings={"speed": 1.0})
        await socket.say(text="Hello to you all, ")
        await socket.say(text="my friends ", flush=True)
        assert len(base64.b64decode((await socket.hear())["audio"])) == PCM_BYTES
        await socket.say(text="")
        last = await socket.hear()
        while not last["isFinal"]:
            last = await socket.hear()

    talk(server, conversation, "/v1/text-to-speech/tom/stream-input?output_format=pcm_24000")

    async def wrong(socket: Socket) -> None:
        await socket.plain.send("{")
        assert (await socket.hear())["error"]["code"] == "bad_message"

    talk(server, wrong, "/v1/text-to-speech/tom/stream-input")


# ----- Wyoming ------------------------------------------------------------------------------------


def test_the_wyoming_client_speaks(tmp_path: Path) -> None:
    pytest.importorskip("wyoming")
    from glmtts.serve.wyoming import AudioChunk, serve_wyoming  # isort: skip
    from wyoming.client import AsyncTcpClient
    from wyoming.info import Describe, Info
    from wyoming.tts import (
        Synthesize,
        SynthesizeChunk,
        SynthesizeStart,
        SynthesizeStop,
        SynthesizeVoice,
    )

    from glmtts.serve.keys import KeyRing
    from glmtts.serve.service import Service
    from glmtts.serve.settings import Settings
    from glmtts.serve.store import Store
    from tests.serve.humming import Humming

    async def test() -> None:
        humming = Humming(tmp_path)
        service = Service(
            lambda: humming, Settings(), KeyRing(environment=False), Store(":memory:")
        )  # type: ignore
        await service.start()
        listening = await serve_wyoming(service, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]

        async def heard(client: AsyncTcpClient, last: str) -> tuple[list[str], bytes]:
            kinds, sound = list[str](), b""
            while not kinds or kinds[-1] != last:
                event = await client.read_event()
                assert event is not None
                kinds.append(event.type)
                if AudioChunk.is_type(event.type):
                    sound += AudioChunk.from_event(event).audio
            return kinds, sound

        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            info = Info.from_event(event)
            assert {voice.name for voice in info.tts[0].voices} == {"mei", "tom"}
            voice = SynthesizeVoice(name="tom")
            await client.write_event(Synthesize("Hello there. And more.", voice=voice).event())
            kinds, sound = await heard(client, "audio-stop")
            assert kinds == ["audio-start", "audio-chunk", "audio-chunk", "audio-stop"]
            assert len(sound) == 2 * PCM_BYTES
            await client.write_event(SynthesizeStart(voice=voice).event())
            await client.write_event(SynthesizeChunk("Hello there in ").event())
            await client.write_event(SynthesizeChunk("pieces. And more.").event())
            await client.write_event(Synthesize("Hello there in pieces. And more.").event())
            await client.write_event(SynthesizeStop().event())
            kinds, sound = await heard(client, "synthesize-stopped")
            assert len(sound) == 2 * PCM_BYTES
            nobody = SynthesizeVoice(name="nobody")
            await client.write_event(Synthesize("Hello there.", voice=nobody).event())
            assert (await heard(client, "error"))[0] == ["error"]
        listening.close()
        await service.stop()

    asyncio.run(asyncio.wait_for(test(), 20))
