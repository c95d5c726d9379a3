from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts import checkpoint
from glmtts.data.audio_batches import TokenizerBatches
from glmtts.data.shards import Clip, Corpus, write_shard
from glmtts.errors import BadInput
from glmtts.speech_tokenizer import SpeechTokenizer, TokenizerHeads, TokenizerHeadsConfig
from glmtts.text.phonemes import CTC_CLASS
from glmtts.train import speech_tokenizer as stage
from glmtts.train.common import Run
from tests import tiny

PHONES = ("<|N|>", "<|I3|>")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    clips: list[Clip] = []
    arrays: dict[str, list[np.ndarray]] = {"audio": [], "f0": []}
    for number in range(8):
        pitch = 100.0 + 20 * number
        sound = tiny.buzz(0.8, pitch).samples.numpy()
        sound = sound[: len(sound) // 960 * 960]
        clips.append(Clip(f"c{number}", "zh", "s", "你", (("你", PHONES),), 0.8))
        arrays["audio"].append((sound * 32767).astype(np.int16))
        arrays["f0"].append(np.full(len(sound) // 480, pitch, np.float32))
    write_shard(folder, 0, clips, arrays)
    return folder


def config(shards: Path, out: Path, **more: object) -> stage.Config:
    settings = {
        "data": str(shards), "valid": str(shards), "out": out, "model": tiny.TOKENIZER,
        "heads": TokenizerHeadsConfig(code_dim=8, dim=16, layers=1, features=16), "steps": 6,
        "frozen_layers": -1, "vq_from": 2, "restart_every": 2, "seconds_per_batch": 2.0,
        "warmup": 2, "save_every": 0, "valid_every": 0, "device": "cpu", "amp": False,
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


def test_a_killed_run_ends_where_an_uninterrupted_one_does(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.main(config(shards, tmp_path / "whole"))
    real = Run.due

    def stop_after_step_three(run: Run, step: int, every: int) -> bool:
        run.stopping = step == 3
        return real(run, step, every)

    monkeypatch.setattr(Run, "due", stop_after_step_three)
    stage.main(config(shards, tmp_path / "killed"))
    monkeypatch.setattr(Run, "due", real)
    assert (tmp_path / "killed" / "step_000004").is_dir()
    stage.main(config(shards, tmp_path / "killed"))
    one, two = (
        checkpoint.load(SpeechTokenizer, tmp_path / name / "step_000006").state_dict()
        for name in ("whole", "killed")
    )
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


def test_the_loss_falls_and_heads_are_saved(shards: Path, tmp_path: Path) -> None:
    made = config(shards, tmp_path, steps=30, vq_from=5, lr=3e-3, augment=0.0, restart_every=0)
    torch.manual_seed(0)
    training = stage.TokenizerTraining(
        SpeechTokenizer(made.model), TokenizerHeads(made.heads), made
    )
    batches = TokenizerBatches(Corpus(shards), 2.0, 24_000, seed=0)
    optimizer = torch.optim.AdamW(training.parameters(), 3e-3)
    losses: list[float] = []
    for _ in range(25):
        out = training(batches[0], False)
        out["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(out["loss"].detach()))
    assert losses[-1] < 0.6 * losses[0]
    stage.main(replace(made, steps=3, vq_from=1))
    heads = checkpoint.load(TokenizerHeads, tmp_path / "step_000003" / "heads")
    assert heads.config == made.heads


def test_batches_are_a_function_of_the_step_and_hold_every_clip(shards: Path) -> None:
    batches = TokenizerBatches(Corpus(shards), 2.0, 24_000, seed=3)
    assert sorted(i for group in batches.groups for i in group) == list(range(8))
    first, again = batches[5], batches[5]
    assert torch.equal(first.samples, again.samples)
    assert first.samples.shape[1] % 960 == 0
    assert first.labels.tolist()[:2] == [CTC_CLASS[p] for p in PHONES]


def test_the_error_of_a_reading() -> None:
    assert stage.edit_distance([1, 2, 3], [1, 3]) == 1
    assert stage.edit_distance([], [4, 4]) == 2
    assert stage.edit_distance([1, 2], [1, 2]) == 0


def test_a_head_of_the_wrong_size_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="code_dim must be 8"):
        config(shards, tmp_path, heads=TokenizerHeadsConfig(code_dim=64))


def test_slow_codes_are_read_twice(shards: Path, tmp_path: Path) -> None:
    slow = replace(tiny.TOKENIZER, pooling=4)
    heads = TokenizerHeadsConfig(code_dim=8, dim=16, layers=1, upsample=2)
    stage.main(config(shards, tmp_path, model=slow, heads=heads, steps=4, valid_every=4))
    metrics = (tmp_path / "metrics.jsonl").read_text()
    assert "valid/f0_semitones" in metrics
    assert checkpoint.load(TokenizerHeads, tmp_path / "step_000004" / "heads").config == heads
    with pytest.raises(BadInput, match=r"must bring the codes to 25 Hz, it makes 12\.5"):
        config(shards, tmp_path, model=slow)
