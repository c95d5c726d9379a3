"""What must not get in: wrong keys, foreign pages, paths, addresses, too much, too slow."""

import ast
import io
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import glmtts.serve
from glmtts.errors import BadAudio, BadInput
from glmtts.serve.errors import ApiError
from glmtts.serve.fetch import fetch, public_address
from glmtts.serve.keys import KeyRing
from glmtts.serve.library import decoded
from glmtts.serve.store import Store
from tests.serve.live import Live, live
from tests.tiny import buzz

BODY = {"input": "Hello there."}
CONSENT = "I, Anna Smith, agree that my voice is cloned."


def clip(seconds: float = 5.0, format: str = "wav", rate: int = 24_000) -> bytes:
    out = io.BytesIO()
    buzz(seconds, rate=rate).save(out, format)
    return out.getvalue()


@pytest.fixture(scope="module")
def ring(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[KeyRing, dict[str, str], dict[str, str]]:
    keys = KeyRing(tmp_path_factory.mktemp("keys") / "keys", environment=False)
    one, two = keys.add("one"), keys.add("two")
    return keys, {"Authorization": f"Bearer {one}"}, {"Authorization": f"Bearer {two}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ring: tuple) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    with live(folder, keys=ring[0], upload_bytes=600_000, body_bytes=50_000, body_s=1.0,
              hosts=("127.0.0.1",), origins=("https://friend.example",)) as running:  # fmt: skip
        yield running


@pytest.fixture
def http(server: Live, ring: tuple) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10, headers=ring[1]) as client:
        yield client


# ----- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Zm9v"}, {"xi-api-key": "no"},
     {"Authorization": "Bearer"}, {"Authorization": "Bearer é".encode("latin-1")}],
)  # fmt: skip
def test_without_a_right_key_nothing_is_done(server: Live, headers: dict) -> None:
    with httpx.Client(base_url=server.url) as http:
        for path in ("/v1/audio/speech", "/v1/audio/voices", "/v1/audio/jobs"):
            answer = http.post(path, json=BODY, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        assert http.get("/metrics", headers=headers).status_code == 401
        assert http.get("/health").status_code == 200
        assert http.get("/ready").status_code == 200


def test_a_key_works_in_both_headers_and_is_kept_as_a_hash(server: Live, ring: tuple) -> None:
    key = ring[1]["Authorization"].split()[1]
    with httpx.Client(base_url=server.url) as http:
        assert http.post("/v1/audio/speech", json=BODY, headers=ring[1]).status_code == 200
        assert (
            http.post("/v1/audio/speech", json=BODY, headers={"xi-api-key": key}).status_code == 200
        )
    stored = ring[0].path.read_text()
    assert key not in stored
    assert ring[0].path.stat().st_mode & 0o077 == 0
    again = KeyRing(ring[0].path, environment=False)
    assert again.name_of(key) == "one"
    assert again.name_of(key + "x") is None


def test_keys_are_added_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyRing(tmp_path / "keys", environment=False)
    assert not keys
    key = keys.add("anna")
    with pytest.raises(BadInput, match="exists"):
        keys.add("anna")
    with pytest.raises(BadInput, match="cannot name"):
        keys.add("../x")
    keys.remove("anna")
    assert keys.name_of(key) is None
    with pytest.raises(BadInput, match="No key"):
        keys.remove("anna")
    monkeypatch.setenv("GLMTTS_API_KEY", "from outside")
    assert KeyRing().name_of("from outside") == "environment"
    (tmp_path / "bad").write_text("anna plain-text-key\n")
    with pytest.raises(BadInput, match="bad:1"):
        KeyRing(tmp_path / "bad")


# ----- pages of others ----------------------------------------------------------------------------


def test_foreign_pages_and_foreign_names_are_refused(http: httpx.Client) -> None:
    path = "/v1/audio/speech"
    foreign = http.post(path, json=BODY, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers
    known = {"Origin": "https://friend.example"}
    friend = http.post(path, json=BODY, headers=known)
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert http.options(path, headers=known).status_code == 204
    own = {"Origin": str(http.base_url).rstrip("/")}
    assert http.post(path, json=BODY, headers=own).status_code == 200
    for host in ("evil.example", "evil.example:80", "a b", "[::1", ""):
        rebound = http.get("/health", headers={"Host": host})
        assert rebound.status_code in (400, 421), host


def test_every_response_has_the_headers_of_a_careful_server(http: httpx.Client) -> None:
    for answer in (http.get("/"), http.get("/v1/models"), http.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers or "uvicorn" not in answer.headers["server"]


def test_a_foreign_page_cannot_open_a_socket(server: Live, ring: tuple) -> None:
    websockets = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    url = f"ws://127.0.0.1:{server.port}/v1/audio/speech/stream"
    with pytest.raises((InvalidStatus, ConnectionClosed)):
        websockets.connect(url, origin="https://evil.example", additional_headers=ring[1]).recv()
    with websockets.connect(url) as socket_:  # a browser: the key comes in the first message
        socket_.send('{"type": "start", "api_key": "wrong"}')
        assert "invalid_api_key" in socket_.recv()
    with websockets.connect(url) as socket_:
        socket_.send('{"type": "append", "text": "Hello."}')
        assert "invalid_api_key" in socket_.recv()
    with websockets.connect(url) as socket_:
        key = ring[1]["Authorization"].split()[1]
        socket_.send(f'{{"type": "start", "api_key": "{key}"}}')
        assert "started" in socket_.recv()


# ----- voices: consent, owners, paths -------------------------------------------------------------


def upload(http: httpx.Client, data: bytes, **fields: str) -> httpx.Response:
    form = {"name": "anna", "consent": CONSENT, **fields}
    return http.post("/v1/audio/voices", data=form, files={"audio_sample": ("a.wav", data)})


def test_a_voice_is_cloned_used_audited_and_deleted_by_its_owner_alone(
    server: Live, http: httpx.Client, ring: tuple
) -> None:
    made = upload(http, clip(), language="en", gender="female")
    assert made.status_code == 201, made.text
    voice = made.json()
    assert voice["id"].startswith("voice_")
    assert voice["consent"] == CONSENT
    assert upload(http, clip()).status_code == 409
    for name in ("anna", voice["id"]):
        assert http.post("/v1/audio/speech", json={**BODY, "voice": name}).status_code == 200
    with httpx.Client(base_url=server.url, headers=ring[2]) as other:
        assert "anna" not in [v["name"] for v in other.get("/v1/audio/voices").json()["voices"]]
        assert other.post("/v1/audio/speech", json={**BODY, "voice": "anna"}).status_code == 404
        assert other.get("/v1/audio/voices/anna/audit").status_code == 404
        assert other.delete("/v1/audio/voices/anna").status_code == 404
    log = http.get("/v1/audio/voices/anna/audit").json()
    assert [line["action"] for line in log["lines"]] == ["speak", "speak", "create"]
    assert log["lines"][-1]["detail"]["consent"] == CONSENT
    assert http.delete("/v1/audio/voices/anna").json()["deleted"]
    assert http.post("/v1/audio/speech", json={**BODY, "voice": "anna"}).status_code == 404
    assert server.service.store.audit("anna")[0]["action"] == "delete"  # the log stays
    assert http.delete("/v1/audio/voices/mei").status_code == 403


@pytest.mark.parametrize("consent", ["", "yes", "true", "  ok  "])
def test_no_voice_without_consent_in_words(http: httpx.Client, consent: str) -> None:
    answer = upload(http, clip(), consent=consent)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "consent"


@pytest.mark.parametrize(
    "name",
    ["../evil", "..", "a/b", "a\\b", "/etc/passwd", "con", "a\x00b", "-rf", "x" * 100, ".hidden",
     "%2e%2e%2fevil", "alloy", "mei"],
)  # fmt: skip
def test_no_name_leads_out_of_the_library(server: Live, http: httpx.Client, name: str) -> None:
    before = sorted(server.service.data.parent.rglob("*"))
    assert upload(http, clip(), name=name).status_code in (400, 409)
    after = sorted(server.service.data.parent.rglob("*"))
    assert [p for p in after if p not in before and "sqlite" not in p.name] == []
    quoted = "/v1/audio/voices/" + quote(name, safe="")
    assert http.get(quoted).status_code in (200, 404) if name == "mei" else (
        http.get(quoted).status_code in (307, 401, 404)
    )  # fmt: skip
    assert http.delete(quoted).status_code in (403, 404, 405)
    spoken = http.post("/v1/audio/speech", json={**BODY, "voice": name})
    assert spoken.status_code in ((200,) if name in ("mei", "alloy") else (404,))


def test_static_files_lead_nowhere_else(http: httpx.Client) -> None:
    for path in (
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/..%2fapp.py",
    ):
        assert http.get(path).status_code in (401, 404)


# ----- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://example.com/a.wav", ()),
        ("http://clips.example/a.wav", ("clips.example",)),
        ("https://evil.example/a.wav", ("clips.example",)),
        ("https://clips.example:8443/a.wav", ("clips.example",)),
        ("https://user@clips.example/a.wav", ("clips.example",)),
        ("https://clips.example@evil.example/", ("clips.example",)),
        ("file:///etc/passwd", ("clips.example",)),
        ("https://localhost/a.wav", ("localhost",)),
        ("https://127.0.0.1/a.wav", ("127.0.0.1",)),
        ("https://169.254.169.254/latest", ("169.254.169.254",)),
        ("https://[::1]/a.wav", ("::1",)),
        ("https://[::ffff:10.0.0.1]/", ("::ffff:10.0.0.1",)),
        ("https://clips.example/\r\nX: y", ("clips.example",)),
        ("https://clips.example:99999/", ("clips.example",)),
        ("nonsense", ("clips.example",)),
    ],
)  # fmt: skip
def test_no_address_is_fetched_that_was_not_allowed(url: str, hosts: tuple[str, ...]) -> None:
    import asyncio

    with pytest.raises(ApiError) as error:
        asyncio.run(fetch(url, hosts, 1_000))
    assert error.value.status == 400


def test_a_name_that_resolves_into_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*addresses: str) -> None:
        found = [(0, 0, 0, "", (address, 443)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)

    resolved("8.8.8.8")
    assert public_address("clips.example") == "8.8.8.8"
    for private in (
        "10.1.2.3",
        "192.168.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
        "::ffff:192.168.0.1",
        "224.0.0.1",
        "0.0.0.0",
    ):
        resolved("8.8.8.8", private)
        with pytest.raises(ApiError, match="private"):
            public_address("clips.example")


def test_the_server_fetches_nothing_by_default(http: httpx.Client) -> None:
    form = {"name": "anna", "consent": CONSENT, "audio_url": "https://example.com/a.wav"}
    answer = http.post("/v1/audio/voices", data=form)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "url_refused"


# ----- too much, too slow, not sound --------------------------------------------------------------


def test_too_large_bodies_are_refused_before_they_are_read(
    server: Live, http: httpx.Client
) -> None:
    assert http.post("/v1/audio/speech", json={"input": "x" * 60_000}).status_code == 413
    assert upload(http, clip(20.0)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b" " * 10_000

    try:
        answer = http.post("/v1/audio/speech", content=endless())
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the connection is closed while we still send: refused as well
    assert http.get("/health").status_code == 200


def test_a_body_that_drips_is_cut_off(server: Live, ring: tuple) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        head = "POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        head += f"Authorization: {ring[1]['Authorization']}\r\n\r\n"
        plain.sendall(head.encode())
        plain.settimeout(8)
        plain.sendall(b"{")
        assert b" 408 " in plain.recv(200)
    assert time.monotonic() - started < 5


def test_hundreds_of_silent_connections_do_not_stop_the_server(
    server: Live, http: httpx.Client
) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        assert http.post("/v1/audio/speech", json=BODY).status_code == 200
    finally:
        for plain in silent:
            plain.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"RIFF", b"not audio at all", b"\x00" * 1_000, clip(5.0)[:60], b"#EXTM3U\nfile:///etc/passwd",
     b"ffconcat version 1.0\nfile /etc/passwd", b"<?xml version='1.0'?>", clip(0.1)],
)  # fmt: skip
def test_what_is_no_sound_is_refused(http: httpx.Client, data: bytes) -> None:
    answer = upload(http, data)
    assert answer.status_code == 400, answer.text
    assert "/" not in answer.json()["error"]["message"].replace("and/or", "")


def test_a_header_that_promises_hours_is_not_believed() -> None:
    data = bytearray(clip(5.0))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 0x7FFFFFFF)
    with pytest.raises(BadAudio):
        decoded(bytes(clip(70.0)))
    sound = decoded(bytes(data))
    assert sound.seconds < 6  # what is there, and no more
    wide = io.BytesIO()
    import soundfile

    soundfile.write(wide, torch.zeros(24_000, 12).numpy(), 24_000, format="WAV")
    with pytest.raises(BadAudio, match="12 channels"):
        decoded(wide.getvalue())


GOOD = {kind: clip(2.0, kind) for kind in ("wav", "flac", "ogg", "mp3")}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 2_000),
)
def test_broken_headers_are_refused_or_read_never_more(
    kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(GOOD[kind])
    for place, value in changes:
        data[place] = value
    data = data[: len(data) - cut]
    try:
        sound = decoded(bytes(data))
    except BadAudio:
        return
    assert 0 < sound.seconds <= 60


# ----- what we ship -------------------------------------------------------------------------------


def test_nothing_in_the_server_unpickles_or_runs_a_shell() -> None:
    folder = Path(glmtts.serve.__file__).parent
    forbidden = {"pickle", "marshal", "shelve", "subprocess", "dill"}
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name.split(".")[0] for alias in node.names}
                assert not forbidden & (names | {getattr(node, "module", None)}), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert (node.func.attr, getattr(node.func.value, "id", "")) != ("load", "torch")


def test_the_audit_log_and_voices_survive_many_threads(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")

    def work(number: int) -> None:
        for turn in range(20):
            store.note("key", "speak", f"voice{number}", f"r{turn}", turn=turn)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.audit()) == 80
    assert [line["detail"]["turn"] for line in store.audit("voice2")] == list(range(19, -1, -1))
    store.close()
