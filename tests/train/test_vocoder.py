"""The vocoder's training script: it learns, checkpoints load, and a resumed run is the same run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glmtts import checkpoint
from glmtts.audio import AudioSpec, log_mel
from glmtts.data.pitch import track_pitch
from glmtts.data.shards import Clip, write_shard
from glmtts.data.vocoder_batches import VocoderBatches, widened, without_gaps, without_spikes
from glmtts.errors import BadInput
from glmtts.nn.refiner import RefinerConfig
from glmtts.train.vocoder import Config, first_model, main
from glmtts.vocoder import Vocoder, VocoderConfig


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of a gliding buzz."""
    folder = tmp_path_factory.mktemp("shards")
    clips, audio = [], []
    for index, seconds in enumerate((0.5, 0.9, 1.1)):
        t = np.arange(round(seconds * 24_000)) / 24_000
        phase = 2 * np.pi * np.cumsum(120.0 + 30.0 * index + 20.0 * np.sin(6 * t)) / 24_000
        wave = sum(np.sin(k * phase) / k for k in range(1, 25)) * 0.12
        audio.append((wave * 32767).astype(np.int16))
        clips.append(Clip(str(index), "en", "s", "a", (), seconds))
    write_shard(folder, 0, clips, {"audio": audio})
    return folder


def tiny(shards: Path, out: Path, **changes: object) -> Config:
    """A run of a few steps."""
    model = VocoderConfig(
        kind="harmonic", dims=16, blocks=1, hidden=16, kernel=3, cepstrum=16, noise_cepstrum=8,
        bands=6,
    )  # fmt: skip
    config = Config(
        data=str(shards), out=out, model=model, steps=4, batch=2, crop_seconds=0.2, warmup=1,
        lr=2e-3, disc_channels=4, disc_windows=(512, 256), log_every=1, save_every=2,
        valid_every=0, device="cpu", amp=False, ema=0.9,
    )  # fmt: skip
    return replace(config, **changes)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """What a run left."""
    return load_file(out / "vocoder" / "model.safetensors")


@pytest.mark.parametrize("kind", ["harmonic", "vocos", "vocos2d"])
@pytest.mark.parametrize("adversarial_from", [-1, 1])
def test_a_resumed_run_equals_an_uninterrupted_one(
    kind: str, adversarial_from: int, shards: Path, tmp_path: Path, monkeypatch
) -> None:
    model = replace(tiny(shards, tmp_path).model, kind=kind)
    settings = {"model": model, "adversarial_from": adversarial_from}
    main(tiny(shards, tmp_path / "whole", **settings))

    class Killed(Exception):
        """Stands for a power cut."""

    class Batches(VocoderBatches):
        def batch(self, step: int):
            if step == 3:
                raise Killed
            return super().batch(step)

    with monkeypatch.context() as patch:
        patch.setattr("glmtts.train.vocoder.VocoderBatches", Batches)
        with pytest.raises(Killed):
            main(tiny(shards, tmp_path / "cut", **settings))
    main(tiny(shards, tmp_path / "cut", **settings))
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_refiner_is_put_behind_a_trained_vocoder(shards: Path, tmp_path: Path) -> None:
    main(tiny(shards, tmp_path / "first"))
    first = tmp_path / "first" / "vocoder"
    refiner = RefinerConfig(dims=8, blocks=1, hidden=8)
    config = tiny(shards, tmp_path / "second", init=first, refiner=refiner, phase_weight=0.5)

    grown = first_model(config)
    assert grown.config.refiner == refiner
    known = weights(tmp_path / "first")
    assert all(torch.equal(grown.state_dict()[name], known[name]) for name in known)
    whole = checkpoint.load(Vocoder, first).decode(torch.zeros(9, 80))
    assert torch.allclose(grown.decode(torch.zeros(9, 80))[480:-480], whole[480:-480], atol=1e-4)

    main(config)
    learnt = weights(tmp_path / "second")["network.refiner.settings.weight"]
    assert learnt.abs().max() > 0
    again = replace(config, init=tmp_path / "second" / "vocoder", out=tmp_path / "third")
    with pytest.raises(BadInput, match="without a refiner"):
        main(again)
    with pytest.raises(BadInput, match="goes with init"):
        main(replace(config, init=None, out=tmp_path / "fourth"))


def test_it_learns_validates_and_leaves_a_component(shards: Path, tmp_path: Path) -> None:
    config = tiny(shards, tmp_path / "run", steps=12, valid=str(shards), valid_every=12, lr=5e-3)
    main(config)
    rows = [
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    valid = rows[-1]
    for name in ("stft", "mel", "lsd_low", "lsd_high", "pitch_cents", "pitch_gross"):
        assert valid[f"valid_{name}"] >= 0.0
    assert list((tmp_path / "run" / "samples").glob("clip0-*.wav"))
    vocoder = checkpoint.load(Vocoder, tmp_path / "run" / "vocoder")
    assert vocoder.decode(torch.zeros(5, 80)).shape == (2400,)


def test_batches_hold_the_true_mel_and_pitch(shards: Path) -> None:
    spec = AudioSpec()
    batches = VocoderBatches(str(shards), spec, rows=4, frames=20, pitches=2)
    batch = batches.batch(7)
    assert batch.samples.shape == (4, 9600)
    assert batch.mel.shape == (4, 20, 80)
    assert batch.pitch.shape == batch.voiced.shape == (4, 40)
    inner = log_mel(batch.samples, spec)[:, 2:-2]
    assert torch.allclose(inner, batch.mel[:, 2:-2], atol=1e-4)
    spoken = batch.pitch[batch.voiced]
    assert float(spoken.min()) > 90.0
    assert float(spoken.max()) < 210.0
    assert torch.equal(batch.samples, batches.batch(7).samples)
    assert not torch.equal(batch.samples, batches.batch(8).samples)
    assert (shards / "pitch-240.safetensors").exists()


def test_raised_crops_are_higher_and_so_is_the_pitch_that_is_told(shards: Path) -> None:
    shape = {"rows": 16, "frames": 20, "pitches": 2}
    spec = AudioSpec()
    low = VocoderBatches(str(shards), spec, **shape).batch(3)
    high = VocoderBatches(str(shards), spec, **shape, raised=1.0, raised_by=3.0).batch(3)
    assert high.samples.shape == low.samples.shape
    assert high.mel.shape == low.mel.shape
    assert float(low.pitch[low.voiced].max()) < 210.0
    assert float(high.pitch[high.voiced].max()) > 300.0
    compared = 0
    for samples, told, voiced in zip(high.samples, high.pitch, high.voiced, strict=True):
        found = torch.from_numpy(track_pitch(samples.numpy(), spec.sample_rate, 240))
        both = voiced & (found > 0)
        if int(both.sum()) > 10:
            wrong = (found[both] / told[both]).log2().abs().median()
            assert float(wrong) < 0.02, "a quarter of a semitone"
            compared += 1
    assert compared >= 8


def test_how_much_is_raised_must_make_sense(shards: Path, tmp_path: Path) -> None:
    for wrong, name in (({"raised": 1.5}, "raised is"), ({"raised_by": 0.5}, "raised_by is")):
        with pytest.raises(BadInput, match=name):
            tiny(shards, tmp_path, **wrong)


def test_a_pitch_file_of_other_shards_is_refused(shards: Path, tmp_path: Path) -> None:
    write_shard(tmp_path, 0, [Clip("a", "en", "s", "a", (), 1.0)], {"audio": [np.ones(9600)]})
    VocoderBatches(str(shards), AudioSpec(), rows=1, frames=5, pitches=2)
    (tmp_path / "pitch-240.safetensors").write_bytes(
        (shards / "pitch-240.safetensors").read_bytes()
    )
    with pytest.raises(BadInput, match="other shards"):
        VocoderBatches(str(tmp_path), AudioSpec(), rows=1, frames=5, pitches=2)


def test_gaps_in_the_pitch_are_bridged() -> None:
    filled = without_gaps(np.array([0.0, 100.0, 0.0, 400.0, 0.0], np.float32))
    assert np.allclose(filled, [100.0, 100.0, 200.0, 400.0, 400.0])
    assert np.allclose(without_gaps(np.zeros(3, np.float32)), 150.0)


def test_lone_spikes_of_the_tracker_are_dropped_and_voicing_is_widened() -> None:
    track = np.array([0, 0, 100, 101, 180, 102, 103, 0, 0, 0, 0], np.float32)
    clean = without_spikes(track)
    assert clean.tolist() == [0, 0, 100, 101, 0, 102, 103, 0, 0, 0, 0]
    assert np.flatnonzero(~widened(clean > 0)).tolist() == [9, 10]


def test_too_short_a_crop_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="longest window"):
        tiny(shards, tmp_path, crop_seconds=0.08)
