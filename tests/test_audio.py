import io
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.audio import (
    Audio,
    AudioSpec,
    kaldi_fbank,
    log_mel,
    mel_basis,
    sinc_resampled,
    whisper_log_mel,
)
from glmtts.errors import BadAudio
from tests import tiny


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg", "opus"])
def test_every_format_is_written_and_read(tmp_path: Path, kind: str) -> None:
    sound = tiny.buzz(1.0)
    sound.save(tmp_path / f"a.{kind}")
    again = Audio.load(tmp_path / f"a.{kind}")
    assert again.seconds == pytest.approx(1.0, abs=0.1)
    assert again.samples.abs().max() > 0.1


def test_stereo_is_mixed_and_rates_are_kept(tmp_path: Path) -> None:
    import soundfile

    left = tiny.buzz(0.5, rate=44_100).samples.numpy()
    soundfile.write(tmp_path / "s.wav", np.stack([left, -left], 1), 44_100)
    sound = Audio.load(tmp_path / "s.wav")
    assert sound.sample_rate == 44_100
    assert sound.samples.abs().max() < 1e-3
    assert sound.resampled(16_000).samples.shape[0] == pytest.approx(8_000, abs=2)


def test_what_is_not_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name in ("text.wav", "empty.wav", "missing.wav"):
        with pytest.raises(BadAudio, match=name):
            Audio.load(tmp_path / name)
    with pytest.raises(BadAudio, match="Unknown audio format"):
        tiny.buzz(0.1).save(tmp_path / "a.xyz")
    with pytest.raises(BadAudio, match="Cannot write"):
        tiny.buzz(0.1).save(tmp_path / "no" / "a.wav")
    with pytest.raises(BadAudio, match="no audio"):
        Audio.concat([])
    with pytest.raises(BadAudio, match="sample rates"):
        Audio.concat([tiny.buzz(0.1), tiny.buzz(0.1, rate=16_000)])


def test_joining_keeps_the_worst_ending() -> None:
    parts = [Audio(torch.ones(2), 8, reason) for reason in ("stop", "length", None)]
    joined = Audio.concat(parts)
    assert joined.finish_reason == "length"
    assert joined.samples.tolist() == [1.0] * 6


def test_wav_goes_through_a_stream() -> None:
    buffer = io.BytesIO()
    tiny.buzz(0.2).save(buffer)
    buffer.seek(0)
    assert Audio.load(buffer).seconds == pytest.approx(0.2)


def test_mels_have_a_frame_each_hop() -> None:
    spec = AudioSpec()
    assert (spec.frames_per_token, spec.samples_per_token) == (2, 960)
    assert log_mel(torch.zeros(24_000), spec).shape == (50, 80)
    assert log_mel(torch.zeros(3, 4_801), spec).shape == (3, 10, 80)
    assert whisper_log_mel(torch.zeros(16_000)).shape == (100, 80)
    low = log_mel(torch.zeros(9_600), spec)
    assert low.max() < np.log(1e-3)
    assert mel_basis(24_000, 1_920, 80, 0.0, 8_000.0).sum() > 0


def test_whispers_mel_is_the_same_at_a_higher_rate() -> None:
    at_24k = tiny.buzz(1.0)
    a = whisper_log_mel(at_24k.samples, 80, 24_000)
    b = whisper_log_mel(at_24k.resampled(16_000).samples, 80, 16_000)
    assert (a[2:-2] - b[2:-2]).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("source", "target"), [(24_000, 16_000), (16_000, 24_000), (44_100, 8_000)]
)
def test_the_sinc_resampler_keeps_a_tone(source: int, target: int) -> None:
    def tone(rate: int) -> torch.Tensor:
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate // 5) / rate)

    found = sinc_resampled(tone(source), source, target)
    assert found.shape == (target // 5,)
    assert (found - tone(target))[100:-100].abs().max() < 2e-3
    odd = sinc_resampled(torch.ones(1_001), source, target)
    assert len(odd) == -(-1_001 * target // source)
    sound = Audio(tone(source), source)
    assert torch.equal(sound.resampled(target, "sinc").samples, found)
    assert (sound.resampled(target).samples - found)[100:-100].abs().max() < 1e-2


def test_whispers_mel_of_a_padded_row_is_that_of_the_row_alone() -> None:
    torch.manual_seed(0)
    rows = [torch.randn(n) * level for n, level in ((3_200, 0.1), (6_400, 1.0), (160, 0.5))]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    for rate in (16_000, 24_000):
        multiple = lengths // 480 * 480 if rate == 24_000 else lengths
        multiple = multiple.clamp(min=rate // 50)
        together = whisper_log_mel(padded, 80, rate, multiple)
        for row, n, found in zip(padded, multiple.tolist(), together, strict=True):
            alone = whisper_log_mel(row[:n], 80, rate)
            torch.testing.assert_close(found[: len(alone)], alone, atol=1e-6, rtol=1e-5)
            assert not found[len(alone) :].any()
    assert not torch.allclose(whisper_log_mel(padded)[0, :20], together[0, :20], atol=1e-3)


def test_kaldis_features_count_whole_windows() -> None:
    assert kaldi_fbank(torch.zeros(399)).shape == (0, 80)
    assert kaldi_fbank(torch.zeros(400)).shape == (1, 80)
    assert kaldi_fbank(torch.zeros(559)).shape == (1, 80)
    silence = kaldi_fbank(torch.full((16_000,), 0.5))  # a constant is taken out of each window
    assert silence.shape == (98, 80)
    assert (silence == silence.min()).all()
    time = torch.arange(16_000) / 16_000
    for hertz in (200.0, 1_000.0, 5_000.0):
        loudest = kaldi_fbank(torch.sin(2 * torch.pi * hertz * time)).mean(0).argmax()
        mel = 1127.0 * np.log(1.0 + np.array([20.0, hertz, 8_000.0]) / 700.0)
        expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 81 - 1
        assert abs(float(loudest) - expected) < 1.0
