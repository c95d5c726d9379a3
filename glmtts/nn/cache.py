"""Keys and values of past positions, kept by the caller: one set of weights serves many streams."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class KVCache:
    """Preallocated keys and values of every layer for a batch whose rows advance together.

    Attributes:
        keys: (layers, B, kv_heads, capacity, head_dim).
        values: As `keys`.
        length: Positions written so far, the same in each row.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int = 0) -> None:
        """Wrap storage; `Llama.cache` allocates it."""
        self.keys = keys
        self.values = values
        self.length = length

    @property
    def capacity(self) -> int:
        """Positions there is room for."""
        return self.keys.shape[3]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, kv_heads, L, head_dim) behind the past of `layer`; all keys and values so far.

        `length` stays as it is until `advance`, because every layer writes the same positions.
        """
        end = self.length + keys.shape[2]
        assert end <= self.capacity, f"cache of {self.capacity} positions is full"
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, count: int) -> None:
        """Count `count` positions as written, after the last layer."""
        self.length += count


@dataclass(frozen=True)
class Places:
    """Where the rows of one decoding step are written, and what they see.

    Attributes:
        slots: (R,) int64 slot of each row.
        positions: (R,) int64 position of each row, which is the length of its slot.
        runs: (first row, end, first slot, length) of rows whose slots are neighbours and equally
            long: attention reads exactly what they hold. None: it reads all of the storage under a
            mask made from `positions`, so that shapes never change (for CUDA graphs).
    """

    slots: Tensor
    positions: Tensor
    runs: tuple[tuple[int, int, int, int], ...] | None


class SlotCache:
    """Keys and values of sequences that come, advance and go independently, one in each slot.

    Attributes:
        keys: (layers, slots, kv_heads, capacity, head_dim).
        values: As `keys`.
        lengths: Positions written in each slot.
    """

    def __init__(self, cache: KVCache) -> None:
        """Take over the storage of an empty cache, whose rows become slots."""
        self.keys, self.values = cache.keys, cache.values
        self.lengths = [0] * cache.keys.shape[1]

    @property
    def capacity(self) -> int:
        """Positions a slot has room for."""
        return self.keys.shape[3]

    def slot(self, slot: int) -> KVCache:
        """One slot as a cache of one row that shares the storage."""
        only = slice(slot, slot + 1)
        return KVCache(self.keys[:, only], self.values[:, only], self.lengths[slot])

    def copied(self, slot: int) -> KVCache:
        """What a slot holds, as a cache of its own."""
        end = self.lengths[slot]
        only = slice(slot, slot + 1)
        keys, values = self.keys[:, only, :, :end], self.values[:, only, :, :end]
        return KVCache(keys.clone(), values.clone(), end)

    def put(self, slot: int, cache: KVCache) -> None:
        """Replace what a slot holds by the content of a cache of one row."""
        end = cache.length
        self.keys[:, slot, :, :end] = cache.keys[:, 0, :, :end]
        self.values[:, slot, :, :end] = cache.values[:, 0, :, :end]
        self.lengths[slot] = end

    def follow(self, slot: int, other: int, start: int) -> None:
        """Make a slot hold what another does, with which it has the first `start` in common."""
        end = self.lengths[other]
        for held in (self.keys, self.values):
            held[:, slot, :, start:end] = held[:, other, :, start:end]
        self.lengths[slot] = end

    def places(self, slots: Sequence[int]) -> Places:
        """Places for one more position in each of `slots` (ascending)."""
        runs: list[tuple[int, int, int, int]] = []
        for row, slot in enumerate(slots):
            length = self.lengths[slot] + 1
            if runs and runs[-1][2] + row - runs[-1][0] == slot and runs[-1][3] == length:
                runs[-1] = (runs[-1][0], row + 1, runs[-1][2], length)
            else:
                runs.append((row, row + 1, slot, length))
        device = self.keys.device
        lengths = [self.lengths[slot] for slot in slots]
        return Places(
            torch.tensor(slots, device=device), torch.tensor(lengths, device=device), tuple(runs)
        )

    def write(self, layer: int, places: Places, keys: Tensor, values: Tensor) -> None:
        """Write one position (R, kv_heads, head_dim) of each row."""
        if places.runs is not None and len(places.runs) <= 4:  # quicker than by two lists
            for start, end, slot, length in places.runs:
                at = slice(slot, slot + end - start)
                self.keys[layer, at, :, length - 1] = keys[start:end]
                self.values[layer, at, :, length - 1] = values[start:end]
            return
        self.keys[layer][places.slots, :, places.positions] = keys
        self.values[layer][places.slots, :, places.positions] = values


class Prefixes:
    """The latest sequence beginnings that were read, ready to be put into a slot."""

    def __init__(self, limit: int = 16) -> None:
        """Keep at most `limit` of them; the one unused for longest goes first."""
        self.limit = limit
        self.entries: OrderedDict[tuple[object, tuple[int, ...]], KVCache] = OrderedDict()

    def get(self, ids: Sequence[int], reader: object = None) -> KVCache | None:
        """What was kept for exactly these ids, read by the same `reader` (an adapter)."""
        key = (reader, tuple(ids))
        if key in self.entries:
            self.entries.move_to_end(key)
        return self.entries.get(key)

    def keep(self, ids: Sequence[int], cache: KVCache, reader: object = None) -> None:
        """Keep a cache of one row that holds exactly these ids."""
        self.entries[reader, tuple(ids)] = cache
        while len(self.entries) > self.limit:
            self.entries.popitem(last=False)


def empty_cache(
    layers: int,
    rows: int,
    kv_heads: int,
    capacity: int,
    head_dim: int,
    like: Tensor,
    dtype: torch.dtype | None = None,
) -> KVCache:
    """Allocate a cache on the device of `like`, in its type or in `dtype`.

    On a CPU it takes memory only as it is written to.
    """
    shape = (layers, rows, kv_heads, capacity, head_dim)
    dtype = dtype or like.dtype
    return KVCache(_zeros(shape, dtype, like.device), _zeros(shape, dtype, like.device))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch's own zeros are written one by one, NumPy's are pages that nobody has touched.
    pages = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(pages).view(dtype).view(shape)
