"""The speaker judge of published figures, on small random weights in its file's layout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glmtts.errors import CheckpointError, MissingWeights
from glmtts.judges.base import Sample, Score
from glmtts.judges.registry import make
from glmtts.judges.wavlm import LARGE, WAVLM_ECAPA, Ecapa, WavLMSpeaker, renamed
from tests.tiny import buzz

GOLDEN = [-0.067479, -0.390936, 0.129255, -0.530103, 0.793307, 0.236245]
NORM = 9.826154
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
UNISPEECH = {
    "feature_extract.model.mask_emb": "wavlm.masked_spec_embed",
    "feature_extract.model.layer_norm.bias": "wavlm.feature_projection.layer_norm.bias",
    "feature_extract.model.post_extract_proj.weight": "wavlm.feature_projection.projection.weight",
    "feature_extract.model.feature_extractor.conv_layers.3.0.weight":
        "wavlm.feature_extractor.conv_layers.3.conv.weight",
    "feature_extract.model.feature_extractor.conv_layers.3.2.1.weight":
        "wavlm.feature_extractor.conv_layers.3.layer_norm.weight",
    "feature_extract.model.encoder.pos_conv.0.weight_v":
        "wavlm.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    "feature_extract.model.encoder.pos_conv.0.bias": "wavlm.encoder.pos_conv_embed.conv.bias",
    "feature_extract.model.encoder.layer_norm.weight": "wavlm.encoder.layer_norm.weight",
    "feature_extract.model.encoder.layers.0.self_attn.relative_attention_bias.weight":
        "wavlm.encoder.layers.0.attention.rel_attn_embed.weight",
    "feature_extract.model.encoder.layers.7.self_attn.grep_a":
        "wavlm.encoder.layers.7.attention.gru_rel_pos_const",
    "feature_extract.model.encoder.layers.7.self_attn.k_proj.weight":
        "wavlm.encoder.layers.7.attention.k_proj.weight",
    "feature_extract.model.encoder.layers.7.self_attn_layer_norm.weight":
        "wavlm.encoder.layers.7.layer_norm.weight",
    "feature_extract.model.encoder.layers.7.fc1.bias":
        "wavlm.encoder.layers.7.feed_forward.intermediate_dense.bias",
    "feature_extract.model.encoder.layers.7.final_layer_norm.bias":
        "wavlm.encoder.layers.7.final_layer_norm.bias",
    "feature_weight": "layer_weights",
    "layer2.Res2Conv1dReluBn.convs.6.weight": "layer2.scales.convs.6.weight",
    "layer2.SE_Connect.linear1.bias": "layer2.gate.linear1.bias",
    "pooling.linear2.weight": "pooling.linear2.weight",
}  # fmt: skip


def filled(module: torch.nn.Module) -> dict[str, Tensor]:
    """Weights for a module that do not depend on how it makes its own."""
    state: dict[str, Tensor] = {}
    for seed, (name, value) in enumerate(sorted(module.state_dict().items())):
        drawn = 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
        state[name] = drawn.abs() + 0.5 if name.endswith("running_var") else drawn
    return state


def unispeech(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of UniSpeech's checkpoint."""
    for old, new in (
        ("ecapa.layer_weights", "feature_weight"), ("ecapa.", ""),
        ("wavlm.feature_projection.layer_norm.", "wavlm.layer_norm."),
        ("wavlm.feature_projection.projection.", "wavlm.post_extract_proj."),
        (".pos_conv_embed.conv.parametrizations.weight.original0", ".pos_conv.0.weight_g"),
        (".pos_conv_embed.conv.parametrizations.weight.original1", ".pos_conv.0.weight_v"),
        (".pos_conv_embed.conv.", ".pos_conv.0."), ("masked_spec_embed", "mask_emb"),
        (".attention.gru_rel_pos_linear.", ".self_attn.grep_linear."),
        (".attention.gru_rel_pos_const", ".self_attn.grep_a"),
        (".attention.rel_attn_embed.", ".self_attn.relative_attention_bias."),
        (".attention.", ".self_attn."), (".feed_forward.intermediate_dense.", ".fc1."),
        (".feed_forward.output_dense.", ".fc2."), (".narrow.", ".Conv1dReluBn1."),
        (".scales.", ".Res2Conv1dReluBn."), (".widen.", ".Conv1dReluBn2."),
        (".gate.", ".SE_Connect."), ("wavlm.", "feature_extract.model."),
    ):  # fmt: skip
        state = {name.replace(old, new): value for name, value in state.items()}
    named: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".encoder.layers." in name:
            named[name.replace(".layer_norm.", ".self_attn_layer_norm.")] = value
        elif ".conv_layers." in name:
            named[name.replace(".conv.", ".0.").replace(".layer_norm.", ".2.1.")] = value
        else:
            named[name] = value
    return named


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = unispeech(WavLMSpeaker.sized(**SMALL).state_dict())
    state["loss_calculator.projection.weight"] = torch.zeros(3, 3)
    path = tmp_path / "wavlm_large_finetune.pth"
    torch.save({"model": state}, path)
    return path


def test_names_of_the_published_file() -> None:
    assert {name: renamed(name) for name in UNISPEECH} == UNISPEECH


def test_the_network_above_gives_the_numbers_of_unispeech() -> None:
    """Recorded from its ECAPA_TDNN_SMALL with these weights, 3 states of 32 channels."""
    network = Ecapa(3, 32).eval()
    network.load_state_dict(filled(network))
    states = torch.randn(3, 1, 40, 32, generator=torch.Generator().manual_seed(99))
    vector = network(states)[0].detach()
    expected = torch.tensor(GOLDEN)
    torch.testing.assert_close(vector[:6], expected, rtol=1e-4, atol=1e-4)
    assert float(vector.norm()) == pytest.approx(NORM, rel=1e-4)


def test_a_checkpoint_is_read_and_tells_speakers(checkpoint: Path) -> None:
    torch.manual_seed(0)
    original = WavLMSpeaker.sized(**SMALL)
    model = WavLMSpeaker.load(checkpoint.parent, **SMALL)
    samples = buzz(1.0).resampled(16_000).samples
    assert torch.equal(model(samples), original(samples))
    # The level of a recording is normalised away.
    torch.testing.assert_close(model(0.5 * samples), model(samples), rtol=1e-2, atol=1e-3)


def test_every_state_counts_and_the_last_is_normalised(checkpoint: Path) -> None:
    model = WavLMSpeaker.load(checkpoint, **SMALL)
    seen: list[Tensor] = []
    model.ecapa.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(buzz(1.0).resampled(16_000).samples)
    assert seen[0].shape[:2] == (SMALL["num_hidden_layers"] + 1, 1)  # pyright: ignore
    torch.testing.assert_close(
        seen[0][-1].mean(-1), torch.zeros(seen[0].shape[1:3]), atol=1e-5, rtol=0
    )


def test_as_a_judge(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, value in SMALL.items():
        monkeypatch.setitem(LARGE, size, value)
    judge = make(f"sim=wavlm:{checkpoint.parent}")
    (same,) = judge([Sample(buzz(1.0), "a", "en", buzz(1.0))])
    assert isinstance(same, Score)
    assert same.value == pytest.approx(1.0, abs=1e-5)
    assert "WavLM" in judge.version


def test_what_is_no_such_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="seed-tts-eval"):
        WAVLM_ECAPA.found(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="missing or of another shape"):
        WavLMSpeaker.load(checkpoint, **SMALL | {"hidden_size": 64})
    torch.save([1, 2], checkpoint)
    with pytest.raises(CheckpointError, match="holds no speaker model"):
        WavLMSpeaker.load(checkpoint, **SMALL)
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="Cannot read"):
        WavLMSpeaker.load(checkpoint, **SMALL)
