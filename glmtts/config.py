"""Strict conversion between frozen dataclasses and JSON-ready dictionaries.

`from_dict` refuses unknown and missing keys by name, so a checkpoint of another version can never
load with half of its settings silently defaulted.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from glmtts.errors import CheckpointError

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """Turn a dataclass (nested, with tuples) into plain dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}  # pyright: ignore
    return value


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass `cls` from `data`.

    Args:
        cls: A dataclass type; fields may be nested dataclasses, tuples of scalars or optionals.
        data: One entry for each field without a default; no other keys.
        where: Dotted path used in error messages.

    Raises:
        CheckpointError: a key is unknown or missing, or a value has the wrong shape.
    """
    name = where or cls.__name__
    if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CheckpointError(f"{name}: expected a mapping, got {type(data).__name__}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore
    if unknown := sorted(set(data) - set(fields)):
        raise CheckpointError(f"{name}: unknown setting {unknown[0]!r}. Known: {sorted(fields)}.")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key in data:
            values[key] = _convert(hints[key], data[key], f"{name}.{key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise CheckpointError(f"{name}: setting {key!r} is missing.")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = [h for h in typing.get_args(hint) if h is not type(None)]
        return None if value is None else _convert(options[0], value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, item, where) for item in value)
    return float(value) if hint is float and isinstance(value, int) else value
