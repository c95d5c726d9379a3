"""The application: routes, errors, life. Read `create_app`."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteError

from glmtts import __version__
from glmtts.errors import GlmTtsError
from glmtts.serve import elevenlabs, jobs, library, sockets, speech
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.guard import Guard
from glmtts.serve.keys import KeyRing
from glmtts.serve.service import Service
from glmtts.serve.settings import Settings
from glmtts.serve.store import Store
from glmtts.synthesizer import Synthesizer

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
ABOUT = """Text to speech for Mandarin and English. The speech endpoint is OpenAI's; beside it stand
a WebSocket for text that still comes (`/v1/audio/speech/stream`: append, flush, end, cancel), the
shape of ElevenLabs, voices with consent, and long jobs. Errors have OpenAI's shape everywhere."""


def create_app(
    load: Callable[[], Synthesizer],
    settings: Settings | None = None,
    keys: KeyRing | None = None,
    store: Store | None = None,
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        load: Gives the model, ready for many threads; runs in a thread once the server is up.
        settings: Limits.
        keys: Who may come in; nobody needs a key without any.
        store: The database, by default in the data folder.
    """
    settings, keys = settings or Settings(), keys or KeyRing(environment=False)
    service = Service(load, settings, keys, store)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        app.state.jobs = jobs.Jobs(service)

        async def work() -> None:
            await service.start()
            await app.state.jobs.run()

        working = asyncio.create_task(work())
        try:
            yield
        finally:
            await service.stop()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            service.store.close()

    app = FastAPI(
        title="glmtts", version=__version__, description=ABOUT, lifespan=life,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.service = service
    app.include_router(speech.router)
    app.include_router(library.router)
    app.include_router(jobs.router)
    app.include_router(sockets.router)
    app.include_router(elevenlabs.router)
    _errors(app)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        lm: Any = service.ready and getattr(service.synthesizer, "shared_lm", None)
        service.metrics.batch.set(lm.speaking if lm else 0)
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")

    if settings.page:
        app.mount("/page", StaticFiles(directory=PAGE), name="page")

        @app.get("/", include_in_schema=False)
        async def index() -> Response:  # pyright: ignore[reportUnusedFunction]
            return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    app.add_middleware(Guard, settings=settings, keys=keys, metrics=service.metrics)  # pyright: ignore
    return app


def _errors(app: FastAPI) -> None:
    """Answer every error in OpenAI's shape."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        message = f"{where or 'The body'}: {first['msg']}."
        return ApiError(400, message, code="invalid", param=where or None).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteError)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return ApiError(
            error.status_code, str(error.detail), code=code, headers=error.headers
        ).response()

    app.add_exception_handler(GlmTtsError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(StarletteError, http)
