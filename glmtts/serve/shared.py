"""One model for many texts at once. Read `shared` first.

The language model steps all utterances as one batch in a thread of its own (`SharedLM`); flow and
vocoder make sound for one listener at a time, first for the one who runs dry first (`Turns`). Each
text runs through the same `Synthesizer.pieces` as when it is alone, in a thread of its own that
mostly waits. With 8-bit weights (the default on a CPU) it gives the same samples as alone.
"""

import copy
import heapq
import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from glmtts.adapters import Adapter
from glmtts.ahead import POLL_SECONDS
from glmtts.engine import Engine, Request
from glmtts.errors import Cancelled, SpeechError
from glmtts.flow import FlowOptions, Opening, TokenToMel
from glmtts.lm import Finish, TextToSpeechTokens, Utterance, best_of
from glmtts.nn.adapted import Rows, view
from glmtts.nn.threads import at_most, for_decoder
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer
from glmtts.voice import Prompt, Voice
from glmtts.wanted import check_wanted, is_wanted

GONE = "Nobody waits for this speech any more."


def shared(synthesizer: Synthesizer, slots: int, workers: int = 1) -> Synthesizer:
    """The same model, made to speak many texts from many threads; call `shared_lm.close()` after.

    Args:
        synthesizer: Loaded; it can still be used alone.
        slots: Utterances the language model speaks side by side.
        workers: Sounds computed at once; more than one gains where cores idle.
    """
    together = copy.copy(synthesizer)
    together.shared_lm = SharedLM(synthesizer.lm, slots)
    together.flow = OpenedFlow(synthesizer.flow)  # pyright: ignore[reportAttributeAccessIssue]
    together.turn = Turns(workers).turn
    return together


class Ticket:
    """An utterance somebody waits for: iterate for its tokens, or `wait` for its end."""

    def __init__(self, owner: "SharedLM", make: Callable[[Engine], Request]) -> None:
        """Know how to ask the engine for it."""
        self.make = make
        self.request: Request | None = None
        self.given_up = False
        self.finish_reason: Finish | None = None
        self.news: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._owner, self._told = owner, 0

    def tell(self) -> bool:
        """Pass on what the engine has added; whether the utterance has ended."""
        request = self.request
        assert request is not None
        for token in request.tokens[self._told :]:
            self.news.put(token)
        self._told = len(request.tokens)
        if request.finish_reason is None:
            return False
        self.finish_reason = request.finish_reason
        self.news.put(None)
        return True

    def __iter__(self) -> Iterator[int]:
        """The tokens."""
        return self

    def __next__(self) -> int:
        """The next token.

        Raises:
            Cancelled: nobody waits for it.
            BadInput: the sentence is too long for the engine.
            SpeechError: the engine failed.
        """
        while True:
            try:
                item = self.news.get(timeout=POLL_SECONDS)
            except Empty:
                if not is_wanted():
                    self.close()
                    raise Cancelled(GONE) from None
                continue
            if item is None:
                self.news.put(None)  # asked again, the answer stays the same
                raise StopIteration
            if isinstance(item, BaseException):
                raise item
            return item

    def wait(self, wanted: Callable[[], bool]) -> Utterance:
        """Let it be spoken to its end.

        Raises:
            Cancelled: it is not wanted any more.
        """
        for _ in self:
            if not wanted():
                raise Cancelled(GONE)
        assert self.request is not None
        return self.request

    def close(self) -> None:
        """Give it up; its slot is free at the engine's next step."""
        if self.finish_reason is None and not self.given_up:
            self._owner.give_up(self)


class SharedLM:
    """A language model that many threads use at once, as each would use it alone."""

    def __init__(self, lm: TextToSpeechTokens, slots: int, capacity: int | None = None) -> None:
        """Start the thread.

        Args:
            lm: The model.
            slots: Utterances spoken side by side.
            capacity: Positions of each, see `Engine`.
        """
        self.lm, self.slots = lm, slots
        self._capacity = capacity
        self._changed = threading.Condition()
        self._new: list[Ticket] = []
        self._gone: list[Ticket] = []
        self._open: dict[int, Ticket] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="glmtts-lm", daemon=True)
        self._thread.start()

    @property
    def speaking(self) -> int:
        """Utterances asked for and not yet ended."""
        return len(self._open) + len(self._new)

    def generate(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        adapter: Adapter | None = None,
    ) -> Ticket:
        """As `TextToSpeechTokens.generate`; `adapter` changes the model for this utterance."""
        rng = rng or self.lm.generator(sampling.seed)
        ticket = Ticket(
            self,
            lambda engine: engine.submit(text_ids, prompt, sampling, rng=rng, adapter=adapter),
        )
        with self._changed:
            if self._closed:
                raise SpeechError("The engine has been closed.")
            self._new.append(ticket)
            self._changed.notify()
        return ticket

    def generate_checked(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        misread: Callable[[Sequence[int]], float] | None = None,
        wanted: Callable[[], bool] = is_wanted,
        adapter: Adapter | None = None,
    ) -> tuple[list[int], Finish]:
        """As `TextToSpeechTokens.generate_checked`, and with the same result."""
        own = rng or self.lm.generator(sampling.seed)

        def attempt() -> list[Utterance]:
            count = sampling.side_by_side
            rngs = self.lm.generators(own, count) if count > 1 else [own]
            tickets = [
                self.generate(text_ids, prompt, sampling, rng=each, adapter=adapter)
                for each in rngs
            ]
            try:
                return [ticket.wait(wanted) for ticket in tickets]
            finally:
                for ticket in tickets:
                    ticket.close()

        return best_of(attempt, sampling, misread)

    def wearing(self, adapter: Adapter) -> "Wearing":
        """The same model, with an adapter for what is asked of it this way."""
        return Wearing(self, adapter)

    def give_up(self, ticket: Ticket) -> None:
        """Drop an utterance before the next step."""
        with self._changed:
            ticket.given_up = True
            self._gone.append(ticket)
            self._changed.notify()

    def close(self) -> None:
        """End the thread; whoever still waits gets an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        engine = self._engine()
        with at_most(for_decoder(self.lm.config.hidden_size)):
            while self._take_changes(engine):
                try:
                    stepped = engine.step()
                except Exception as error:  # no text shall wait for ever, and the next shall speak
                    self._fail(SpeechError(f"The language model failed ({error}). Try again."))
                    engine = self._engine()
                    continue
                for request in stepped:
                    if (ticket := self._open.get(id(request))) and ticket.tell():
                        del self._open[id(request)]
        self._fail(SpeechError("The engine has been closed."))

    def _engine(self) -> Engine:
        return Engine(self.lm, self.slots, self._capacity, adapters=True)

    def _take_changes(self, engine: Engine) -> bool:
        """Wait for work; bring the engine up to date; False when it is over."""
        with self._changed:
            while not (self._new or self._gone or engine.busy or self._closed):
                self._changed.wait()
            new, gone, self._new, self._gone = self._new, self._gone, [], []
            if self._closed:
                return False
        for ticket in new:
            if ticket.given_up:
                continue
            try:
                request = ticket.request = ticket.make(engine)
            except Exception as error:
                ticket.news.put(error)
            else:
                self._open[id(request)] = ticket
        for ticket in gone:
            if ticket.request is not None and self._open.pop(id(ticket.request), None):
                engine.cancel(ticket.request)
        return True

    def _fail(self, error: Exception) -> None:
        with self._changed:
            tickets = [*self._open.values(), *self._new]
            self._open.clear()
            self._new = []
        for ticket in tickets:
            ticket.news.put(error)


@dataclass(frozen=True)
class Wearing:
    """A shared language model that speaks with an adapter, beside others without or with theirs."""

    owner: SharedLM
    adapter: Adapter

    def generate(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
    ) -> Ticket:
        """As `SharedLM.generate`."""
        return self.owner.generate(text_ids, prompt, sampling, rng=rng, adapter=self.adapter)

    def generate_checked(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        misread: Callable[[Sequence[int]], float] | None = None,
        wanted: Callable[[], bool] = is_wanted,
    ) -> tuple[list[int], Finish]:
        """As `SharedLM.generate_checked`."""
        return self.owner.generate_checked(
            text_ids, prompt, sampling,
            rng=rng, misread=misread, wanted=wanted, adapter=self.adapter,
        )  # fmt: skip


due: ContextVar[Callable[[], float]] = ContextVar("glmtts_due", default=lambda: math.inf)
"""When (on the monotonic clock) the listener of this context has heard all there is."""


class Turns:
    """Who may compute sound: `workers` at once, first those whose listeners run dry first."""

    def __init__(self, workers: int) -> None:
        """All are free."""
        self._free = workers
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Generator[None]:
        """Wait for the turn of this context, and keep it within the block.

        Raises:
            Cancelled: nobody waits for it any more.
        """
        ticket = (due.get()(), next(self._numbers))
        with self._changed:
            heapq.heappush(self._waiting, ticket)
            try:
                while not (self._free and self._waiting[0] == ticket):
                    self._changed.wait(POLL_SECONDS)
                    check_wanted()
            except BaseException:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
                self._changed.notify_all()
                raise
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()


class OpenedFlow:
    """A flow that remembers for the latest voices what does not depend on the sentence."""

    def __init__(self, flow: TokenToMel, size: int = 16) -> None:
        """Remember up to `size` openings."""
        self._flow, self._size = flow, size
        self._openings: OrderedDict[tuple[int, FlowOptions], tuple[Voice, Opening]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, voice: Voice, options: FlowOptions = FlowOptions()) -> Opening:
        """As `TokenToMel.open`; the same voice object again costs nothing."""
        key = (id(voice), options)
        with self._lock:
            if key in self._openings:
                self._openings.move_to_end(key)
                return self._openings[key][1]
        opening = self._flow.open(voice, options)
        with self._lock:
            self._openings[key] = (voice, opening)  # the voice is kept, so that its id stays its
            while len(self._openings) > self._size:
                self._openings.popitem(last=False)
        return opening

    def wearing(self, adapter: Adapter) -> "OpenedFlow":
        """The same flow with an adapter; its openings are its own."""
        return OpenedFlow(view(self._flow, Rows(adapter)), self._size)

    def __getattr__(self, name: str) -> Any:
        """Everything else as it is."""
        return getattr(self._flow, name)
