"""What a synthesizer asks of a language model: alone, shared, or in another process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from glmtts.runaway import Finish
from glmtts.sampling import Sampling
from glmtts.steering import Judge, Marks
from glmtts.voice import Prompt


class Tokens(Iterator[int], Protocol):
    """Speech tokens of one utterance as they come."""

    finish_reason: Finish | None

    def close(self) -> None:
        """No more are wanted."""
        ...


class SpeechLM(Protocol):
    """What a synthesizer asks of a language model; see `TextToSpeechTokens`."""

    def generate(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = ...,
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        marks: Marks = ...,
    ) -> Tokens:
        """Speech tokens as they are certain."""
        ...

    def generate_checked(
        self,
        text_ids: Sequence[int],
        prompt: Prompt,
        sampling: Sampling = ...,
        *,
        rng: torch.Generator | None = None,
        judge: Judge | None = None,
        wanted: Callable[[], bool] = ...,
    ) -> tuple[list[int], Finish]:
        """A whole sentence, tried again when it goes wrong."""
        ...


class FinishedTokens(Iterator[int]):
    """A whole sentence of speech tokens, and how it ended."""

    def __init__(self, tokens: Sequence[int], finish_reason: Finish) -> None:
        """Hold both."""
        self._tokens = iter(tokens)
        self.finish_reason: Finish | None = finish_reason

    def __next__(self) -> int:
        """The next token."""
        return next(self._tokens)

    def close(self) -> None:
        """Nothing to give up."""
