"""Where the aligned head of each slot may look while it speaks.

A model whose `align_head` was taught which text id each speech token says (guided attention) tells
in decoding where it is in the text. `Gaze` keeps that place and lets the head see only the ids
around it, forward a few at a time: what the head follows can neither be skipped nor said twice.
Windowed attention is known from Chorowski et al. 2015 (arXiv 1506.07503), where it saves work; here
it keeps order. Nothing is trained for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glmtts.nn.cache import Places

BACK = 1
"""Text ids before the present one that stay visible."""


@dataclass(frozen=True)
class Held:
    """Where the aligned head was held in utterances of one text, so that they can be scored alike.

    Attributes:
        begin: Position of the first text id.
        size: Number of text ids.
        ahead: How many ids beyond the present one were visible.
        places: (B, S) the text id where each utterance was when it read its token number s.
    """

    begin: int
    size: int
    ahead: int
    places: Tensor

    def of(self, places: Tensor) -> "Held":
        """The same for other utterances of this text."""
        return replace(self, places=places)

    def visible(self, seen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """What the aligned head sees, where utterances stand in one row behind their text.

        Args:
            seen: (L, L) bool, what all heads see; the utterances' tokens are its last rows.
            rows: (n,) utterance of each of these tokens.
            columns: (n,) their numbers in it.

        Returns:
            (L, L) bool.
        """
        at = self.begin + self.places[rows, columns][:, None]  # (n, 1)
        where = torch.arange(seen.shape[1], device=seen.device)
        near = (where >= at - BACK) & (where <= at + self.ahead) & (where >= self.begin)
        mask = seen.clone()
        mask[len(seen) - len(rows) :] &= near | (where >= self.begin + self.size)
        return mask


class Gaze:
    """Places in the texts of all slots. Positions are those of the slot's sequence.

    A step only notes where it looked; `commit` makes that the present place, so a step that is
    computed twice (to record it as a graph) does no harm.

    Attributes:
        layer: Layer of the aligned head.
        head: Its number among the query heads.
        guided: Slots whose head is held.
    """

    def __init__(self, layer: int, head: int, slots: int, device: torch.device) -> None:
        """No slot is held at first."""
        self.layer, self.head = layer, head
        self.guided = set[int]()
        self._begin = torch.zeros(slots, dtype=torch.int64, device=device)
        self._end = torch.zeros_like(self._begin)
        self._ahead = torch.zeros_like(self._begin)  # 0: not held
        self._at = torch.zeros_like(self._begin)
        self._next = torch.zeros_like(self._begin)

    def watch(self, slot: int, begin: int, size: int, ahead: int) -> None:
        """Hold a slot's head from the start of its text.

        Args:
            slot: Which.
            begin: Position of the first text id.
            size: Number of text ids.
            ahead: How many ids beyond the present one it may see; 0: all of them.
        """
        self._begin[slot], self._end[slot], self._ahead[slot] = begin, begin + size, ahead
        self._at[slot] = self._next[slot] = begin - 1
        (self.guided.add if ahead else self.guided.discard)(slot)

    def clear(self, slot: int) -> None:
        """Let a slot's head look anywhere."""
        self._ahead[slot] = 0
        self.guided.discard(slot)

    def follow(self, slot: int, other: int) -> None:
        """Make a slot be where another is in the same text."""
        for values in (self._begin, self._end, self._ahead, self._at, self._next):
            values[slot] = values[other]
        (self.guided.add if other in self.guided else self.guided.discard)(slot)

    def commit(self, slots: Sequence[int]) -> None:
        """Make what was noted in the last step the present place of `slots`."""
        held = [slot for slot in slots if slot in self.guided]
        if len(held) == len(self._at):
            self._at.copy_(self._next)
        elif held:
            at = torch.tensor(held, device=self._at.device)
            self._at[at] = self._next[at]

    def places(self, slots: Sequence[int]) -> list[int]:
        """The text id that each of `slots` looked at last, -1 before the first."""
        return (self._at - self._begin)[list(slots)].tolist()

    def look(self, scores: Tensor, places: Places, rows: slice) -> tuple[Tensor, Tensor]:
        """Hide what the head may not see, and note what it sees most of.

        Args:
            scores: (R, L) scores of the aligned head; -inf where nothing is.
            places: Of all rows of the step.
            rows: Which of them these are.

        Returns:
            (R, L) additive mask, 0 or -inf, and (R,) bool: rows that are held.
        """
        slots = places.slots[rows]
        begin, end, ahead, at = (
            values[slots][:, None] for values in (self._begin, self._end, self._ahead, self._at)
        )
        where = torch.arange(scores.shape[1], device=scores.device)[None]
        near = (where >= at - BACK) & (where <= at + ahead) & (where >= begin)
        hidden = ~near & (where < end) & (ahead > 0)
        mask = torch.zeros_like(scores).masked_fill_(hidden, float("-inf"))
        best = (scores + mask).argmax(-1, keepdim=True)
        reached = torch.where(best < end, torch.maximum(best, at), at)
        self._next[slots] = torch.where(ahead > 0, reached, at)[:, 0]
        return mask, ahead[:, 0] > 0
