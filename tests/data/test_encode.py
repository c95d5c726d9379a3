import json
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.audio import AudioSpec, log_mel
from glmtts.data.encode import encode_audio, encode_tokens
from glmtts.data.manifest import held_out_text
from glmtts.data.pitch import track_pitch
from glmtts.data.shards import MEL_HIGH, MEL_LOW, Corpus, dequantise_mel, quantise_mel
from glmtts.errors import BadInput
from glmtts.speaker import SpeakerConfig, SpeakerEncoder
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, TokenizerHeadsConfig
from tests import tiny


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    texts = [
        t
        for t in ("你好。", "好你。", "你你好。", "好好。", "好你好。", "你好你好。")
        if not held_out_text(t)
    ]
    texts = texts[:4]
    lines: list[str] = []
    for number, text in enumerate(texts):
        name = f"{number}.wav"
        tiny.buzz(1.0 + 0.1 * number, 120.0 + 30 * number).save(folder / name)
        pinyin = [{"你": "ni3", "好": "hao3"}[c] for c in text[:-1]]
        lines.append(json.dumps({
            "file": name, "lang": "zh", "speaker": "zf_xiaoxiao|zf_xiaoxiao", "speed": 1.0,
            "text": text, "pinyin": pinyin, "phonemes": "", "seconds": 1.0,
        }))  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


def test_a_manifest_becomes_shards_and_then_tokens(manifest: Path, tmp_path: Path) -> None:
    counts = encode_audio(manifest, tmp_path / "audio", workers=1)
    assert counts == {"train": 4, "valid_text": 0, "valid_speaker": 0}
    audio = Corpus(tmp_path / "audio" / "train")
    assert audio.array("f0", 0)[20] == pytest.approx(120.0, rel=0.03)

    torch.manual_seed(0)
    tokenizer = SpeechTokenizer(tiny.TOKENIZER).eval()
    heads = TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, layers=1))
    speaker = SpeakerEncoder(SpeakerConfig(hidden=32))
    for _ in range(2):  # the second time everything is there already
        encode_tokens(tmp_path / "audio" / "train", tmp_path / "tokens", tokenizer, heads, speaker)
    corpus = Corpus(tmp_path / "tokens")
    assert sorted(clip.text for clip in corpus) == sorted(clip.text for clip in audio)
    for index, clip in enumerate(corpus.clips):
        tokens = corpus.array("tokens", index)
        assert len(tokens) == round(clip.seconds * 25)
        assert len(corpus.array("mel", index)) == 2 * len(tokens)
        alignment = corpus.array("alignment", index)
        assert len(alignment) == len(tokens)
        assert (np.diff(alignment) >= 0).all()
        assert np.linalg.norm(corpus.array("speaker", index)) == pytest.approx(1.0, abs=1e-3)
        # the arrays belong to their clip although batches are sorted by length
        original = next(i for i, c in enumerate(audio.clips) if c.id == clip.id)
        sound = torch.from_numpy(audio.array("audio", original) / np.float32(32768))
        mel = log_mel(sound, AudioSpec())
        assert (
            dequantise_mel(corpus.array("mel", index)) - mel.clamp(MEL_LOW, MEL_HIGH)
        ).abs().max() < 0.04


def test_no_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="glmtts data encode"):
        Corpus(tmp_path)


def test_the_mel_survives_eight_bits() -> None:
    mel = torch.linspace(MEL_LOW, MEL_HIGH, 800).reshape(10, 80)
    assert (dequantise_mel(quantise_mel(mel)) - mel).abs().max() < 0.03


def test_pitch_is_tracked_at_frame_centres() -> None:
    sound = tiny.buzz(1.0, 200.0).samples.numpy()
    pitch = track_pitch(sound, 24_000, 480)
    assert pitch.shape == (50,)
    voiced = pitch[pitch > 0]
    assert len(voiced) > 25
    assert np.median(voiced) == pytest.approx(200.0, rel=0.02)
    assert not track_pitch(np.zeros(24_000, np.float32), 24_000, 480).any()


def test_faster_speech_becomes_another_speaker(manifest: Path, tmp_path: Path) -> None:
    encode_audio(manifest, tmp_path / "audio", workers=1)
    torch.manual_seed(0)
    parts = (
        SpeechTokenizer(tiny.TOKENIZER).eval(),
        TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, layers=1)),
        SpeakerEncoder(SpeakerConfig(hidden=32)),
    )
    source = tmp_path / "audio" / "train"
    encode_tokens(source, tmp_path / "tokens", *parts, speed=1.25)
    corpus, audio = Corpus(tmp_path / "tokens"), Corpus(source)
    lengths = {clip.id: audio.length("audio", i) for i, clip in enumerate(audio.clips)}
    for index, clip in enumerate(corpus.clips):
        tokens = len(corpus.array("tokens", index))
        assert clip.speaker == "zf_xiaoxiao|zf_xiaoxiao x1.25"
        assert tokens == pytest.approx(lengths[clip.id] / 1.25 / 960, abs=1)
        assert clip.seconds == pytest.approx(tokens / 25)
        assert len(corpus.array("mel", index)) == 2 * tokens
    with pytest.raises(BadInput, match=r"Speed 3\.0 is out of range"):
        encode_tokens(source, tmp_path / "other", *parts, speed=3.0)


def test_recorded_clips_keep_their_time_and_speaker(manifest: Path, tmp_path: Path) -> None:
    encode_audio(manifest, tmp_path / "audio", workers=1)
    torch.manual_seed(0)
    parts = (
        SpeechTokenizer(tiny.TOKENIZER).eval(),
        TokenizerHeads(TokenizerHeadsConfig(code_dim=8, dim=16, layers=1)),
        SpeakerEncoder(SpeakerConfig(hidden=32)),
    )
    source = tmp_path / "audio" / "train"
    encode_tokens(source, tmp_path / "clean", *parts)
    for name in ("a", "b"):
        encode_tokens(source, tmp_path / name, *parts, as_recorded=True)
    clean, first, again = (Corpus(tmp_path / name) for name in ("clean", "a", "b"))
    assert [c.speaker for c in first] == [c.speaker for c in clean]
    differ = 0
    for index in range(len(clean)):
        assert len(first.array("tokens", index)) == len(clean.array("tokens", index))
        assert np.array_equal(first.array("mel", index), again.array("mel", index))
        differ += not np.array_equal(first.array("mel", index), clean.array("mel", index))
    assert differ == len(clean)
