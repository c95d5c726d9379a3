"""The application on Ray Serve, started as a user would; one of two language models is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from glmtts.errors import BadInput
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.serve import ray_app
from glmtts.serve.encode import pcm16
from glmtts.serve.service import PACES
from glmtts.synthesizer import Synthesizer
from tests import tiny

ROOT = Path(__file__).parents[2]
TEXT = "你好世界你好世界。你好你好世界，世界你好！Hello world, hello my world."
REPLICA = "ray::ServeReplica:glmtts-test:LanguageModel"


def test_the_number_of_replicas_is_fixed_or_by_load() -> None:
    assert ray_app.replicas("2") == {"num_replicas": 2}
    assert ray_app.replicas("1-8")["autoscaling_config"]["max_replicas"] == 8
    for wrong in ("", "two", "1-", "-3"):
        with pytest.raises(BadInput, match="number of replicas"):
            ray_app.replicas(wrong)
    with pytest.raises(BadInput, match="GLMTTS_MODLE"):
        ray_app.make({"GLMTTS_MODLE": "glmtts-nano"})


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def replicas() -> list[int]:
    """Processes of this test's language models."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if line.startswith(REPLICA):
            found.append(int(folder.name))
    return sorted(found)


class Cluster:
    """A server on Ray, and the model alone to compare with."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.alone = Synthesizer.load(folder, device="cpu", voices=folder / "stored")

    def ask(self, seed: int, **more: object) -> bytes:
        body = {"input": TEXT, "seed": seed, "response_format": "pcm", **more}
        answer = httpx.post(f"{self.url}/v1/audio/speech", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.content

    def expected(self, seed: int, pace: str = "quick") -> bytes:
        options = SpeakOptions(sampling=Sampling(seed=seed), pace=PACES[pace])
        return b"".join(pcm16(audio) for audio in self.alone.stream(TEXT, options=options))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("ray.serve")
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("finds replicas in /proc")
    place = tmp_path_factory.mktemp("ray")
    folder = tiny.build(place / "tiny", candidates=3)
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    config = place / "app.yaml"
    config.write_text(
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        "applications:\n"
        "  - name: glmtts-test\n"
        "    route_prefix: /\n"
        "    import_path: glmtts.serve.ray_app:make\n"
        f"    args: {{GLMTTS_MODEL: '{folder}', GLMTTS_LM_REPLICAS: '2', "
        "GLMTTS_REPLICA_CPUS: '0.5'}\n"
    )
    log = (place / "log").open("w+")
    serve = Path(sys.executable).parent / "serve"
    process = subprocess.Popen(
        [serve, "run", "--address", "local", config], env=environment, stdout=log, stderr=log,
        cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: ready(url) and len(replicas()) == 2, process, 400)
        yield Cluster(url, folder)
    except TimeoutError:
        log.seek(0)
        print(log.read()[-6_000:])
        raise
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        log.close()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def wait(what: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float) -> None:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until or process.poll() is not None:
            raise TimeoutError(f"not there in {seconds} s, process ended with {process.poll()}")
        time.sleep(0.2)


@pytest.mark.slow
def test_two_language_models_give_what_one_gives(cluster: Cluster) -> None:
    for pace in PACES:
        for seed in range(2):
            assert cluster.ask(seed, pace=pace) == cluster.expected(seed, pace)
    assert httpx.get(f"{cluster.url}/v1/models").json()["data"][0]["id"] == "tiny"
    wrong = httpx.post(f"{cluster.url}/v1/audio/speech", json={"input": "。", "voice": "mei"})
    assert wrong.status_code == 400
    assert "can be spoken" in wrong.json()["error"]["message"]


@pytest.mark.slow
def test_a_killed_language_model_costs_nobody_a_sample(cluster: Cluster) -> None:
    expected = {seed: cluster.expected(seed) for seed in range(4)}
    right, wrong = [0], list[str]()
    stop = threading.Event()

    def listener(seed: int) -> None:
        while not stop.is_set():
            try:
                heard = cluster.ask(seed)
                right[0] += heard == expected[seed]
                if heard != expected[seed]:
                    wrong.append("other sound")
            except (httpx.HTTPError, AssertionError) as error:
                wrong.append(repr(error)[:300])

    threads = [threading.Thread(target=listener, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    time.sleep(2)
    before, victims = right[0], replicas()
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    time.sleep(6)
    stop.set()
    for thread in threads:
        thread.join(120)
    print(f"{before} texts before one of two language models was killed, {right[0] - before} "
          f"after it, failed: {wrong}")  # fmt: skip
    assert before > 0
    assert right[0] > before + len(expected)
    assert "other sound" not in wrong
    assert all(re.search("No language model answers|shutting down", each) for each in wrong)
    assert cluster.ask(1) == expected[1]
    until = time.monotonic() + 60
    while len(replicas()) < 2 and time.monotonic() < until:
        time.sleep(0.5)
    assert len(replicas()) == 2  # and another one has taken its place
    assert cluster.ask(2) == expected[2]
