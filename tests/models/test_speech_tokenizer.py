from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.errors import BadAudio, CheckpointError
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
    lengths = torch.tensor([len(short), len(long)])
    rows = tokenizer.encode_batch(padded, lengths)
    assert rows[0].tolist() == tokenizer.encode(Audio(short, 24_000))
    x, _ = tokenizer.pooled(padded, lengths)
    alone, _ = tokenizer.pooled(short[None], lengths[:1])
    torch.testing.assert_close(x[0, :25], alone[0], atol=1e-5, rtol=1e-4)
    heard, _ = tokenizer.pooled(padded, lengths, upstream_compat=True)
    assert (heard[0, 24] - alone[0, 24]).abs().max() > 1e-4  # the last window reaches the padding


def test_many_sounds_give_what_they_give_alone(
    tokenizer: SpeechTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = [tiny.buzz(s, p) for s, p in ((0.5, 90.0), (2.0, 150.0), (0.48, 120.0), (1.9, 100.0))]
    sounds.append(tiny.buzz(0.7, 110.0, rate=16_000))
    sizes: list[int] = []
    encode_batch = SpeechTokenizer.encode_batch

    def counted(self: SpeechTokenizer, samples: torch.Tensor, *rest: object, **options: bool):
        sizes.append(len(samples))
        return encode_batch(self, samples, *rest, **options)

    monkeypatch.setattr(SpeechTokenizer, "encode_batch", counted)
    together = tokenizer.encode_all(sounds)
    assert sizes == [2, 1, 2]  # only sounds of about one length share a batch
    assert together == [tokenizer.encode(sound) for sound in sounds]
    sizes.clear()
    tokenizer.encode_all(sounds, upstream_compat=True)
    assert sizes == [5]
    assert tokenizer.encode_all([]) == []


def test_pooling_may_come_before_the_last_layers_and_keep_the_largest() -> None:
    torch.manual_seed(0)
    sizes = replace(tiny.TOKENIZER, layers=2, pooling=4, causal_block=10)
    late, early = SpeechTokenizer(sizes), SpeechTokenizer(replace(sizes, pool_after=1))
    largest = SpeechTokenizer(replace(sizes, max_pooling=True))
    early.load_state_dict(late.state_dict())
    largest.load_state_dict(late.state_dict())
    samples, length = tiny.buzz(1.0).samples[None, :23_040], torch.tensor([23_040])
    outputs = [model.eval().pooled(samples, length)[0] for model in (late, early, largest)]
    assert {tuple(x.shape) for x in outputs} == {(1, 12, 16)}
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert (outputs[2] >= outputs[0]).all()


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
    with torch.device("meta"):
        official = SpeechTokenizer(SpeechTokenizerConfig.official())
    shapes = {key: tuple(value.shape) for key, value in official.state_dict().items()}
    assert shapes["encoder.conv1.weight"] == (1280, 128, 3)
    assert shapes["encoder.layers.15.fc1.weight"] == (5120, 1280)
    assert shapes["quantizer.weight"] == (32_768, 1280)


def test_saved_and_loaded_it_gives_the_same_ids(tokenizer: SpeechTokenizer, tmp_path: Path) -> None:
    checkpoint.save(tokenizer, tmp_path)
    again = checkpoint.load(SpeechTokenizer, tmp_path)
    assert again.config == tokenizer.config
    assert again.encode(tiny.buzz(1.0)) == tokenizer.encode(tiny.buzz(1.0))


def test_packed_for_inference_it_gives_the_same_ids_and_cannot_be_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = replace(tiny.TOKENIZER, layers=2, code_dim=0, causal_block=20)
    plain, packed = SpeechTokenizer(sizes).eval(), SpeechTokenizer(sizes).eval()
    packed.load_state_dict(plain.state_dict())
    assert packed.packed() is packed
    sounds = [tiny.buzz(1.2), tiny.buzz(0.3, 200.0)]
    assert packed.encode_all(sounds) == plain.encode_all(sounds)
    samples = sounds[0].samples[None]
    with torch.no_grad():
        x, y = (m.pooled(samples, torch.tensor([samples.shape[1]]))[0] for m in (plain, packed))
    torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)
    narrow = SpeechTokenizer(sizes).eval()
    narrow.load_state_dict(plain.state_dict())
    with torch.no_grad():
        z = narrow.packed(torch.bfloat16).pooled(samples, torch.tensor([samples.shape[1]]))[0]
    assert z.dtype == torch.float32
    torch.testing.assert_close(x, z, atol=0.05, rtol=0.05)
    assert not torch.equal(x, z)
    freed = [value.is_meta for key, value in packed.state_dict().items() if "fc1.weight" in key]
    assert freed == [torch.backends.mkldnn.is_available()] * 2
    if any(freed):
        with pytest.raises(CheckpointError, match="packed"):
            checkpoint.save(packed, tmp_path)


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
    slow = TokenizerHeads(replace(heads.config, upsample=2))
    assert slow.phoneme_logits(codes).shape == (2, 14, 10)
    assert slow.pitch_curve(codes)[0].shape == (2, 28)


def test_alignment_follows_clear_posteriors() -> None:
    spoken = [0, 3, 3, 0, 0, 5, 0, 5, 5, 0]  # 3, then 5 twice with a blank between
    log_probs = torch.full((10, 6), -8.0)
    log_probs[torch.arange(10), torch.tensor(spoken)] = -0.01
    path = ctc_align(log_probs, [3, 5, 5])
    assert path == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert ctc_align(log_probs[:2], [3, 5, 5]) == []
    assert ctc_align(log_probs[:6], [3, 5, 2, 5], whole=False) == [0, 0, 0, 0, 1, 1]
    assert ctc_align(log_probs, []) == []
