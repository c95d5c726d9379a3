"""Voices with their consent, an audit log, and long jobs: one SQLite file in WAL mode.

Every change is one transaction, synced before it counts: what was told to a client survives a
crash. Calls take well under a millisecond and happen in the event loop or a worker alike.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts.errors import GlmTtsError
from glmtts.serve.engine import new_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS voices (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, created REAL NOT NULL,
    clip_sha256 TEXT NOT NULL, consent TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, key TEXT NOT NULL,
    action TEXT NOT NULL, voice TEXT NOT NULL, request TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_voice ON audit (voice, number);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, title TEXT NOT NULL,
    voice TEXT NOT NULL, options TEXT NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS chapters (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, state TEXT NOT NULL, seconds REAL NOT NULL DEFAULT 0,
    finish_reason TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, number)
);
"""


@dataclass(frozen=True)
class VoiceRecord:
    """A voice that was uploaded, and who agreed to it."""

    id: str
    name: str
    owner: str
    created: float
    clip_sha256: str
    consent: str


@dataclass(frozen=True)
class Chapter:
    """A part of a long job. Its state is waiting, done, or failed."""

    job: str
    number: int
    title: str
    text: str
    state: str
    seconds: float
    finish_reason: str
    error: str


@dataclass(frozen=True)
class Job:
    """A long job. Its state is waiting, done, failed, or cancelled."""

    id: str
    owner: str
    created: float
    title: str
    voice: str
    options: dict[str, Any]
    state: str


class Store:
    """The database of a server."""

    def __init__(self, path: Path | str) -> None:
        """Open, or create, the file; ":memory:" for one that is forgotten.

        Raises:
            GlmTtsError: it cannot be opened.
        """
        try:
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise GlmTtsError(
                f"Cannot open the database {path} ({error}). Choose a folder that can be written "
                "with --data."
            ) from error
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # ----- voices ---------------------------------------------------------------------------------

    def add_voice(self, name: str, owner: str, clip_sha256: str, consent: str) -> VoiceRecord:
        """Record a voice that was just stored; one of the same name has been replaced."""
        record = VoiceRecord(new_id("voice"), name, owner, time.time(), clip_sha256, consent)
        self._all("DELETE FROM voices WHERE name = ?", name)
        self._all(
            "INSERT INTO voices VALUES (?, ?, ?, ?, ?, ?)", record.id, record.name, record.owner,
            record.created, record.clip_sha256, record.consent,
        )  # fmt: skip
        return record

    def voice(self, name_or_id: str) -> VoiceRecord | None:
        """The record of an uploaded voice."""
        sql = "SELECT * FROM voices WHERE name = ? OR id = ?"
        rows = self._all(sql, name_or_id, name_or_id)
        return VoiceRecord(*rows[0]) if rows else None

    def voices(self) -> dict[str, VoiceRecord]:
        """All records by name."""
        return {row[1]: VoiceRecord(*row) for row in self._all("SELECT * FROM voices")}

    def remove_voice(self, name: str) -> None:
        """Forget a record; the audit log keeps its consent."""
        self._all("DELETE FROM voices WHERE name = ?", name)

    def note(self, key: str, action: str, voice: str, request: str, **detail: object) -> None:
        """Add a line to the audit log; there is no way to take one out."""
        self._all(
            "INSERT INTO audit (at, key, action, voice, request, detail) VALUES (?, ?, ?, ?, ?, ?)",
            time.time(), key, action, voice, request, json.dumps(detail, ensure_ascii=False),
        )  # fmt: skip

    def audit(self, voice: str | None = None, limit: int = 1_000) -> list[dict[str, Any]]:
        """The latest lines of the audit log, newest first."""
        names = ("at", "key", "action", "voice", "request", "detail")
        where, values = ("WHERE voice = ?", (voice,)) if voice is not None else ("", ())
        rows = self._all(
            f"SELECT {', '.join(names)} FROM audit {where} ORDER BY number DESC LIMIT ?",
            *values, limit,
        )  # fmt: skip
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**line, "detail": json.loads(line["detail"])} for line in found]

    # ----- jobs -----------------------------------------------------------------------------------

    def add_job(
        self,
        owner: str,
        title: str,
        voice: str,
        options: dict[str, Any],
        chapters: Sequence[tuple[str, str]],
    ) -> Job:
        """A new job with its chapters (title, text), all or nothing."""
        job = Job(new_id("job"), owner, time.time(), title, voice, options, "waiting")
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (job.id, owner, job.created, title, voice, json.dumps(options), job.state),
                )
                self._db.executemany(
                    "INSERT INTO chapters (job, number, title, text, state) "
                    "VALUES (?, ?, ?, ?, 'waiting')",
                    [(job.id, number, *chapter) for number, chapter in enumerate(chapters, 1)],
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return job

    def job(self, job_id: str) -> Job | None:
        """A job."""
        rows = self._all("SELECT * FROM jobs WHERE id = ?", job_id)
        return _job(rows[0]) if rows else None

    def jobs(self, owner: str | None = None, states: Iterable[str] = ()) -> list[Job]:
        """Jobs, oldest first; of one owner, in some states."""
        found = [_job(row) for row in self._all("SELECT * FROM jobs ORDER BY created")]
        wanted = set(states)
        return [
            job
            for job in found
            if (owner is None or job.owner == owner) and (not wanted or job.state in wanted)
        ]

    def chapters(self, job_id: str) -> list[Chapter]:
        """The chapters of a job in order."""
        sql = "SELECT * FROM chapters WHERE job = ? ORDER BY number"
        return [Chapter(*row) for row in self._all(sql, job_id)]

    def end_chapter(
        self, job_id: str, number: int, state: str, *, seconds: float = 0.0,
        finish_reason: str = "", error: str = "",
    ) -> None:  # fmt: skip
        """Say how a chapter ended. Its sound must be on the disk by then."""
        self._all(
            "UPDATE chapters SET state = ?, seconds = ?, finish_reason = ?, error = ? "
            "WHERE job = ? AND number = ?",
            state, seconds, finish_reason, error, job_id, number,
        )  # fmt: skip

    def end_job(self, job_id: str, state: str) -> None:
        """Say how a job ended."""
        self._all("UPDATE jobs SET state = ? WHERE id = ?", state, job_id)

    def remove_job(self, job_id: str) -> None:
        """Forget a job and its chapters."""
        self._all("DELETE FROM jobs WHERE id = ?", job_id)


def _job(row: tuple[Any, ...]) -> Job:
    job_id, owner, created, title, voice, options, state = row
    return Job(job_id, owner, created, title, voice, json.loads(options), state)
