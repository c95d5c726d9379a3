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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import torch

from glmtts.adapters import Adapter
from glmtts.ahead import POLL_SECONDS
from glmtts.engine import Engine, Request
from glmtts.errors import Cancelled, SpeechError
from glmtts.lm import TextToSpeechTokens
from glmtts.nn.threads import at_most, for_decoder
from glmtts.runaway import Finish
from glmtts.sampling import Sampling
from glmtts.steering import NEVER, Judge, Marks, Rivals
from glmtts.synthesizer import Synthesizer
from glmtts.utterance import best_of, certain
from glmtts.voice import Prompt
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
    together.turn = Turns(workers).turn
    return together


class Ticket:
    """An utterance somebody waits for: iterate for its tokens, or `wait` for its candidates."""

    def __init__(
        self,
        owner: "SharedLM",
        make: Callable[[Engine], Rivals[Request]],
        sampling: Sampling,
        judge: Judge | None,
    ) -> None:
        """Know how to ask the engine for it."""
        self.make = make
        self.rivals: Rivals[Request] | None = None
        self.given_up = False
        self.finish_reason: Finish | None = None
        self.news: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._owner, self._told = owner, 0
        self._sampling, self._judge = sampling, judge

    def tell(self) -> bool:
        """Pass on what the engine has made certain; whether the utterance has ended."""
        rivals = self.rivals
        assert rivals is not None
        if rivals.ended:
            self.news.put(None)
            return True
        for token in rivals.all[0].tokens[self._told : rivals.settled]:
            self.news.put(token)
        self._told = rivals.settled
        return False

    def part(self) -> None:
        """Let the ended candidates forget one another: a circle would be freed late."""
        for request in self.rivals.all if self.rivals else ():
            request.rivals = None

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
                if self.finish_reason is None:
                    self._end()
                    continue
                self.news.put(None)  # asked again, the answer stays the same
                raise StopIteration
            if isinstance(item, BaseException):
                raise item
            return item

    def _end(self) -> None:
        """Choose among the candidates; here, so that the model's thread need not."""
        assert self.rivals is not None
        tokens, self.finish_reason = certain(self.rivals, self._sampling, self._judge)
        for token in tokens[self._told :]:
            self.news.put(token)
        self.news.put(None)

    def wait(self, wanted: Callable[[], bool]) -> list[Request]:
        """Let all candidates be spoken to their end.

        Raises:
            Cancelled: they are not wanted any more.
            BadInput: the sentence is too long for the engine.
            SpeechError: the engine failed.
        """
        while True:
            try:
                item = self.news.get(timeout=POLL_SECONDS)
            except Empty:
                if not (wanted() and is_wanted()):
                    raise Cancelled(GONE) from None
                continue
            if isinstance(item, BaseException):
                raise item
            if item is None:
                assert self.rivals is not None
                return self.rivals.all

    def close(self) -> None:
        """Give it up; its slot is free at the engine's next step."""
        ended = self.rivals is not None and self.rivals.ended
        if not (ended or self.given_up):
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
        judge: Judge | None = None,
        marks: Marks = Marks(),
        adapter: Adapter | None = None,
    ) -> Ticket:
        """As `TextToSpeechTokens.generate`; `adapter` changes the model for this utterance."""
        drawn = sampling if judge else replace(sampling, candidates=1)
        return self._ask(text_ids, prompt, drawn, rng, judge, marks, adapter)

    def _ask(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling,
        rng: torch.Generator | None,
        judge: Judge | None,
        marks: Marks,
        adapter: Adapter | None,
    ) -> Ticket:
        rng = rng or self.lm.generator(sampling.seed)

        def make(engine: Engine) -> Rivals[Request]:
            return engine.submit_rivals(
                text_ids, prompt, sampling, rng=rng, adapter=adapter, judge=judge, marks=marks
            )

        ticket = Ticket(self, make, sampling, judge)
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
        judge: Judge | None = None,
        wanted: Callable[[], bool] = is_wanted,
        adapter: Adapter | None = None,
    ) -> tuple[list[int], Finish]:
        """As `TextToSpeechTokens.generate_checked`, and with the same result."""
        own = rng or self.lm.generator(sampling.seed)

        def attempt() -> list[Request]:
            return self.candidates(text_ids, prompt, sampling, own, judge, wanted, adapter)

        return best_of(attempt, sampling, judge)

    def candidates(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling,
        rng: torch.Generator,
        judge: Judge | None,
        wanted: Callable[[], bool],
        adapter: Adapter | None = None,
    ) -> list[Request]:
        """One attempt of `generate_checked`: all candidates, ended.

        Raises:
            Cancelled: they are not wanted any more.
        """
        asked = self._ask(text_ids, prompt, sampling, rng, judge, NEVER, adapter)
        with closing(asked) as ticket:
            return ticket.wait(wanted)

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
                for key in {id(request.rivals) for request in stepped}:
                    if (ticket := self._open.get(key)) and ticket.tell():
                        del self._open[key]
                        ticket.part()
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
                rivals = ticket.rivals = ticket.make(engine)
            except Exception as error:
                ticket.news.put(error)
            else:
                self._open[id(rivals)] = ticket
        for ticket in gone:
            if ticket.rivals is not None and self._open.pop(id(ticket.rivals), None):
                for request in ticket.rivals.all:
                    engine.cancel(request)
                ticket.part()
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
        judge: Judge | None = None,
        marks: Marks = Marks(),
    ) -> Ticket:
        """As `SharedLM.generate`."""
        return self.owner.generate(
            text_ids, prompt, sampling, rng=rng, judge=judge, marks=marks, adapter=self.adapter
        )

    def generate_checked(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        wanted: Callable[[], bool] = is_wanted,
    ) -> tuple[list[int], Finish]:
        """As `SharedLM.generate_checked`."""
        return self.owner.generate_checked(
            text_ids, prompt, sampling,
            rng=rng, judge=judge, wanted=wanted, adapter=self.adapter,
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
