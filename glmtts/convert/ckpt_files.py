"""Files of published checkpoints, read without running anything in them, and written in a stream.

`pickled` reads PyTorch archives of plain tensors, `Shards` reads safetensors one tensor at a time,
`yaml_mapping` reads the few lines of a flow's configuration, `write_component` writes a component
tensor by tensor. Every failure is one `CheckpointError` that names the file and the key.
"""

import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from glmtts.config import to_dict
from glmtts.errors import CheckpointError

Progress = Callable[[int], object]
"""Told how many bytes were written since it was last told."""

WRAPPERS = ("model", "state_dict", "generator")
"""Keys under which archives keep their tensors, next to a training state."""


def pickled(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch archive, read with `weights_only`: code in it is refused, not run.

    Tensors of a zip archive stay on disk until they are used.

    Raises:
        CheckpointError: the file is missing or damaged, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing. Download the file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: the reader is strict anyway
            stored: Any = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, perhaps code; it was refused and nothing of it was "
            "run. Expected a plain state dict, as published."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the unpickler raises whatever the damage leads it to
        raise CheckpointError(_damaged(path, error)) from error
    tensors = _state_dict(stored)
    if tensors is None:
        raise CheckpointError(
            f"{path} holds {type(stored).__name__}, expected a state dict. Download the file again."
        )
    for key, value in tensors.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: entry {key!r} is {type(value).__name__}, expected named tensors only."
            )
    return tensors


def _state_dict(stored: Any) -> dict[Any, Any] | None:
    """The dictionary of tensors, out of its wrapper; None if there is none or it is empty."""
    if not isinstance(stored, dict) or not stored:
        return None
    entries = cast("dict[Any, Any]", stored)
    for wrapper in WRAPPERS:
        if isinstance(entries.get(wrapper), dict):
            return cast("dict[Any, Any]", entries[wrapper])
    return entries


class Shards(Mapping[str, Tensor]):
    """Tensors of one or several safetensors files; each is read when asked for, and not kept.

    Attributes:
        files: File of each key.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Take the file of each key (`open_shards` finds them)."""
        self.files = dict(files)

    def __getitem__(self, key: str) -> Tensor:
        """Read one tensor.

        Raises:
            KeyError: there is none of this name.
            CheckpointError: its file is damaged.
        """
        path = self.files[key]
        try:
            with safe_open(str(path), "pt") as file:  # pyright: ignore[reportUnknownVariableType]
                return cast("Tensor", file.get_tensor(key))  # pyright: ignore[reportUnknownMemberType]
        except (OSError, SafetensorError) as error:
            raise CheckpointError(_damaged(path, error)) from error

    def shapes(self) -> dict[str, Tensor]:
        """The tensors without their values (on the meta device), from the files' headers.

        Raises:
            CheckpointError: a file is damaged.
        """
        found: dict[str, Tensor] = {}
        for path in dict.fromkeys(self.files.values()):
            try:
                with safe_open(str(path), "pt") as file:  # pyright: ignore
                    for key in (key for key, where in self.files.items() if where == path):
                        shape = cast("list[int]", file.get_slice(key).get_shape())  # pyright: ignore
                        found[key] = torch.empty(shape, device="meta")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(_damaged(path, error)) from error
        return {key: found[key] for key in self.files}

    def without(self, key: str) -> "Shards":
        """The same tensors but one."""
        return Shards({name: path for name, path in self.files.items() if name != key})

    def __contains__(self, key: object) -> bool:
        """Whether there is a tensor of this name; it is not read."""
        return key in self.files

    def __iter__(self) -> Iterator[str]:
        """Names of the tensors."""
        return iter(self.files)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.files)


def open_shards(folder: str | Path) -> Shards:
    """The tensors of `folder/model*.safetensors`, checked against the index if there is one.

    Raises:
        CheckpointError: a file is missing or cut short, a tensor is in two files, or the index
            names a tensor that is not where it says.
    """
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            listed: Mapping[str, Any] = json.loads(index.read_text(encoding="utf-8"))
            where = {str(k): folder / str(v) for k, v in listed["weight_map"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"Cannot read {index} ({error}). Download the file again."
            ) from error
        if any(path.parent != folder for path in where.values()):
            raise CheckpointError(f"{index} names files outside its folder; it was refused.")
        paths = sorted(set(where.values()))
    else:
        where = {}
        paths = sorted(folder.glob("model*.safetensors"))
        if not paths:
            raise CheckpointError(
                f"{folder} holds no model.safetensors. Expected the weights; download them again."
            )
    files: dict[str, Path] = {}
    for path in paths:
        try:
            with safe_open(str(path), "pt") as file:  # pyright: ignore[reportUnknownVariableType]
                keys = cast("list[str]", list(file.keys()))  # pyright: ignore
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is missing. Download the file.") from error
        except (OSError, SafetensorError) as error:
            raise CheckpointError(_damaged(path, error)) from error
        for key in keys:
            if key in files:
                raise CheckpointError(f"Tensor {key!r} is in both {files[key]} and {path}.")
            files[key] = path
    for key, path in where.items():
        if files.get(key) != path:
            raise CheckpointError(f"{index}: tensor {key!r} is not in {path.name} as it says.")
    return Shards(files)


def yaml_mapping(path: str | Path, top: str) -> dict[str, bool | int | float | str | None]:
    """The settings below the key `top` of a small YAML file, as plain values.

    The file names the Python class that upstream builds from it (`!new:package.Class`); that tag
    is dropped, nothing is imported. Only `name: value` lines, indented below `top`, are understood.

    Raises:
        CheckpointError: the file is missing or holds anything else.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"Cannot read {path} ({error}). Download the file again.") from error
    values: dict[str, bool | int | float | str | None] = {}
    started = False
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not text or text == "---":
            continue
        if not started and re.fullmatch(rf"{re.escape(top)}:(\s+!new:[\w.]+)?", text):
            started = True
            continue
        match = re.fullmatch(r"\s+(\w+):\s+([^\s!&*|>{\[][^:]*)", text) if started else None
        if match is None or match[1] in values:
            raise CheckpointError(
                f"{path}: line {number} ({text.strip()[:60]!r}) is not understood. Expected "
                f"{top!r} with one 'name: value' a line."
            )
        values[match[1]] = _scalar(match[2].strip())
    if not values:
        raise CheckpointError(f"{path} holds no settings below {top!r}. Download the file again.")
    return values


def _scalar(text: str) -> bool | int | float | str | None:
    known: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None}
    if text.lower() in known:
        return known[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def json_mapping(path: str | Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        CheckpointError: the file is missing, not JSON, or holds no object.
    """
    try:
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {path} ({error}). Download the file again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds {type(data).__name__}, expected a JSON object.")
    return cast("dict[str, Any]", data)


# ----- writing ------------------------------------------------------------------------------------

NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""Types as safetensors files name them."""


def expected_tensors(
    cls: type[nn.Module], config: Any, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor of `cls(config)`, without its memory.

    Floating-point tensors have type `dtype`; widest types first, so that all are aligned.
    """
    with torch.device("meta"):
        state = cls(config).state_dict()
    found = {
        key: (dtype if value.is_floating_point() else value.dtype, tuple(value.shape))
        for key, value in state.items()
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1][0].itemsize, item[0])))


def size_of(expected: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> int:
    """Bytes on disk of `expected_tensors`."""
    return sum(dtype.itemsize * _count(shape) for dtype, shape in expected.values())


def check_names(source: str, names: Iterable[str], expected: Iterable[str]) -> None:
    """Compare the names of tensors.

    Args:
        source: What they were read from, for the message.
        names: Those there are.
        expected: Those there must be, all and no others.

    Raises:
        CheckpointError: the first one that is missing or unexpected is named.
    """
    there, wanted = set(names), dict.fromkeys(expected)
    for key in wanted:
        if key not in there:
            raise CheckpointError(f"{source}: tensor {key!r} is missing. Is it the whole model?")
    if unexpected := sorted(there - set(wanted)):
        raise CheckpointError(f"{source}: tensor {unexpected[0]!r} is not part of the model.")


def write_component(
    source: str,
    cls: type[nn.Module],
    config: Any,
    tensors: Mapping[str, Tensor],
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> int:
    """Write the folder of a component, one tensor in memory at a time.

    Args:
        source: What the tensors were read from, for messages.
        cls: Class of the component.
        config: Its configuration.
        tensors: Its state dict, under its own names; may be lazy, as `Shards` is.
        folder: Created; must not hold this component yet.
        dtype: Type that floating-point tensors are stored in.
        progress: Told of every tensor.

    Returns:
        Bytes of tensors written.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or of another shape or kind (the first one
            is named), or holds values that are not numbers.
        OSError: the disk is full or cannot be written to.
    """
    folder = Path(folder)
    expected = expected_tensors(cls, config, dtype)
    check_names(source, tensors, expected)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for key, (kind, shape) in expected.items():
        size = kind.itemsize * _count(shape)
        header[key] = {
            "dtype": NAMES[kind], "shape": list(shape), "data_offsets": [position, position + size],
        }  # fmt: skip
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key, (kind, shape) in expected.items():
            value = tensors[key].detach()
            if tuple(value.shape) != shape or value.is_floating_point() != kind.is_floating_point:
                raise CheckpointError(
                    f"{source}: tensor {key!r} is {value.dtype} {tuple(value.shape)}, its "
                    f"configuration says {kind} {shape}."
                )
            value = value.to(kind).contiguous()
            if value.is_floating_point() and not bool(torch.isfinite(value.sum())):
                raise CheckpointError(
                    f"{source}: tensor {key!r} holds values that are not numbers in {kind}. "
                    "Download the file again."
                )
            file.write(value.reshape(-1).view(torch.uint8).numpy().data)
            if progress is not None:
                progress(value.numel() * value.element_size())
        file.flush()
        os.fsync(file.fileno())
    config_text = json.dumps(to_dict(config), indent=1, ensure_ascii=False)
    (folder / "config.json").write_text(config_text + "\n", encoding="utf-8")
    return position


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged or was cut short while downloading ({_first_line(error)}). "
        "Download the file again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
