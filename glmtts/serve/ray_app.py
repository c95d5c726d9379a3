"""The server on Ray Serve: the language model scales apart from flow, vocoder and HTTP.

    GLMTTS_API_KEY=… serve run glmtts.serve.ray_app:make GLMTTS_LM_REPLICAS=2

`Speech` is the same application as `glmtts serve`, with flow and vocoder; its language model is
`LanguageModel`, a deployment of its own, reached token by token (`serve.remote`). `VARIABLES` say
how; they come from the environment of `serve run` or from its arguments.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput, Cancelled, MissingExtra
from glmtts.serve.app import create_app
from glmtts.serve.keys import KeyRing
from glmtts.serve.remote import Desk, RemoteLM, Spoken, Wanted
from glmtts.serve.settings import Settings
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import Synthesizer
from glmtts.wanted import is_wanted, until

SLOTS = 64
"""Utterances one language model speaks at once: eight texts of eight candidates."""

POLL_S = 0.1

VARIABLES = {
    "GLMTTS_MODEL": "name or folder of the model, the same on every machine",
    "GLMTTS_LM_REPLICAS": 'language models: "2", or "1-8" to scale by load',
    "GLMTTS_SPEECH_REPLICAS": "replicas with flow, vocoder and HTTP, likewise",
    "GLMTTS_REPLICA_CPUS": "processors that Ray sets aside for each replica, 1 by default",
    "GLMTTS_DATA": "folder of voices and jobs, shared by all replicas; each its own by default",
    "GLMTTS_API_KEY": "key that callers need",
}
"""What can be set. Replicas get them as they are where `serve run` is called."""


def model_name() -> str:
    """The model of this cluster."""
    return os.environ.get("GLMTTS_MODEL", "glmtts-nano")


def ray_serve() -> Any:
    """Ray Serve.

    Raises:
        MissingExtra: Ray is not installed.
    """
    try:
        return import_module("ray.serve")
    except ImportError as error:
        raise MissingExtra("The server on a cluster", "ray") from error


def replicas(wanted: str) -> dict[str, Any]:
    """How many: "2", or "1-8" by load.

    Raises:
        BadInput: it is neither.
    """
    least, dash, most = wanted.partition("-")
    if not least.isdecimal() or (dash and not most.isdecimal()):
        raise BadInput(f"{wanted!r} is no number of replicas. Expected such as 2, or 1-8.")
    if not dash:
        return {"num_replicas": int(least)}
    by_load = {
        "min_replicas": int(least), "max_replicas": int(most), "target_ongoing_requests": 6,
    }  # fmt: skip
    return {"autoscaling_config": by_load}


class LanguageModel:
    """Text ids to speech tokens, many at once."""

    def __init__(self) -> None:
        """Load the model."""
        model = Synthesizer.load(model_name())
        self._desk = Desk(SharedLM(model.lm, SLOTS), model.proofreader)

    async def tokens(self, wanted: Wanted) -> AsyncGenerator[Any]:
        """See `remote.Wire`."""
        async for item in in_thread(lambda: self._desk.tokens(wanted)):
            yield item

    async def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `remote.Wire`."""
        async for item in in_thread(lambda: [self._desk.utterances(wanted)]):
            return item
        raise AssertionError("one item or an error")


async def in_thread(make: Callable[[], Iterable[Any]]) -> AsyncGenerator[Any]:
    """The items of `make()`, made in a thread; once nobody asks for more, it is told to stop."""
    loop, items = asyncio.get_running_loop(), asyncio.Queue[tuple[Any, BaseException | None]]()
    stopped = threading.Event()

    def tell(item: Any, error: BaseException | None = None) -> None:
        if not stopped.is_set():
            loop.call_soon_threadsafe(items.put_nowait, (item, error))

    def work() -> None:
        try:
            with until(lambda: not stopped.is_set()):
                for item in make():
                    tell(item)
            tell(None, StopAsyncIteration())
        except BaseException as error:
            tell(None, error)

    threading.Thread(target=work, name="glmtts-wire", daemon=True).start()
    try:
        while True:
            item, error = await items.get()
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()


class HandleWire:
    """Reaches `LanguageModel` by a handle of Ray Serve."""

    def __init__(self) -> None:
        """Find it in the application that this replica belongs to."""
        self._handle: Any = ray_serve().get_deployment_handle("LanguageModel")

    def tokens(self, wanted: Wanted) -> Iterator[Any]:
        """See `remote.Wire`."""
        response = self._handle.options(stream=True).tokens.remote(wanted)
        try:
            yield from response
        finally:
            response.cancel()

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `remote.Wire`."""
        response = self._handle.utterances.remote(wanted)
        while True:
            try:
                return response.result(timeout_s=POLL_S)
            except TimeoutError:
                if not is_wanted():
                    response.cancel()
                    raise Cancelled("Nobody waits for this speech any more.") from None


def load() -> Synthesizer:
    """A model for many threads whose language model is elsewhere."""
    alone = Synthesizer.load(model_name())
    together = shared(alone, slots=1)
    assert isinstance(together.shared_lm, SharedLM)
    together.shared_lm.close()
    together.shared_lm = RemoteLM(HandleWire())
    return together


def build() -> Any:
    """The ASGI application of one replica."""
    keys = KeyRing()
    data = os.environ.get("GLMTTS_DATA")
    folder = Path(data) if data else Path(f"/tmp/glmtts-{os.getpid()}")
    return create_app(load, Settings(data=folder), keys)


class Speech:
    """HTTP, flow and vocoder; `build` is its application."""

    def __init__(self, lm: Any) -> None:
        """`lm` makes Ray start the language model with this."""
        self._lm = lm


def make(args: dict[str, str] | None = None) -> Any:
    """The application for `serve run`; `args` go before the environment.

    Raises:
        BadInput: `args` has something that is none of `VARIABLES`.
    """
    given = args or {}
    if unknown := sorted(given.keys() - VARIABLES.keys()):
        raise BadInput(f"Unknown argument {unknown[0]!r}. Known: {', '.join(VARIABLES)}.")
    values = {name: os.environ[name] for name in VARIABLES if name in os.environ} | given
    serve = ray_serve()
    common: dict[str, Any] = {
        "ray_actor_options": {
            "num_cpus": float(values.get("GLMTTS_REPLICA_CPUS", "1")),
            "runtime_env": {"env_vars": values},
        },
        "health_check_period_s": 5,
    }
    lm = serve.deployment(
        name="LanguageModel", max_ongoing_requests=SLOTS, **common,
        **replicas(values.get("GLMTTS_LM_REPLICAS", "1")),
    )(LanguageModel)  # fmt: skip
    speech = serve.deployment(
        name="Speech", max_ongoing_requests=64, **common,
        **replicas(values.get("GLMTTS_SPEECH_REPLICAS", "1")),
    )(serve.ingress(build)(Speech))  # fmt: skip
    return speech.bind(lm.bind())
