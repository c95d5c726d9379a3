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
        # Of each slot: first and last text position in sight, first position behind the text, and
        # the present place. One that is not held sees all.
        self._sight = torch.tensor([_ALL] * slots, device=device)
        self._begin = torch.zeros(slots, dtype=torch.int64, device=device)
        self._ahead = torch.zeros_like(self._begin)
        self._next = torch.zeros_like(self._begin)

    def watch(self, slot: int, begin: int, size: int, ahead: int) -> None:
        """Hold a slot's head from the start of its text.

        Args:
            slot: Which.
            begin: Position of the first text id.
            size: Number of text ids.
            ahead: How many ids beyond the present one it may see; 0: all of them.
        """
        if not ahead:
            return self.clear(slot)
        at = begin - 1
        self._sight[slot] = torch.tensor([begin, at + ahead, begin + size, at])
        self._begin[slot], self._ahead[slot], self._next[slot] = begin, ahead, at
        self.guided.add(slot)

    def clear(self, slot: int) -> None:
        """Let a slot's head look anywhere."""
        if slot in self.guided:
            self.guided.remove(slot)
            self._sight[slot] = torch.tensor(_ALL)

    def follow(self, slot: int, other: int) -> None:
        """Make a slot be where another is in the same text."""
        for values in (self._sight, self._begin, self._ahead, self._next):
            values[slot] = values[other]
        (self.guided.add if other in self.guided else self.guided.discard)(slot)

    def commit(self, slots: Sequence[int]) -> None:
        """Make what was noted in the last step the present place of `slots`."""
        held = [slot for slot in slots if slot in self.guided]
        if held:
            at, end = self._next[held], self._sight[held, 2]
            first = torch.maximum(at - BACK, self._begin[held])
            self._sight[held] = torch.stack([first, at + self._ahead[held], end, at], 1)

    def places(self, slots: Sequence[int]) -> list[int]:
        """The text id that each of `slots` looked at last, -1 before the first."""
        return (self._sight[list(slots), 3] - self._begin[list(slots)]).tolist()

    def sight(self, places: Places) -> Tensor:
        """(R, 4) what `look` asks for, of each row of a step."""
        return self._sight[places.slots]

    def note(self, places: Places, at: Tensor) -> None:
        """Note the text position (R,) that each row of a step looked at."""
        self._next[places.slots] = at


def look(scores: Tensor, sight: Tensor) -> tuple[Tensor, Tensor]:
    """What a held head sees, and what it sees most of.

    Args:
        scores: (R, L) of the head; -inf where nothing is.
        sight: (R, 4) first and last text position in sight, first position behind the text, and the
            present one.

    Returns:
        (R, L) bool; (R,) the text position looked at, the present one where it is none.
    """
    end, at = sight[:, 2:3], sight[:, 3:4]
    where = torch.arange(scores.shape[1], device=scores.device)
    visible = ((where >= sight[:, :1]) & (where <= sight[:, 1:2])) | (where >= end)
    best = scores.masked_fill(~visible, float("-inf")).argmax(-1, keepdim=True)
    return visible, torch.where(best < end, torch.maximum(best, at), at)[:, 0]


_ALL = (0, -1, 0, -1)
