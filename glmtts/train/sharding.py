"""Weights, gradients and optimizer state divided among ranks (FSDP), and put together again.

By torch's `fully_shard` (FSDP2; Zhao et al., arXiv:2304.11277): each rank holds a slice of every
tensor; a block's weights come together while it computes. For models that do not fit on one device
with their optimizer; smaller ones are quicker with `DistributedDataParallel`.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

M = TypeVar("M", bound=nn.Module)

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(module: nn.Module, blocks: Iterable[nn.Module], device: torch.device, world: int) -> None:
    """Divide a module among all ranks, in place; every rank must hold the same weights.

    Args:
        module: Is called as before, on all ranks together.
        blocks: Parts of it whose weights come together by themselves.
        device: That of the module.
        world: Number of ranks.
    """
    mesh = init_device_mesh(device.type, (world,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def give_method(module: nn.Module, name: str, function: Callable[..., Any]) -> None:
    """Let a divided module be called by another name than its own.

    Args:
        module: Divided.
        name: Of the method.
        function: Takes the module first; returns tensors or tuples of them.
    """
    setattr(module, name, MethodType(function, module))
    register_fsdp_forward_method(module, name)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """The whole weights of a divided module, on every rank; all ranks must call it."""
    options = StateDictOptions(full_state_dict=True)
    return cast("dict[str, Tensor]", get_model_state_dict(module, options=options))


def local(tensor: Tensor) -> Tensor:
    """This rank's slice of a tensor that is divided, in the same storage; others as they are."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def number(scalar: Any) -> float:
    """A number, put together from all ranks where it is divided."""
    return float(scalar.full_tensor() if isinstance(scalar, DTensor) else scalar)


def whole(module: M) -> M:
    """A copy of a divided module in one piece, on rank 0; all ranks must call it.

    It is on the CPU. Other ranks get one of random weights.
    """
    state = get_model_state_dict(module, options=WHOLE)
    kinds: list[Any] = [*type(module).__mro__]
    undivided = next(kind for kind in kinds if not issubclass(kind, FSDPModule))
    copy = undivided(module.config)
    if state:
        copy.load_state_dict(state)
    return copy.train(module.training)


def state_of(name: str, stateful: Mapping[str, Any]) -> Any:
    """The whole state of one of several things of a run; all ranks must call it.

    `stateful["model"]` is what the optimizer optimises.
    """
    thing = stateful[name]
    if isinstance(thing, torch.optim.Optimizer):
        fresh = not thing.state
        found = get_optimizer_state_dict(stateful["model"], thing, options=WHOLE)
        if fresh:  # to have a state it has made a step of nothing, which must not count
            thing.state.clear()
            for state in cast("dict[str, dict[str, Any]]", found.get("state", {})).values():
                state["step"] = torch.zeros_like(state["step"])
        return found
    module = thing if isinstance(thing, nn.Module) else getattr(thing, "model", None)
    return get_model_state_dict(module, options=WHOLE) if module else thing.state_dict()


def restore(name: str, stateful: Mapping[str, Any], state: Any) -> None:
    """Give every rank its slice of a whole state."""
    thing, options = stateful[name], StateDictOptions(full_state_dict=True)
    if isinstance(thing, torch.optim.Optimizer):
        set_optimizer_state_dict(stateful["model"], thing, state, options=options)
        return
    module = thing if isinstance(thing, nn.Module) else getattr(thing, "model", None)
    if module:
        set_model_state_dict(module, state, options=options)
    else:
        thing.load_state_dict(state)
