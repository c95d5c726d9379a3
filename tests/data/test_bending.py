"""Clips of recorded speech are said in another manner; plain ones are not copied."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.data import bending
from glmtts.data.bending import add_styles, bend
from glmtts.data.manifest import read_clips, read_manifest
from glmtts.data.manner import MANNERS, Manner
from glmtts.data.pitch import track_pitch
from glmtts.errors import BadInput
from glmtts.text.styles import STYLES
from tests import tiny

RATE = 24_000


def semitones(samples: np.ndarray) -> tuple[float, float]:
    """Pitch of the first and of the last third, relative to 130 Hz."""
    f0 = track_pitch(samples, RATE, 240)
    curve = 12 * np.log2(f0[f0 > 0] / 130.0)
    third = len(curve) // 3
    return float(np.median(curve[:third])), float(np.median(curve[-third:]))


def test_pitch_climbs_or_falls_as_the_manner_has_it() -> None:
    speech = tiny.buzz(1.5, 130.0).samples.numpy()
    first, last = semitones(bend(speech, RATE, Manner(tilt=12.0)))
    assert first == pytest.approx(-4.0, abs=1.0)
    assert last == pytest.approx(4.0, abs=1.0)
    assert semitones(bend(speech, RATE, Manner())) == pytest.approx((0.0, 0.0), abs=0.3)


def test_tempo_changes_the_length_and_not_the_pitch() -> None:
    speech = tiny.buzz(1.5, 130.0).samples.numpy()
    slow = bend(speech, RATE, Manner(tempo=0.75))
    assert len(slow) == pytest.approx(len(speech) / 0.75, rel=0.02)
    assert semitones(slow) == pytest.approx((0.0, 0.0), abs=0.3)


def test_a_louder_manner_is_louder_and_never_clips() -> None:
    speech = tiny.buzz(1.5, 130.0).samples.numpy() * 0.1
    speech[RATE // 2 : RATE] *= 0.2  # a quiet part, so that the level has a deviation
    plain, loud = (bend(speech, RATE, Manner(energy=energy)) for energy in (0.0, 1.0))
    assert np.square(loud).mean() > 1.5 * np.square(plain).mean()
    assert np.abs(bend(speech * 9.0, RATE, Manner(energy=2.0))).max() <= 0.98


def corpus(folder: Path, count: int) -> Path:
    folder.mkdir()
    lines: list[str] = []
    for number in range(count):
        tiny.buzz(0.8, 120.0 + 10 * number).save(folder / f"{number}.wav")
        lines.append(json.dumps({
            "file": f"{number}.wav", "lang": "zh", "speaker": "a|b", "text": "你好。",
            "pinyin": ["ni3", "hao3"], "seconds": 0.8, "style": "sad" if number == 0 else "",
        }))  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


def test_styles_take_turns_and_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch) -> None:
    source = corpus(tmp_path / "speech", 9)
    assert add_styles(source, tmp_path / "whole", count=8, seed=3) == 8
    made = read_manifest(tmp_path / "whole" / "manifest.jsonl")
    assert sorted(clip.style for clip in made) == sorted(STYLES * 2)
    assert all(clip.text == "你好。" for clip in made)
    assert made[0].seconds == pytest.approx(0.8 / MANNERS[made[0].style].tempo, abs=0.03)

    def stopped(*given: object) -> np.ndarray:
        if (tmp_path / "again" / "clips" / "000002.flac").exists():
            raise KeyboardInterrupt
        return bend(*given)  # pyright: ignore

    monkeypatch.setattr(bending, "bend", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_styles(source, tmp_path / "again", count=8, seed=3)
    monkeypatch.undo()
    assert add_styles(source, tmp_path / "again", count=8, seed=3) == 8
    assert read_manifest(tmp_path / "again" / "manifest.jsonl") == made
    one, two = (
        [sound.samples for _, sound in read_clips(tmp_path / name, made)]
        for name in ("whole", "again")
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_more_than_there_is_gives_all_and_styled_clips_alone_are_refused(tmp_path: Path) -> None:
    source = corpus(tmp_path / "speech", 3)
    assert add_styles(source, tmp_path / "out", count=100, seed=0) == 2
    only = [replace(clip, style="sad") for clip in read_manifest(source)]
    bending.write_manifest(source, only)
    with pytest.raises(BadInput, match="no clip without a style"):
        add_styles(source, tmp_path / "none", count=1, seed=0)
