"""The decoding step of an 8-bit Llama as one TorchScript program: the same operations, no Python.

A step of a small model is some six hundred operations of a few microseconds each. Python costs as
much again, and holds up flow and vocoder in the other thread, for one at a time may run Python. The
program is made of the very functions that `Llama.step` calls, so that both agree in every bit.
Models that are not packed take that way, and so do steps in which somebody's adapter counts.
"""

import warnings
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmtts.nn.cache import Places, SlotCache
from glmtts.nn.gaze import Gaze
from glmtts.nn.int8 import Int8Linear
from glmtts.nn.llama import Layer, Llama, held
from glmtts.nn.norm import RMSNorm, few_normed
from glmtts.nn.rope import rotary, rotate


class Program:
    """The step of one model."""

    def __init__(self, model: Llama) -> None:
        """Compile it: a tenth of a second."""
        with warnings.catch_warnings():
            # torch recommends its compiler, for which a machine needs one for C++.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._run = torch.jit.script(_Step(model).eval())

    def step(
        self, ids: Tensor, cache: SlotCache, places: Places, gaze: Gaze | None = None
    ) -> Tensor:
        """As `Llama.step`; `places` has runs."""
        assert places.runs is not None, "the program reads runs of slots"
        layer, head, sight = -1, 0, places.positions[:, None]
        if gaze is not None:
            layer, head, sight = gaze.layer, gaze.head, gaze.sight(places)
        runs = list(places.runs)
        # Optimized it would measure its first calls, compile anew and be no quicker.
        with torch.jit.optimized_execution(False):  # pyright: ignore[reportPrivateImportUsage]
            hidden, at = self._run(
                ids, places.positions, cache.keys, cache.values, runs, layer, head, sight
            )
        if gaze is not None:
            gaze.note(places, at)
        return hidden


_PROGRAMS: WeakKeyDictionary[Llama, Program | None] = WeakKeyDictionary()


def program_of(model: Llama) -> Program | None:
    """The program of a model, compiled when it is first asked for; None for one that has none."""
    if model not in _PROGRAMS:
        plain = model.packed and not _adapted(model)
        _PROGRAMS[model] = Program(model) if plain and hasattr(torch.jit, "script") else None
    return _PROGRAMS[model]


def _adapted(model: Llama) -> bool:
    """Whether adapters stand in the place of a layer (`nn.adapted`)."""
    plain = (nn.Embedding, Int8Linear)
    names = ("embed_tokens", "qkv", "o_proj", "gate_up", "down_proj")
    return any(
        not isinstance(module, plain)
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in names
    )


# ----- what is compiled: of Python it takes a part, which the forms below keep to ----------------


class _Norm(nn.Module):
    """As `RMSNorm`, of float32."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, RMSNorm)
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return few_normed(x, self.weight, self.eps)


class _Layer(nn.Module):
    """As `Layer.step`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, Layer)
        attention, feed = layer.self_attn, layer.mlp
        assert attention.qkv is not None
        assert feed.gate_up is not None
        self.heads, self.kv_heads = attention.heads, attention.kv_heads
        self.head_dim = attention.head_dim
        self.qkv, self.o_proj = attention.qkv, attention.o_proj
        self.gate_up, self.down_proj = feed.gate_up, feed.down_proj
        self.before = _Norm(layer.input_layernorm)
        self.between = _Norm(layer.post_attention_layernorm)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        runs: list[tuple[int, int, int, int]],
        head: int,
        sight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(R, D) -> (R, D), and (R,) where the head looked that is held (-1: none is)."""
        parts = self.qkv(self.before(x)).view(x.shape[0], -1, self.head_dim)
        values_at = self.heads + self.kv_heads
        turned = rotate(parts[:, :values_at], cos, sin)
        q = turned[:, : self.heads].unflatten(1, [self.kv_heads, -1])
        heard: list[Tensor] = []
        looked: list[Tensor] = []
        for start, end, slot, length in runs:
            last = slot + end - start
            keys[slot:last, :, length - 1] = turned[start:end, self.heads :]
            values[slot:last, :, length - 1] = parts[start:end, values_at:]
            k, v = keys[slot:last, :, :length], values[slot:last, :, :length]
            y = F.scaled_dot_product_attention(q[start:end], k, v)
            if head >= 0:
                looked.append(held(y, q[start:end], k, v, head, sight[start:end]))
            heard.append(y)
        y = heard[0] if len(heard) == 1 else torch.cat(heard)
        x = x + self.o_proj(y.reshape(x.shape[0], -1))
        gate, up = self.gate_up(self.between(x)).chunk(2, -1)
        x = x + self.down_proj(F.silu(gate) * up)
        return x, torch.cat(looked) if head >= 0 else sight


class _Step(nn.Module):
    """As `Llama.step`."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.embedding = model.embed_tokens.weight
        self.head_dim, self.theta = model.sizes.head_dim, model.sizes.rope_theta
        self.layers = nn.ModuleList(_Layer(layer) for layer in model.layers)
        self.norm = _Norm(model.norm)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        keys: Tensor,
        values: Tensor,
        runs: list[tuple[int, int, int, int]],
        held_layer: int,
        head: int,
        sight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(R,) ids and positions -> (R, D) after the last norm; where the held head looked."""
        x = F.embedding(ids, self.embedding).float()
        tables = rotary(positions[:, None], self.head_dim, self.theta, x.dtype)
        cos, sin = tables[0][:, 0], tables[1][:, 0]
        at = sight
        for index, layer in enumerate(self.layers):
            own = head if index == held_layer else -1
            x, looked = layer(x, cos, sin, keys[index], values[index], runs, own, sight)
            if own >= 0:
                at = looked
        return self.norm(x), at
