import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from glmtts.audio import Audio, AudioSpec, log_mel, mel_basis, whisper_log_mel
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


@pytest.mark.reference
def test_mels_are_the_official_ones() -> None:
    goldens = Path(os.environ.get("GLMTTS_GOLDENS", "../shared/goldens")) / "mel.safetensors"
    with safe_open(str(goldens), "pt") as file:  # pyright: ignore
        keys = set(file.keys())  # pyright: ignore
        basis = {k: file.get_tensor(k).float() for k in keys if "basis" in k}  # pyright: ignore
    found = [b for b in basis.values() if b.shape == (80, 961)]
    assert found, f"no 24 kHz basis among {sorted(basis)}"
    assert (found[0] - mel_basis(24_000, 1_920, 80, 0.0, 8_000.0)).abs().max() < 1e-6
