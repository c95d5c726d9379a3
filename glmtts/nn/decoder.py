"""Sequences that grow one id at a time, each in a slot of its own. Read Decoder.step first.

A sequence is not changed by its neighbours, in no bit: every linear layer sees the same number of
rows at each step (8-bit layers are exact for any number, and see only the rows in use), and
attention reads each slot by itself.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from glmtts.nn.cache import KVCache, Places, SlotCache
from glmtts.nn.gaze import Gaze
from glmtts.nn.llama import Llama
from glmtts.nn.program import Program, program_of


class Decoder:
    """A Llama and its head over slots.

    Attributes:
        slots: Number of slots.
        capacity: Positions a slot has room for.
    """

    def __init__(
        self,
        model: Llama,
        head: Callable[[Tensor], Tensor],
        slots: int,
        capacity: int,
        *,
        aligned: tuple[int, int] | None = None,
        static: bool = False,
    ) -> None:
        """Allocate the slots.

        Args:
            model: The decoder network.
            head: Scores of hidden states, (..., D) -> (..., classes).
            slots: Sequences that can be held at once.
            capacity: Positions each may have.
            aligned: Layer and number of the attention head that follows the text, if there is one.
            static: Keep all shapes the same at every step; on a CUDA device the step is then
                recorded once as a graph and replayed.
        """
        self.model, self.head = model, head
        self._own = program_of(model)
        self.use(None)
        self.slots, self.capacity, self.static = slots, capacity, static
        with torch.inference_mode(False):
            self._cache = SlotCache(model.cache(slots, capacity))
            device = self._cache.keys.device
            self._gaze = Gaze(*aligned, slots, device) if aligned else None
            self._ids = torch.zeros(slots, dtype=torch.int64, device=device)
            self._places = Places(
                torch.arange(slots, device=device), torch.zeros_like(self._ids), None
            )
        self._graph: torch.cuda.CUDAGraph | None = None
        self._scores = torch.empty(0)

    def use(self, program: Program | None) -> None:
        """Take the coming steps by the program of a model that does the same; None: by its own."""
        program = program or self._own
        self._step = self.model.step if program is None else program.step

    def length(self, slot: int) -> int:
        """Positions that a slot holds."""
        return self._cache.lengths[slot]

    def clear(self, slot: int) -> None:
        """Forget what a slot holds."""
        self._cache.lengths[slot] = 0
        if self._gaze is not None:
            self._gaze.clear(slot)

    def watch(self, slot: int, begin: int, size: int, ahead: int) -> None:
        """From now on let the aligned head of a slot follow its text in order (`nn.gaze`).

        Args:
            slot: Which; its sequence has been read.
            begin: Position of the first text id.
            size: Number of text ids.
            ahead: How many ids beyond the present one the head may see; 0: all of them. A model
                without such a head is not changed by any.
        """
        if self._gaze is not None:
            self._gaze.watch(slot, begin, size, ahead)

    def places(self, slots: Sequence[int]) -> list[int] | None:
        """The text ids at which `slots` are (-1 before the first); None: not all are watched."""
        gaze = self._gaze
        return gaze.places(slots) if gaze and gaze.guided.issuperset(slots) else None

    def copied(self, slot: int) -> KVCache:
        """What a slot holds, as a value."""
        return self._cache.copied(slot)

    def put(self, slot: int, content: KVCache) -> None:
        """Fill a slot with what was copied from one."""
        self._cache.put(slot, content)

    def follow(self, slot: int, other: int, start: int = 0) -> None:
        """Make a slot hold what another does, with which it has the first `start` in common."""
        self._cache.follow(slot, other, start)
        if self._gaze is not None:
            self._gaze.follow(slot, other)

    @torch.inference_mode()
    def read(self, slot: int, ids: Sequence[int]) -> Tensor:
        """Append `ids` to a slot; the scores of what follows, (classes,)."""
        view = self._cache.slot(slot)
        hidden, _ = self.model(torch.tensor([ids], device=self._ids.device), cache=view)
        self._cache.lengths[slot] = view.length
        return self.head(hidden[0, -1])

    @torch.inference_mode()
    def step(self, slots: Sequence[int], ids: Sequence[int]) -> Tensor:
        """Append one id to each of `slots` (ascending); the scores of what follows each.

        Returns:
            (len(slots), classes).

        Raises:
            IndexError: a slot is full.
        """
        if any(self._cache.lengths[slot] >= self.capacity for slot in slots):
            raise IndexError("A slot is full.")  # kernels would write beyond it
        if self.static:
            scores = self._static_step(slots, ids)
        elif self.model.packed or len(slots) == self.slots:
            new = torch.tensor(ids, device=self._ids.device)
            places = self._cache.places(slots)
            scores = self.head(self._step(new, self._cache, places, self._held()))
        else:  # the free slots are computed too, and dropped: shapes decide how products round
            row = dict(zip(slots, ids, strict=True))
            new = torch.tensor([row.get(slot, 0) for slot in range(self.slots)])
            places = self._cache.places(range(self.slots))
            new = new.to(self._ids.device)
            scores = self.head(self.model.step(new, self._cache, places, self._held()))
            scores = scores[list(slots)]
        for slot in slots:
            self._cache.lengths[slot] += 1
        if self._gaze is not None:
            self._gaze.commit(slots)
        return scores

    def _held(self) -> Gaze | None:
        """The gaze, unless it holds nobody."""
        return self._gaze if self._gaze is not None and self._gaze.guided else None

    def _static_step(self, slots: Sequence[int], ids: Sequence[int]) -> Tensor:
        """The step for all slots in fixed shapes, as a graph where there is CUDA."""
        row = dict(zip(slots, ids, strict=True))
        self._ids.copy_(torch.tensor([row.get(slot, 0) for slot in range(self.slots)]))
        room = self.capacity - 1  # a free slot may be full
        self._places.positions.copy_(torch.tensor([min(n, room) for n in self._cache.lengths]))
        if self._ids.device.type != "cuda":
            return self._forward()[list(slots)]
        if self._graph is None:
            self._record()
        assert self._graph is not None
        self._graph.replay()
        return self._scores[list(slots)]

    def _forward(self) -> Tensor:
        return self.head(self.model.step(self._ids, self._cache, self._places, self._gaze))

    def _record(self) -> None:
        """Record the step. Running it repeatedly writes the same values to the same positions."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._forward()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._scores = self._forward()
