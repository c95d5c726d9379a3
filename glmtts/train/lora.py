"""What of a component learns: all of it, or low-rank adapters within a budget. Made by PEFT."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from glmtts import adapters, checkpoint
from glmtts.adapters import PLAIN, Adapter, LowRank
from glmtts.errors import BadInput, MissingExtra
from glmtts.nn.adapted import merge

LM_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
EMBEDDING = "embed_tokens"
FLOW_LAYERS = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.ff.0.0", "ff.ff.2",
    "pwconv1", "pwconv2", "upsample", "text_emb_layer.speaker", "coarse",
)  # fmt: skip
"""The linear layers of attention and feed-forward, and those of the token branch, which makes the
coarse mel and with it most of the timbre; the end of their names."""


def parsed_budget(text: str) -> float:
    """A share as people write it: 15% or 0.15 is 0.15.

    Raises:
        BadInput: no share of 0 to 1.
    """
    try:
        value = float(text.rstrip("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1.0:
        raise BadInput(f"{text!r} is no share of the parameters. Write 15% or 0.15.")
    return value


def targets(model: nn.Module, endings: Sequence[str]) -> dict[str, nn.Module]:
    """The layers whose names end so, by name."""
    named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    return {
        name: module
        for name, module in named
        if isinstance(module, (nn.Linear, nn.Embedding))
        and any(name == end or name.endswith("." + end) for end in endings)
    }


def rank_for(model: nn.Module, endings: Sequence[str], share: float) -> int:
    """The largest rank at which adapters hold at most a share of the parameters of `model`.

    Raises:
        BadInput: even rank 1 holds more.
    """
    total = sum(p.numel() for p in model.parameters())
    each = sum(sum(_width(layer)) for layer in targets(model, endings).values())
    rank = int(share * total / each) if each else 0
    if rank < 1:
        raise BadInput(
            f"A budget of {share:.2%} of {total:,} parameters is less than adapters of rank 1 take "
            f"({each:,}). Raise the budget."
        )
    return rank


def _width(layer: nn.Module) -> tuple[int, int]:
    rows, columns = layer.weight.shape  # pyright: ignore
    return int(rows), int(columns)  # pyright: ignore


@dataclass
class Trained:
    """What learns of one component.

    Attributes:
        name: "lm" or "flow".
        model: The component.
        config: PEFT's configuration; None: all of it learns.
        base: Fingerprint of the component it was loaded from.
        plain: What was added to its weights for training alone (`made_plain`).
        strength: How much of its adapters speaks, and is saved; they train as a whole.
    """

    name: str
    model: nn.Module
    config: Any
    base: str
    plain: Adapter | None = None
    strength: float = 1.0

    @classmethod
    def all_of(
        cls, name: str, model: nn.Module, folder: Path, plain: Adapter | None = None
    ) -> "Trained":
        """Full fine-tuning of a component loaded from `folder`."""
        return cls(name, model, None, adapters.fingerprint(folder), plain)

    @classmethod
    def adapter_of(
        cls,
        name: str,
        model: nn.Module,
        folder: Path,
        endings: Sequence[str],
        share: float,
        strength: float = 1.0,
    ) -> "Trained":
        """Put adapters into a component, in place; from then on they alone learn.

        They count twice their product (alpha = 2 rank) and begin at zero. No dropout: drawing it
        cost a third of a step on a CPU (flow of nano, 1.04 s with, 0.75 s without).

        Raises:
            BadInput: the budget is too small.
            MissingExtra: peft is not installed.
        """
        rank = rank_for(model, endings, share)
        config = _inject(
            model, r=rank, lora_alpha=2 * rank, lora_dropout=0.0,
            target_modules=sorted(targets(model, endings)), base_model_name_or_path=name,
        )  # fmt: skip
        return cls(name, model, config, adapters.fingerprint(folder), strength=strength)

    @property
    def rank(self) -> int:
        """Of the adapters; 0 where everything learns."""
        return int(self.config.r) if self.config is not None else 0

    @property
    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def share(self) -> float:
        """Parameters that learn, as a share of those of the component alone."""
        learns = sum(p.numel() for p in self.learning)
        added = learns if self.config is not None else 0
        return learns / (sum(p.numel() for p in self.model.parameters()) - added)

    def state_dict(self) -> dict[str, Tensor]:
        """What learns, by name: a checkpoint does not repeat the base."""
        return {k: p.detach() for k, p in self.model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what learns.

        Raises:
            KeyError: something is missing.
        """
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state[name])

    def component(self) -> nn.Module:
        """What speaks where everything learns: without what was added for training."""
        if self.plain is None:
            return self.model
        twin = copy.deepcopy(self.model)
        parts = {name: LowRank(part.down, -part.up) for name, part in self.plain.parts.items()}
        merge(twin, replace(self.plain, parts=parts).to(*_kind(twin)))
        return twin

    def adapter(self) -> Adapter:
        """The adapter as it is now, a copy."""
        assert self.config is not None, "everything learns, there is no adapter"
        state = {name: value.clone() for name, value in self._peft_state().items()}
        return adapters.from_state(state, self._peft_config(), self.base)

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's files, or the whole component."""
        if self.config is None:
            checkpoint.save(self.component(), folder)
        else:
            adapters.save(self._peft_state(), self._peft_config(), folder, self.base)

    def _peft_state(self) -> dict[str, Tensor]:
        """By the names that PEFT gives them in its files."""
        named = self.state_dict()
        return {adapters.PREFIX + key.replace(".default", ""): v for key, v in named.items()}

    def _peft_config(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, (set, frozenset, tuple, list)):
                return sorted(map(str, value))  # pyright: ignore
            known = isinstance(value, (str, int, float, bool, type(None)))
            return value if known else ({} if value == {} else str(value))

        found = {key: plain(value) for key, value in self.config.to_dict().items()}
        return found | {"lora_alpha": self.strength * float(self.config.lora_alpha)}


def made_plain(model: nn.Module, folder: Path) -> Adapter | None:
    """Take the guidance out of a flow loaded from `folder`, if it comes with how, in place.

    Returns:
        What was added to its weights; None where nothing was.

    Raises:
        CheckpointError: the adapter is damaged, or belongs to another flow.
    """
    if not (folder / PLAIN).is_dir():
        return None
    plain = adapters.load_plain(folder)
    merge(model, plain.to(*_kind(model)))
    return plain


def _kind(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    weight = next(model.parameters())
    return weight.device, weight.dtype


@dataclass(frozen=True)
class Lora:
    """Adapters; the defaults but for the rank are the official ones (spec §8.8)."""

    rank: int = 0
    """0: no adapters, all weights learn."""
    alpha: float = 16.0
    """Adapters count alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
    """Layers that get one."""


def adapt(model: nn.Module, options: Lora) -> None:
    """Put adapters into a component, in place; from then on they alone learn.

    Raises:
        MissingExtra: peft is not installed.
    """
    if options.rank:
        _inject(
            model, r=options.rank, lora_alpha=options.alpha, lora_dropout=0.0,
            target_modules=list(options.targets),
        )  # fmt: skip


def _inject(model: nn.Module, **settings: Any) -> Any:
    """Let PEFT put adapters of these settings into `model`; returns its configuration."""
    try:
        peft: Any = import_module("peft")
    except ImportError as error:
        raise MissingExtra("Training adapters", "train") from error
    config = peft.LoraConfig(bias="none", **settings)
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return config


@torch.no_grad()
def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a component with its adapters, if any, worked in: those of a plain model."""
    state = {
        name.replace(".base_layer.", "."): value
        for name, value in model.state_dict().items()
        if "lora_" not in name
    }
    modules: list[tuple[str, Any]] = list(model.named_modules())  # pyright: ignore
    for name, module in modules:
        if hasattr(module, "get_delta_weight"):
            for adapter in module.active_adapters:
                state[f"{name}.weight"] = state[f"{name}.weight"] + module.get_delta_weight(adapter)
    return state
