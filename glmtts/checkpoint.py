"""Components on disk: a folder with `config.json` and `model.safetensors`, loaded strictly.

A component whose network is a foreign file (an ONNX graph, a TorchScript archive) keeps it beside
the two, under the name its `blob_name` gives; see `Component`.
"""

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glmtts.config import from_dict, to_dict
from glmtts.errors import CheckpointError


class Component(Protocol):
    """A module that a configuration alone can build: `type(self)(config)`.

    It may also have `blob_name`, the name of a file that `save` and `load` keep as it is ("" is
    none), and `blob`, that file's bytes. The component opens it when first used, never this module.
    """

    config_type: ClassVar[type[Any]]
    config: Any


C = TypeVar("C", bound=nn.Module)


class _Undrawn(TorchFunctionMode):
    """Draw no weights on the meta device: it holds none, and torch would import its compiler.

    Random numbers are drawn there by torch's reference implementations, which are made for it; the
    import took a third of the time of loading a small model.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


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

    Raises:
        CheckpointError: the component's `blob` is empty though it names one, or its weights were
            given up for faster inference.
    """
    blob_name, blob = _blob_name(component), getattr(component, "blob", b"")
    if blob_name and not blob:
        raise CheckpointError(f"The component has no {blob_name} to save. Set its `blob` first.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for key, value in component.state_dict().items():
        if value.is_meta:
            raise CheckpointError(
                f"Tensor {key!r} was given up when the component was packed for inference. "
                "Save it before that."
            )
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
    files = [("model.tmp", "model.safetensors"), ("config.tmp", "config.json")]
    if blob_name:
        (folder / "blob.tmp").write_bytes(blob)
        files.append(("blob.tmp", blob_name))
    for name, final in files:
        (folder / name).chmod(0o644)
        os.replace(folder / name, folder / final)


def _read(path: Path, device: str) -> dict[str, Tensor]:
    """The tensors of a file, each mapped on its own: one that is dropped frees its memory."""
    with safe_open(str(path), "pt", device=device) as file:  # pyright: ignore
        keys = cast("list[str]", list(file.keys()))  # pyright: ignore
    tensors: dict[str, Tensor] = {}
    for key in keys:
        with safe_open(str(path), "pt", device=device) as file:  # pyright: ignore
            tensors[key] = file.get_tensor(key)  # pyright: ignore
    return tensors


def _blob_name(component: nn.Module) -> str:
    """The file beside the tensors, "" for none; a plain name, wherever the configuration is from.

    Raises:
        CheckpointError: the name would leave the folder or overwrite its other files.
    """
    name: str = getattr(component, "blob_name", "")
    if name != Path(name).name or name in ("..", "config.json", "model.safetensors"):
        raise CheckpointError(f"{name!r} cannot name a file of a component. Give a plain name.")
    return name


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
        tensors = _read(path, str(device))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read the weights {path} ({error}).") from error
    for key in [key for key in tensors if key.endswith(SCALE)]:
        name, scale = key.removesuffix(SCALE), tensors.pop(key)
        if name not in tensors:
            raise CheckpointError(f"{path}: scale {key!r} belongs to no tensor.")
        tensors[name] = dequantised(tensors[name], scale)
    with torch.device("meta"), _Undrawn():
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
    if blob_name := _blob_name(component):
        try:
            blob = (folder / blob_name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"Cannot read {folder / blob_name} ({error}).") from error
        component.blob = blob  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    component.config = config  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return component.eval()
