"""The official flow network against recorded tensors: `pytest -m reference`, folder GLMTTS_GOLDENS.

Every dimension is read from the files, so another set of the same form works as well.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import glmtts.flow as flow
from glmtts.flow import FlowConfig, FlowOptions, TokenToMel
from glmtts.nn import dit
from glmtts.nn.dit import DiTConfig
from glmtts.nn.masks import look_ahead_ends
from glmtts.voice import Prompt, Voice

pytestmark = pytest.mark.reference

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = Path(os.environ.get("GLMTTS_GOLDENS") or ROOT / "../shared/goldens")
Tensors = dict[str, torch.Tensor]


def read(name: str) -> tuple[Tensors, dict[str, Any]]:
    """Tensors (float16 ones are exact float32 values stored small) and metadata of a file."""
    with safe_open(str(GOLDENS / name), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        meta = {}
        for key, value in (file.metadata() or {}).items():
            try:
                meta[key] = json.loads(value)
            except ValueError:
                meta[key] = value
    small = torch.float16
    return {k: v.float() if v.dtype == small else v for k, v in tensors.items()}, meta


@pytest.fixture(scope="module")
def recorded() -> tuple[TokenToMel, Tensors, dict[str, Any]]:
    """The network of dit_main with its weights, and the recorded tensors."""
    tensors, meta = read("dit_main.safetensors")
    weights = {
        k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")
    }
    weights.pop("estimator.rotary_embed.inv_freq")
    model = TokenToMel(official_config(meta["config"]["dit"], weights))
    model.load_state_dict(weights)
    return model.eval(), tensors, meta


def official_config(sizes: dict[str, Any], weights: Tensors) -> FlowConfig:
    """The official switches with the dimensions of the recorded network."""
    dim = sizes["trans_dim"]
    speaker = weights["estimator.norm_out.linear.weight"].shape[1] - dim
    conv = weights["estimator.emb_concator.conv_pos_embed.conv1d.0.weight"]
    inner = weights["estimator.text_emb_layer.text_blocks.0.pwconv1.weight"].shape[0]
    base = {field: getattr(dit.OFFICIAL, field) for field in DiTConfig.__dataclass_fields__}
    own = {
        "n_mels": sizes["mel_dim"], "vocab_size": sizes["text_vocab_size"], "dim": dim,
        "layers": sizes["depth"], "heads": sizes["heads"], "ff_dim": dim * sizes["ff_mult"],
        "speaker_dim": speaker, "token_dim": sizes["text_emb_dim"],
        "token_mult": inner // sizes["text_emb_dim"], "frame_blocks": sizes["conv_layers"],
        "conv_kernel": conv.shape[2], "conv_groups": dim // conv.shape[1],
    }  # fmt: skip
    official = FlowConfig.official()
    return FlowConfig(
        network=DiTConfig(**{**base, **own}), mel_mean=official.mel_mean, mel_std=official.mel_std,
        prompt_tokens=official.prompt_tokens, look_ahead_blocks=official.look_ahead_blocks,
    )  # fmt: skip


@torch.no_grad()
def test_single_forward_passes(recorded: tuple[TokenToMel, Tensors, dict[str, Any]]) -> None:
    model, tensors, _ = recorded
    cases = {key.split(".")[1] for key in tensors if key.startswith("est.")}
    assert cases
    for case in sorted(cases):
        got = {k.split(".")[2]: v for k, v in tensors.items() if k.startswith(f"est.{case}.")}
        x, speaker, rows = got["x"], got["spk"], got["padding_mask"]
        features, coarse = model.estimator.token_features(got["text"], speaker, x.shape[1])
        visible = got["mask_row_len"].long()[None] if "mask_row_len" in got else None
        if visible is not None:
            visible = visible.expand(len(x), -1)
        out = model.estimator(
            x, got["cond"], features, coarse, got["time"].expand(len(x)), speaker, visible, rows
        )
        worst = (out - got["out"]).abs().max().item()
        print(case, worst)
        assert worst < 3e-5, f"{case}: {worst}"


def test_whole_sentences(
    recorded: tuple[TokenToMel, Tensors, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tensors, meta = recorded
    per, checked = model.config.network.frames_per_token, 0
    for case in sorted(name for name in meta["cases"] if name.startswith("infer.")):
        got = {k.removeprefix(case): v for k, v in tensors.items() if k.startswith(case)}
        settings = meta["cases"][case]
        if "noise" not in got or settings.get("is_causal", True):
            continue
        tokens, mel = got["prompt_token"][0], got["prompt_feat"][0]
        if len(mel) != per * len(tokens) or got["noise"].shape[1] % per:
            continue  # prompts that end within a token: here they are cut to whole tokens
        voice = Voice(
            "recorded", "", Prompt(), speech_tokens=tuple(tokens.tolist()), mel=mel,
            speaker=got["embedding"][0],
        )  # fmt: skip
        noises = iter(got["noise"][0].split([len(mel), len(got["noise"][0]) - len(mel)]))
        monkeypatch.setattr(flow, "draw_noise", lambda *_, noises=noises: next(noises))
        options = FlowOptions(
            steps=settings["n_timesteps"], guidance=meta["config"]["inference_cfg_rate"]
        )
        worst = (model.sample(got["token"][0], voice, options).T - got["out"][0]).abs().max().item()
        print(case, worst)
        assert worst < 3e-5, f"{case}: {worst}"
        checked += 1
    assert checked


def test_block_masks() -> None:
    tensors, meta = read("dit_masks.safetensors")
    for case, sizes in meta["block_lists"].items():
        rows = tensors[f"{case}.row_len"].long()
        assert torch.equal(look_ahead_ends(sizes, len(rows)), rows), case


def test_names_and_shapes_of_the_released_network() -> None:
    shapes = json.loads((GOLDENS / "shapes_full.json").read_text())["flow"]
    shapes.pop("estimator.rotary_embed.inv_freq", None)  # computed, not stored
    with torch.device("meta"):
        model = TokenToMel(FlowConfig.official())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == shapes
