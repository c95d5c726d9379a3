"""The queue before the model, the threads behind it: who is spoken when. Read `SpeechEngine`.

Everything of this file but `Speech._run` happens in the event loop, so nothing needs a lock.
"""

import asyncio
import contextvars
import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

from glmtts.ahead import POLL_SECONDS
from glmtts.errors import Cancelled, GlmTtsError, SpeechError
from glmtts.options import SpeakOptions
from glmtts.pieces import Piece
from glmtts.serve.heap import Heap
from glmtts.serve.metrics import Metrics
from glmtts.serve.settings import Settings
from glmtts.serve.shared import due
from glmtts.voice import Voice
from glmtts.wanted import is_wanted, until

log = logging.getLogger(__name__)

Outcome = Literal["waiting", "running", "done", "cancelled", "failed", "late"]


class Busy(GlmTtsError):
    """The server has as much to do as it may.

    Attributes:
        retry_after_s: When to try again.
    """

    def __init__(self, why: str, retry_after_s: float) -> None:
        """Say why, and when it may be better."""
        self.retry_after_s = max(1, round(retry_after_s))
        super().__init__(f"{why} Try again in {self.retry_after_s} s.")


class Closing(GlmTtsError):
    """The server is shutting down, or has not warmed up yet."""


class TooLate(GlmTtsError):
    """A text's deadline has passed."""


class Speaker(Protocol):
    """What an engine needs of a `Synthesizer`."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        ...

    def pieces(
        self, text: str | Iterable[str], voice: Voice | None, options: SpeakOptions | None
    ) -> Iterable[Piece]:
        """Speak."""
        ...


class TextSource:
    """A text that arrives from the network while it is being spoken."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._pieces: SimpleQueue[str | None] = SimpleQueue()
        self.characters = 0

    def push(self, text: str) -> None:
        """Add text."""
        self.characters += len(text)
        self._pieces.put(text)

    def flush(self) -> None:
        """Speak what is there, whether or not it looks complete."""
        self._pieces.put("\n\n")

    def end(self) -> None:
        """No more will come."""
        self._pieces.put(None)

    def __iter__(self) -> Iterator[str]:
        """The pieces, as long as somebody wants them spoken."""
        while is_wanted():
            try:
                piece = self._pieces.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if piece is None:
                return
            yield piece


@dataclass(frozen=True)
class Order:
    """What is to be spoken, and for whom.

    Attributes:
        text: The text, or a source of it.
        voice: Who speaks; None = the model's own for the language.
        options: How.
        key: Name of the key that asks; "" without keys.
        deadline_s: Longest time it may take; None = the server's.
        characters: Length of the text, as far as it is known.
        patient: A long job: waits without limit and is not counted against its key.
    """

    text: str | TextSource
    voice: Voice | None = None
    options: SpeakOptions = field(default_factory=SpeakOptions)
    key: str = ""
    deadline_s: float | None = None
    patient: bool = False

    @property
    def characters(self) -> int:
        """How long the text is so far."""
        return len(self.text) if isinstance(self.text, str) else self.text.characters


class Speech(AsyncIterator[Piece]):
    """A text on its way: iterate for its sound; `cancel` at any time.

    Attributes:
        id: Of the request.
        outcome: Where it stands.
        finish_reason: How the model ended it, "cancelled" or "error"; None while it runs.
        seconds: Sound made so far.
        first_audio_s: From arrival to the first sound; None before.
        queued_s: Time it waited.
        work_s: Time it was spoken for.
        underruns: Times the listener, had it played at once, ran dry.
    """

    def __init__(self, engine: "SpeechEngine", order: Order, request_id: str) -> None:
        """Arrive."""
        self.id, self.order = request_id, order
        self.outcome: Outcome = "waiting"
        self.finish_reason: str | None = None
        self.seconds = 0.0
        self.first_audio_s: float | None = None
        self.queued_s = self.work_s = 0.0
        self.underruns, self.underrun_s = 0, 0.0
        self.arrived = time.monotonic()
        self._engine = engine
        self._pieces: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._ended = asyncio.Event()
        self._taken_s = 0.0
        self._dry = 0.0  # when the listener has heard all, on the monotonic clock
        self.timer: asyncio.TimerHandle | None = None
        limit = order.deadline_s or engine.settings.deadline_s
        self._deadline = float("inf") if order.patient else self.arrived + limit

    def cancel(self) -> None:
        """Nobody waits any more; all it holds is freed within a step."""
        self._cancelled.set()
        self._engine.leave_queue(self)

    def stop_waiting(self) -> None:
        """Forget how long it may wait for its turn."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def ended(self) -> None:
        """Wait until it holds nothing any more."""
        await self._ended.wait()

    async def __anext__(self) -> Piece:
        """The next piece of sound.

        Raises:
            GlmTtsError: why there is no sound.
        """
        item = await self._pieces.get()
        if isinstance(item, Piece):
            self._taken_s += item.audio.seconds
            return item
        self._pieces.put_nowait(item)  # asked again, the answer stays the same
        if item is None:
            raise StopAsyncIteration
        raise item

    # ----- in a thread ----------------------------------------------------------------------------

    def _wanted(self) -> bool:
        return not self._cancelled.is_set() and time.monotonic() < self._deadline

    def run(self, speaker: Speaker, tell: Callable[[Piece], None], ahead_s: float) -> None:
        """Speak it all; runs in a thread.

        Raises:
            GlmTtsError: it cannot be spoken, or is not wanted any more.
        """
        due.set(lambda: self._dry if self._dry else 0.0)
        made_s = 0.0  # not `seconds`: the event loop may be late to count
        with until(self._wanted):
            order = self.order
            for piece in speaker.pieces(order.text, order.voice, order.options):
                tell(piece)
                made_s += piece.audio.seconds
                while made_s - self._taken_s > ahead_s and self._wanted():
                    time.sleep(POLL_SECONDS)

    # ----- in the event loop ----------------------------------------------------------------------

    def heard(self, piece: Piece) -> None:
        """Take a piece from the thread; note how it comes for somebody who plays at once."""
        now = time.monotonic()
        if self.first_audio_s is None:
            self.first_audio_s, self._dry = now - self.arrived, now
        elif now > self._dry:
            self.underruns += 1
            self.underrun_s += now - self._dry
        self._dry = max(self._dry, now) + piece.audio.seconds
        self.seconds += piece.audio.seconds
        reason = piece.audio.finish_reason
        if reason is not None and self.finish_reason in (None, "stop"):
            self.finish_reason = reason
        self._pieces.put_nowait(piece)

    def end(self, error: BaseException | None) -> None:
        """Say how it ended; the first word counts."""
        if self._ended.is_set():
            return
        if isinstance(error, Cancelled) and not self._cancelled.is_set():
            error = TooLate(
                "The deadline of this text has passed. Speak less at once, or allow it more time."
            )
        if error is None:
            self.outcome = "done"
        elif isinstance(error, Cancelled):
            self.outcome, self.finish_reason = "cancelled", "cancelled"
        else:
            self.outcome = "late" if isinstance(error, TooLate) else "failed"
            self.finish_reason = "error"
        self._ended.set()
        self._pieces.put_nowait(error)


class SpeechEngine:
    """Admits texts, has them spoken, and lets go of those nobody waits for."""

    def __init__(self, speaker: Speaker, settings: Settings, metrics: Metrics | None = None):
        """Nothing runs yet.

        Args:
            speaker: A synthesizer that may be used from many threads (`shared`).
            settings: Limits.
            metrics: Where to count.
        """
        self.speaker, self.settings = speaker, settings
        self.metrics = metrics or Metrics()
        self.closing = False
        self._running: set[Speech] = set()
        self._waiting: deque[Speech] = deque()
        self._by_key: Counter[str] = Counter()
        self._began: dict[str, deque[float]] = {}
        self._heap = Heap()
        self._took_s = 5.0  # a running mean of how long a text takes
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Texts being spoken."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return len(self._waiting)

    def submit(self, order: Order, request_id: str = "") -> Speech:
        """Take a text.

        Raises:
            Busy: there is too much to do, or this key asks for too much.
            Closing: the server is shutting down.
        """
        if self.closing:
            raise Closing("This server is shutting down. Try another one.")
        if not order.patient:
            self._admit(order)
        speech = Speech(self, order, request_id or new_id("req"))
        self._by_key[order.key] += not order.patient
        self._waiting.append(speech)
        if isinstance(order.text, str):
            self.metrics.characters.inc(order.characters)
        self._start_next()
        if speech in self._waiting and not order.patient:
            loop = asyncio.get_running_loop()
            speech.timer = loop.call_later(self.settings.wait_s, self._waited, speech)
        return speech

    def _admit(self, order: Order) -> None:
        s = self.settings
        mean = self._took_s * (1 + len(self._waiting)) / s.running
        if len(self._running) >= s.running and len(self._waiting) >= s.waiting:
            self.metrics.requests.labels("refused").inc()
            raise Busy(f"{len(self._running)} texts are spoken and {s.waiting} wait.", mean)
        if self._by_key[order.key] >= s.running_per_key:
            self.metrics.requests.labels("refused").inc()
            raise Busy(f"This key has {s.running_per_key} texts running, its limit.", self._took_s)
        if s.requests_per_minute:
            now, began = time.monotonic(), self._began.setdefault(order.key, deque())
            while began and began[0] < now - 60.0:
                began.popleft()
            if len(began) >= s.requests_per_minute:
                self.metrics.requests.labels("refused").inc()
                raise Busy(
                    f"This key has begun {s.requests_per_minute} texts in a minute, its limit.",
                    began[0] + 60.0 - now,
                )
            began.append(now)

    def _waited(self, speech: Speech) -> None:
        if speech in self._waiting:
            self._waiting.remove(speech)
            self._close(speech, TooLate("This text waited too long for its turn. Try again later."))

    def leave_queue(self, speech: Speech) -> None:
        """A text that was cancelled before its turn."""
        if speech in self._waiting:
            self._waiting.remove(speech)
            self._close(speech, Cancelled("Nobody waits for this speech any more."))

    def _start_next(self) -> None:
        while self._waiting and len(self._running) < self.settings.running:
            # Who waits in person goes before a book, which is done when nobody else asks.
            speech = next((s for s in self._waiting if not s.order.patient), self._waiting[0])
            self._waiting.remove(speech)
            self._running.add(speech)
            speech.outcome = "running"
            task = asyncio.create_task(self._speak(speech))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._gauge()

    async def _speak(self, speech: Speech) -> None:
        speech.stop_waiting()
        loop, started = asyncio.get_running_loop(), time.monotonic()
        speech.queued_s = started - speech.arrived
        finished: asyncio.Future[BaseException | None] = loop.create_future()

        def tell(piece: Piece) -> None:
            loop.call_soon_threadsafe(speech.heard, piece)
            self._heap.tidy()

        def work() -> None:
            error: BaseException | None = None
            try:
                speech.run(self.speaker, tell, self.settings.ahead_s)
            except GlmTtsError as raised:
                error = without_frames(raised)
            except BaseException as raised:  # ours, not the caller's: logged whole, told in short
                log.exception("Request %s failed", speech.id)
                error = SpeechError(f"This text could not be spoken ({type(raised).__name__}).")
            loop.call_soon_threadsafe(finished.set_result, error)

        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(work,), name=f"glmtts-{speech.id}", daemon=True
        ).start()
        error = await finished
        speech.work_s = time.monotonic() - started
        self._took_s += 0.2 * (speech.work_s - self._took_s)
        self._running.discard(speech)
        self._close(speech, error)

    def _close(self, speech: Speech, error: BaseException | None) -> None:
        self._by_key[speech.order.key] -= not speech.order.patient
        speech.stop_waiting()
        speech.end(error)
        m = self.metrics
        m.requests.labels(speech.outcome).inc()
        if speech.outcome == "done":
            m.finish.labels(speech.finish_reason or "stop").inc()
        if speech.first_audio_s is not None:
            m.first_audio.observe(speech.first_audio_s)
            m.audio.inc(speech.seconds)
            m.rtf.observe(speech.work_s / max(speech.seconds, 1e-9))
        m.queued.observe(speech.queued_s)
        m.underruns.inc(speech.underruns)
        m.underrun_seconds.inc(speech.underrun_s)
        self._start_next()

    def _gauge(self) -> None:
        self.metrics.running.set(len(self._running))
        self.metrics.waiting.set(len(self._waiting))

    async def drain(self, seconds: float) -> None:
        """Take nothing new; give what runs `seconds` to end, then stop it."""
        self.closing = True
        for speech in [s for s in self._waiting if s.order.patient]:
            speech.cancel()
        for speech in [s for s in self._running if s.order.patient]:
            speech.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for speech in [*self._waiting, *self._running]:
            speech.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)


def without_frames(error: GlmTtsError) -> GlmTtsError:
    """The error without the frames it came through, which hold all that the text was made of."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def new_id(kind: str) -> str:
    """A name nobody can guess, such as `req_3f…`."""
    return f"{kind}_{uuid.uuid4().hex}"
