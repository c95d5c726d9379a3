import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.errors import BadAudio
from glmtts.nn.quantizer import EMAQuantizer
from glmtts.speech_tokenizer import (
    SpeechTokenizer,
    SpeechTokenizerConfig,
    TokenizerHeads,
    TokenizerHeadsConfig,
    ctc_align,
)
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer() -> SpeechTokenizer:
    torch.manual_seed(0)
    return SpeechTokenizer(tiny.TOKENIZER).eval()


@pytest.mark.parametrize("seconds", [0.04, 0.5, 1.01, 2.0])
def test_twenty_five_ids_a_second_within_the_codebook(
    tokenizer: SpeechTokenizer, seconds: float
) -> None:
    ids = tokenizer.encode(tiny.buzz(seconds))
    assert len(ids) == -(-int(seconds * 24_000) // 960)
    assert all(0 <= i < tiny.CODES for i in ids)


def test_the_rate_is_configuration() -> None:
    torch.manual_seed(0)
    slow = SpeechTokenizer(replace(tiny.TOKENIZER, pooling=4)).eval()
    assert slow.config.tokens_per_second == 12.5
    assert len(slow.encode(tiny.buzz(2.0))) == 25


def test_more_than_thirty_seconds_are_cut_into_segments(tokenizer: SpeechTokenizer) -> None:
    long = tiny.buzz(31.0)
    head = tokenizer.encode(Audio(long.samples[: 30 * 24_000], 24_000))
    ids = tokenizer.encode(long)
    assert len(ids) == 775
    assert ids[:750] == head


def test_padding_in_a_batch_changes_nothing(tokenizer: SpeechTokenizer) -> None:
    short, long = tiny.buzz(1.0).samples, tiny.buzz(2.0, 200.0).samples
    padded = torch.zeros(2, len(long))
    padded[0, : len(short)], padded[1] = short, long
    rows = tokenizer.encode_batch(padded, torch.tensor([len(short), len(long)]))
    alone = tokenizer.encode(Audio(short, 24_000))
    same = sum(a == b for a, b in zip(rows[0].tolist(), alone, strict=True))
    assert same >= 24  # the window of the last frame reaches into the padding


def test_blocks_hide_the_future() -> None:
    torch.manual_seed(0)
    causal = SpeechTokenizer(replace(tiny.TOKENIZER, causal_block=10, causal_convs=True)).eval()
    whole = SpeechTokenizer(tiny.TOKENIZER).eval()
    whole.load_state_dict(causal.state_dict())
    first, second = tiny.buzz(2.0).samples, tiny.buzz(2.0).samples.clone()
    second[36_000:] *= 0.3 * torch.rand(12_000) + 0.5  # the loudest bin must stay: it sets a floor
    length = torch.tensor([48_000])
    for model, hidden in ((causal, True), (whole, False)):
        a, b = (model.pooled(x[None], length)[0][0] for x in (first, second))
        assert torch.allclose(a[:30], b[:30], atol=1e-4) is hidden


def test_an_empty_sound_is_refused(tokenizer: SpeechTokenizer) -> None:
    with pytest.raises(BadAudio, match="empty"):
        tokenizer.encode(Audio(torch.zeros(0), 24_000))


def test_the_official_size_by_configuration_alone() -> None:
    goldens = Path(os.environ.get("GLMTTS_GOLDENS", "../shared/goldens")) / "shapes_full.json"
    with torch.device("meta"):
        official = SpeechTokenizer(SpeechTokenizerConfig.official())
    shapes = {key: tuple(value.shape) for key, value in official.state_dict().items()}
    assert shapes["encoder.conv1.weight"] == (1280, 128, 3)
    assert shapes["encoder.layers.15.fc1.weight"] == (5120, 1280)
    assert shapes["quantizer.weight"] == (32_768, 1280)
    if goldens.is_file():  # the released names, where they are at hand
        full = json.loads(goldens.read_text())
        released = full["whispervq"]
        ours = {key.removeprefix("encoder."): shape for key, shape in shapes.items()}
        for key, shape in released.items():
            if key.startswith(("conv", "layers.", "embed_positions.")):
                assert ours[key] == tuple(shape), key


def test_saved_and_loaded_it_gives_the_same_ids(tokenizer: SpeechTokenizer, tmp_path: Path) -> None:
    checkpoint.save(tokenizer, tmp_path)
    again = checkpoint.load(SpeechTokenizer, tmp_path)
    assert again.config == tokenizer.config
    assert again.encode(tiny.buzz(1.0)) == tokenizer.encode(tiny.buzz(1.0))


def test_codes_follow_their_vectors_and_dead_ones_restart() -> None:
    torch.manual_seed(0)
    points = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]])
    x = points.repeat(50, 1) + 0.05 * torch.randn(200, 2)
    quantizer = EMAQuantizer(4, 2, decay=0.5)
    with torch.no_grad():
        quantizer.weight.copy_(torch.tensor([[1.0, 0.1], [-1.0, 0.1], [0.1, 1.0], [99.0, 99.0]]))
    for _ in range(12):
        quantizer.update(x, quantizer.ids(x))
    assert quantizer.restart(x) == 1  # the one far away was never chosen
    for _ in range(12):
        quantizer.update(x, quantizer.ids(x))
    assert len(quantizer.ids(points).unique()) >= 3
    codes, ids, commitment = quantizer(x[None], torch.ones(1, 200, dtype=torch.bool))
    assert codes.shape == (1, 200, 2)
    assert ids.shape == (1, 200)
    assert commitment < 8.0


def test_gradients_pass_the_quantiser_straight_through() -> None:
    quantizer = EMAQuantizer(8, 3)
    x = torch.randn(1, 5, 3, requires_grad=True)
    codes, _, _ = quantizer(x, torch.ones(1, 5, dtype=torch.bool))
    codes.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


def test_kmeans_finds_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[5.0, 5.0], [-5.0, 5.0], [0.0, -5.0]])
    x = centres.repeat(40, 1) + 0.1 * torch.randn(120, 2)
    quantizer = EMAQuantizer(6, 2)
    quantizer.initialise(x)
    nearest = torch.cdist(centres, quantizer.weight).amin(1)
    assert nearest.max() < 0.3


def test_heads_read_phonemes_and_a_pitch_curve_at_fifty_hertz() -> None:
    heads = TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, classes=10, layers=1))
    codes = torch.randn(2, 7, 8)
    assert heads.phoneme_logits(codes).shape == (2, 7, 10)
    pitch, voicing = heads.pitch_curve(codes)
    assert pitch.shape == voicing.shape == (2, 14)


def test_alignment_follows_clear_posteriors() -> None:
    spoken = [0, 3, 3, 0, 0, 5, 0, 5, 5, 0]  # 3, then 5 twice with a blank between
    log_probs = torch.full((10, 6), -8.0)
    log_probs[torch.arange(10), torch.tensor(spoken)] = -0.01
    path = ctc_align(log_probs, [3, 5, 5])
    assert path == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert ctc_align(log_probs[:2], [3, 5, 5]) == []
    assert ctc_align(log_probs, []) == []
