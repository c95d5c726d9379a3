"""The server on Ray Serve: the language model scales apart from flow, vocoder and HTTP.

    GLMTTS_API_KEY=… serve run glmtts.serve.ray_app:make

Not yet run on a cluster: what crosses between the two (`serve.remote`) is tested without Ray.

`Speech` is the same application as `glmtts serve`, with flow and vocoder; its language model is
`LanguageModel`, a deployment of its own, reached token by token (`serve.remote`). Environment:
GLMTTS_MODEL, GLMTTS_LM_REPLICAS and GLMTTS_SPEECH_REPLICAS ("2", or "1-8" to scale by load).
"""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from glmtts.errors import MissingExtra
from glmtts.serve.app import create_app
from glmtts.serve.keys import KeyRing
from glmtts.serve.remote import Desk, RemoteLM, Spoken, Wanted
from glmtts.serve.settings import Settings
from glmtts.serve.shared import SharedLM, shared
from glmtts.synthesizer import Synthesizer

APPLICATION = "glmtts"
SLOTS = 32


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


def replicas(variable: str) -> dict[str, Any]:
    """How many, fixed or by load, from an environment variable."""
    least, _, most = os.environ.get(variable, "1").partition("-")
    if not most:
        return {"num_replicas": int(least)}
    by_load = {
        "min_replicas": int(least), "max_replicas": int(most), "target_ongoing_requests": 6,
    }  # fmt: skip
    return {"autoscaling_config": by_load}


class LanguageModel:
    """Text ids to speech tokens, many at once."""

    def __init__(self) -> None:
        """Load the model."""
        self._desk = Desk(SharedLM(Synthesizer.load(model_name()).lm, SLOTS))

    def tokens(self, wanted: Wanted) -> Iterator[Any]:
        """See `remote.Wire`."""
        yield from self._desk.tokens(wanted)

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `remote.Wire`."""
        return self._desk.utterances(wanted)


class HandleWire:
    """Reaches `LanguageModel` by a handle of Ray Serve."""

    def __init__(self) -> None:
        """Find it."""
        self._handle: Any = ray_serve().get_deployment_handle("LanguageModel", APPLICATION)

    def tokens(self, wanted: Wanted) -> Iterator[Any]:
        """See `remote.Wire`."""
        response = self._handle.options(stream=True).tokens.remote(wanted)
        try:
            yield from response
        finally:
            response.cancel()

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `remote.Wire`."""
        return self._handle.utterances.remote(wanted).result()


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
    """The application for `serve run`; `args` may hold the environment variables of above."""
    os.environ.update(args or {})
    serve = ray_serve()
    lm = serve.deployment(
        name="LanguageModel", max_ongoing_requests=SLOTS, health_check_period_s=5,
        **replicas("GLMTTS_LM_REPLICAS"),
    )(LanguageModel)  # fmt: skip
    speech = serve.deployment(
        name="Speech", max_ongoing_requests=64, **replicas("GLMTTS_SPEECH_REPLICAS")
    )(serve.ingress(build)(Speech))
    return speech.bind(lm.bind())
