"""A watermark is found where it was put, and nowhere else."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from glmtts.audio import Audio
from glmtts.cli import main
from glmtts.commands.say import Outputs, Request
from glmtts.errors import BadInput
from glmtts.serve.encode import encoder
from glmtts.watermark import Watermarker, detect, marked


def speechlike(seconds: float = 8.0, rate: int = 24_000, seed: int = 0) -> Audio:
    """Syllables of a wandering voice, pauses, and breath."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * rate:
        length = int(rng.uniform(0.08, 0.3) * rate)
        time = np.arange(length) / rate
        pitch, formants = rng.uniform(90, 250), rng.uniform(300, 4_000, 3)
        tone = np.zeros(length)
        for k in range(1, int(7_000 / pitch)):
            loud = sum(np.exp(-(((k * pitch - f) / 400) ** 2)) for f in formants) + 0.02
            tone += loud * np.sin(2 * np.pi * k * pitch * time)
        parts.append(tone * np.sin(np.pi * np.arange(length) / length))
        if rng.random() < 0.2:
            parts.append(np.zeros(int(rng.uniform(0.05, 0.2) * rate)))
    samples = np.concatenate(parts)[: int(seconds * rate)]
    samples += 0.002 * rng.standard_normal(len(samples))
    return Audio(torch.from_numpy((0.2 * samples / np.std(samples)).astype(np.float32)), rate)


SOUND = speechlike()


def coded(audio: Audio, container: str, coding: str) -> Audio:
    file = io.BytesIO()
    soundfile.write(
        file, audio.samples.numpy(), audio.sample_rate, format=container, subtype=coding
    )
    file.seek(0)
    samples, rate = soundfile.read(file, dtype="float32")
    return Audio(torch.from_numpy(samples), rate)


def test_it_is_found_with_its_key_alone() -> None:
    sound = marked(SOUND, "anna")
    assert detect(sound, "anna").found
    assert detect(sound, "anna").score > 8
    assert not detect(sound, "bert").found
    assert not detect(SOUND, "anna").found
    assert len(sound.samples) == len(SOUND.samples)
    change = (sound.samples - SOUND.samples).square().mean() / SOUND.samples.square().mean()
    assert -30 < 10 * change.log10() < -18


@pytest.mark.parametrize(
    "change",
    [
        lambda a: coded(a, "MP3", "MPEG_LAYER_III"),
        lambda a: coded(a, "OGG", "OPUS"),
        lambda a: coded(a, "OGG", "VORBIS"),
        lambda a: a.resampled(16_000).resampled(44_100),
        lambda a: Audio(a.samples[31_337:], a.sample_rate),
        lambda a: Audio(a.samples * 0.1, a.sample_rate),
        lambda a: Audio(a.samples + 0.01 * torch.randn(len(a.samples)), a.sample_rate),
    ],
    ids=["mp3", "opus", "vorbis", "resampled", "cut", "quieter", "noise"],
)
def test_it_outlives_what_sound_goes_through(change) -> None:
    torch.manual_seed(0)
    assert detect(change(marked(SOUND))).found
    assert not detect(change(SOUND)).found


def test_sounds_without_it_score_as_chance_does() -> None:
    scores = [detect(speechlike(3.0, seed=seed)).score for seed in range(12)]
    assert max(scores) < 5.5


@pytest.mark.parametrize("size", [50, 777, 5_000, 10**6])
def test_pieces_of_any_size_give_the_same_sound(size: int) -> None:
    sound = Audio(SOUND.samples[:10_001], SOUND.sample_rate)
    marker, whole = Watermarker("k", sound.sample_rate), marked(sound, "k")
    parts = [
        marker.push(Audio(part, sound.sample_rate)).samples for part in sound.samples.split(size)
    ]
    joined = torch.cat([*parts, marker.finish().samples])
    assert torch.allclose(joined, whole.samples, atol=1e-7)
    assert torch.allclose(joined, sound.samples, atol=0.15)


@pytest.mark.parametrize("kind", ["wav", "pcm"])
def test_the_server_marks_what_it_sends(kind: str) -> None:
    out, data = encoder(kind, 24_000, watermark="anna"), b""
    for part in SOUND.samples.split(12_000):
        data += out.push(Audio(part, 24_000))
    data += out.finish()
    data = data[data.index(b"data") + 8 :] if kind == "wav" else data
    heard = torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 32_768)
    assert len(heard) == len(SOUND.samples)
    assert detect(Audio(heard, 24_000), "anna").found
    narrow = encoder("pcm", 8_000, watermark="anna")
    assert narrow.push(Audio(SOUND.samples[:800], 8_000)) != b""  # no room for one: left alone


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, out = tmp_path / "plain.wav", tmp_path / "out.flac"
    SOUND.save(plain)
    with pytest.raises(SystemExit) as ended:
        main(["watermark", "add", str(plain), str(out), "--key", "anna"])
    assert ended.value.code == 0
    for arguments, status, word in (
        ([str(out), "--key", "anna"], 0, "out.flac: watermark"),
        ([str(out), str(plain), "--key", "anna"], 1, "plain.wav: no watermark"),
        ([str(out)], 1, "no watermark"),
        ([str(out), "--key", "anna", "--json"], 0, '"found": true'),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["watermark", "detect", *arguments])
        assert ended.value.code == status
        assert word in capsys.readouterr().out


def test_say_marks_what_it_writes(tmp_path: Path) -> None:
    request = Request("你好", output=str(tmp_path / "said.wav"), watermark="anna")
    with Outputs(request, SOUND.sample_rate) as outputs:
        for part in SOUND.samples.split(50_000):
            outputs.write(Audio(part, SOUND.sample_rate))
        outputs.close()  # as after Ctrl-C: closed twice, finished once
    said = Audio.load(tmp_path / "said.wav")
    assert len(said.samples) == len(SOUND.samples)
    assert detect(said, "anna").found


def test_what_makes_no_sense_is_refused() -> None:
    for wrong, why in (
        (lambda: marked(SOUND, ""), "needs a key"),
        (lambda: marked(SOUND, "k", 9.0), "Strength"),
        (lambda: Watermarker("k", 8_000), "too few"),
        (lambda: Watermarker("k", 16_000).push(SOUND), "has 24000"),
        (lambda: detect(Audio(SOUND.samples[:9_000], 24_000)), "too short"),
    ):
        with pytest.raises(BadInput, match=why):
            wrong()
