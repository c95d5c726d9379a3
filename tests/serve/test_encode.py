"""Every format plays, grows while it is written, and ends with the last syllable."""

import io

import numpy as np
import pytest
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput, MissingExtra
from glmtts.serve.encode import FORMATS, MARK, encoder
from tests.serve.humming import hum

av = pytest.importorskip("av")


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    parts: list[np.ndarray] = []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            parts.append(frame.to_ndarray().astype(np.float64).reshape(-1))
            rate, scale = frame.sample_rate, 32_768 if frame.format.name.startswith("s16") else 1.0
    return np.concatenate(parts) / scale, rate


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seconds", [0.0, 0.01, 3.0])
def test_what_is_written_piece_by_piece_plays(kind: str, seconds: float) -> None:
    whole = hum(seconds)
    out = encoder(kind, 24_000)
    data = b"".join(out.push(Audio(part, 24_000)) for part in whole.split(2_400))
    early = len(data)
    data += out.finish()
    if kind == "pcm":
        assert len(data) == 2 * len(whole)
        return
    if seconds < 0.1:
        return  # nothing to hear, but no error
    assert early > len(data) / 3  # it came while it was made
    samples, rate = decoded(data)
    # Opus is decoded at 48 kHz; encoders pad to a whole frame.
    assert len(samples) / rate == pytest.approx(seconds, abs=0.12)
    assert float(np.abs(samples).mean()) == pytest.approx(0.318, abs=0.06)
    last = samples[-int(0.2 * rate) :]
    assert float(np.abs(last).mean()) > 0.1


@pytest.mark.parametrize("kind", ["wav", "flac", "opus"])
def test_metadata_say_that_a_machine_spoke(kind: str) -> None:
    def written(mark: bool) -> bytes:
        out = encoder(kind, 24_000, mark=mark)
        return out.push(Audio(hum(), 24_000)) + out.finish()

    assert MARK.encode() in written(True)
    assert MARK.encode() not in written(False)


def test_too_loud_sound_is_clipped_not_wrapped() -> None:
    data = encoder("pcm", 24_000).push(Audio(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), 24_000))
    assert np.frombuffer(data, "<i2").tolist() == [-32768, -32768, 0, 32767, 32767]


def test_unknown_formats_and_missing_packages_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadInput, match="mp3, opus"):
        encoder("midi", 24_000)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"glmtts\[aac\]"):
        encoder("aac", 24_000)
