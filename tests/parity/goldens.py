"""Recorded numbers of the reference implementation, in the folder GLMTTS_GOLDENS (by default
`../shared/goldens` beside the repository). Any folder of that form will do: dimensions, settings
and cases are read from the files.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("GLMTTS_GOLDENS") or ROOT / "../shared/goldens")
Tensors = dict[str, torch.Tensor]

needs_goldens = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no recorded tensors in {FOLDER} (GLMTTS_GOLDENS)"
)


def names(pattern: str) -> list[str]:
    """Files of the folder that match, by name."""
    return sorted(path.name for path in FOLDER.glob(pattern))


def read(name: str) -> tuple[Tensors, dict[str, Any]]:
    """Tensors of a file (float16 ones are exact float32 values stored small) and its metadata."""
    with safe_open(str(FOLDER / name), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        texts = file.metadata() or {}
    small = torch.float16
    tensors = {k: v.float() if v.dtype == small else v for k, v in tensors.items()}
    return tensors, {key: _parsed(value) for key, value in texts.items()}


def read_json(name: str) -> Any:
    """A JSON file; a JSON Lines file as a list."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def under(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
