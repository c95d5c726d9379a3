"""Whatever the OpenAPI document allows, and whatever it does not, is answered. Slow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.live import live

EXAMPLES = os.environ.get("GLMTTS_FUZZ_EXAMPLES", "15")


@pytest.mark.slow
def test_schemathesis_finds_no_server_error(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command
    with live(tmp_path, jobs_per_key=100_000, running_per_key=10_000) as server:
        done = subprocess.run(
            [command, "run", server.url + "/openapi.json", "--checks", "not_a_server_error",
             "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing",
             "--seed", "1", "--no-color"],
            cwd=tmp_path, capture_output=True, text=True, timeout=900,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        page = server.service.metrics.page().decode()
    print(done.stdout[-3_000:])
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert 'glmtts_http_responses_total{status="500"}' not in page
