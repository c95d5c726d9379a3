"""A module with adapters, sharing every weight with the module it is a view of.

`view` copies the tree of modules, not their weights, and puts a layer that adds low-rank products
in the place of each that an adapter can change. The original stays as it is: one base serves any
number of views at once, and memory grows by adapters alone.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.adapters import Adapter
from glmtts.errors import CheckpointError
from glmtts.nn.int8 import Int8Linear
from glmtts.nn.packed import linear

M = TypeVar("M", bound=nn.Module)

FUSED = {"qkv": ("q_proj", "k_proj", "v_proj"), "gate_up": ("gate_proj", "up_proj")}
"""Layers that packing made of several (`nn.llama`)."""

HEADS = ("lm_head", "packed_head")
"""Never adapted: they see positions, not rows of a batch."""


class Rows:
    """Which adapter each row of a product gets; held by the owner of a view, who sets it.

    Attributes:
        every: One adapter for all rows, whatever their number; None: see below.
        used: Adapters of the rows in use, one a row.
        slots: Adapters of all slots, used or not, one a row.
    """

    def __init__(self, every: Adapter | None = None) -> None:
        """Begin with one adapter for all rows, or none at all."""
        self.every = every
        self.used: Sequence[Adapter | None] = ()
        self.slots: Sequence[Adapter | None] = ()

    def of(self, count: int) -> Sequence[Adapter | None]:
        """Adapters of a product of `count` rows."""
        if self.every is not None:
            return [self.every] * count
        rows = self.used if len(self.used) == count else self.slots
        assert len(rows) == count or not any(rows), f"{count} rows, adapters for {len(rows)}"
        return rows


class AdaptedLinear(nn.Module):
    """A linear layer (or several fused into one) plus what the adapters of its rows add.

    Each row is computed by itself, so that in no bit it depends on the rows beside it.
    """

    def __init__(self, base: nn.Module, names: Sequence[str], sizes: Sequence[int], rows: Rows):
        """Wrap.

        Args:
            base: The layer.
            names: Of the layers it is made of, as adapters call them.
            sizes: Outputs of each.
            rows: Tells the adapters.
        """
        super().__init__()
        self.base, self.names, self.sizes, self.rows = base, names, sizes, rows

    @property
    def weight(self) -> Tensor:
        """That of the base."""
        weight = self.base.weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., in) -> (B, ..., out)."""
        y = linear(self.base, x)
        adapters = self.rows.of(len(x))
        if not any(adapters):
            return y
        return torch.stack(
            [y[i] if a is None else self._added(y[i], x[i], a) for i, a in enumerate(adapters)]
        )

    def _added(self, y: Tensor, x: Tensor, adapter: Adapter) -> Tensor:
        parts = [adapter.parts.get(name) for name in self.names]
        if not any(parts):
            return y
        added: list[Tensor] = []
        for part, size in zip(parts, self.sizes, strict=True):
            if part is None:
                added.append(y.new_zeros(*y.shape[:-1], size))
            else:
                down, up = part.down.to(x), part.up.to(x)
                added.append(F.linear(F.linear(x, down), up))
        return y + torch.cat(added, -1).to(y)


class AdaptedEmbedding(nn.Module):
    """An embedding plus what the adapters of its rows add; a tied head stays that of the base."""

    def __init__(self, base: nn.Embedding, name: str, rows: Rows) -> None:
        """Wrap."""
        super().__init__()
        self.base, self.name, self.rows = base, name, rows

    @property
    def weight(self) -> Tensor:
        """That of the base."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(B, ...) -> (B, ..., D)."""
        y = self.base(ids)
        adapters = self.rows.of(len(ids))
        if not any(adapters):
            return y
        return torch.stack(
            [y[i] if a is None else self._added(y[i], ids[i], a) for i, a in enumerate(adapters)]
        )

    def _added(self, y: Tensor, ids: Tensor, adapter: Adapter) -> Tensor:
        part = adapter.parts.get(self.name)
        if part is None:
            return y
        return y + (part.down[:, ids].movedim(0, -1) @ part.up.T).to(y)


def view(module: M, rows: Rows, only: Sequence[str] | None = None) -> M:
    """`module` with adapters, by `rows`; the weights are shared, neither is changed.

    Args:
        module: Packed for inference or not; not to be packed afterwards.
        rows: Tells which adapter is whose.
        only: Names of the layers that may be adapted; None: all.

    Raises:
        CheckpointError: `rows.every` or `only` names a layer that is not there.
    """
    wanted = set(rows.every.parts) if rows.every is not None else None
    wanted = set(only) if only is not None else wanted
    found: set[str] = set()
    twin = _copied(module, "", rows, wanted, found)
    if wanted is not None and (missing := sorted(wanted - found)):
        raise CheckpointError(
            f"The adapter changes the layer {missing[0]!r}, which this model does not have. Was it "
            "trained for another model?"
        )
    return twin


def _copied(module: M, path: str, rows: Rows, wanted: set[str] | None, found: set[str]) -> M:
    twin = copy.copy(module)
    children: dict[str, nn.Module | None] = {}
    for name, child in module._modules.items():
        children[name] = child
        if child is None:
            continue
        own = tuple(path + part for part in FUSED.get(name, (name,)))
        used = [part for part in own if wanted is None or part in wanted]
        if name in HEADS:
            continue
        if used and isinstance(child, (nn.Linear, Int8Linear)):
            found.update(used)
            children[name] = AdaptedLinear(child, own, _sizes(module, name, child), rows)
        elif used and isinstance(child, nn.Embedding):
            found.update(used)
            children[name] = AdaptedEmbedding(child, own[0], rows)
        else:
            children[name] = _copied(child, f"{path}{name}.", rows, wanted, found)
    twin.__dict__["_modules"] = children
    return twin


def _sizes(owner: nn.Module, name: str, layer: nn.Linear | Int8Linear) -> tuple[int, ...]:
    """Outputs of each layer that `name` is made of."""
    out = layer.weight.shape[0]
    if name == "gate_up":
        return out // 2, out // 2
    if name == "qkv":
        heads, kv, size = (getattr(owner, key) for key in ("heads", "kv_heads", "head_dim"))
        return heads * size, kv * size, kv * size
    return (out,)


@torch.no_grad()
def merge(module: nn.Module, adapter: Adapter) -> None:
    """Add an adapter to the weights of a module that is not packed, in place and for good.

    Raises:
        CheckpointError: the module lacks a layer of the adapter.
    """
    layers = dict(module.named_modules())
    for name, part in adapter.parts.items():
        layer = layers.get(name)
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            raise CheckpointError(f"The adapter changes the layer {name!r}, which is not there.")
        added = part.up @ part.down  # (out, in), of an embedding (D, V)
        layer.weight += (added.T if isinstance(layer, nn.Embedding) else added).to(layer.weight)
