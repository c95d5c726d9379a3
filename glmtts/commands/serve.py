"""`glmtts serve`: load a model, listen, answer until told to stop. Read `serve` first."""

import asyncio
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput, MissingExtra

try:
    import uvicorn

    from glmtts.serve.app import create_app
    from glmtts.serve.keys import KeyRing
    from glmtts.serve.service import Service
    from glmtts.serve.settings import LOOPBACK, Settings, checked_bind, uvicorn_options
    from glmtts.serve.shared import shared
except ImportError as error:  # pragma: no cover
    raise MissingExtra("The server", "serve") from error

import platformdirs

from glmtts.options import Pace, SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer

log = logging.getLogger("glmtts.serve")

WARM_UP = ("你好，世界，很高兴认识你。", "Hello, it is nice to meet you.")


@dataclass(frozen=True)
class Request:
    """The flags of `glmtts serve`."""

    host: str
    port: int
    model: str
    device: str
    dtype: str
    settings: Settings
    key_file: Path | None = None
    wyoming: int | None = None
    workers: int = 1


def key_path(given: Path | None, data: Path | None) -> Path:
    """Where keys are kept."""
    folder = data or platformdirs.user_data_path("glmtts", appauthor=False)
    return given or folder / "keys"


def add_key(name: str, path: Path) -> str:
    """Make a key and tell it, once.

    Raises:
        BadInput: the name is taken or not allowed.
    """
    return KeyRing(path, environment=False).add(name)


def remove_key(name: str, path: Path) -> None:
    """Take a key away; a running server must be started anew.

    Raises:
        BadInput: there is none of this name.
    """
    KeyRing(path, environment=False).remove(name)


def load(request: Request) -> Synthesizer:
    """The model, shared and warm.

    Raises:
        GlmTtsError: it cannot be loaded.
    """
    folder = request.settings.data
    voices = None if folder is None else folder / "voices"
    alone = Synthesizer.load(
        request.model, device=request.device, dtype=request.dtype, voices=voices
    )
    m = alone.manifest
    slots = max(request.settings.running * max(1, m.candidates), m.styled_candidates)
    together = shared(alone, slots, request.workers)
    options = SpeakOptions(sampling=Sampling(seed=0), pace=Pace.quick_start())
    for text in WARM_UP:
        together.speak(text, options=options)
    return together


def serve(request: Request) -> None:
    """Listen until SIGINT or SIGTERM; then let what is being spoken end.

    Raises:
        BadInput: other machines could reach a server without a key.
        GlmTtsError: the database or the keys cannot be read.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    settings = request.settings
    keys = KeyRing(key_path(request.key_file, settings.data))
    checked_bind(request.host, has_keys=bool(keys))
    if not settings.hosts and request.host in LOOPBACK:
        settings = replace(settings, hosts=LOOPBACK)
    app = create_app(lambda: load(request), settings, keys)
    config = uvicorn.Config(
        app, host=request.host, port=request.port, log_level="warning", **uvicorn_options(settings)
    )
    server = Server(config, app.state.service, request.wyoming)
    asyncio.run(server.serve())
    if app.state.service.failure:
        raise BadInput(f"The model could not be loaded. {app.state.service.failure}")


class Server(uvicorn.Server):
    """Uvicorn that says where it listens, drains before it stops, and speaks Wyoming too."""

    def __init__(self, config: uvicorn.Config, service: Service, wyoming: int | None) -> None:
        """Do not listen yet."""
        super().__init__(config)
        self._service, self._wyoming = service, wyoming

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        await super().startup(sockets)
        host = self.config.host
        shown = f"[{host}]" if ":" in host else host
        log.info("Listening on http://%s:%d; loading the model", shown, self.config.port)
        self._waiting = asyncio.create_task(self._tell_ready())
        if self._wyoming is not None:
            from glmtts.serve.wyoming import serve_wyoming

            await serve_wyoming(self._service, host, self._wyoming)
            log.info("Wyoming on tcp://%s:%d", shown, self._wyoming)

    async def _tell_ready(self) -> None:
        while not (self._service.ready or self._service.failure):
            await asyncio.sleep(0.05)
        if self._service.failure:
            self.should_exit = True
        else:
            log.info("Ready")

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new texts, finish those that are spoken, then close the connections."""
        if self._service.ready:
            log.info("Stopping: what is being spoken has %g s", self._service.settings.drain_s)
            await self._service.engine.drain(self._service.settings.drain_s)
        await super().shutdown(sockets)
