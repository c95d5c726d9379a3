"""`glmtts serve`: keys, refusals, and a model that really speaks through it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import tiny
from tests.conftest import Run

ROOT = Path(__file__).parents[2]


def test_keys_are_made_shown_once_and_removed(glmtts: Run, tmp_path: Path) -> None:
    made = glmtts("serve", "--data", tmp_path, "--add-key", "anna")
    assert re.fullmatch(r"glmtts-[\w-]{43}\n", made.out)
    assert made.out.strip() not in (tmp_path / "keys").read_text()
    again = glmtts("serve", "--data", tmp_path, "--add-key", "anna")
    assert (again.status, "exists" in again.err) == (2, True)
    assert glmtts("serve", "--data", tmp_path, "--remove-key", "anna").status == 0
    assert (tmp_path / "keys").read_text() == ""


def test_other_machines_are_refused_without_a_key(
    glmtts: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLMTTS_API_KEY", raising=False)
    refused = glmtts("serve", "--host", "0.0.0.0", "--data", tmp_path)
    assert refused.status == 2
    assert "--add-key" in refused.err
    assert glmtts("serve", "--running", "0", "--data", tmp_path).status == 2


@pytest.mark.slow
def test_a_server_speaks_drains_on_sigterm_and_ends(tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "glmtts", "serve", "--port", str(port), "--model",
               str(folder), "--data", str(tmp_path / "data")]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    if http.get("/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            body = {"input": "你好世界你好世界。" * 12, "response_format": "pcm", "seed": 1}
            whole = http.post("/v1/audio/speech", json=body).content
            with http.stream("POST", "/v1/audio/speech", json=body) as answer:
                parts = answer.iter_raw()
                data = next(parts)
                process.send_signal(signal.SIGTERM)
                data += b"".join(parts)
            assert data == whole  # what was being spoken was spoken to its end
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
