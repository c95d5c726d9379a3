"""Books: cut into chapters, spoken when nobody else waits, and whole after a crash."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from glmtts.serve.jobs import CHAPTER_CHARACTERS, chapters_of
from glmtts.serve.keys import KeyRing
from tests.serve.humming import SECONDS
from tests.serve.live import Live, live

ROOT = Path(__file__).parents[2]
BOOK = "\n".join(f"# Part {n}\nIt begins here. It goes on. It ends here.\n" for n in range(1, 7))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def http(server: Live) -> Iterator[httpx.Client]:
    server.humming.pause_s = 0.0
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


# ----- chapters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("# One\nA.\n## Two\nB.", ["One", "Two"]),
        ("第一章 开始\n很久以前。\n第二章\n后来。", ["第一章 开始", "第二章"]),
        ("Preface.\nChapter 1: Dawn\nA.\nCHAPTER II\nB.", ["", "Chapter 1: Dawn", "CHAPTER II"]),
        ("No heading at all.", [""]),
        ("  \n \n", []),
    ],
)  # fmt: skip
def test_a_book_is_cut_at_its_headings(text: str, titles: list[str]) -> None:
    assert [title for title, _ in chapters_of(text)] == titles


def test_a_long_chapter_is_cut_at_paragraphs_and_nothing_is_lost() -> None:
    text = "".join(f"Paragraph {n} of the book is here.\n" for n in range(1_000))
    parts = chapters_of(text)
    assert "".join(part for _, part in parts) == text
    assert all(len(part) <= CHAPTER_CHARACTERS for _, part in parts)


# ----- over HTTP ----------------------------------------------------------------------------------


def test_a_job_is_spoken_and_fetched(server: Live, http: httpx.Client) -> None:
    body = {"input": BOOK, "title": "A book", "response_format": "wav", "voice": "tom"}
    answer = http.post("/v1/audio/jobs", json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["chapters"], job["progress"]) == ("waiting", 6, 0)
    path = f"/v1/audio/jobs/{job['id']}"
    done = wait_for(lambda: (told := http.get(path).json())["state"] == "done" and told)
    assert (done["progress"], done["chapters_done"]) == (1.0, 6)
    # The heading is said too: it and three sentences.
    assert done["list"][0]["title"] == "Part 1"
    each = done["list"][0]["seconds"]
    assert each >= 3 * SECONDS
    sound = http.get(path + "/chapters/2").content
    assert (len(sound) - sound.index(b"data") - 8) / 48_000 == each
    whole = http.get(path + "/audio").content
    assert (len(whole) - whole.index(b"data") - 8) / 48_000 == pytest.approx(done["seconds"])
    assert http.get(path + "/chapters/99").status_code == 404
    assert [j["id"] for j in http.get("/v1/audio/jobs").json()["jobs"]] == [job["id"]]
    assert http.delete(path).json()["deleted"]
    assert http.get(path).status_code == 404
    assert not (server.service.data / "jobs" / job["id"]).exists()


def test_a_chapter_that_cannot_be_spoken_does_not_stop_the_others(http: httpx.Client) -> None:
    body = {"input": "# One\nIt is good.\n# Two\nPlease explode now.\n# Three\nIt is good."}
    job = http.post("/v1/audio/jobs", json=body).json()
    path = f"/v1/audio/jobs/{job['id']}"
    told = wait_for(lambda: (t := http.get(path).json())["state"] == "failed" and t)
    assert [c["state"] for c in told["list"]] == ["done", "failed", "done"]
    assert "secret" not in told["list"][1]["error"]
    assert http.get(path + "/audio").status_code == 200


def test_a_running_job_can_be_cancelled_and_wrong_ones_are_refused(
    server: Live, http: httpx.Client
) -> None:
    server.humming.pause_s = 30.0
    job = http.post("/v1/audio/jobs", json={"input": BOOK}).json()
    wait_for(lambda: server.humming.at_work)
    http.delete(f"/v1/audio/jobs/{job['id']}")
    wait_for(lambda: not server.humming.at_work, 2.0)
    for wrong in ({"input": " \n"}, {"input": "Hi.", "voice": "nobody"},
                  {"input": "Hi.", "lexicon": {"长": "zhang9"}},
                  {"input": "Hi.", "title": "x" * 999}):  # fmt: skip
        assert 400 <= http.post("/v1/audio/jobs", json=wrong).status_code < 500
    server.humming.pause_s = 0.0


def test_the_jobs_of_another_key_cannot_be_seen(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys", environment=False)
    keys = {name: {"Authorization": f"Bearer {ring.add(name)}"} for name in ("a", "b")}
    with live(tmp_path, keys=ring) as server, httpx.Client(base_url=server.url) as http:
        job = http.post("/v1/audio/jobs", json={"input": "Hello."}, headers=keys["a"]).json()
        path = f"/v1/audio/jobs/{job['id']}"
        assert http.get(path, headers=keys["a"]).status_code == 200
        assert http.get(path, headers=keys["b"]).status_code == 404
        assert http.delete(path, headers=keys["b"]).status_code == 404
        assert http.get("/v1/audio/jobs", headers=keys["b"]).json()["jobs"] == []


# ----- a crash ------------------------------------------------------------------------------------


def start(folder: Path, port: int, pause_s: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.serve.live", str(folder), str(port), str(pause_s)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}/ready"

    def ready() -> bool:
        try:
            return httpx.get(url).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(ready, 60.0)
    return process


@pytest.mark.slow  # three processes that import torch
def test_after_kill_9_finished_chapters_are_kept_and_the_rest_is_done(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(tmp_path, port, 0.15)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            body = {"input": BOOK, "response_format": "wav", "seed": 1}
            path = "/v1/audio/jobs/" + http.post("/v1/audio/jobs", json=body).json()["id"]
            wait_for(lambda: http.get(path).json()["chapters_done"] >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        sounds = tmp_path / "data" / path.replace("/v1/audio/", "")
        kept = {p.name: p.stat().st_mtime_ns for p in sounds.glob("*.wav")}
        assert 2 <= len(kept) < 6
        process = start(tmp_path, port, 0.0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            done = wait_for(lambda: (t := http.get(path).json())["state"] == "done" and t)
            assert done["chapters_done"] == 6
            each = {chapter["seconds"] for chapter in done["list"]}
            assert len(each) == 1  # none is cut short
        now = {p.name: p.stat().st_mtime_ns for p in sounds.glob("*.wav")}
        assert {name: now[name] for name in kept} == kept  # spoken once
        assert len(now) == 6
        assert not list(sounds.glob("*.part"))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
