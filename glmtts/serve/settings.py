"""What a server allows and how much of it; every limit has its place here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmtts.errors import BadInput

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """Limits and switches of a server.

    Attributes:
        running: Texts spoken at once.
        waiting: Texts that may wait for their turn; more are refused with 429.
        running_per_key: Texts of one key spoken or waiting at once.
        requests_per_minute: Texts that one key may begin in a minute; 0 = any number.
        deadline_s: Longest time a text may take from its arrival.
        wait_s: Longest time it may wait for its turn.
        drain_s: After SIGTERM, time for what is being spoken.
        ahead_s: Sound made before somebody takes it.
        input_characters: Longest text of one request (OpenAI's limit).
        job_characters: Longest text of a long job.
        jobs_per_key: Long jobs of one key not yet ended.
        body_bytes: Largest request body without an upload.
        upload_bytes: Largest clip uploaded.
        body_s: Longest time a request body may take to arrive.
        socket_idle_s: A WebSocket silent for longer is closed.
        data: Folder of the database and of the sound of long jobs; None = the platform's.
        hosts: Names this server may be called by, against DNS rebinding; empty = any.
        origins: Web origins, besides its own, whose pages may use it.
        fetch_hosts: Hosts from which reference clips may be fetched; empty = none (the default).
        page: Whether the web page is served.
        mark: Whether sound says in its metadata that a machine made it.
        watermark: Key of the watermark put into all sound (`glmtts.watermark`); None = none.
    """

    running: int = 8
    waiting: int = 32
    running_per_key: int = 8
    requests_per_minute: int = 0
    deadline_s: float = 600.0
    wait_s: float = 60.0
    drain_s: float = 30.0
    ahead_s: float = 60.0
    input_characters: int = 4_096
    job_characters: int = 2_000_000
    jobs_per_key: int = 8
    body_bytes: int = 1_000_000
    upload_bytes: int = 10_000_000
    body_s: float = 30.0
    socket_idle_s: float = 120.0
    data: Path | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = field(default=())
    fetch_hosts: tuple[str, ...] = ()
    page: bool = True
    mark: bool = True
    watermark: str | None = None

    def __post_init__(self) -> None:
        """Refuse limits that would let nobody in.

        Raises:
            BadInput: a limit makes no sense.
        """
        if self.running < 1 or self.waiting < 0 or self.running_per_key < 1:
            raise BadInput(
                f"A server of {self.running} running, {self.waiting} waiting and "
                f"{self.running_per_key} texts a key serves nobody. Expected at least 1, 0 and 1."
            )


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """How uvicorn is run: no name of its own, bounded messages, the sockets of `websockets`."""
    return {
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": round(settings.drain_s) + 5,
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 16_384,
        "ws": "websockets-sansio",
        "ws_max_size": 1_000_000,
    }


def checked_bind(host: str, *, has_keys: bool) -> None:
    """Refuse to listen to other machines without a key.

    Raises:
        BadInput: `host` is not the loopback interface, and there is no key.
    """
    if host not in LOOPBACK and not has_keys:
        raise BadInput(
            f"{host} can be reached from other machines, and there is no key. Make one with: "
            "glmtts serve --add-key NAME, or listen on 127.0.0.1 (the default)."
        )
