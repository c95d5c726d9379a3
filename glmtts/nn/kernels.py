"""The decoding step of an 8-bit Llama in plain loops, compiled by numba. Read `step` first.

A step of a small model is a few rows against every weight: as tensor operations some six hundred
calls of a few microseconds, of which little is arithmetic. Here it is one call, which needs neither
Python nor its lock.

Rows are computed one by one, in the same loops whatever their number: what a row gives does not
depend, in any bit, on the rows beside it. The products are as in `nn.int8`: 8-bit weights, 14-bit
activations, sums of whole numbers.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

FINEST = 8_191
"""Largest whole number of an activation; less for rows so long that 32 bits would not hold sums."""

# fastmath: sums may be taken in any order, once compiled always in the same.
part = numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
"""Compile what only others here call; it becomes part of them."""


def entrance(function: F) -> F:
    """Compile what is called from outside, at its first call; kept on disk where that may be."""
    compiled: Any = part(function)
    with suppress(RuntimeError):  # no folder can be written: compiled again in each process
        compiled.enable_caching()
    return compiled


@part
def _exp(x):
    """e^x within 5e-7, of float32 in -87..87; unlike the library's it is vectorised."""
    t = min(max(x * np.float32(1.442695041), np.float32(-126.0)), np.float32(126.0))
    whole = np.floor(t + np.float32(0.5))
    f = t - whole  # 2^f by its Taylor series
    y = np.float32(1.540353e-4)
    y = y * f + np.float32(1.3333558e-3)
    y = y * f + np.float32(9.6181291e-3)
    y = y * f + np.float32(5.5504109e-2)
    y = y * f + np.float32(2.4022651e-1)
    y = y * f + np.float32(6.9314718e-1)
    y = y * f + np.float32(1.0)
    return y * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@part
def _normed(x, weight, eps, out):
    """RMSNorm of one row (D,)."""
    total = np.float32(0.0)
    for i in range(len(x)):
        total += x[i] * x[i]
    scale = np.float32(1.0) / np.sqrt(total / np.float32(len(x)) + np.float32(eps))
    for i in range(len(x)):
        out[i] = x[i] * scale * weight[i]


@part
def _whole(x, out):
    """Round one row (I,) to whole numbers, of which its peak is `FINEST`; the step from one on."""
    peak = np.float32(1e-20)
    for i in range(len(x)):
        peak = max(peak, abs(x[i]))
    finest = np.float32(min(FINEST, (2**31 - 1) // (127 * len(x))))
    inverse = finest / peak
    for i in range(len(x)):
        out[i] = np.int16(np.rint(x[i] * inverse))
    return peak / finest


@part
def _multiplied(x, weight, scale, out):
    """(R, I) by (O, I) int8 with (O,) scales: (R, O)."""
    whole, steps = np.empty(x.shape, np.int16), np.empty(len(x), np.float32)
    for r in range(len(x)):
        steps[r] = _whole(x[r], whole[r])
    for o in range(len(weight)):
        for r in range(len(x)):
            total = np.int32(0)
            for i in range(x.shape[1]):
                total = np.int32(total + np.int32(np.int32(weight[o, i]) * np.int32(whole[r, i])))
            out[r, o] = np.float32(total) * (scale[o] * steps[r])


@part
def _turned(x, cos, sin):
    """Rotate the pairs (i, i + hd / 2) of one head (hd,), in place."""
    half = len(x) // 2
    for i in range(half):
        a, b = x[i], x[half + i]
        x[i] = a * cos[i] - b * sin[i]
        x[half + i] = b * cos[i] + a * sin[i]


@part
def _scored(q, k, start, stop, factor, scores, peak, best):
    """Scores of the keys `start` to `stop`; the largest of all so far, and which it is."""
    for at in range(start, stop):
        total = np.float32(0.0)
        for i in range(len(q)):
            total += q[i] * k[at, i]
        total *= factor
        scores[at] = total
        if best < 0 or total > peak:
            peak, best = total, at
    return peak, best


@part
def _heard(v, start, stop, peak, scores, y):
    """Add the values `start` to `stop`, each by e^(score - peak), to `y`; the sum of these."""
    total = np.float32(0.0)
    for at in range(start, stop):
        scores[at] = _exp(scores[at] - peak)
    for at in range(start, stop):
        total += scores[at]
    for at in range(start, stop):
        share = scores[at]
        for i in range(len(y)):
            y[i] += share * v[at, i]
    return total


@part
def _attended(q, k, v, first, last, end, length, scores, y):
    """Attention of one head to the positions `first` to `last` and from `end` on.

    Args:
        q: (hd,).
        k: (capacity, hd), with `v`.
        v: As `k`.
        first: First visible position of the text.
        last: Last one.
        end: First position behind the text.
        length: Positions that are there.
        scores: Room for (capacity,).
        y: (hd,), is written.

    Returns:
        The position that got most.
    """
    factor = np.float32(1.0) / np.sqrt(np.float32(len(q)))
    stop = min(last + 1, end)
    peak, best = _scored(q, k, first, stop, factor, scores, np.float32(0.0), -1)
    peak, best = _scored(q, k, end, length, factor, scores, peak, best)
    y[:] = np.float32(0.0)
    total = _heard(v, first, stop, peak, scores, y) + _heard(v, end, length, peak, scores, y)
    for i in range(len(y)):
        y[i] /= total
    return best


@entrance
def products(x, weight, scale, out):
    """(R, I) float32 by (O, I) int8 with (O,) scales: (R, O) float32, into `out`."""
    _multiplied(x, weight, scale, out)


@entrance
def step(
    x, slots, positions, frequencies, keys, values, held_layer, head, sight, looked,
    before, qkv, qkv_scale, o, o_scale, between, gate_up, gate_up_scale, down, down_scale,
    last_norm, eps,
):  # fmt: skip
    """One more position of some slots, in place.

    Args:
        x: (R, D) float32 embeddings; becomes what `Llama.step` gives.
        slots: (R,) int64 the slot of each row.
        positions: (R,) int64 its position, which is the length of the slot so far.
        frequencies: (hd / 2,) float32 radians a position.
        keys: (layers, slots, kv_heads, capacity, hd) float32; gets the new ones.
        values: As `keys`.
        held_layer: Layer of the head that is held (`nn.gaze`); -1: none is.
        head: Its number.
        sight: (R, 4) int64 what it may see, see `nn.gaze.look`.
        looked: (R,) int64, becomes the text position that it looked at.
        before: (layers, D) weights of the norm before attention.
        qkv: (layers, O, D) int8, with (layers, O) scales; the other products likewise.
        qkv_scale: Its scales.
        o: (layers, D, heads * hd).
        o_scale: Its scales.
        between: (layers, D) weights of the norm before the feed-forward network.
        gate_up: (layers, 2 ffn, D).
        gate_up_scale: Its scales.
        down: (layers, D, ffn).
        down_scale: Its scales.
        last_norm: (D,).
        eps: Of the norms.
    """
    rows, width = x.shape
    kv_heads, capacity, size = keys.shape[2:]
    heads = qkv.shape[1] // size - 2 * kv_heads
    ffn = down.shape[2]
    cos, sin = np.empty((rows, size // 2), np.float32), np.empty((rows, size // 2), np.float32)
    for r in range(rows):
        for i in range(size // 2):
            angle = np.float32(positions[r]) * frequencies[i]
            cos[r, i], sin[r, i] = np.cos(angle), np.sin(angle)
    normed, added = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    parts = np.empty((rows, heads + 2 * kv_heads, size), np.float32)
    heard, scores = np.empty((rows, heads, size), np.float32), np.empty(capacity, np.float32)
    both, gated = np.empty((rows, 2 * ffn), np.float32), np.empty((rows, ffn), np.float32)
    for layer in range(len(qkv)):
        for r in range(rows):
            _normed(x[r], before[layer], eps, normed[r])
        _multiplied(normed, qkv[layer], qkv_scale[layer], parts.reshape(rows, -1))
        for r in range(rows):
            q, k, v = parts[r, :heads], parts[r, heads:-kv_heads], parts[r, -kv_heads:]
            slot, at = slots[r], positions[r]
            for h in range(heads):
                _turned(q[h], cos[r], sin[r])
            for h in range(kv_heads):
                _turned(k[h], cos[r], sin[r])
                keys[layer, slot, h, at], values[layer, slot, h, at] = k[h], v[h]
            for h in range(heads):
                held = layer == held_layer and h == head
                first, last, end = 0, -1, 0
                if held:
                    first, last, end = sight[r, 0], sight[r, 1], sight[r, 2]
                kv = h // (heads // kv_heads)
                best = _attended(
                    q[h], keys[layer, slot, kv], values[layer, slot, kv], first, last, end, at + 1,
                    scores, heard[r, h],
                )  # fmt: skip
                if held:
                    looked[r] = max(best, sight[r, 3]) if best < end else sight[r, 3]
        _multiplied(heard.reshape(rows, -1), o[layer], o_scale[layer], added)
        for r in range(rows):
            x[r] += added[r]
            _normed(x[r], between[layer], eps, normed[r])
        _multiplied(normed, gate_up[layer], gate_up_scale[layer], both)
        for r in range(rows):
            for i in range(ffn):
                gate = both[r, i]
                gated[r, i] = gate / (np.float32(1.0) + _exp(-gate)) * both[r, ffn + i]
        _multiplied(gated, down[layer], down_scale[layer], added)
        for r in range(rows):
            x[r] += added[r]
    for r in range(rows):
        _normed(x[r], last_norm, eps, normed[r])
        x[r] = normed[r]
