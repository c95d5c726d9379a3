"""A sound file that grows part by part can be read at any moment."""

from pathlib import Path

import pytest
import soundfile
import torch

from glmtts.audio import Audio
from glmtts.audio_writer import AudioWriter
from glmtts.errors import BadAudio


def part(seconds: float, level: float = 0.25) -> Audio:
    return Audio(torch.full((int(seconds * 24_000),), level), 24_000)


def test_the_file_is_whole_after_every_part(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with AudioWriter(path, 24_000) as out:
        assert soundfile.info(path).frames == 0
        for count in (1, 2, 3):
            out.write(part(0.5))
            assert soundfile.info(path).frames == count * 12_000
            assert out.seconds == count * 0.5


def test_it_holds_what_audio_save_writes(tmp_path: Path) -> None:
    sound = Audio(torch.linspace(-1.2, 1.2, 9_000), 24_000)
    with AudioWriter(tmp_path / "a.wav", 24_000) as out:
        out.write(sound)
    sound.save(tmp_path / "b.wav")
    ours, theirs = (Audio.load(tmp_path / name).samples for name in ("a.wav", "b.wav"))
    assert torch.allclose(ours, theirs, atol=1.1 / 32_768)


def test_an_error_in_between_finishes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"

    def fail_halfway() -> None:
        with AudioWriter(path, 24_000) as out:
            out.write(part(0.5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert soundfile.info(path).frames == 12_000


def test_another_rate_is_refused(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", 16_000) as out, pytest.raises(BadAudio, match="16000"):
        out.write(part(0.1))


@pytest.mark.parametrize("name", ["a.xyz", "a", "missing/a.wav", "missing/a.mp3"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadAudio, match=name):
        AudioWriter(tmp_path / name, 24_000)
    assert not (tmp_path / name).exists()
