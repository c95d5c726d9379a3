"""The adapter that takes a flow's guidance out, and voices that are trained with it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts import adapters, checkpoint
from glmtts.adapters import PLAIN, Adapter, LowRank
from glmtts.convert.assemble import COMPONENTS, assemble
from glmtts.errors import BadInput, CheckpointError
from glmtts.flow import TokenToMel
from glmtts.nn.adapted import merge
from glmtts.train import plain as stage
from glmtts.train import voice
from glmtts.train.lora import Trained, made_plain
from tests import tiny
from tests.train.test_voice import config as voice_config
from tests.train.test_voice import write_data

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose flow says that it holds its guidance inside, data, and its adapter."""
    folder = tmp_path_factory.mktemp("plain")
    tiny.build(folder / "model")
    flow = checkpoint.load(TokenToMel, folder / "model" / "flow")
    flow.config = replace(flow.config, guided=1.0)
    checkpoint.save(flow, folder / "model" / "flow")
    write_data(folder / "data", folder / "model")
    stage.main(config(folder, folder / "run"))
    shutil.copytree(folder / "run" / PLAIN, folder / "model" / "flow" / PLAIN)
    return folder


def config(home: Path, out: Path, **more: object) -> stage.Config:
    settings = {
        "data": str(home / "data" / "train"), "flow": home / "model" / "flow", "out": out,
        "budget": "20%", "steps": 6, "frames_per_batch": 400, "max_frames": 120, "warmup": 2,
        "lr": 1e-2, "log_every": 1, "save_every": 2, "device": "cpu", "amp": False,
    }  # fmt: skip
    return stage.Config(**{**settings, **more})


def loud(folder: Path, base: str | None = None) -> None:
    """Make an adapter that cannot be overheard of the one in a folder."""
    adapter = adapters.load(folder)
    rng = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for name, part in adapter.parts.items():
        state[f"{adapters.PREFIX}{name}.lora_A.weight"] = part.down
        state[f"{adapters.PREFIX}{name}.lora_B.weight"] = torch.randn(part.up.shape, generator=rng)
    adapters.save(state, adapter.config, folder, adapter.base if base is None else base)


def test_it_learns_and_a_stopped_run_goes_on(home: Path, tmp_path: Path) -> None:
    whole = adapters.load(home / "run" / PLAIN)
    assert whole.base == adapters.fingerprint(home / "model" / "flow")
    assert any(bool(part.up.any()) for part in whole.parts.values())
    stage.main(config(home, tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / PLAIN)
    shutil.rmtree(tmp_path / "run" / "step_000006")  # as if killed after the fourth step
    stage.main(config(home, tmp_path / "run"))
    resumed = adapters.load(tmp_path / "run" / PLAIN)
    for name, part in whole.parts.items():
        torch.testing.assert_close(resumed.parts[name].up, part.up)


def test_a_flow_without_guidance_inside_is_refused(home: Path, tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    with pytest.raises(BadInput, match="holds no guidance"):
        stage.main(config(home, tmp_path / "run", flow=tmp_path / "model" / "flow"))


def test_what_was_added_for_training_is_left_out_again(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    shutil.copytree(home / "model" / "flow", folder)
    loud(folder / PLAIN)
    known = checkpoint.load(TokenToMel, folder)
    model = checkpoint.load(TokenToMel, folder)
    plain = made_plain(model, folder)
    assert isinstance(plain, Adapter)
    name = next(iter(plain.parts))
    changed = dict(model.named_modules())[name].weight - dict(known.named_modules())[name].weight
    part = plain.parts[name]
    torch.testing.assert_close(changed, part.up @ part.down, atol=1e-4, rtol=1e-4)

    learnt = {name: LowRank(part.down, torch.ones_like(part.up))}
    merge(model, Adapter(learnt))  # something is learnt
    merge(known, Adapter(learnt))  # the same without what was added
    left = Trained.all_of("flow", model, folder, plain).component()
    for key, value in known.state_dict().items():
        torch.testing.assert_close(left.state_dict()[key], value, atol=1e-4, rtol=1e-4)


def test_voices_are_trained_with_it_and_speak_without(home: Path, tmp_path: Path) -> None:
    voice.main(voice_config(home, tmp_path / "full", full=True, steps=0, flow_steps=1, lr=1e-7))
    base = checkpoint.load(TokenToMel, home / "model" / "flow").state_dict()
    kept = checkpoint.load(TokenToMel, tmp_path / "full" / "voice" / "flow").state_dict()
    for key, value in base.items():
        torch.testing.assert_close(kept[key], value, atol=1e-4, rtol=1e-4)
    voice.main(voice_config(home, tmp_path / "lora", budget="0%", flow_steps=2))
    adapter = adapters.load(tmp_path / "lora" / "voice" / "flow")
    assert adapter.base == adapters.fingerprint(home / "model" / "flow")


def test_the_adapter_of_another_flow_is_refused(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    shutil.copytree(home / "model" / "flow", folder)
    loud(folder / PLAIN, base="another")
    with pytest.raises(CheckpointError, match="made for another flow"):
        made_plain(checkpoint.load(TokenToMel, folder), folder)


def test_a_model_is_put_together_with_it(home: Path, tmp_path: Path) -> None:
    parts = {part: home / "model" / part for part in (*COMPONENTS, "text_tokenizer")}
    model = tmp_path / "model"
    assemble(model, parts)
    kept = adapters.load(model / "flow" / PLAIN)
    assert kept.base == adapters.fingerprint(model / "flow")
    known = adapters.load(home / "run" / PLAIN)
    for name, part in known.parts.items():
        torch.testing.assert_close(
            kept.parts[name].up @ kept.parts[name].down, part.up @ part.down, rtol=0.02, atol=1e-3
        )
    flow = checkpoint.load(TokenToMel, model / "flow")
    assert made_plain(flow, model / "flow") is not None
    shutil.copytree(home / "model" / "flow", tmp_path / "flow")
    loud(tmp_path / "flow" / PLAIN, base="another")
    with pytest.raises(CheckpointError, match="made for another flow"):
        assemble(tmp_path / "other", {**parts, "flow": tmp_path / "flow"})
