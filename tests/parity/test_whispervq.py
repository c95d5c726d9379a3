"""Our speech tokenizer against the official one: whispervq.safetensors, shapes_full.json.

Ids must agree wherever the recorded distance between the two nearest codes is no rounding error.
"""

import json
import re
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from glmtts.audio import Audio, whisper_log_mel
from glmtts.convert.official_tokenizer import (
    CODES,
    official_tokenizer_config,
    official_tokenizer_state,
)
from glmtts.errors import CheckpointError
from glmtts.nn.whisper import attention_mask
from glmtts.speech_tokenizer import SpeechTokenizer, SpeechTokenizerConfig
from tests.parity.goldens import FOLDER, needs_goldens, read, read_json, under

pytestmark = needs_goldens

TENSORS, META = read("whispervq.safetensors") if FOLDER.is_dir() else ({}, {"variants": {}})
VARIANTS: dict[str, Any] = META["variants"]
FEATURES = [(v, c) for v in VARIANTS for c in sorted({
    key.split(".")[1] for key in TENSORS if key.startswith(f"{v}.feat")
})]  # fmt: skip
MASKS = [key for key in TENSORS if ".blockmask" in key]
WAVES = [(v, w) for v in VARIANTS for w in VARIANTS[v].get("wav_sr", {})]
CLEAR, CLEAR_LONG = 1e-2, 2e-2
"""Least margin at which ids must agree; for sounds longer than 30 s."""


@lru_cache
def tokenizer(variant: str) -> SpeechTokenizer:
    """The recorded network, through the names of the release."""
    config = official_tokenizer_config(VARIANTS[variant]["config"])
    weights = under(TENSORS, f"{variant}.weights.")
    model = SpeechTokenizer(config)
    model.load_state_dict(official_tokenizer_state(weights, config))
    return model.eval()


def heard(variant: str, name: str) -> Audio:
    """A recorded wave; of two channels the first, which the official tokenizer hears alone."""
    samples = TENSORS[f"wav.{name}"].float() / 32_768
    return Audio(samples.reshape(-1, samples.shape[-1])[0], VARIANTS[variant]["wav_sr"][name])


def clear(model: SpeechTokenizer, audio: Audio, longest: int) -> Tensor:
    """Which tokens of a sound no rounding can change, its pieces padded to `longest` samples."""
    config, codes, found = model.config, model.quantizer.weight, []
    samples = audio.resampled(config.sample_rate, config.resampler).samples
    for part in samples.split(30 * config.sample_rate):
        padded = torch.nn.functional.pad(part, (0, longest - len(part)))[None]
        x, mask = model.features(padded, torch.tensor([len(part)]), upstream_compat=True)
        distances = codes.square().sum(1) - 2.0 * x[mask] @ codes.T
        two = distances.topk(2, largest=False).values
        found.append(two[:, 1] - two[:, 0])
    return torch.cat(found) > (CLEAR_LONG if len(found) > 1 else CLEAR)


def padded_length(model: SpeechTokenizer, audio: Audio) -> int:
    """Samples of the longest piece, in whole tokens."""
    config, token = model.config, model.samples_per_token
    samples = audio.resampled(config.sample_rate, config.resampler).samples
    return min(30 * config.sample_rate, -(-len(samples) // token) * token)


@pytest.mark.parametrize(("variant", "case"), FEATURES)
@torch.no_grad()
def test_features_give_the_official_vectors_and_ids(variant: str, case: str) -> None:
    model, recorded = tokenizer(variant), under(TENSORS, f"{variant}.{case}.")
    mel = recorded["input_features"].transpose(1, 2)
    keys = recorded["attention_mask"][:, ::2].bool()
    x = model.encoder(mel, keys, model.config.causal_block)
    assert x.shape == recorded["pre_quant"].shape
    assert (x - recorded["pre_quant"]).abs().max() <= 2e-5
    clear = recorded["margin"] > CLEAR
    assert clear.float().mean() > 0.5
    assert torch.equal(model.quantizer.ids(x)[clear], recorded["ids"][clear])


@pytest.mark.parametrize("key", MASKS)
def test_blocks_see_the_official_keys(key: str) -> None:
    length, block, valid = map(int, re.findall(r"\d+", key.split(".")[1]))
    mask = attention_mask(torch.arange(length)[None] < valid, block)[0, 0]
    assert torch.equal(mask, TENSORS[key].bool())


@pytest.mark.parametrize(("variant", "name"), WAVES)
def test_waves_give_the_official_mel(variant: str, name: str) -> None:
    config, audio = tokenizer(variant).config, heard(variant, name)
    samples = audio.resampled(config.sample_rate, config.resampler).samples
    resampled = TENSORS.get(f"wav.{name}.resampled16k", samples)
    assert (samples - resampled).abs().max() <= 2e-6
    samples = samples[: 30 * config.sample_rate]
    token = tokenizer(variant).samples_per_token
    padded = torch.nn.functional.pad(samples, (0, -len(samples) % token))
    mel = whisper_log_mel(padded, config.n_mels, config.sample_rate).T
    recorded = TENSORS[f"wav.{name}.features_seg0"][0]
    mask = TENSORS[f"wav.{name}.attention_mask_seg0"][0]
    assert mel.shape[1] == len(mask)
    assert int(mask.sum()) == -(-len(samples) * 100 // config.sample_rate)
    kept = recorded.shape[1] // 2  # of a long one the two ends are recorded
    assert (mel[:, :kept] - recorded[:, :kept]).abs().max() <= 1e-4
    assert (mel[:, -kept:] - recorded[:, -kept:]).abs().max() <= 1e-4


@pytest.mark.parametrize(("variant", "name"), WAVES)
@torch.no_grad()
def test_waves_give_the_official_ids(variant: str, name: str) -> None:
    model, audio = tokenizer(variant), heard(variant, name)
    expected, longest = TENSORS[f"wav.{name}.ids_single"], padded_length(model, audio)
    ids = torch.tensor(model.encode(audio, upstream_compat=True))
    sure = clear(model, audio, longest)
    margin = TENSORS[f"wav.{name}.margin_seg0"]
    sure[: len(margin)] |= margin > (CLEAR_LONG if len(expected) > len(margin) else CLEAR)
    assert sure.float().mean() > 0.9
    assert ids.shape == expected.shape
    assert torch.equal(ids[sure], expected[sure])
    # Pieces that the official system pads to 30 s are not padded here: their last token is as if
    # the sound ended where it does.
    ours = torch.tensor(model.encode(audio))
    same = -1 if len(expected) > len(margin) else len(expected)
    assert torch.equal(ours[:same], ids[:same])


@pytest.mark.parametrize("variant", sorted({v for v, _ in WAVES}))
@torch.no_grad()
def test_a_batch_gives_the_official_ids_or_those_of_each_sound(variant: str) -> None:
    model, names = tokenizer(variant), [w for v, w in WAVES if v == variant]
    audios = [heard(variant, name) for name in names]
    longest = max(padded_length(model, audio) for audio in audios)
    official = model.encode_all(audios, upstream_compat=True)
    for name, audio, found in zip(names, audios, official, strict=True):
        ids, expected = torch.tensor(found), TENSORS[f"wav.{name}.ids_batched"]
        sure = clear(model, audio, longest)
        assert sure.float().mean() > 0.9
        assert torch.equal(ids[sure], expected[sure]), name
    assert model.encode_all(audios) == [model.encode(audio) for audio in audios]


def test_full_size_names_and_shapes_are_the_released_ones() -> None:
    full = read_json("shapes_full.json")
    config = official_tokenizer_config(full["configs"]["speech_tokenizer"])
    assert config == SpeechTokenizerConfig.official()
    with torch.device("meta"):
        released = {
            f"model.encoder.{key}": torch.empty(shape) for key, shape in full["whispervq"].items()
        }
        expected = SpeechTokenizer(config).state_dict()
    state = official_tokenizer_state(released, config)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    after_the_codes = {"embed_positions2.weight"}
    assert len(state) == len(full["whispervq"]) - len(after_the_codes)
    assert set(CODES) <= set(full["whispervq"])


@pytest.mark.parametrize("prefix", ["", "model.encoder."])
def test_missing_and_unexpected_tensors_are_named(prefix: str) -> None:
    variant = next(iter(VARIANTS))
    config = official_tokenizer_config(VARIANTS[variant]["config"])
    weights = under(TENSORS, f"{variant}.weights.")
    whole = {prefix + key: value for key, value in weights.items()}
    rest = {"model.decoder.layer_norm.weight": torch.ones(1)} if prefix else {}
    extra = {f"{prefix}layers.{config.layers}.fc1.bias": torch.ones(1)}
    assert official_tokenizer_state({**whole, **rest, **extra}, config).keys()
    key = f"{prefix}layers.0.fc1.bias"
    with pytest.raises(CheckpointError, match=f"'{re.escape(key)}' is missing"):
        official_tokenizer_state({k: v for k, v in whole.items() if k != key}, config)
    with pytest.raises(CheckpointError, match=f"'{re.escape(prefix)}codebook.weight' is missing"):
        official_tokenizer_state(
            {k: v for k, v in whole.items() if "codebook" not in k and "ema_" not in k}, config
        )
    with pytest.raises(CheckpointError, match=f"'{re.escape(prefix)}conv3.bias' is not part"):
        official_tokenizer_state({**whole, f"{prefix}conv3.bias": torch.ones(1)}, config)
    with pytest.raises(CheckpointError, match=f"'{re.escape(key)}' has shape"):
        official_tokenizer_state({**whole, key: torch.ones(1)}, config)


def test_unknown_settings_are_refused() -> None:
    data = json.loads(json.dumps(next(iter(VARIANTS.values()))["config"]))
    with pytest.raises(CheckpointError, match="quantize_position"):
        official_tokenizer_config({k: v for k, v in data.items() if k != "quantize_position"})
    for setting, value in (("pooling_type", "sum"), ("activation_function", "relu")):
        with pytest.raises(CheckpointError, match=f"{setting} is '{value}'"):
            official_tokenizer_config({**data, setting: value})
    with pytest.raises(CheckpointError, match="encoder_layers"):
        official_tokenizer_config({**data, "quantize_position": data["encoder_layers"] + 1})
