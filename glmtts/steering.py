"""Several candidates of one sentence, of which the best leads from mark to mark. Read `Rivals`.

Candidates are drawn side by side, one token each at a step. At each mark (so many tokens) they are
read back as far as they are; the best is what has been said, and the others go on from it. So a
slip costs the stretch it happened in and not the sentence, and what lies before a mark is certain
and can become sound. This is a particle filter that keeps its best particle alone; the weight is
what another model hears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from glmtts.runaway import Finish

BLOCK = 25
"""Tokens between marks where no stream asks for others."""


@dataclass(frozen=True)
class Marks:
    """Where candidates are compared.

    Attributes:
        blocks: Tokens from mark to mark, the last repeats for ever; empty: every `BLOCK`.
        ahead: So many tokens later, for a listener who needs to know what follows a block.
        patience: Tokens for which candidates are waited for after the first has ended; None: until
            all have, as slow ones are no worse.
    """

    blocks: tuple[int, ...] = ()
    ahead: int = 0
    patience: int | None = 12

    def after(self, length: int) -> int:
        """The mark that follows `length` tokens."""
        sizes = self.blocks or (BLOCK,)
        mark, number = self.ahead + sizes[0], 0
        while mark <= length:
            number += 1
            mark += sizes[min(number, len(sizes) - 1)]
        return mark


NEVER = Marks((2**31,), patience=None)
"""Candidates meet at their ends alone. Whole sentences read better so, see LOG.md."""


class Judge(Protocol):
    """Hears how well speech tokens say one sentence (`glmtts.proofreader`).

    Attributes:
        phonemes: Of the sentence.
        laughs: For each laugh how many phonemes stand before it.
        style: In which it is to be said, or None.
    """

    @property
    def phonemes(self) -> Sequence[str]:
        """Of the sentence."""
        ...

    @property
    def laughs(self) -> Sequence[int]:
        """For each laugh how many phonemes stand before it."""
        ...

    @property
    def style(self) -> str | None:
        """In which it is to be said, or None."""
        ...

    def misread(self, tokens: Sequence[int]) -> float:
        """How badly (S,) tokens read as the sentence, 0 = perfectly."""
        ...

    def so_far(self, beginnings: Sequence[Sequence[int]]) -> Sequence[float]:
        """To compare beginnings of the same length: the lowest reads best."""
        ...


class Candidate(Protocol):
    """An utterance that is being drawn."""

    tokens: list[int]
    finish_reason: Finish | None

    def follow(self, other: Any, /) -> None:
        """Go on from where another one is."""
        ...


C = TypeVar("C", bound=Candidate)


class Rivals(Generic[C]):
    """Candidates that are drawn in step with one another; after each step ask `lead`.

    Attributes:
        all: The candidates.
        settled: Tokens that all of them share and none will take back.
    """

    def __init__(self, candidates: Sequence[C], judge: Judge | None, marks: Marks) -> None:
        """Nothing is drawn yet. Without a judge they never meet; one alone leads at each token."""
        self.all, self.settled = list(candidates), 0
        self._judge, self._marks = judge, marks
        self._mark = marks.after(0)
        self._last: int | None = None

    @property
    def ended(self) -> bool:
        """Whether all have ended."""
        return all(each.finish_reason is not None for each in self.all)

    def lead(self) -> int | None:
        """Which candidate the others have just gone over to, if so: their caches must follow too.

        Candidates that others have waited for too long are ended, as by their length.
        """
        length = max(len(each.tokens) for each in self.all)
        if len(self.all) == 1:
            self.settled = length
            return None
        if self._judge is None:
            return None
        if any(each.finish_reason is not None for each in self.all):
            if self._marks.patience is None:
                return None
            if self._last is None:
                self._last = length + self._marks.patience
            for each in self.all:
                if each.finish_reason is None and len(each.tokens) >= self._last:
                    each.finish_reason = "length"
            return None
        if length < self._mark:
            return None
        costs = list(self._judge.so_far([each.tokens for each in self.all]))
        best = costs.index(min(costs))
        for each in self.all:
            if each is not self.all[best]:
                each.follow(self.all[best])
        self.settled, self._mark = length, self._marks.after(length)
        return best
