"""A policy learns what rewards pay, and the run knows when that is not what is wanted."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from glmtts import checkpoint
from glmtts.errors import BadInput, TrainingStopped
from glmtts.lm import Rollouts, TextToSpeechTokens
from glmtts.rewards.base import Failed, Sample, Score, Verdict
from glmtts.sampling import Sampling
from glmtts.train import grpo as stage
from glmtts.train import scoring
from glmtts.train.guards import Limits
from glmtts.train.lora import Lora
from glmtts.train.rollouts import Actor
from glmtts.train.scoring import Answer
from glmtts.voice import Prompt
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
        "rewards": ("wanted@1",), "steps": 4, "prompts": 2, "answers": 6, "top_p": 1.0,
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


def test_a_resumed_run_equals_an_uninterrupted_one(home: Path, tmp_path: Path):
    more = {"updates": 2, "kl_weight": 0.01, "temperature": 1.5, "save_every": 2}
    stage.main(config(home, tmp_path / "whole", **more))
    stage.main(config(home, tmp_path / "parts", **{**more, "steps": 2}))
    stage.main(config(home, tmp_path / "parts", **more))
    assert same(weights_of(tmp_path / "whole" / "lm"), weights_of(tmp_path / "parts" / "lm"))
    whole, parts = log_of(tmp_path / "whole"), log_of(tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        for name in one:
            if not name.startswith("seconds"):
                assert one[name] == other[name], name


def test_a_run_that_is_paid_for_duration_alone_is_stopped(home: Path, tmp_path: Path):
    hackable = {
        "rewards": ("longer@1",), "steps": 200, "lr": 1e-2, "answers": 12,
        "guards": Limits(length=0.2, entropy=0.0, first=5, window=5),
    }  # fmt: skip
    with pytest.raises(TrainingStopped, match=r"Stopped after step \d+: length went from .*steady"):
        stage.main(config(home, tmp_path, save_every=2, **hackable))
    rows = log_of(tmp_path)
    assert len(rows) < 150
    assert rows[-1]["length"] > 1.15 * rows[0]["length"]
    assert not (tmp_path / "lm").exists()
    # What is kept speaks as at the beginning: its lengths had used half of the margin at most.
    assert weights_of(tmp_path / "steady")


def test_a_run_that_goes_back_goes_on_at_half_the_rate(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hackable = {
        "rewards": ("longer@1",), "steps": 400, "lr": 1e-2, "save_every": 3,
        "guards": Limits(length=0.2, entropy=0.0, first=3, window=3, action="rollback"),
    }  # fmt: skip
    with pytest.raises(TrainingStopped, match="length went from"):
        stage.main(config(home, tmp_path, **hackable))
    assert capsys.readouterr().out.count("Back to the weights after step") == 3
    rates = list(dict.fromkeys(row["lr"] for row in log_of(tmp_path)))
    assert rates == [0.01, 0.005, 0.0025, 0.00125]


def test_a_reward_that_judges_nothing_ends_the_run_and_says_why(home: Path, tmp_path: Path):
    with pytest.raises(TrainingStopped, match="broken: RuntimeError: the judge is asleep"):
        stage.main(config(home, tmp_path, rewards=("wanted@1", "broken@1"), steps=9))
    rows = log_of(tmp_path)
    assert [row["broken_failed"] for row in rows] == [row["answers"] for row in rows] == [12.0] * 3
    assert same(weights_of(tmp_path / "step_000000"), weights_of(home / "model" / "lm"))


def test_adapters_alone_learn_and_what_is_saved_is_a_plain_model(home: Path, tmp_path: Path):
    stage.main(config(home, tmp_path, lora=Lora(rank=2, targets=("q_proj", "down_proj"))))
    before, after = weights_of(home / "model" / "lm"), weights_of(tmp_path / "lm")
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "down_proj"}


def test_judges_hear_the_sound_of_the_answers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    heard: list[Sample] = []

    class Loudness:
        name, version = "loudness", "1"

        def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
            heard.extend(samples)
            fails = [n % 5 == 4 for n in range(len(samples))]
            loud = [float(s.audio.samples.square().mean()) for s in samples]
            return [
                Failed("asleep") if f else Score(value)
                for f, value in zip(fails, loud, strict=True)
            ]

    monkeypatch.setattr(scoring, "judge_named", lambda asked, workers: Loudness())
    stage.main(config(home, tmp_path, rewards=("wanted@1", "loudness@1:0"), steps=1, rerolls=0))
    assert len(heard) == 12
    assert all(s.audio.sample_rate == 24_000 and s.audio.seconds > 0 for s in heard)
    assert all(s.prompt is not None and s.prompt.seconds > 1.0 for s in heard)
    assert {s.language for s in heard} == {"zh"}
    (row,) = log_of(tmp_path)
    assert (row["loudness_failed"], row["judged"], row["answers"]) == (2.0, 10.0, 12.0)


def test_the_end_is_learnt_unless_as_the_official_trainer(home: Path, tmp_path: Path):
    lm = checkpoint.load(TextToSpeechTokens, home / "model" / "lm")
    actor = stage.Actor(lm.config, "cpu", "float32")
    actor.follow(lm.state_dict())
    order = stage.Order((20, 21, 22, 23), Prompt(), (1, 2, 3, 4, 5))
    (group,) = actor.draw([order], config(home, tmp_path).sampling(0))
    ours, theirs = group.masks, stage.without_end(group).masks
    ends = torch.tensor([finish == "stop" for finish in group.finish])
    assert ends.any()
    assert (ours.sum(-1) - theirs.sum(-1)).tolist() == ends.long().tolist()


def test_clips_widen_and_answers_cool_down(home: Path, tmp_path: Path):
    settings = config(home, tmp_path, temperature=2.0, temperature_steps=100, clip_steps=10)
    assert stage.clips(settings, 0) == (0.2, 0.3)
    assert stage.clips(settings, 5) == pytest.approx((0.25, 0.4))
    assert stage.clips(settings, 50) == pytest.approx((0.3, 0.5))
    assert settings.sampling(0).temperature == 2.0
    assert 1.0 < settings.sampling(99).temperature < 1.7
    assert settings.sampling(101).temperature == 1.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": 1}, "at least two answers"),
        ({"rewards": ("wanted@0",)}, "at least one reward"),
        ({"rewards": ("wanted@x",)}, "NAME@WEIGHT"),
        ({"rewards": ("wanted", "wanted")}, "named twice"),
        ({"temperature": 0.0}, "teach nothing"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    home: Path, tmp_path: Path, wrong: dict[str, object], says: str
):
    with pytest.raises(BadInput, match=says):
        config(home, tmp_path, **wrong)


def test_an_unknown_reward_is_named(home: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=r"No reward 'beauty'.*On tokens: reading"):
        stage.main(config(home, tmp_path, rewards=("beauty@1",)))
    with pytest.raises(BadInput, match="heads of the speech tokenizer"):
        stage.main(config(home, tmp_path, rewards=("reading@1",)))


@pytest.mark.parametrize("asked", [None, 0, 1])
def test_answers_are_drawn_as_the_model_speaks_unless_told(
    home: Path, tmp_path: Path, asked: int | None, monkeypatch: pytest.MonkeyPatch
):
    """What `ahead` came to stands in run.json, and answers are drawn so."""
    folder = tmp_path / "model"
    shutil.copytree(home / "model", folder)
    manifest = json.loads((folder / "glmtts.json").read_text())
    (folder / "glmtts.json").write_text(json.dumps({**manifest, "ahead": 2}))
    drawn: list[int | None] = []
    speak = stage.speak

    def listening(actor: Actor, sampling: Sampling, *more: Any) -> list[Rollouts]:
        drawn.append(sampling.ahead)
        return speak(actor, sampling, *more)

    monkeypatch.setattr(stage, "speak", listening)
    stage.main(config(home, tmp_path / "run", model=str(folder), steps=1, ahead=asked))
    expected = 2 if asked is None else asked
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ahead"] == expected
    assert set(drawn) == {expected}
