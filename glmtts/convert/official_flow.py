"""The official flow's weights and settings as ours. Read `official_flow_state` first.

The released names are ours too; what is left to do is to unwrap them and to check them, one by one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from glmtts.errors import CheckpointError
from glmtts.flow import FlowConfig, TokenToMel
from glmtts.nn.dit import OFFICIAL

PREFIXES = ("", "module.", "dit.")
"""What wrappers put before the names."""

COMPUTED = ("rotary_embed.inv_freq", "text_emb_layer.freqs_cis")
"""Tables that some versions saved; we compute them."""

IGNORED = ("calc_prompt_mel_loss", "loss_type", "use_mdt")
"""Settings that change nothing once the network is trained."""

WAVLM_DIM = 256
"""Dimensions of the second speaker vector, where a flow has one."""


def official_flow_config(settings: Mapping[str, Any]) -> FlowConfig:
    """Our configuration for the arguments of the official flow (`flow/config.yaml`, spec §1.2).

    Args:
        settings: The arguments by name; those that are not given have the official defaults.

    Raises:
        CheckpointError: an argument is unknown, or the time schedule is.
    """
    given = {key: value for key, value in settings.items() if key not in IGNORED}

    def take(name: str, default: Any) -> Any:
        return given.pop(name, default)

    big, mels = bool(take("big_model", False)), int(take("mel_dim", 80))
    modulates = bool(take("spkr_emb_adaLN", False))
    concatenates = not take("remove_spkr_concat_condition", False)
    channels = int(take("spk_embed_dim", 80)) if concatenates else 0
    given.pop("spk_embed_dim", None)  # means nothing where the speaker is not concatenated
    wavlm = bool(take("use_wavlm_emb", False)) and modulates
    token_rate = float(take("input_frame_rate", 12.5))
    frame_rate = float(take("mel_framerate", 86))
    dim = 1024 if big else OFFICIAL.dim
    network = replace(
        OFFICIAL, n_mels=mels, vocab_size=int(take("vocab_size", 100_000)), dim=dim,
        layers=22 if big else OFFICIAL.layers, heads=16 if big else OFFICIAL.heads, ff_dim=2 * dim,
        speaker_dim=OFFICIAL.speaker_dim + WAVLM_DIM * wavlm, speaker_modulates=modulates,
        speaker_channels=channels, token_dim=int(take("speech_token_dim", 512)),
    )  # fmt: skip
    schedule = take("t_scheduler", "cosine")
    config = replace(
        FlowConfig.official(), network=network, token_rate=token_rate, frame_rate=frame_rate,
        linear_grid=schedule != "cosine", drop_tokens=bool(take("speech_token_cfg", True)),
        speaker_parts=(OFFICIAL.speaker_dim, WAVLM_DIM) if wavlm else (),
    )  # fmt: skip
    if given:
        raise CheckpointError(
            f"The flow's configuration sets {min(given)!r}, which is not known. Is this the "
            "configuration of a GLM-TTS checkpoint?"
        )
    return config


def official_flow_state(
    state: Mapping[str, Tensor | Mapping[str, Tensor]], config: FlowConfig | None = None
) -> dict[str, Tensor]:
    """The state dict of `TokenToMel` from the official flow's.

    Tables that are computed are left out. Tensors are passed on, not copied.

    Args:
        state: The released tensors; they may be wrapped as {"model": tensors}, and their names may
            begin with one of `PREFIXES`, with or without "estimator.".
        config: Of the network; the released one by default.

    Raises:
        CheckpointError: the first tensor that is missing, not expected or of another shape.
    """
    with torch.device("meta"):
        expected = TokenToMel(config or FlowConfig.official()).state_dict()
    wrapped = state.get("model")
    if isinstance(wrapped, Mapping):
        state = wrapped
    given: dict[str, Tensor] = {}
    for key, value in cast("Mapping[str, Tensor]", state).items():
        if not key.endswith(COMPUTED):
            name = next((own for own in _names(key) if own in expected), key)
            if name in given:
                raise CheckpointError(f"The flow has tensor {name!r} twice, once as {key!r}.")
            given[name] = value
    for key, value in expected.items():
        if key not in given:
            raise CheckpointError(f"The flow lacks tensor {key!r}. Is flow.pt complete?")
        if given[key].shape != value.shape:
            raise CheckpointError(
                f"Tensor {key!r} of the flow has shape {tuple(given[key].shape)}, its "
                f"configuration says {tuple(value.shape)}."
            )
    if unexpected := sorted(set(given) - set(expected)):
        raise CheckpointError(f"Tensor {unexpected[0]!r} is not part of the flow.")
    return {key: given[key] for key in expected}


def _names(key: str) -> list[str]:
    """What a tensor may be called here."""
    bare = [key.removeprefix(prefix) for prefix in PREFIXES]
    return [*bare, *(f"estimator.{name}" for name in bare)]
