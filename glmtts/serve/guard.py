"""What every request passes before anything else sees it: one ASGI middleware, `Guard`.

Host and origin, key, size and slowness of the body; it answers errors that nobody caught, counts
responses, and writes the headers that every response has.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from fastapi.responses import Response

from glmtts.serve.engine import new_id
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.keys import KeyRing
from glmtts.serve.metrics import Metrics
from glmtts.serve.settings import Settings

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/", "/health", "/ready", "/favicon.ico")
"""Need no key; nor do the files of the page, under /page/."""

UPLOADS = re.compile("^/v1/(audio/voices|voices/add|audio/jobs)$")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; media-src 'self' blob:; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
}


class Guard:
    """Lets in who may come in, and tells the others why not."""

    def __init__(self, app: App, settings: Settings, keys: KeyRing, metrics: Metrics) -> None:
        """Stand before `app`."""
        self.app, self.settings, self.keys, self.metrics = app, settings, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1", "replace")
                   for name, value in scope["headers"]}  # fmt: skip
        asked = headers.get("x-request-id", "")
        request_id = asked if re.fullmatch(r"[\w-]{1,64}", asked) else new_id("req")
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = time.monotonic()
        answered = 0

        async def answer(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                self.metrics.http.labels(str(answered)).inc()
                self._decorate(message, request_id, headers.get("origin", ""))
            await send(message)

        try:
            self._admit(scope, headers)
            body = receive
            if scope["type"] == "http":
                if scope["method"] == "OPTIONS" and headers.get("origin"):
                    await Response(status_code=204)(scope, receive, answer)
                    return
                body = await self._whole_body(scope, headers, receive)
            await self.app(scope, body, answer)
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("Request %s failed", request_id)
            if scope["type"] == "http" and not answered:
                await as_api_error(error).response()(scope, receive, answer)
            elif scope["type"] == "websocket" and isinstance(error, ApiError):
                await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
            elif not isinstance(error, ApiError):
                raise
        finally:
            if scope["type"] == "http":
                often = scope["path"] in ("/health", "/ready", "/metrics")
                log.log(
                    logging.DEBUG if often else logging.INFO,
                    "%s %s %s %d %.3f s", request_id, scope["method"], scope["path"], answered,
                    time.monotonic() - began,
                )  # fmt: skip

    def _decorate(self, message: Message, request_id: str, origin: str) -> None:
        names = {name.lower() for name, _ in message["headers"]}
        extra = {"X-Request-Id": request_id, **HEADERS}
        if origin and origin in self.settings.origins:
            extra |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Headers": "authorization, content-type, x-request-id",
                "Access-Control-Allow-Methods": "GET, POST, DELETE",
                "Access-Control-Expose-Headers": "x-request-id, x-sample-rate",
                "Cross-Origin-Resource-Policy": "cross-origin",
                "Vary": "Origin",
            }
        added = [(k.lower().encode(), v.encode("latin-1")) for k, v in extra.items()]
        message["headers"] = [*message["headers"], *(kv for kv in added if kv[0] not in names)]

    def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        """Check host, origin and key.

        Raises:
            ApiError: one of them is wrong.
        """
        host = headers.get("host", "")
        name = _parts("//" + host)[0] if re.fullmatch(r"[\w.\-:\[\]]*", host) else None
        if self.settings.hosts and name not in self.settings.hosts:
            raise ApiError(
                421, "This server is not called by that name. Add it with --host-name.",
                code="wrong_host",
            )  # fmt: skip
        origin = headers.get("origin")
        if origin and origin not in self.settings.origins and _parts(origin)[1] != host:
            raise ApiError(
                403, "Pages of this origin may not use this server. Allow it with --origin.",
                code="wrong_origin",
            )  # fmt: skip
        path, state = scope["path"], scope["state"]
        state["key"] = ""
        preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        open_path = path in OPEN_PATHS or path.startswith("/page/") or preflight
        if not self.keys or (open_path and scope["type"] == "http"):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip() if kind.lower() == "bearer" else headers.get("xi-api-key", "")
        if scope["type"] == "websocket" and not key:
            state["key"] = None  # a browser cannot send headers: its first message brings the key
            return
        state["key"] = self.known(key)

    def known(self, key: str) -> str:
        """The name of a key.

        Raises:
            ApiError: there is no such key.
        """
        return known(self.keys, key)

    async def _whole_body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Receive:
        """Read the body within its limits of size and time, then give it out as one.

        Raises:
            ApiError: it is too large, or comes too slowly.
        """
        s = self.settings
        limit = s.upload_bytes + 100_000 if UPLOADS.match(scope["path"]) else s.body_bytes
        too_large = ApiError(
            413, f"The request is larger than {limit} bytes, the limit here.", code="too_large"
        )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise too_large
        body, more = bytearray(), True
        try:
            with anyio.fail_after(s.body_s):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return receive  # gone already
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise ApiError(
                408, f"The request did not arrive within {s.body_s:g} s.", code="too_slow",
                headers={"Connection": "close"},
            ) from None  # fmt: skip
        given = False

        async def whole() -> Message:
            nonlocal given
            if given:
                return await receive()  # a disconnect
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return whole


def _parts(address: str) -> tuple[str | None, str]:
    """Host name, and host with port; of what is no address, nothing."""
    try:
        parts = urlsplit(address)
        return parts.hostname, parts.netloc
    except ValueError:
        return None, ""


def known(keys: KeyRing, key: str) -> str:
    """The name of a key.

    Raises:
        ApiError: there is no such key.
    """
    name = keys.name_of(key)
    if name is None:
        raise ApiError(
            401, "A key of this server is needed: Authorization: Bearer KEY.",
            kind="authentication_error", code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return name
