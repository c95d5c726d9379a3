"""Training a voice on the tiny model, and keeping it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glmtts import adapters, checkpoint
from glmtts.data.files import write_json
from glmtts.data.shards import Clip, Corpus, quantise_mel, write_shard
from glmtts.errors import BadInput, CheckpointError
from glmtts.lm import TextToSpeechTokens
from glmtts.options import SpeakOptions
from glmtts.sampling import Sampling
from glmtts.synthesizer import Synthesizer
from glmtts.text.phonemes import pinyin_to_tokens
from glmtts.train import voice as stage
from glmtts.train.common import Run
from glmtts.train.voice_data import checked, reference
from glmtts.train.voice_fit import Best
from glmtts.train.voice_judge import Verdict
from tests import tiny
from tests.conftest import Run as Command

pytest.importorskip("peft")


def write_data(
    folder: Path, model: Path, count: int = 30, speakers: tuple[str, ...] = ("a",)
) -> Path:
    """Prepared data: clips of 2.4 s in which token n stands for phoneme n of 你好."""
    rng = np.random.default_rng(0)
    for name, number in (("train", count), ("valid", 6)):
        clips: list[Clip] = []
        arrays: dict[str, list[np.ndarray]] = {
            "tokens": [],
            "alignment": [],
            "mel": [],
            "speaker": [],
        }
        for index in range(number):
            units = [("你", pinyin_to_tokens("ni3")), ("好", pinyin_to_tokens("hao3"))] * 6
            alignment = np.repeat(np.arange(24), 60 // 24 + 1)[:60]
            tokens = alignment % 4
            mel = torch.from_numpy(np.repeat(tokens, 2)[:, None] * 0.5 - 6.0 + np.zeros((120, 80)))
            clips.append(
                Clip(f"clips/{name}{index}.flac", "zh", speakers[index % len(speakers)],
                     "你好" * 6, tuple(units), 2.4)
            )  # fmt: skip
            arrays["tokens"].append(tokens)
            arrays["alignment"].append(alignment)
            arrays["mel"].append(quantise_mel(mel.float()))
            vector = rng.standard_normal(256).astype(np.float32) * 0.02 + 0.06
            arrays["speaker"].append(vector / np.linalg.norm(vector))
        write_shard(folder / name, 0, clips, arrays)
    write_json(folder / "shards.json", {"model": str(model), "clips": ""})
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice")
    tiny.build(folder / "model")
    write_data(folder / "data", folder / "model")
    return folder


def config(home: Path, out: Path, **more: object) -> stage.Config:
    settings = {
        "data": home / "data", "base": str(home / "model"), "out": out, "steps": 12,
        "flow_steps": 4, "rows": 2, "row_length": 200, "frames_per_batch": 400, "valid_every": 4,
        "warmup": 2, "judge_sentences": 0, "budget": "40%", "flow_budget": "40%",
        "log_every": 1, "save_every": 3, "device": "cpu", "amp": False, "lr": 1e-2,
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    stage.main(config(home, home / "run"))
    return home / "run"


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "lm" / "metrics.jsonl").read_text().splitlines()]


def loud(run: Path, folder: Path) -> Path:
    """The trained voice with adapters of the language model that cannot be overheard."""
    shutil.copytree(run / "voice", folder)
    path = folder / "lm" / adapters.WEIGHTS
    rng = torch.Generator().manual_seed(0)
    state = {
        key: value + torch.randn(value.shape, generator=rng) * (0.5 if "lora_B" in key else 0.0)
        for key, value in load_file(path).items()
    }
    config = json.loads((folder / "lm" / adapters.CONFIG).read_text())
    adapters.save(state, config, folder / "lm", adapters.load(run / "voice" / "lm").base)
    return folder


def test_a_voice_learns_within_its_budget_and_is_left_ready(home: Path, run: Path) -> None:
    card = json.loads((run / "voice" / "voice.json").read_text())
    assert set(card["parts"]) == {"lm", "flow"}
    assert all(0 < part["share"] <= 0.4 for part in card["parts"].values())
    lines = metrics(run)
    valid = [line["valid"] for line in lines if "valid" in line]
    assert len(valid) == 3
    assert lines[-1]["best"] <= min(valid)
    assert any("minutes_left" in line for line in lines)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12
    assert all(np.isfinite(losses))
    adapter = adapters.load(run / "voice" / "lm")
    assert adapter.base == adapters.fingerprint(home / "model" / "lm")
    lm = checkpoint.load(TextToSpeechTokens, home / "model" / "lm")
    assert adapter.parameters <= 0.4 * sum(p.numel() for p in lm.parameters())


def test_a_stopped_run_goes_on_as_if_it_was_not(
    home: Path, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = Run.steps

    def stops(self: Run, start: int, total: int):
        for step in steps(self, start, total):
            self.stopping = step == start + 4
            yield step

    for _ in range(6):
        monkeypatch.setattr(Run, "steps", stops)
        stage.main(config(home, tmp_path / "run"))
        if (tmp_path / "run" / "voice").exists():
            break
    for key in ("loss", "valid", "best"):
        whole, resumed = (
            {line["step"]: line[key] for line in metrics(path) if key in line}
            for path in (run, tmp_path / "run")
        )
        assert {step: resumed[step] for step in whole} == pytest.approx(whole, abs=1e-4)
    whole_voice, voice = (adapters.load(path / "voice" / "lm") for path in (run, tmp_path / "run"))
    for name, part in whole_voice.parts.items():
        torch.testing.assert_close(voice.parts[name].down, part.down)


def test_full_fine_tuning_leaves_components(home: Path, tmp_path: Path) -> None:
    stage.main(config(home, tmp_path / "run", full=True, steps=2, flow_steps=2, lr=1e-3))
    folder = tmp_path / "run" / "voice"
    part = json.loads((folder / "voice.json").read_text())["parts"]["lm"]
    assert (part["rank"], part["share"], part["steps"]) == (0, 1.0, 2)
    assert part["seconds"] > 0
    checkpoint.load(TextToSpeechTokens, folder / "lm")


def test_the_flow_first_learns_what_makes_the_coarse_mel(home: Path, tmp_path: Path) -> None:
    stage.main(config(home, tmp_path / "run", budget="0%", flow_steps=4, coarse_steps=4))
    parts = adapters.load(tmp_path / "run" / "voice" / "flow").parts
    changed = {name for name, part in parts.items() if bool(part.up.any())}
    assert any(name.endswith("coarse") for name in changed)
    assert any("text_emb_layer" in name for name in changed)
    assert not any("transformer_blocks" in name for name in changed)
    assert any("transformer_blocks" in name for name in parts)


class Learner:
    """What `Best` needs of a component: one number that learns."""

    def __init__(self) -> None:
        self.value = torch.zeros(1)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.value = state["value"]


def offered(rows: list[tuple[float, float]]) -> tuple[Best, Learner]:
    """A `Best` that was offered a (loss, similarity) at each step from -1 on."""
    learner = Learner()
    best = Best(learner)  # pyright: ignore
    for step, (loss, sim) in enumerate(rows, -1):
        learner.value = torch.full((1,), float(step))
        best.offer(step, lambda loss=loss: loss, lambda sim=sim: Verdict(sim=sim, spoken=1))
    return best, learner


@pytest.mark.parametrize(("prefers", "kept"), [("loss", 1.0), ("judge", 2.0)])
def test_the_judge_decides_between_the_state_of_least_loss_and_the_one_it_liked(
    prefers: str, kept: float
) -> None:
    best, learner = offered([(3.0, 0.5), (2.0, 0.6), (1.0, 0.7), (1.5, 0.8), (1.6, 0.8)])
    assert (best.step, best.judged_step, best.bad) == (1, 2, 1)

    def listen() -> Verdict:
        liked = float(learner.value) == (1.0 if prefers == "loss" else 2.0)
        return Verdict(sim=1.0 if liked else 0.0, spoken=1)

    best.choose(listen)
    assert float(learner.value) == kept
    assert (best.cost().kept_by, best.cost().best_step) == (prefers, kept + 1)


def test_a_state_the_judge_liked_is_remembered_when_the_loss_falls_on() -> None:
    best, _ = offered([(3.0, 0.9), (2.0, 0.5), (1.0, 0.5)])
    assert (best.step, best.judged_step) == (1, -1)
    assert best.judged is not None
    assert float(best.judged["value"]) == -1.0
    same, _ = offered([(3.0, 0.5), (2.0, 0.9)])
    assert same.judged is None


def test_the_judge_hears_each_validation_and_the_card_tells_what_it_cost(
    home: Path, tmp_path: Path
) -> None:
    stage.main(
        config(
            home, tmp_path / "run", steps=4, flow_steps=4, judge_sentences=2, valid_sentences=1,
            mos=False, worse=10.0,
        )
    )  # fmt: skip
    card = json.loads((tmp_path / "run" / "voice" / "voice.json").read_text())
    assert card["before"]["spoken"] == card["after"]["spoken"] == 2
    for name, part in card["parts"].items():
        lines = (tmp_path / "run" / name / "metrics.jsonl").read_text().splitlines()
        valid = [row for row in map(json.loads, lines) if "valid" in row]
        assert all({"judge_sim", "judge_per", "train_s"} <= set(row) for row in valid)
        assert part["steps"] == 4
        assert all(part[key] > 0 for key in ("seconds", "core_s", "judge_seconds"))
        assert part["kept_by"] in ("loss", "judge")


def test_a_voice_is_added_spoken_with_and_removed(
    home: Path, run: Path, glmtts: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmtts.voices.default_folder", lambda: tmp_path / "stored")
    model = ("--model", home / "model")
    trained = loud(run, tmp_path / "trained")
    result = glmtts("voice", "add", "boss", "--adapter", trained, *model)
    assert result.status == 0, result.err
    shown = glmtts("voice", "show", "boss", *model)
    assert "adapter     True" in shown.out
    synthesizer = Synthesizer.load(home / "model", device="cpu", voices=tmp_path / "stored")
    voice = synthesizer.voice("boss")
    assert Path(voice.adapter).is_dir()
    options = SpeakOptions(sampling=Sampling(seed=1, retries=0))
    bare = replace(voice, adapter="")
    first, plain, second, repeated = (
        synthesizer.speak("你好。", each, options).samples for each in (voice, bare, voice, bare)
    )
    assert torch.equal(first, second)
    assert torch.equal(plain, repeated)
    assert not torch.equal(first, plain)
    again = glmtts("voice", "add", "boss", "--adapter", trained, "--force", *model)
    assert again.status == 0, again.err
    assert len(list((tmp_path / "stored").glob("*.adapter"))) == 1
    assert glmtts("voice", "remove", "boss", *model).status == 0
    assert list((tmp_path / "stored").iterdir()) == []


def test_a_merged_model_speaks_as_the_adapter_does(
    home: Path, run: Path, glmtts: Command, tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    trained = loud(run, tmp_path / "trained")
    result = glmtts("voice", "merge", trained, out, "--model", home / "model")
    assert result.status == 0, result.err
    merged = Synthesizer.load(out, device="cpu", dtype="float32", voices=tmp_path / "none")
    base = Synthesizer.load(home / "model", device="cpu", dtype="float32", voices=tmp_path / "none")
    voice = merged.voice("a")
    assert not voice.adapter
    dressed = base.adapted(replace(voice, adapter=str(trained)))
    ids = torch.tensor([[9, 10, 11]])
    torch.testing.assert_close(
        merged.lm.model(ids)[0], dressed.lm.model(ids)[0], rtol=1e-3, atol=1e-3
    )
    assert merged.speak("你好。", voice).seconds > 0


def test_an_adapter_of_another_model_is_refused(home: Path, run: Path, tmp_path: Path) -> None:
    tiny.build(tmp_path / "other")
    lm = checkpoint.load(TextToSpeechTokens, tmp_path / "other" / "lm")
    with torch.no_grad():
        lm.model.norm.weight += 0.1
    checkpoint.save(lm, tmp_path / "other" / "lm")
    other = Synthesizer.load(tmp_path / "other", device="cpu", voices=tmp_path / "none")
    voice = replace(other.default_voice("你好"), adapter=str(run / "voice"))
    with pytest.raises(CheckpointError, match="trained on another lm"):
        other.speak("你好。", voice)


# ----- data that makes no voice -------------------------------------------------------------------


def test_little_data_is_refused_and_says_what_was_left_out(home: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", home / "model", count=12)
    write_json(
        data / "report.json", {"warnings": ["Only 28 s …", "Two people speak in one clip: x."]}
    )
    with pytest.raises(BadInput, match=r"holds 29 s of speech.*at least 60 s.*Two people.*: x"):
        checked(data, str(home / "model"))


def test_two_speakers_must_be_told_apart(home: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", home / "model", count=60, speakers=("ann", "bob"))
    model = str(home / "model")
    with pytest.raises(BadInput, match=r"2 speakers: ann \(30 clips such as clips/train0.flac\)"):
        checked(data, model)
    train, valid, speaker = checked(data, model, "bob")
    assert (len(train), len(valid), speaker) == (30, 3, "bob")
    assert {clip.speaker for clip in train} == {"bob"}
    assert train.by_speaker() == {"bob": list(range(30))}
    with pytest.raises(BadInput, match="no speaker 'eve'"):
        checked(data, model, "eve")


def test_data_of_another_model_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"was prepared for the model.*--model glmtts-nano"):
        checked(home / "data", "glmtts-nano")
    with pytest.raises(BadInput, match="glmtts data prepare"):
        checked(tmp_path, "glmtts-nano")


def test_the_most_typical_clip_is_the_reference(home: Path) -> None:
    voice = reference(Corpus(home / "data" / "train"), "a", home / "model")
    assert voice.transcript == "你好" * 6
    assert len(voice.speech_tokens) == 60
    assert voice.mel.shape == (120, 80)
    assert float(voice.speaker.norm()) == pytest.approx(1.0, abs=1e-3)
    assert len(voice.prompt.turns) == 1
