"""The official language model's weights under our names. Read `official_lm_state` first.

The released files hold Hugging Face's `LlamaForCausalLM`, whose names are ours too; what is left to
do is to check them, one by one.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from glmtts.errors import CheckpointError
from glmtts.lm import LMConfig, TextToSpeechTokens

REQUIRED: dict[str, Any] = {
    "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
    "rope_scaling": None,
}  # fmt: skip
"""What our Llama takes for granted, as Hugging Face's config.json calls it."""


def official_lm_config(
    sizes: Mapping[str, Any],
    *,
    speech_start: int,
    speech_end: int,
    begin_audio_id: int,
    end_id: int,
    pad_id: int,
) -> LMConfig:
    """Our configuration for a Hugging Face `config.json` of a Llama.

    The bos and eos ids in there mean nothing for speech and are not read.

    Args:
        sizes: The parsed file.
        speech_start: Id of the first speech token (ATS).
        speech_end: Id of the last one (ATE).
        begin_audio_id: Id between text and speech (BOA).
        end_id: Id that ends the speech (EOA).
        pad_id: Id that fills rows.

    Raises:
        CheckpointError: a setting is missing or is one our Llama has no counterpart for, or an id
            is outside the vocabulary.
    """
    for name, wanted in REQUIRED.items():
        if name in sizes and sizes[name] != wanted:
            raise CheckpointError(
                f"The language model's config.json sets {name} to {sizes[name]!r}; only {wanted!r} "
                "is known. Is this a GLM-TTS checkpoint?"
            )
    try:
        vocab = int(sizes["vocab_size"])
        heads, width = int(sizes["num_attention_heads"]), int(sizes["hidden_size"])
        config = LMConfig(
            speech_start=speech_start, end_id=end_id, begin_audio_id=begin_audio_id, pad_id=pad_id,
            vocab_size=vocab, speech_count=speech_end - speech_start + 1, hidden_size=width,
            layers=int(sizes["num_hidden_layers"]), heads=heads,
            kv_heads=int(sizes.get("num_key_value_heads") or heads),
            head_dim=int(sizes.get("head_dim") or width // heads),
            ffn_size=int(sizes["intermediate_size"]),
            rope_theta=float(sizes.get("rope_theta", 10_000.0)),
            rms_eps=float(sizes["rms_norm_eps"]),
            tied=bool(sizes.get("tie_word_embeddings", False)),
            least_budget=0, max_context=int(sizes["max_position_embeddings"]),
        )  # fmt: skip
    except KeyError as error:
        raise CheckpointError(
            f"The language model's config.json lacks {error.args[0]!r}. Download it again."
        ) from error
    ids = {
        "speech_start": speech_start, "speech_end": speech_end, "begin_audio_id": begin_audio_id,
        "end_id": end_id, "pad_id": pad_id,
    }  # fmt: skip
    for name, value in ids.items():
        if not 0 <= value < vocab:
            raise CheckpointError(f"{name} is {value}, outside the vocabulary of {vocab}.")
    if not begin_audio_id < speech_start <= speech_end:
        raise CheckpointError(
            f"Ids are out of order: begin_audio_id {begin_audio_id} < speech_start {speech_start} "
            f"<= speech_end {speech_end} was expected. Is this the checkpoint's own tokenizer?"
        )
    return config


def official_lm_state(state: Mapping[str, Tensor], config: LMConfig) -> dict[str, Tensor]:
    """The state dict of `TextToSpeechTokens` from that of Hugging Face's `LlamaForCausalLM`.

    A tied head that was saved beside the embedding is left out, and so are rotary frequencies that
    old versions saved. Tensors are passed on, not copied.

    Raises:
        CheckpointError: the first tensor that is missing, not expected or of another shape.
    """
    with torch.device("meta"):
        expected = TextToSpeechTokens(config).state_dict()
    given = {key: value for key, value in state.items() if not key.endswith("rotary_emb.inv_freq")}
    if config.tied and "lm_head.weight" in given:
        head, embedding = given.pop("lm_head.weight"), given.get("model.embed_tokens.weight")
        if embedding is not None and not (head is embedding or torch.equal(head, embedding)):
            raise CheckpointError(
                "'lm_head.weight' differs from 'model.embed_tokens.weight' although the "
                "configuration ties them. Set tie_word_embeddings to false in config.json."
            )
    for key, value in expected.items():
        if key not in given:
            raise CheckpointError(f"The language model lacks tensor {key!r}. Is a shard missing?")
        if given[key].shape != value.shape:
            raise CheckpointError(
                f"Tensor {key!r} of the language model has shape {tuple(given[key].shape)}, its "
                f"configuration says {tuple(value.shape)}."
            )
    if unexpected := sorted(set(given) - set(expected)):
        raise CheckpointError(f"Tensor {unexpected[0]!r} is not part of the language model.")
    return {key: given[key] for key in expected}
