"""Speech over HTTP, through the clients people use, against a server that really listens."""

import base64
import io
import json
import shutil
import socket
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.humming import SECONDS
from tests.serve.live import Live, live, until_idle

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def http(server: Live) -> Iterator[httpx.Client]:
    server.humming.pause_s = 0.0
    server.humming.gate.set()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def client(server: Live, http: httpx.Client) -> Iterator["openai.OpenAI"]:
    with openai.OpenAI(api_key="unused", base_url=server.url + "/v1", max_retries=0) as client:
        yield client


def seconds_of(wav: bytes) -> float:
    head = wav.index(b"data") + 8
    return (len(wav) - head) / 2 / 24_000


TWO = "One sentence here. And another one."


# ----- the official client ------------------------------------------------------------------------


def test_the_official_client_speaks(client: "openai.OpenAI", tmp_path: Path) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TWO, response_format="wav"
    ) as response:
        response.stream_to_file(tmp_path / "out.wav")
        assert response.headers["content-type"] == "audio/wav"
        assert response.headers["x-sample-rate"] == "24000"
        assert response.headers["x-request-id"].startswith("req_")
    assert seconds_of((tmp_path / "out.wav").read_bytes()) == 2 * SECONDS
    whole = client.audio.speech.create(model="tts-1-hd", voice="mei", input=TWO)
    assert whole.response.headers["content-type"] == "audio/mpeg"
    assert whole.content[:3] == b"ID3" or whole.content[0] == 0xFF


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_of_openai_is_spoken(client: "openai.OpenAI", kind: str) -> None:
    answer = client.audio.speech.create(
        model="gpt-4o-mini-tts", voice={"id": "tom"}, input=TWO, response_format=kind,
        speed=1.5, instructions="As if to a friend.",
    )  # fmt: skip
    assert len(answer.content) > 500
    assert answer.response.headers["x-ignored"] == "instructions"
    if kind == "pcm":
        assert len(answer.content) == int(2 * SECONDS * 24_000) * 2


def test_an_emotion_among_the_instructions_is_spoken(
    client: "openai.OpenAI", server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.humming, "styles", ("happy", "sad"))
    for said, style in (("Speak in a cheerful and positive tone.", "happy"), ("难过地说", "sad")):
        answer = client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input=TWO, instructions=said
        )
        assert answer.response.headers["x-style"] == style
        assert "x-ignored" not in answer.response.headers
        assert server.humming.calls[-1][2].style == style


def test_an_emotion_that_the_model_cannot_speak_is_refused(
    client: "openai.OpenAI", server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for styles, told in (((), "learnt no emotions"), (("sad",), "it knows sad")):
        monkeypatch.setattr(server.humming, "styles", styles)
        with pytest.raises(openai.BadRequestError, match=told) as error:
            client.audio.speech.create(
                model="tts-1", voice="alloy", input=TWO, instructions="Speak happily."
            )
        assert (error.value.param, error.value.code) == ("instructions", "unsupported_style")


def test_the_official_client_hears_events(client: "openai.OpenAI") -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TWO, response_format="pcm", stream_format="sse",
        extra_body={"timestamps": True, "seed": 3},
    ) as response:  # fmt: skip
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    kinds = [event["type"] for event in events]
    assert kinds.count("speech.audio.delta") == 2
    assert kinds.count("speech.audio.timestamps") == 2
    assert kinds[-1] == "speech.audio.done"
    done = events[-1]
    assert done["finish_reason"] == "stop"
    assert done["usage"]["input_tokens"] == len(TWO)
    sound = b"".join(base64.b64decode(e["audio"]) for e in events if "audio" in e)
    assert len(sound) == int(2 * SECONDS * 24_000) * 2


def test_errors_are_those_of_the_official_client(client: "openai.OpenAI") -> None:
    def refused(kind: type[Exception], **wrong: object) -> object:
        with pytest.raises(kind) as error:
            client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": "Hi there.",
                                          **wrong})  # type: ignore  # fmt: skip
        return error.value.body  # type: ignore[attr-defined]

    assert refused(openai.NotFoundError, voice="nobody")["code"] == "voice_not_found"  # type: ignore
    assert refused(openai.NotFoundError, model="gpt-5")["param"] == "model"  # type: ignore
    assert refused(openai.BadRequestError, input="")["param"] == "input"  # type: ignore
    assert refused(openai.BadRequestError, input="。。。")["code"] == "bad_text"  # type: ignore
    assert refused(openai.BadRequestError, input="x" * 5_000)["code"] == "too_long"  # type: ignore
    assert refused(openai.BadRequestError, speed=9.0)["param"] == "speed"  # type: ignore
    body = refused(openai.InternalServerError, input="Please explode now.")
    assert body["code"] == "speech_failed"  # type: ignore[index]
    assert "secret" not in str(body)
    assert [model.id for model in client.models.list()] == ["humming"]
    assert client.models.retrieve("tts-1").owned_by == "glmtts"


# ----- what became of it --------------------------------------------------------------------------


def test_finish_reason_and_times_can_be_asked_for(http: httpx.Client) -> None:
    body = {"input": "An endless story goes on. Here it stops.", "response_format": "wav"}
    answer = http.post("/v1/audio/speech", json=body, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    told = http.get("/v1/audio/generations/mine-1").json()
    assert told["finish_reason"] == "length"
    assert told["seconds"] == 2 * SECONDS
    assert told["first_audio_s"] < 5
    assert [line["text"] for line in told["lines"]][1] == "Here it stops."
    assert http.get("/v1/audio/generations/other").status_code == 404


def test_captions_tell_when_each_word_is_said(http: httpx.Client) -> None:
    body = {"input": "今天天气很好啊。Hello my friends.", "response_format": "flac"}
    told = http.post("/v1/audio/speech/captioned", json=body).json()
    assert base64.b64decode(told["audio"])[:4] == b"fLaC"
    assert told["srt"].startswith("1\n00:00:00,000 --> 00:00:00,250\n今天天气很好啊。")
    assert told["vtt"].startswith("WEBVTT")
    assert len(told["lines"]) == 2
    assert told["finish_reason"] == "stop"


def test_another_rate_is_resampled_without_seams(http: httpx.Client) -> None:
    body = {"input": TWO, "response_format": "pcm", "sample_rate": 8000}
    answer = http.post("/v1/audio/speech", json=body)
    assert answer.headers["content-type"].startswith("audio/pcm;rate=8000")
    assert len(answer.content) == int(2 * SECONDS * 8_000) * 2


def test_readings_are_shown_with_their_choices(http: httpx.Client) -> None:
    told = http.post("/v1/text/normalize", json={"input": "银行行长在3号楼。"}).json()
    (sentence,) = told["sentences"]
    assert "三" in sentence["normalized"]
    by_text = [(r["text"], r["reading"], r["choices"]) for r in sentence["readings"]]
    hang = next(item for item in by_text if item[0] == "行")
    assert hang[1] == "hang2"
    assert {"hang2", "xing2"} <= set(hang[2])
    words = {"input": "长乐", "lexicon": {"长乐": "chang2 le4"}}
    (sentence,) = http.post("/v1/text/normalize", json=words).json()["sentences"]
    assert [r["reading"] for r in sentence["readings"]] == ["chang2", "le4"]
    wrong = http.post("/v1/text/normalize", json={"input": "长[zhang9]"})
    assert wrong.status_code == 400
    assert "zhang9" in wrong.json()["error"]["message"]


# ----- curl ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_speaks(server: Live, http: httpx.Client, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    body = json.dumps({"input": TWO, "response_format": "wav"})
    command = ["curl", "-sS", "-f", f"{server.url}/v1/audio/speech", "-o", str(out),
               "-H", "Content-Type: application/json", "-d", body]  # fmt: skip
    subprocess.run(command, check=True, timeout=20)
    assert seconds_of(out.read_bytes()) == 2 * SECONDS


# ----- while it is made, and when nobody listens --------------------------------------------------


def test_sound_arrives_while_the_rest_is_made(server: Live, http: httpx.Client) -> None:
    server.humming.pause_s = 0.3
    started, first = time.monotonic(), 0.0
    body = {"input": "This is one sentence. " * 4, "response_format": "pcm"}
    with http.stream("POST", "/v1/audio/speech", json=body) as answer:
        for _ in answer.iter_raw():
            first = first or time.monotonic() - started
    assert first < 0.9
    assert time.monotonic() - started > 1.1


@pytest.mark.parametrize("after_first", [False, True])
def test_hanging_up_frees_the_slot_within_200_ms(
    server: Live, http: httpx.Client, after_first: bool
) -> None:
    server.humming.pause_s = 0.05 if after_first else 30.0
    request = json.dumps({"input": "This is one sentence. " * 40, "response_format": "pcm"})
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(request)}\r\n\r\n"
        plain.sendall((head + request).encode())
        if after_first:
            assert plain.recv(100)
        server.humming.pause_s = 30.0
        time.sleep(0.2)
        assert server.service.engine.running == 1
    assert until_idle(server) < 0.2


def test_too_many_at_once_are_told_to_come_later(tmp_path: Path) -> None:
    with live(tmp_path, running=1, waiting=1) as busy:
        busy.humming.pause_s = 0.5
        with httpx.Client(base_url=busy.url, timeout=20) as http:
            body = {"input": TWO, "response_format": "pcm"}
            import concurrent.futures

            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                answers = list(
                    pool.map(lambda _: http.post("/v1/audio/speech", json=body), range(6))
                )
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 200, 429, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"


# ----- operation ----------------------------------------------------------------------------------


def test_health_readiness_metrics_and_the_document(server: Live, http: httpx.Client) -> None:
    assert http.get("/health").json()["status"] == "ok"
    assert http.get("/ready").status_code == 200
    http.post("/v1/audio/speech", json={"input": TWO})
    page = http.get("/metrics").text
    for name in (
        "first_audio_seconds_bucket", "real_time_factor_bucket", "running", "waiting",
        "batch_size", "underruns_total", 'finish_total{reason="stop"}', "requests_total",
    ):  # fmt: skip
        assert f"glmtts_{name}" in page, name
    document = http.get("/openapi.json").json()
    schema = document["components"]["schemas"]["SpeechRequest"]
    assert schema["examples"]
    assert "/v1/audio/voices" in document["paths"]


def test_not_ready_until_warm_and_not_while_closing(tmp_path: Path) -> None:
    with live(tmp_path) as server, httpx.Client(base_url=server.url) as http:
        engine, server.service._engine = server.service._engine, None
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        answer = http.post("/v1/audio/speech", json={"input": TWO})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"
        server.service._engine = engine
        assert engine is not None
        engine.closing = True
        assert http.get("/ready").status_code == 503


def test_a_wav_can_be_read_by_the_standard_library(http: httpx.Client) -> None:
    data = http.post("/v1/audio/speech", json={"input": TWO, "response_format": "wav"}).content
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
