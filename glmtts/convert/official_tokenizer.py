"""The speech tokenizer of zai-org/GLM-TTS (`ckpt/speech_tokenizer`) as a component."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from glmtts.errors import CheckpointError
from glmtts.speech_tokenizer import SpeechTokenizer, SpeechTokenizerConfig

PREFIX = "model.encoder."
"""What stands before the encoder's names in the release; others belong to the decoder."""
UNUSED = ("embed_positions2.", "layer_norm.")
"""Tensors that come after the codes."""
CODES = {
    "codebook.weight": "quantizer.weight",
    "ema_count": "quantizer.ema_count",
    "ema_weight": "quantizer.ema_weight",
}
"""Official names of the quantiser and ours."""


def official_tokenizer_config(data: Mapping[str, Any]) -> SpeechTokenizerConfig:
    """Read the release's `speech_tokenizer/config.json`.

    Layers after the quantiser are left out, as the official loader does. Causal attention, where it
    is set, takes the place of the causal blocks.

    Args:
        data: The parsed file.

    Raises:
        CheckpointError: a setting is missing, or has a value that the tokenizer cannot have.
    """

    def setting(name: str) -> Any:
        if name not in data:
            raise CheckpointError(
                f"speech_tokenizer/config.json: setting {name!r} is missing. "
                "Is this the configuration of a WhisperVQ tokenizer?"
            )
        return data[name]

    expected = {
        "activation_function": ("gelu",),
        "pooling_type": ("avg", "max"),
        "quantize_causal_encoder": (False,),
        "quantize_hidden_dim": (None,),
    }
    for name, known in expected.items():
        if (value := data.get(name, known[0])) not in known:
            raise CheckpointError(
                f"speech_tokenizer/config.json: {name} is {value!r}, "
                f"this version knows {' and '.join(map(repr, known))}."
            )
    layers, pool_after = int(setting("quantize_position")), data.get("pooling_position")
    if not 0 < layers <= setting("encoder_layers"):
        raise CheckpointError(
            f"speech_tokenizer/config.json: quantize_position is {layers}, "
            f"but encoder_layers is {data['encoder_layers']}."
        )
    block: int | None = setting("quantize_causal_block_size")
    pooling = int(data.get("pooling_kernel_size") or 1)
    if pool_after is None or pool_after > layers:  # never reached before the codes
        pooling, pool_after = 1, layers
    return SpeechTokenizerConfig(
        n_mels=int(setting("num_mel_bins")),
        dim=int(setting("d_model")),
        heads=int(setting("encoder_attention_heads")),
        ffn=int(setting("encoder_ffn_dim")),
        layers=layers,
        positions=int(setting("max_source_positions")),
        pooling=pooling,
        codes=int(setting("quantize_vocab_size")),
        code_dim=0,
        causal_block=1 if data.get("encoder_causal_attention") else block,
        causal_convs=bool(data.get("encoder_causal_convolution", False)),
        sample_rate=16_000,
        pool_after=None if pool_after == layers else int(pool_after),
        max_pooling=data.get("pooling_type") == "max",
        resampler="sinc",
    )


def official_tokenizer_state(
    state: Mapping[str, Tensor], config: SpeechTokenizerConfig
) -> dict[str, Tensor]:
    """Official weights under our names.

    Args:
        state: As released (names begin with `model.encoder.`; the decoder is skipped) or as the
            official loader leaves them (without it). Layers from `config.layers` on, the final norm
            and the positions after the codes are skipped. The running means of the codebook may be
            absent; they start at the codebook then. Tensors that are skipped are not read.
        config: See `official_tokenizer_config`.

    Returns:
        The state of `SpeechTokenizer(config)`; tensors are shared, not copied.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of the wrong shape (the first is named,
            as it is called in `state`).
    """
    prefix = PREFIX if any(key.startswith(PREFIX) for key in state) else ""
    found: dict[str, Tensor] = {}
    official: dict[str, str] = {}
    for key in state:
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name.startswith(UNUSED) or _layer(name) >= config.layers:
            continue
        ours = CODES.get(name, f"encoder.{name}")
        found[ours], official[ours] = state[key], key
    codes = found.get("quantizer.weight")
    if codes is not None and not found.keys() & {"quantizer.ema_weight", "quantizer.ema_count"}:
        found["quantizer.ema_weight"] = codes.clone()
        found["quantizer.ema_count"] = codes.new_ones(len(codes))
    with torch.device("meta"):
        expected = SpeechTokenizer(config).state_dict()
    theirs = {ours: name for name, ours in CODES.items()}
    for ours, value in expected.items():
        key = official.get(ours, prefix + theirs.get(ours, ours.removeprefix("encoder.")))
        if ours not in found:
            raise CheckpointError(f"Speech tokenizer: tensor {key!r} is missing.")
        if found[ours].shape != value.shape:
            raise CheckpointError(
                f"Speech tokenizer: tensor {key!r} has shape {tuple(found[ours].shape)}, "
                f"its configuration says {tuple(value.shape)}."
            )
    if unexpected := sorted(official[ours] for ours in found if ours not in expected):
        raise CheckpointError(
            f"Speech tokenizer: tensor {unexpected[0]!r} is not part of the model."
        )
    return {ours: found[ours] for ours in expected}


def _layer(name: str) -> int:
    """The number of `layers.<number>.…`, -1 for other names."""
    parts = name.split(".")
    return int(parts[1]) if len(parts) > 2 and parts[0] == "layers" and parts[1].isdigit() else -1
