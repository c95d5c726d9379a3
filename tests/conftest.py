"""Fixtures of the command line's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glmtts.voice import Prompt, Voice
from tests.fakes import FakeSynthesizer

Run = Callable[..., "Result"]


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def glmtts(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in process: `glmtts("voice", "list").out`."""
    from glmtts.cli import main

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def humming(monkeypatch: pytest.MonkeyPatch) -> FakeSynthesizer:
    """What `Synthesizer.load` returns in this test."""
    fake = FakeSynthesizer()
    monkeypatch.setattr("glmtts.synthesizer.Synthesizer.load", lambda *a, **k: fake)
    return fake


def tiny_voice(name: str, language: str = "zh", gender: str = "female") -> Voice:
    return Voice(
        name, "", Prompt(), (1, 2), torch.zeros(4, 80), torch.ones(256) / 16, language, gender
    )


@pytest.fixture
def model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model without components: two bundled voices; the user's voices live beside it."""
    folder = tmp_path / "model"
    (folder / "voices").mkdir(parents=True)
    (folder / "glmtts.json").write_text("{}")
    tiny_voice("mei").save(folder / "voices" / "mei.safetensors")
    tiny_voice("tom", "en", "male").save(folder / "voices" / "tom.safetensors")
    monkeypatch.setattr("glmtts.voices.default_folder", lambda: tmp_path / "stored")
    return folder
