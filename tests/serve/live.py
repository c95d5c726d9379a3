"""A server that really listens, in a thread, for clients that really connect."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from glmtts.serve.app import create_app
from glmtts.serve.keys import KeyRing
from glmtts.serve.service import Service
from glmtts.serve.settings import Settings, uvicorn_options
from tests.serve.humming import Humming


class Live:
    def __init__(self, port: int, service: Service, humming: Any) -> None:
        self.port, self.service, self.humming = port, service, humming
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def live(
    folder: Path, settings: Settings | None = None, keys: KeyRing | None = None,
    speaker: Any = None, **options: Any,
) -> Generator[Live]:  # fmt: skip
    """Serve until the block ends."""
    speaker = speaker or Humming(folder)
    settings = settings or Settings(data=folder / "data", drain_s=0.2, **options)
    app = create_app(lambda: speaker, settings, keys)
    extra = {**uvicorn_options(settings), "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", **extra)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    service: Service = app.state.service
    while not (server.started and service.ready) and time.monotonic() < deadline:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Live(port, service, speaker)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until_idle(server: Live, seconds: float = 5.0) -> float:
    """Wait until nothing is being spoken; how long that took."""
    started = time.monotonic()
    engine = server.service.engine
    while (engine.running or server.humming.at_work) and time.monotonic() - started < seconds:
        time.sleep(0.002)
    assert engine.running == 0
    return time.monotonic() - started


def main() -> None:
    """Serve in a process of its own, that can be killed: live.py FOLDER PORT PAUSE."""
    folder, port, pause = sys.argv[1:]
    speaker: Any = Humming(Path(folder), float(pause))
    app = create_app(lambda: speaker, Settings(data=Path(folder) / "data", drain_s=5.0))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", ws="none")


if __name__ == "__main__":
    main()
