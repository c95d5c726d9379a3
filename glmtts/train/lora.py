"""Low-rank adapters on the language model (Hu et al. 2021), made and kept by peft."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glmtts.errors import MissingExtra
from glmtts.lm import TextToSpeechTokens


@dataclass(frozen=True)
class Lora:
    """Adapters; the defaults but for the rank are the official ones (spec §8.8)."""

    rank: int = 0
    """0: no adapters, all weights learn."""
    alpha: float = 16.0
    """Adapters count alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
    """Layers that get one."""


def adapt(lm: TextToSpeechTokens, options: Lora) -> None:
    """Put adapters into `lm`, in place; from then on they alone learn.

    Raises:
        MissingExtra: peft is not installed.
    """
    if not options.rank:
        return
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("Training with LoRA", "train") from error
    wanted = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, target_modules=list(options.targets),  # pyright: ignore[reportArgumentType]
        lora_dropout=0.0, bias="none",
    )  # fmt: skip
    model: Any = lm
    peft.inject_adapter_in_model(wanted, model)
    lm.requires_grad_(False)
    for name, parameter in lm.named_parameters():
        parameter.requires_grad_("lora_" in name)


@torch.no_grad()
def plain_weights(lm: TextToSpeechTokens) -> dict[str, Tensor]:
    """The weights of `lm` with its adapters, if any, worked in: those of a plain model."""
    state = {
        name.replace(".base_layer.", "."): value
        for name, value in lm.state_dict().items()
        if "lora_" not in name
    }
    modules: list[tuple[str, Any]] = list(lm.named_modules())  # pyright: ignore
    for name, module in modules:
        if hasattr(module, "get_delta_weight"):
            for adapter in module.active_adapters:
                state[f"{name}.weight"] = state[f"{name}.weight"] + module.get_delta_weight(adapter)
    return state
