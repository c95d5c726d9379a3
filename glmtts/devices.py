"""Where a model computes, and in which type, by the names that users give."""

import torch

from glmtts.errors import BadInput
from glmtts.nn.int8 import exact_kernels


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one.

    Raises:
        BadInput: it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"Device {name!r} cannot be used ({error}). Try cpu or auto.") from error
    return device


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """The type of the language model's weights; for "auto" see `Synthesizer.load`.

    Raises:
        BadInput: there is no such type.
    """
    if name == "auto":
        if resolve_device(device).type == "cuda":
            return torch.bfloat16
        on_cpu = resolve_device(device).type == "cpu"
        return torch.int8 if on_cpu and exact_kernels() else torch.float32
    known = {
        "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
        "int8": torch.int8,
    }  # fmt: skip
    if name not in known:
        raise BadInput(f"Unknown dtype {name!r}. Known: auto, {', '.join(known)}.")
    return known[name]
