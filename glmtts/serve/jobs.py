"""Long texts: chapters spoken when nobody waits in person, that survive a crash. Read `Jobs`.

A chapter is written beside its file, synced, renamed, and only then recorded as done. Whatever
happens before is done anew, with the same seed, and what was recorded is never touched again: no
chapter is lost and none repeated.
"""

import asyncio
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from glmtts.audio import Audio
from glmtts.errors import Cancelled, GlmTtsError
from glmtts.serve.encode import FORMATS, encoder
from glmtts.serve.engine import Closing, Order
from glmtts.serve.errors import ApiError, as_api_error
from glmtts.serve.schemas import ERRORS, JobRequest, Spoken
from glmtts.serve.service import Service
from glmtts.serve.speech import Here
from glmtts.serve.store import Chapter, Job

log = logging.getLogger(__name__)
router = APIRouter(tags=["jobs"], responses=ERRORS)

CHAPTER_CHARACTERS = 8_000
"""A chapter longer than this is cut at paragraphs, so that a crash costs minutes at most."""

_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+\S.*|第[零〇一二两三四五六七八九十百千\d]{1,7}[章回节卷].{0,60}"
    r"|(?:Chapter|CHAPTER)[ \t]+\w+.{0,60})$",
    re.MULTILINE,
)


def chapters_of(text: str) -> list[tuple[str, str]]:
    """A book as (title, text) parts, cut at headings, and at paragraphs where one is too long.

    What each part says is what stands there: joined, the parts are the text, heading marks aside.
    """
    starts = sorted({0, *(match.start() for match in _HEADING.finditer(text))})
    found: list[tuple[str, str]] = []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:stop]
        heading = _HEADING.match(part)
        title = heading[0].strip().lstrip("#").strip() if heading else ""
        if heading:
            part = title + "\n" + part[heading.end() :]
        pieces = list(_paragraphs(part)) if part.strip() else []
        for number, piece in enumerate(pieces, 1):
            found.append((title if len(pieces) == 1 else f"{title} {number}".strip(), piece))
    return found


def _paragraphs(text: str) -> list[str]:
    """Runs of paragraphs of at most `CHAPTER_CHARACTERS`, if no single one is longer."""
    out = [""]
    for line in re.findall(r"[^\n]*\n|[^\n]+$", text):
        if out[-1].strip() and len(out[-1]) + len(line) > CHAPTER_CHARACTERS:
            out.append("")
        out[-1] += line
    return [part for part in out if part.strip()]


class Jobs:
    """Speaks the chapters of waiting jobs, one after the other."""

    def __init__(self, service: Service) -> None:
        """Nothing runs yet; `run` does it."""
        self.service, self.store = service, service.store
        self.folder = service.data / "jobs"
        self._news = asyncio.Event()
        self._now: str | None = None
        self._speech: Any = None

    def file(self, job: Job, number: int) -> Path:
        """Where the sound of a chapter is. Made of our own ids and numbers alone."""
        return self.folder / job.id / f"{number:05}.{job.options['response_format']}"

    def wake(self) -> None:
        """There is a new job."""
        self._news.set()

    def cancel(self, job_id: str) -> None:
        """Stop speaking a job."""
        if self._now == job_id and self._speech is not None:
            self._speech.cancel()

    async def run(self) -> None:
        """Speak what waits, for ever."""
        while True:
            waiting = self.store.jobs(states=["waiting"])
            self.service.metrics.jobs.set(len(waiting))
            if not waiting:
                self._news.clear()
                await self._news.wait()
                continue
            try:
                await self._speak(waiting[0])
            except (Closing, asyncio.CancelledError):
                raise
            except Exception:
                log.exception("Job %s failed", waiting[0].id)
                self.store.end_job(waiting[0].id, "failed")

    async def _speak(self, job: Job) -> None:
        self._now = job.id
        for chapter in self.store.chapters(job.id):
            if chapter.state != "waiting":
                continue
            current = self.store.job(job.id)
            if current is None or current.state != "waiting":
                return
            try:
                await self._chapter(job, chapter)
            except Cancelled:
                if self.service.engine.closing:
                    raise Closing("This server is shutting down.") from None
                return
            except Closing:
                raise
            except GlmTtsError as error:
                said = str(as_api_error(error))
                self.store.end_chapter(job.id, chapter.number, "failed", error=said)
        chapters = self.store.chapters(job.id)
        failed = any(chapter.state == "failed" for chapter in chapters)
        self.store.end_job(job.id, "failed" if failed else "done")

    async def _chapter(self, job: Job, chapter: Chapter) -> None:
        """Speak one chapter into its file.

        Raises:
            GlmTtsError: it cannot be spoken.
        """
        asked = Spoken.model_validate(job.options["spoken"])
        seed = (int(job.options["seed"]) + chapter.number) % 2**63
        options = self.service.options(asked.model_copy(update={"seed": seed, "pace": "whole"}))
        voice = self.service.voice(job.voice or None, job.owner)
        path, synthesizer = self.file(job, chapter.number), self.service.synthesizer
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        settings = self.service.settings
        out = encoder(
            job.options["response_format"], synthesizer.sample_rate,
            mark=settings.mark, watermark=settings.watermark,
        )  # fmt: skip
        order = Order(chapter.text, voice, options, job.owner, patient=True)
        speech = self._speech = self.service.engine.submit(order)
        try:
            with draft.open("wb") as file:
                async for piece in speech:
                    await asyncio.to_thread(file.write, _encoded(out.push, piece.audio))
                file.write(out.finish())
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        finally:
            speech.cancel()
        os.replace(draft, path)
        _sync_folder(path.parent)
        self.store.end_chapter(
            job.id, chapter.number, "done", seconds=round(speech.seconds, 3),
            finish_reason=speech.finish_reason or "stop",
        )  # fmt: skip


def _encoded(push: Any, audio: Audio) -> bytes:
    return push(audio)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ----- over HTTP ----------------------------------------------------------------------------------


def jobs_of(request: Request) -> Jobs:
    """The jobs of this application."""
    return request.app.state.jobs


def _told(jobs: Jobs, job: Job, *, full: bool = False) -> dict[str, Any]:
    chapters = jobs.store.chapters(job.id)
    done = [chapter for chapter in chapters if chapter.state == "done"]
    total = sum(len(chapter.text) for chapter in chapters)
    said: dict[str, Any] = {
        "id": job.id, "title": job.title, "state": job.state, "created": job.created,
        "voice": job.voice or None, "response_format": job.options["response_format"],
        "chapters_done": len(done), "chapters": len(chapters),
        "progress": round(sum(len(c.text) for c in chapters if c.state != "waiting")
                          / max(1, total), 4),
        "seconds": round(sum(chapter.seconds for chapter in done), 3),
    }  # fmt: skip
    if full:
        said["list"] = [
            {"number": c.number, "title": c.title, "characters": len(c.text), "state": c.state,
             "seconds": c.seconds, "finish_reason": c.finish_reason or None,
             "error": c.error or None} for c in chapters
        ]  # fmt: skip
    return said


@router.post("/v1/audio/jobs", status_code=202, summary="Speak a long text")
async def add(body: JobRequest, request: Request, service: Here) -> dict[str, Any]:
    """Take a book; it is spoken while nobody else waits. Ask for its progress by its id."""
    jobs, key = jobs_of(request), request.state.key
    service.check_length(body.input, service.settings.job_characters)
    voice = service.voice(body.voice, key)
    service.options(body)  # a wrong lexicon is told now
    if len(jobs.store.jobs(key, ["waiting"])) >= service.settings.jobs_per_key:
        raise ApiError(
            429, f"This key has {service.settings.jobs_per_key} jobs waiting, its limit.",
            kind="rate_limit_error", code="busy", headers={"Retry-After": "600"},
        )  # fmt: skip
    chapters = chapters_of(body.input)
    if not chapters:
        raise ApiError(400, "The text holds nothing.", code="bad_text", param="input")
    spoken = Spoken.model_validate(body.model_dump(include=set(Spoken.model_fields)))
    options = {
        "response_format": body.response_format,
        "seed": secrets.randbits(48) if body.seed is None else body.seed,
        "spoken": spoken.model_dump(mode="json", exclude={"voice"}),
    }
    name = voice.name if voice else ""
    job = jobs.store.add_job(key, body.title or chapters[0][0], name, options, chapters)
    if name and service.store.voice(name):
        service.store.note(key, "job", name, request.state.request_id, job=job.id)
    jobs.wake()
    return _told(jobs, job, full=True)


@router.get("/v1/audio/jobs", summary="List your jobs")
async def listed(request: Request) -> dict[str, Any]:
    """The jobs of the caller's key, oldest first."""
    jobs = jobs_of(request)
    return {"jobs": [_told(jobs, job) for job in jobs.store.jobs(request.state.key)]}


@router.get("/v1/audio/jobs/{job_id}", summary="How far a job is")
async def progress(job_id: str, request: Request) -> dict[str, Any]:
    """State and progress of a job, chapter by chapter."""
    return _told(jobs_of(request), _mine(request, job_id), full=True)


@router.get("/v1/audio/jobs/{job_id}/chapters/{number}", summary="The sound of a chapter")
async def chapter(job_id: str, number: int, request: Request) -> FileResponse:
    """One chapter that is done."""
    jobs, job = jobs_of(request), _mine(request, job_id)
    done = [c.number for c in jobs.store.chapters(job.id) if c.state == "done"]
    if number not in done:
        raise ApiError(404, "That chapter is not done.", code="not_found", param="number")
    kind = job.options["response_format"]
    return FileResponse(
        jobs.file(job, number), media_type=FORMATS[kind], filename=f"{number:05}.{kind}"
    )


@router.get("/v1/audio/jobs/{job_id}/audio", summary="All of it", response_model=None)
async def audio(job_id: str, request: Request) -> Response:
    """All chapters of a finished job as one MP3, Opus or WAV stream (FLAC: chapter by chapter)."""
    jobs, job = jobs_of(request), _mine(request, job_id)
    chapters = jobs.store.chapters(job.id)
    kind = job.options["response_format"]
    if any(c.state == "waiting" for c in chapters) or kind == "flac":
        raise ApiError(
            409, "This is there once a job is done, and not as FLAC. Take it by chapters.",
            code="not_done",
        )  # fmt: skip

    async def parts() -> AsyncIterator[bytes]:
        begun = False
        for item in chapters:
            if item.state == "done":
                data = await asyncio.to_thread(jobs.file(job, item.number).read_bytes)
                if kind == "wav" and begun:
                    data = data[data.index(b"data") + 8 :]
                begun = True
                yield data

    return StreamingResponse(parts(), media_type=FORMATS[kind])


@router.delete("/v1/audio/jobs/{job_id}", summary="Cancel or delete a job")
async def remove(job_id: str, request: Request) -> dict[str, Any]:
    """Stop it if it runs, and delete its sound."""
    jobs, job = jobs_of(request), _mine(request, job_id)
    jobs.store.remove_job(job.id)
    jobs.cancel(job.id)
    await asyncio.to_thread(shutil.rmtree, jobs.folder / job.id, True)
    return {"id": job.id, "deleted": True}


def _mine(request: Request, job_id: str) -> Job:
    job = jobs_of(request).store.job(job_id)
    if job is None or job.owner != request.state.key:
        raise ApiError(404, "No such job.", code="not_found", param="job_id")
    return job
