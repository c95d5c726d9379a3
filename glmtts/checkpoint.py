"""Components on disk: a folder with `config.json` and `model.safetensors`, loaded strictly."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from glmtts.config import from_dict, to_dict
from glmtts.errors import CheckpointError


class Component(Protocol):
    """A module that a configuration alone can build: `type(self)(config)`."""

    config_type: ClassVar[type[Any]]
    config: Any


C = TypeVar("C", bound=nn.Module)


INT8_FROM = 4_096
"""Smaller tensors are not worth rounding to 8 bits."""
SCALE = "::scale"
"""Suffix of the key that holds the row scales of an 8-bit tensor."""


def save(component: nn.Module, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `component` to `folder`; a reader sees the old or the new files, never half of them.

    Args:
        component: A module with `config` (a dataclass) and `config_type`.
        folder: Created when missing.
        dtype: Store floating-point tensors in this type: bfloat16 halves the size; int8 quarters it
            (matrices only, symmetric, one scale a row of dimension 0; the rest is bfloat16).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for key, value in component.state_dict().items():
        value = value.detach().cpu()
        if dtype is not None and value.is_floating_point() and value.numel() > 1:
            if dtype is torch.int8 and value.ndim >= 2 and value.numel() >= INT8_FROM:
                value, tensors[key + SCALE] = quantised(value)
            else:
                value = value.to(torch.bfloat16 if dtype is torch.int8 else dtype)
        tensors[key] = value.contiguous().clone()
    save_file(tensors, folder / "model.tmp")
    config = to_dict(component.config)
    (folder / "config.tmp").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    for name, final in (("model.tmp", "model.safetensors"), ("config.tmp", "config.json")):
        (folder / name).chmod(0o644)
        os.replace(folder / name, folder / final)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a tensor to 8 bits: int8 of the same shape, and float32 scales (rows,)."""
    rows = weight.float().flatten(1)
    scale = rows.abs().amax(1).clamp(min=1e-12) / 127.0
    return (rows / scale[:, None]).round().to(torch.int8).view_as(weight), scale


def dequantised(weight: Tensor, scale: Tensor) -> Tensor:
    """Undo `quantised`, up to the rounding: float32."""
    return weight.float() * scale.float().view(-1, *[1] * (weight.ndim - 1))


def load_config(cls: type[Any], folder: str | Path) -> Any:
    """Read `folder/config.json` as the configuration of `cls`.

    Raises:
        CheckpointError: the file is missing, not JSON, or has unknown or missing settings.
    """
    path = Path(folder) / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Cannot read {path} ({error}). Is this a component folder?"
        ) from error
    return from_dict(cls.config_type, data, str(path))


def load(
    cls: type[C],
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> C:
    """Build `cls` from `folder` on the meta device, then assign its weights strictly.

    Raises:
        CheckpointError: files are missing or damaged, or a tensor is missing, unexpected or of the
            wrong shape (the first one is named).
    """
    folder = Path(folder)
    config = load_config(cls, folder)
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read the weights {path} ({error}).") from error
    for key in [key for key in tensors if key.endswith(SCALE)]:
        name, scale = key.removesuffix(SCALE), tensors.pop(key)
        if name not in tensors:
            raise CheckpointError(f"{path}: scale {key!r} belongs to no tensor.")
        tensors[name] = dequantised(tensors[name], scale)
    with torch.device("meta"):
        component: C = cls(config)
    expected = component.state_dict()
    for key, value in expected.items():
        if key not in tensors:
            raise CheckpointError(f"{path}: tensor {key!r} is missing.")
        if tensors[key].shape != value.shape:
            raise CheckpointError(
                f"{path}: tensor {key!r} has shape {tuple(tensors[key].shape)}, "
                f"its configuration says {tuple(value.shape)}."
            )
    if unexpected := sorted(set(tensors) - set(expected)):
        raise CheckpointError(f"{path}: tensor {unexpected[0]!r} is not part of the model.")
    for key, value in tensors.items():
        if value.is_floating_point():
            tensors[key] = value.to(dtype)
    component.load_state_dict(tensors, strict=True, assign=True)
    for name, buffer in component.named_buffers():
        if buffer.is_meta:
            raise CheckpointError(
                f"{cls.__name__}: buffer {name!r} is neither stored nor computed."
            )
    component.config = config  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return component.eval()
