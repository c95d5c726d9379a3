"""The decoding step of a small 8-bit Llama as one compiled program (`nn.kernels`).

It computes what `Llama.step` and `Int8Linear` do, and as exactly, though it rounds activations to
their 14 bits in one part where these take two. Models that are wide (whose products keep two cores
busy), that are not packed or that have adapters take that way.
"""

import importlib.util
from collections.abc import Sequence
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from glmtts.nn.cache import Places, SlotCache
from glmtts.nn.gaze import Gaze
from glmtts.nn.int8 import Int8Linear
from glmtts.nn.llama import Layer, Llama
from glmtts.nn.rope import frequencies
from glmtts.nn.threads import WORTH_SPLITTING


class Program:
    """The step of one model."""

    def __init__(self, model: Llama) -> None:
        """Lay the weights out; compile the step where no earlier run did: a few seconds."""
        from glmtts.nn.kernels import step

        layers = [cast(Layer, layer) for layer in model.layers]
        attention, feed = [x.self_attn for x in layers], [x.mlp for x in layers]
        c = model.sizes
        self._step, self._embedding = step, model.embed_tokens  # not the model: it keeps this alive
        self._frequencies = frequencies(c.head_dim, c.rope_theta).numpy()
        self._weights = (
            _stacked([x.input_layernorm.weight for x in layers]),
            *_integers([x.qkv for x in attention]), *_integers([x.o_proj for x in attention]),
            _stacked([x.post_attention_layernorm.weight for x in layers]),
            *_integers([x.gate_up for x in feed]), *_integers([x.down_proj for x in feed]),
            _stacked([model.norm.weight])[0], c.rms_eps,
        )  # fmt: skip
        alone = SlotCache(model.cache(1, 1))
        self.step(torch.zeros(1, dtype=torch.int64), alone, alone.places([0]))

    def step(
        self, ids: Tensor, cache: SlotCache, places: Places, gaze: Gaze | None = None
    ) -> Tensor:
        """As `Llama.step`."""
        x = self._embedding(ids).detach().float()
        looked = torch.empty_like(places.slots)
        layer, head, sight = -1, 0, places.slots[:, None]
        if gaze is not None:
            layer, head, sight = gaze.layer, gaze.head, gaze.sight(places)
        self._step(
            x.numpy(), places.slots.numpy(), places.positions.numpy(), self._frequencies,
            cache.keys.numpy(), cache.values.numpy(), layer, head, sight.numpy(), looked.numpy(),
            *self._weights,
        )  # fmt: skip
        if gaze is not None:
            gaze.note(places, looked)
        return x


class FewRows(nn.Module):
    """As `Int8Linear`, quicker for as many rows as a decoder steps."""

    def __init__(self, weight: Tensor) -> None:
        """Pack a (out, in) weight."""
        super().__init__()
        from glmtts.nn.kernels import products

        self._products = products
        self._weight, self._scale = (x[0] for x in _integers([Int8Linear(weight)]))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), float32."""
        rows = x.detach().reshape(-1, x.shape[-1]).float().contiguous()
        out = torch.empty(len(rows), len(self._scale))
        self._products(rows.numpy(), self._weight, self._scale, out.numpy())
        return out.view(x.shape[:-1] + out.shape[1:])


_PROGRAMS: WeakKeyDictionary[Llama, Program | None] = WeakKeyDictionary()


def program_of(model: Llama) -> Program | None:
    """The program of a model, made when it is first asked for; None for one that has none."""
    if model not in _PROGRAMS:
        fits = model.packed and compiles(model.sizes.hidden_size) and not _adapted(model)
        _PROGRAMS[model] = Program(model) if fits else None
    return _PROGRAMS[model]


def compiles(width: int) -> bool:
    """Whether a model of this width takes compiled steps here."""
    return width < WORTH_SPLITTING and importlib.util.find_spec("numba") is not None


def _adapted(model: Llama) -> bool:
    """Whether adapters stand in the place of a layer (`nn.adapted`)."""
    plain = (nn.Embedding, Int8Linear)
    names = ("embed_tokens", "qkv", "o_proj", "gate_up", "down_proj")
    return any(
        not isinstance(module, plain)
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in names
    )


def _stacked(parts: Sequence[Tensor]) -> "np.ndarray":
    """(n, ...) float32."""
    return torch.stack([part.detach().float() for part in parts]).numpy()


def _integers(layers: Sequence[nn.Module | None]) -> "tuple[np.ndarray, np.ndarray]":
    """(n, out, in) int8 weights of packed layers and their (n, out) scales."""
    packed = [cast(Int8Linear, layer).packed for layer in layers]
    weights = [torch.ops.quantized.linear_unpack(weight)[0] for weight in packed]
    scales = [weight.q_per_channel_scales().float() for weight in weights]
    return torch.stack([weight.int_repr() for weight in weights]).numpy(), _stacked(scales)
