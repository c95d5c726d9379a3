"""Which adapters a model wears for which voice. Read `Wardrobe.dressed` first."""

import copy
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import nn

from glmtts import adapters
from glmtts.adapters import Adapter
from glmtts.errors import CheckpointError
from glmtts.nn.adapted import Rows, view
from glmtts.voice import Voice

S = TypeVar("S", bound=Any)

COMPONENTS = ("lm", "flow")
"""What may be adapted."""


class Wardrobe:
    """The adapters that a model has been asked for, each read once.

    Many threads may ask at once.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """Know the folders that the components were loaded from, to compare fingerprints."""
        self._folders = dict(folders)
        self._bases: dict[str, str] = {}
        self._worn: dict[str, dict[str, Adapter]] = {}
        self._views: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._lock = Lock()

    def adapters(self, voice: Voice, model: Any) -> dict[str, Adapter]:
        """The adapters of a voice by component, on the device of the model.

        Raises:
            CheckpointError: they are damaged, missing, or were trained on another model.
        """
        with self._lock:
            if voice.adapter not in self._worn:
                self._worn[voice.adapter] = self._read(Path(voice.adapter), model)
            return self._worn[voice.adapter]

    def dressed(self, model: S, voice: Voice) -> S:
        """A copy of `model`, a synthesizer, that speaks with the adapters.

        All weights are shared. The copy is made once for each voice and model.

        Raises:
            CheckpointError: as `adapters`.
        """
        found = self.adapters(voice, model)
        with self._lock:
            key = voice.adapter, id(model)  # the model is kept too, so that its id stays its own
            if key not in self._views:
                twin = copy.copy(model)
                for name, adapter in found.items():
                    setattr(twin, name, view(getattr(model, name), Rows(adapter)))
                if model.shared_lm is not None and "lm" in found:
                    twin.shared_lm = model.shared_lm.wearing(found["lm"])
                self._views[key] = model, twin
            return self._views[key][1]

    def _read(self, folder: Path, model: Any) -> dict[str, Adapter]:
        found: dict[str, Adapter] = {}
        for name in COMPONENTS:
            if not (folder / name).is_dir():
                continue
            adapter = adapters.load(folder / name)
            self._check(name, adapter, folder)
            component: nn.Module = getattr(model, name)
            like = next(iter(component.parameters()))
            on_cpu = like.device.type == "cpu"  # activations are float32 there
            found[name] = adapter.to(like.device, torch.float32 if on_cpu else like.dtype)
        if not found:
            raise CheckpointError(f"{folder} holds no adapters. Add the voice again.")
        return found

    def _check(self, name: str, adapter: Adapter, folder: Path) -> None:
        """Refuse an adapter of other weights: it would speak, but badly."""
        if name not in self._folders or not adapter.base:
            return
        if name not in self._bases:
            self._bases[name] = adapters.fingerprint(self._folders[name])
        if adapter.base != self._bases[name]:
            raise CheckpointError(
                f"The adapter {folder / name} was trained on another {name} than the one in "
                f"{self._folders[name]}. Speak with the model it was trained on (--model), or "
                "train it again."
            )
