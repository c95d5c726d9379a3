"""A policy learns what rewards pay, and the run knows when that is not what is wanted."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from glmtts import checkpoint
from glmtts.errors import BadInput, TrainingStopped
from glmtts.lm import TextToSpeechTokens
from glmtts.rewards.base import Failed, Sample, Score, Verdict
from glmtts.train import grpo as stage
from glmtts.train import scoring
from glmtts.train.guards import Limits
from glmtts.train.lora import Lora
from glmtts.train.scoring import Answer
from tests.tiny import build

WANTED = 7


def wanted(answer: Answer) -> Score:
    """Share of the one token that is asked for."""
    return Score(sum(token == WANTED for token in answer.tokens) / max(1, len(answer.tokens)))


def broken(answer: Answer) -> Score:
    raise RuntimeError("the judge is asleep")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo")
    build(folder / "model")
    texts = ["你好。", "世界。", "你好世界。", "世界你好。", "你好你好。"]
    (folder / "texts.txt").write_text("\n".join(texts))
    return folder


@pytest.fixture(autouse=True)
def rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rewards on tokens of these tests; no TensorBoard, it is slow to import."""
    known = scoring.token_rewards

    def more(proofreader: object) -> dict:
        return {**known(proofreader), "wanted": wanted, "broken": broken}

    monkeypatch.setattr(scoring, "token_rewards", more)
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard.writer", None)


def config(home: Path, out: Path, **more: object) -> stage.Config:
    settings = {
        "texts": str(home / "texts.txt"), "model": str(home / "model"), "out": out,
        "rewards": ("wanted=1",), "steps": 4, "prompts": 2, "answers": 6, "top_p": 1.0,
        "top_k": 0, "lr": 3e-3, "warmup": 1, "save_every": 0, "valid_every": 0,
        "sample_every": 0, "device": "cpu", "amp": False, "actor_dtype": "float32",
        "guards": Limits(length=0.0, entropy=0.0),
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(TextToSpeechTokens, folder).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_rewarded_becomes_likelier(home: Path, tmp_path: Path):
    stage.main(config(home, tmp_path, steps=25, lr=1e-2, updates=2))
    rows = log_of(tmp_path)
    first = sum(row["wanted"] for row in rows[:5]) / 5
    last = sum(row["wanted"] for row in rows[-5:]) / 5
    assert last > first + 0.1
    assert rows[-1]["kl"] > rows[4]["kl"] >= 0.0
    assert (tmp_path / "curves.png").is_file()
    assert not same(weights_of(tmp_path / "lm"), weights_of(home / "model" / "lm"))
