"""Keys and values of past positions, kept by the caller: one set of weights serves many streams."""

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

    def repeated(self, rows: int) -> "KVCache":
        """A copy whose `rows` rows all continue this cache's only row."""
        shape = (-1, rows, -1, -1, -1)
        return KVCache(
            self.keys.expand(shape).clone(), self.values.expand(shape).clone(), self.length
        )

    def kept(self, rows: Tensor) -> "KVCache":
        """A copy with the rows at the indices `rows` (int64)."""
        return KVCache(self.keys[:, rows], self.values[:, rows], self.length)


def empty_cache(
    layers: int, rows: int, kv_heads: int, capacity: int, head_dim: int, like: Tensor
) -> KVCache:
    """Allocate a cache on the device and in the type of `like`."""
    shape = (layers, rows, kv_heads, capacity, head_dim)
    keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
    return KVCache(keys, torch.zeros_like(keys))
