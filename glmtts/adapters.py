"""Low-rank adapters as plain values, in the files of PEFT. Read `Adapter` first.

LoRA (Hu et al., arXiv:2106.09685): beside a frozen matrix W stands a product of two thin ones, and
the layer gives W x + scale * up (down x). PEFT trains adapters and names their files; to speak with
one takes nothing but this module and `nn.adapted`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from glmtts.errors import CheckpointError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PLAIN = "plain"
"""Folder in a flow's: the adapter that takes its guidance out (`glmtts.train.plain`)."""
PREFIX = "base_model.model."
"""What PEFT writes before the name of a module."""
SUFFIXES = {
    "lora_A.weight": "down", "lora_B.weight": "up",
    "lora_embedding_A": "down", "lora_embedding_B": "up",
}  # fmt: skip


@dataclass(frozen=True)
class LowRank:
    """What is added to one layer.

    Attributes:
        down: (r, in), of an embedding (r, vocabulary).
        up: (out, r), the scale included.
    """

    down: Tensor
    up: Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """All that one adapter adds to one component; told from others by identity.

    Attributes:
        parts: By the name of the layer within the component.
        base: Fingerprint of the component it was trained on, "" where it is not known.
        config: PEFT's configuration.
    """

    parts: Mapping[str, LowRank]
    base: str = ""
    config: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))

    @property
    def rank(self) -> int:
        """The largest rank of its parts."""
        return max((len(part.down) for part in self.parts.values()), default=0)

    @property
    def parameters(self) -> int:
        """Numbers it holds."""
        return sum(part.down.numel() + part.up.numel() for part in self.parts.values())

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Adapter":
        """The same adapter elsewhere."""
        parts = {
            name: LowRank(part.down.to(device, dtype), part.up.to(device, dtype))
            for name, part in self.parts.items()
        }
        return Adapter(parts, self.base, self.config)


def from_state(state: Mapping[str, Tensor], config: Mapping[str, Any], base: str = "") -> Adapter:
    """The adapter that PEFT's tensors and configuration describe.

    Raises:
        CheckpointError: a tensor is no part of a LoRA adapter, or lacks its other half.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        suffix = next((suffix for suffix in SUFFIXES if key.endswith("." + suffix)), "")
        if not suffix:
            raise CheckpointError(
                f"Tensor {key!r} is no part of a LoRA adapter. Adapters with whole layers "
                "(modules_to_save), biases or DoRA cannot be spoken with; merge them first."
            )
        name = key.removesuffix("." + suffix).removeprefix(PREFIX)
        halves.setdefault(name, {})[SUFFIXES[suffix]] = value
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    scale = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    parts: dict[str, LowRank] = {}
    for name, pair in halves.items():
        if len(pair) < 2:
            raise CheckpointError(f"The adapter of {name} has one of its two matrices.")
        # A copy, for `up` is one: a tensor of a mapped file would keep all of the file in memory.
        parts[name] = LowRank(pair["down"].float().clone(), pair["up"].float() * scale)
    return Adapter(parts, base, dict(config))


def save(
    state: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, base: str = ""
) -> None:
    """Write PEFT's files; the fingerprint of the base stands in the header of the tensors.

    Args:
        state: Tensors by PEFT's names.
        config: PEFT's configuration, ready for JSON.
        folder: Created when missing.
        base: `fingerprint` of the component it belongs to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "glmtts_base": base})
    (folder / WEIGHTS).chmod(0o644)
    text = json.dumps(dict(config), indent=1, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> Adapter:
    """Read an adapter in PEFT's files.

    Raises:
        CheckpointError: they are missing or damaged, or no LoRA adapter.
    """
    folder = Path(folder)
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS)
        base = _metadata(folder / WEIGHTS).get("glmtts_base", "")
        return from_state(state, config, base)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} is not an adapter ({error}). Expected {CONFIG} and {WEIGHTS}."
        ) from error


def load_plain(flow: Path) -> Adapter:
    """The adapter that takes the guidance out of the flow in a folder (`glmtts.train.plain`).

    Raises:
        CheckpointError: it is missing or damaged, or was made for another flow.
    """
    adapter = load(flow / PLAIN)
    if adapter.base != fingerprint(flow):
        raise CheckpointError(
            f"{flow / PLAIN} was made for another flow than the one beside it. Make it anew "
            "(glmtts train plain), or remove it."
        )
    return adapter


def _metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header.get("__metadata__", {})


def fingerprint(folder: str | Path, blocks: int = 256) -> str:
    """What tells the weights of a component from others: a hash of parts all over its file.

    It reads 1 MB at most, so that a model of gigabytes is known in a moment.

    Raises:
        CheckpointError: the component has no weights.
    """
    path = Path(folder) / "model.safetensors"
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with path.open("rb") as file:
            for block in range(blocks):
                file.seek(block * size // blocks)
                digest.update(file.read(4_096))
    except OSError as error:
        raise CheckpointError(f"Cannot read the weights {path} ({error}).") from error
    return digest.hexdigest()[:32]
