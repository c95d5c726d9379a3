"""A language model in another process, used as one in this: what crosses is ids, tokens and state.

The state of the random generator travels with a request and comes back, so a text sounds as it does
in one process. It also makes a retry exact: after the other side died, the same tokens are drawn
again by another, and those that were delivered are dropped.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

import torch

from glmtts.errors import Cancelled, GlmTtsError, SpeechError
from glmtts.proofreader import Proofreader
from glmtts.runaway import Finish
from glmtts.sampling import Sampling
from glmtts.serve.shared import SharedLM
from glmtts.steering import NEVER, Judge, Marks
from glmtts.utterance import Utterance, best_of
from glmtts.voice import Prompt
from glmtts.wanted import is_wanted

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 3


@dataclass(frozen=True)
class Wanted:
    """What is to be spoken; everything in it can be pickled."""

    text_ids: tuple[int, ...]
    prompt: Prompt
    sampling: Sampling
    state: bytes
    """Of the random generator."""
    phonemes: tuple[str, ...] = ()
    """Of the sentence, where it shall be read back."""
    marks: Marks = field(default_factory=Marks)
    laughs: tuple[int, ...] = ()
    """For each laugh how many phonemes stand before it."""
    style: str | None = None


@dataclass
class Spoken:
    """A finished utterance, with what `best_of` reads of one."""

    tokens: list[int]
    finish_reason: Finish | None
    runaway: int


@dataclass
class End:
    """How an utterance ended, and the state of the generator after it."""

    reason: Finish
    state: bytes


class Wire(Protocol):
    """How the other side is reached; any exception but ours means that it may have died."""

    def tokens(self, wanted: Wanted) -> Iterable["int | End"]:
        """Tokens as they come, then how it ended."""
        ...

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """`side_by_side` finished utterances, and the state of the generator after them."""
        ...


class Desk:
    """The other side: answers a `Wire` from a language model that many use."""

    def __init__(self, lm: SharedLM, proofreader: Proofreader | None = None) -> None:
        """Answer from `lm`, whose candidates `proofreader` compares."""
        self.lm, self.proofreader = lm, proofreader

    def _judge(self, wanted: Wanted) -> Judge | None:
        if self.proofreader is None:
            return None
        return self.proofreader.judge(wanted.phonemes, wanted.laughs, wanted.style)

    def tokens(self, wanted: Wanted) -> "Iterator[int | End]":
        """See `Wire`."""
        rng = generator_of(wanted.state)
        ticket = self.lm.generate(
            wanted.text_ids, wanted.prompt, wanted.sampling,
            rng=rng, judge=self._judge(wanted), marks=wanted.marks,
        )  # fmt: skip
        try:
            yield from ticket
            assert ticket.finish_reason is not None
            yield End(ticket.finish_reason, state_of(rng))
        finally:
            ticket.close()

    def utterances(self, wanted: Wanted) -> tuple[list[Spoken], bytes]:
        """See `Wire`."""
        own = generator_of(wanted.state)
        done = self.lm.candidates(
            wanted.text_ids, wanted.prompt, wanted.sampling, own, self._judge(wanted), is_wanted
        )
        return [Spoken(u.tokens, u.finish_reason, u.runaway) for u in done], state_of(own)


class RemoteLM:
    """The near side: a `SpeechLM` whose work is done elsewhere."""

    def __init__(self, wire: Wire) -> None:
        """Reach the other side by `wire`."""
        self.wire = wire

    def generate(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = Sampling(),
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        marks: Marks = Marks(),
    ) -> "RemoteTokens":
        """As `TextToSpeechTokens.generate`."""
        rng = rng or _seeded(sampling.seed)
        asked = _wanted(text_ids, prompt, sampling, rng, judge, marks)
        return RemoteTokens(self.wire, asked, rng)

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
        """As `TextToSpeechTokens.generate_checked`."""
        rng = rng or _seeded(sampling.seed)

        def attempt() -> list[Utterance]:
            if not wanted():
                raise Cancelled("Nobody waits for this speech any more.")
            asked = _wanted(text_ids, prompt, sampling, rng, judge, NEVER)
            spoken, state = tried(lambda: self.wire.utterances(asked))
            _restore(rng, state)
            return cast("list[Utterance]", spoken)  # `best_of` reads three fields of them

        return best_of(attempt, sampling, judge)


class RemoteTokens(Iterator[int]):
    """Tokens from the other side, or from another if that one dies."""

    def __init__(self, wire: Wire, wanted: Wanted, rng: torch.Generator) -> None:
        """Ask; `rng` is brought to where the other side left it."""
        self._rng = rng
        self.finish_reason: Finish | None = None
        self._wire, self._wanted = wire, wanted
        self._given = self._known = 0  # _known: still to be dropped after a loss
        self._tries = 0
        self._items = iter(wire.tokens(wanted))

    def __next__(self) -> int:
        """The next token.

        Raises:
            SpeechError: no side answers.
        """
        while self.finish_reason is None:
            try:
                item = next(self._items)
            except (GlmTtsError, GeneratorExit):
                raise
            except Exception as error:  # StopIteration before the end is a broken line too
                self._again(error)
                continue
            if isinstance(item, End):
                self.finish_reason = item.reason
                _restore(self._rng, item.state)
            elif self._known:
                self._known -= 1
            else:
                self._given += 1
                return item
        raise StopIteration

    def _again(self, error: Exception) -> None:
        self._tries += 1
        if self._tries >= TRIES:
            raise SpeechError("No language model answers. Try again.") from error
        log.warning("A language model was lost after %d tokens: %r", self._given, error)
        self._items, self._known = iter(self._wire.tokens(self._wanted)), self._given

    def close(self) -> None:
        """No more are wanted."""
        if close := getattr(self._items, "close", None):
            close()


def tried(call: Callable[[], T]) -> T:
    """The result of a call that another side repeats if the first dies.

    Raises:
        SpeechError: none answers.
    """
    last: Exception | None = None
    for _ in range(TRIES):
        try:
            return call()
        except GlmTtsError:
            raise
        except Exception as error:
            log.warning("A language model was lost: %r", error)
            last = error
    raise SpeechError("No language model answers. Try again.") from last


def _wanted(
    text_ids: Sequence[int],
    prompt: Prompt,
    sampling: Sampling,
    rng: torch.Generator,
    judge: Judge | None,
    marks: Marks,
) -> Wanted:
    phonemes, laughs = (tuple(judge.phonemes), tuple(judge.laughs)) if judge else ((), ())
    style = judge.style if judge else None
    return Wanted(tuple(text_ids), prompt, sampling, state_of(rng), phonemes, marks, laughs, style)


def _seeded(seed: int | None) -> torch.Generator:
    rng = torch.Generator()
    if seed is None:
        rng.seed()
    else:
        rng.manual_seed(seed)
    return rng


def state_of(rng: torch.Generator) -> bytes:
    """The state of a generator, to be sent."""
    return rng.get_state().numpy().tobytes()


def _restore(rng: torch.Generator, state: bytes) -> None:
    rng.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def generator_of(state: bytes) -> torch.Generator:
    """A generator in a state that was sent."""
    rng = torch.Generator()
    _restore(rng, state)
    return rng
