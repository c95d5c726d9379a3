"""Judges of styles: learnt from prosody, of speakers kept apart, behind the contract of judges."""

from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.audio import Audio
from glmtts.data.files import read_json
from glmtts.data.manner import MANNERS, Manner
from glmtts.data.shards import Clip, write_shard
from glmtts.errors import BadAudio, BadInput, CheckpointError
from glmtts.judges.base import Failed, Sample, Score
from glmtts.judges.registry import make
from glmtts.judges.styles import net_at, side_of, statistics_of_sound
from glmtts.rewards.shaped import reward
from glmtts.style_net import StyleConfig, StyleNet
from glmtts.text.styles import NEUTRAL, tag
from glmtts.train import style_judge as stage

RATE, HOP = 24_000, 480


def melody(rng: np.random.Generator, manner: Manner) -> np.ndarray:
    """(F,) F0 of a sentence: syllables that come and go around a level, falling a little."""
    frames = int(rng.integers(70, 110) / manner.tempo)
    place = np.linspace(0.0, 1.0, frames)
    waves = 2.0 * np.sin(place * rng.uniform(12, 20) + rng.uniform(0, 6)) - 4.0 * place
    f0 = rng.uniform(90, 240) * 2.0 ** (waves / 12)
    bent = manner.bend_pitch(torch.tensor(f0)).numpy().copy()
    bent[rng.random(frames) < 0.2] = 0.0
    return bent.astype(np.float16)


def voiced(f0: np.ndarray) -> np.ndarray:
    """(N,) int16 sound with that F0."""
    phase = np.cumsum(np.repeat(f0.astype(np.float64), HOP)) * (2 * np.pi / RATE)
    tone = sum(np.sin(k * phase) / k for k in range(1, 8)) * np.repeat(f0 > 0, HOP)
    return (4_000 * tone).astype(np.int16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rule-made melodies of twelve speakers, as shards."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    for split, speakers, count in (("train", 12, 240), ("valid", 3, 60)):
        clips, sounds, pitches = [], [], []
        for i in range(count):
            style = (NEUTRAL, *MANNERS)[i % 5]
            f0 = melody(rng, MANNERS.get(style, Manner()))
            unit = ((tag(style), ()),) if style != NEUTRAL else ()
            name = f"{split}{i % speakers}"
            clips.append(Clip(f"{split}-{i}", "en", name, "x", (*unit, ("x", ())), len(f0) / 50))
            sounds.append(voiced(f0))
            pitches.append(f0)
        write_shard(folder / split, 0, clips, {"audio": sounds, "f0": pitches})
    return folder


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judge")
    train, valid = str(shards / "train"), str(shards / "valid")
    stage.main(stage.Config(train, valid, "sound", 1, out, narrowed=0.8))
    return out


def test_a_judge_learns_styles_and_hears_them_in_speakers_it_never_met(trained: Path) -> None:
    report = read_json(trained / "confusion.json")
    for which in ("held-out speakers", "the other half of the speakers"):
        found = np.array(report[which])
        assert found.sum() >= 60
        assert found.trace() / found.sum() > 0.85
    assert "rule-made" in checkpoint.load(StyleNet, trained / "judge").config.about


def test_sound_is_judged_for_the_style_that_was_asked_for(trained: Path) -> None:
    judge = make(f"emotion=sound:{trained / 'judge'}")
    rng, right = np.random.default_rng(7), 0
    for style, manner in MANNERS.items():
        samples = torch.from_numpy(voiced(melody(rng, manner)).astype(np.float32) / 32768)
        (verdict,) = judge([Sample(Audio(samples, RATE), "x", "en", style=style)])
        assert isinstance(verdict, Score)
        chances = verdict.detail["chances"]
        assert isinstance(chances, dict)
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-3)
        right += bool(verdict.detail["right"])
    assert right >= 3
    (verdict,) = judge([Sample(Audio(torch.zeros(RATE), RATE), "x", "en", style="sad")])
    assert isinstance(verdict, Failed)
    assert "voiced" in verdict.reason


def test_level_and_loudness_of_a_voice_do_not_matter():
    rng = np.random.default_rng(1)
    f0 = melody(rng, Manner()).astype(np.float32)
    sound = voiced(f0).astype(np.float32) / 32768
    one = statistics_of_sound(f0, sound, HOP, "some words")
    other = statistics_of_sound(f0 * 1.7, sound * 0.3, HOP, "[happy] some words")
    torch.testing.assert_close(one, other, atol=2e-2, rtol=0)
    quicker = statistics_of_sound(f0, sound, HOP, "some words, and then some more")
    assert quicker[-1] > one[-1] + 0.5, "more words in the same time"


def test_a_hum_that_nobody_hears_is_no_voice():
    f0 = melody(np.random.default_rng(2), Manner()).astype(np.float32)
    sound = voiced(f0).astype(np.float32) / 32768
    hum = 10.0 ** (-75.0 / 20.0) * np.sin(np.arange(len(sound)) * (2 * np.pi * 110.0 / RATE))
    told = statistics_of_sound(f0, sound, HOP, "some words")
    heard = statistics_of_sound(np.where(f0 > 0, f0, 110.0), sound + hum, HOP, "some words")
    torch.testing.assert_close(heard, told, atol=2e-2, rtol=0)


def test_a_speaker_is_of_one_side_and_a_blend_of_both_is_of_none():
    sides = {name: side_of(name) for name in ("af_bella", "am_adam", "bf_emma", "jf_alpha")}
    assert set(sides.values()) == {0, 1}
    first = next(name for name, side in sides.items() if side == 0)
    second = next(name for name, side in sides.items() if side == 1)
    assert side_of(f"{first}|{second}") == 0, "the timbre counts"
    assert side_of(f"{first}*0.5+{second}*0.5|{first}") is None


def test_silence_has_no_style():
    with pytest.raises(BadAudio, match="voiced"):
        statistics_of_sound(np.zeros(50, np.float32), np.zeros(50 * HOP, np.float32), HOP, "x")


def test_a_judge_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint.save(StyleNet(StyleConfig("sound")), tmp_path)
    with pytest.raises(BadInput, match="hears sound, here one that hears tokens"):
        reward(f"emotion=tokens:{tmp_path}")
    with pytest.raises(CheckpointError, match="nowhere"):
        make("emotion=sound:/nowhere")


def test_the_judges_that_come_with_the_package_are_different_models():
    tokens, sound = (net_at("", hears) for hears in ("tokens", "sound"))
    assert tokens.config.about.startswith("side 0")
    assert sound.config.about.startswith("side 1")
