"""One utterance while its speech tokens are drawn, and the choice among those that have ended.

What holds the decoder's slots is elsewhere: `glmtts.lm` speaks one sentence, `glmtts.engine` many.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from glmtts.errors import Cancelled
from glmtts.runaway import Finish, RunawayGuard
from glmtts.sampling import Sampling, draw_each
from glmtts.steering import Judge, Rivals
from glmtts.voice import Prompt

T = TypeVar("T")
U = TypeVar("U", bound="Utterance")


class Classes(Protocol):
    """What an utterance asks of the sizes of its language model.

    Attributes:
        speech_count: Number of speech tokens, and the class of the end.
        silence_ids: Those that are silence.
    """

    @property
    def speech_count(self) -> int:
        """Number of speech tokens, and the class of the end."""
        ...

    @property
    def silence_ids(self) -> tuple[int, ...]:
        """Those that are silence."""
        ...


class Speaker(Protocol):
    """What an utterance asks of its language model (`glmtts.lm.TextToSpeechTokens`)."""

    @property
    def config(self) -> Classes:
        """Its sizes."""
        ...

    def sequence(self, text_ids: Sequence[int], prompt: Prompt) -> list[int]:
        """Vocabulary ids of everything before the target's speech."""
        ...

    def bounds(self, text_length: int, context: int) -> tuple[int, int]:
        """Fewest and most speech tokens for a text."""
        ...


class Utterance:
    """What is known of one utterance while its speech tokens are drawn one after the other.

    Attributes:
        tokens: Speech tokens so far.
        finish_reason: None while it runs.
        sequence: Vocabulary ids before the speech. They are read in two pieces, everywhere: chunks
            decide how sums round, and the first piece may be there from another utterance.
        shared: Length of the first piece, the text of the voice.
        text: Position of the first id of its text in `sequence`, and their number.
        shortest: Tokens before which it may not end.
        longest: Tokens after which it is cut.
        sampling: How its tokens are drawn.
        rng: What they are drawn with.
    """

    def __init__(
        self,
        lm: Speaker,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling,
        rng: torch.Generator,
    ) -> None:
        """Check the ids and the lengths.

        Raises:
            BadInput: nothing to speak, foreign ids, or too long for the context.
        """
        self.sequence = lm.sequence(text_ids, prompt)
        self.shared = len(prompt.turns[0].text_ids) if prompt.own else 0
        self.text = (sum(len(turn.text_ids) for turn in prompt.turns), len(text_ids))
        self.tokens: list[int] = []
        self.finish_reason: Finish | None = None
        self.shortest, self.longest = lm.bounds(len(text_ids), len(self.sequence))
        self.sampling, self.rng = sampling, rng
        self._end = lm.config.speech_count
        self._guard = RunawayGuard(lm.config.silence_ids)

    @property
    def runaway(self) -> int:
        """Tokens at the end that are only a loop or a silence."""
        return self._guard.tail()

    @property
    def positions(self) -> int:
        """Positions it may come to take: what is before the speech, and its longest speech."""
        return len(self.sequence) + self.longest

    def follow(self, other: "Utterance") -> None:
        """Go on from where another utterance of the same sentence is; the generator stays its."""
        self.tokens = list(other.tokens)
        self._guard.follow(other._guard)

    def take(self, token: int) -> None:
        """Add the class that was drawn: a speech token, or `speech_count` for the end."""
        if token == self._end:
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        self.finish_reason = self._guard.push(token)
        if self.finish_reason is None and len(self.tokens) >= self.longest:
            self.finish_reason = "length"


@torch.inference_mode()
def draw_next(utterances: Sequence[Utterance], scores: Tensor) -> None:
    """Let each utterance take its next token, drawn by its own options and generator.

    Args:
        utterances: Running ones.
        scores: (len(utterances), speech_count + 1) logits of each.
    """
    scores = scores.float()
    early = [row for row, each in enumerate(utterances) if len(each.tokens) < each.shortest]
    if early:
        scores = scores.clone()
        scores[early, -1] = float("-inf")
    drawn = draw_each(
        scores,
        [u.tokens for u in utterances],
        [u.sampling for u in utterances],
        [u.rng for u in utterances],
    )
    for utterance, token in zip(utterances, drawn, strict=True):
        utterance.take(token)


def certain(
    rivals: Rivals[U], sampling: Sampling, judge: Judge | None
) -> tuple[list[int], Finish | None]:
    """The tokens that no candidate will take back; the best one's, once all have ended."""
    if not rivals.ended:
        return rivals.all[0].tokens[: rivals.settled], None
    if len(rivals.all) == 1:
        return rivals.all[0].tokens, rivals.all[0].finish_reason
    tokens, reason = best_of(lambda: rivals.all, replace(sampling, retries=0), judge)
    shared = rivals.all[0].tokens[: rivals.settled]
    return shared + tokens[rivals.settled :], reason


def always() -> bool:
    """Somebody always waits."""
    return True


def while_wanted(items: Iterable[T], wanted: Callable[[], bool]) -> Iterator[T]:
    """The items, as long as `wanted()`.

    Raises:
        Cancelled: `wanted()` has become false.
    """
    for item in items:
        if not wanted():
            raise Cancelled("Nobody waits for this speech any more.")
        yield item


_BAD_ENDS: tuple[Finish, ...] = ("stop", "silence", "length", "repetition")
"""Ends of an utterance, best first."""


def best_of(
    attempt: Callable[[], Sequence[Utterance]],
    sampling: Sampling,
    judge: Judge | None,
) -> tuple[list[int], Finish]:
    """The best utterance of up to `sampling.retries` + 1 attempts; see `generate_checked`.

    Args:
        attempt: Draws finished utterances of the sentence.
        sampling: Says how often, and what is good enough.
        judge: Hears how badly tokens read back.
    """
    best: tuple[float, int] = (math.inf, 0)
    result: tuple[list[int], Finish] = ([], "length")
    for number in range(1 + max(0, sampling.retries)):
        if number and sampling.temperature == 0:  # the likeliest tokens are always the same
            break
        for utterance in attempt():
            reason = utterance.finish_reason
            assert reason is not None, "an attempt is over when its utterances are"
            tokens = utterance.tokens
            if reason in ("repetition", "silence"):
                tokens = tokens[: len(tokens) - utterance.runaway]
            penalty = 4.0 * _BAD_ENDS.index(reason)
            penalty += 0.0 if tokens else 16.0
            penalty += judge.misread(tokens) if judge and tokens else 0.0
            if (rank := (penalty, -len(tokens))) < best:
                best, result = rank, (tokens, reason)
        if best[0] <= sampling.accept:
            break
    return result
