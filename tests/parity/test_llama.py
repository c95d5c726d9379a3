"""Our Llama against hidden states recorded from transformers' LlamaForCausalLM (random weights)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glmtts.lm import LMConfig, TextToSpeechTokens

CONFIG = LMConfig(
    speech_start=10, end_id=3, begin_audio_id=2, pad_id=0, vocab_size=40, speech_count=30,
    hidden_size=24, layers=2, heads=4, kv_heads=2, head_dim=6, ffn_size=40, tied=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(Path(__file__).with_name("llama.safetensors"))


@pytest.fixture(scope="module")
def lm(recorded: dict[str, torch.Tensor]) -> TextToSpeechTokens:
    model = TextToSpeechTokens(CONFIG).eval()
    names = model.state_dict()  # the very names of transformers: no mapping
    model.load_state_dict({name: recorded[name].float() for name in names})
    return model


@torch.no_grad()
def test_hidden_states_and_logits(lm: TextToSpeechTokens, recorded: dict[str, torch.Tensor]):
    hidden, _ = lm.model(recorded["ids"])
    torch.testing.assert_close(hidden, recorded["hidden"], atol=2e-5, rtol=1e-4)
    expected = torch.cat([recorded["logits"][..., 10:40], recorded["logits"][..., 3:4]], -1)
    torch.testing.assert_close(lm.logits(hidden), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_one_position_at_a_time(lm: TextToSpeechTokens, recorded: dict[str, torch.Tensor]):
    cache = lm.model.cache(2, 33)
    parts = [lm.model(column, cache=cache)[0] for column in recorded["ids"].split(1, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), recorded["hidden"], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_packed_documents(lm: TextToSpeechTokens, recorded: dict[str, torch.Tensor]):
    positions = recorded["packed_positions"]
    documents = (torch.arange(33) >= 20).long()
    mask = (documents[:, None] == documents).tril()[None]
    hidden, _ = lm.model(recorded["ids"][1:], positions=positions, mask=mask)
    torch.testing.assert_close(hidden, recorded["packed_hidden"], atol=2e-5, rtol=1e-4)
