"""The recogniser around a faster-whisper that only pretends, and what the command line says."""

import hashlib
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts import recognizer
from glmtts.audio import Audio
from glmtts.errors import BadAudio, BadInput, CheckpointError, GlmTtsError, MissingExtra
from glmtts.recognizer import Recognizer, Transcript, joined_weights
from tests.conftest import Run, tiny_voice
from tests.fakes import FakeSynthesizer

HALVES = (b"first half, ", b"second half")
CLIP = Audio(torch.zeros(48_000), 24_000)


class FakeWhisper:
    """Says `heard`, believes in `likely`, remembers what it was asked."""

    heard: tuple[str, ...] = (" 你好，", "世界。")
    likely: tuple[tuple[str, float], ...] = (("yue", 0.6), ("en", 0.1), ("zh", 0.3))
    loaded: list[tuple[str, dict]]
    asked: list[tuple[np.ndarray, dict]]

    def __init__(self, folder: str, **options: object) -> None:
        self.loaded.append((folder, options))

    def detect_language(self, samples: np.ndarray) -> tuple:
        return (*self.likely[0], list(self.likely))

    def transcribe(self, samples: np.ndarray, **options: object) -> tuple:
        self.asked.append((samples, options))
        return (types.SimpleNamespace(text=text) for text in self.heard), None


@pytest.fixture
def whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeWhisper]:
    """A faster-whisper and two packages of weights, installed for this test."""
    fake = type("Fake", (FakeWhisper,), {"loaded": [], "asked": []})
    module = types.ModuleType("faster_whisper")
    module.WhisperModel = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    site = tmp_path / "site"
    for number, (name, half) in enumerate(zip(recognizer.PARTS, HALVES, strict=True), 1):
        data = site / name / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"model.bin.part{number}").write_bytes(half)
    for name in recognizer.SMALL_FILES:
        (site / recognizer.PARTS[0] / "data" / name).write_text(name)
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    digest = hashlib.sha256(b"".join(HALVES)).hexdigest()
    monkeypatch.setattr(recognizer, "MODEL_SHA256", digest)
    monkeypatch.setattr(recognizer, "default_folder", lambda: tmp_path / "cache" / "whisper-base")
    return fake


def test_the_parts_are_joined_once_and_again_when_damaged(
    whisper: type[FakeWhisper], tmp_path: Path
) -> None:
    Recognizer()
    folder = tmp_path / "cache" / "whisper-base"
    assert whisper.loaded[0][0] == str(folder)
    assert whisper.loaded[0][1]["local_files_only"] is True
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([*recognizer.SMALL_FILES, "model.bin"])
    model = folder / "model.bin"
    assert model.read_bytes() == b"".join(HALVES)
    before = model.stat().st_mtime_ns
    Recognizer()
    assert model.stat().st_mtime_ns == before
    model.write_bytes(b"cut")
    Recognizer()
    assert model.read_bytes() == b"".join(HALVES)


def test_damaged_parts_leave_no_model(whisper: type[FakeWhisper], tmp_path: Path) -> None:
    part = tmp_path / "site" / recognizer.PARTS[1] / "data" / "model.bin.part2"
    part.write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match="force-reinstall"):
        joined_weights(tmp_path / "new")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == sorted(recognizer.SMALL_FILES)


def test_a_cache_that_cannot_be_written_is_a_clear_error(
    whisper: type[FakeWhisper], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GlmTtsError, match="Cannot keep"):
        Recognizer(tmp_path / "file" / "cache")


def test_speech_is_written_in_the_likelier_of_two_languages(whisper: type[FakeWhisper]) -> None:
    assert Recognizer().transcribe(CLIP) == Transcript("你好，世界。", "zh")
    samples, options = whisper.asked[0]
    assert (samples.dtype, samples.shape) == (np.float32, (32_000,))
    assert (options["language"], options["temperature"]) == ("zh", 0.0)
    assert "普通话" in str(options["initial_prompt"])
    whisper.heard = (" Hello.",)
    assert Recognizer().transcribe(CLIP, "en") == Transcript("Hello.", "en")
    assert whisper.asked[1][1]["initial_prompt"] is None


@pytest.mark.parametrize("heard", [(), (" …",)])
def test_silence_and_other_languages_are_refused(
    whisper: type[FakeWhisper], heard: tuple[str, ...]
) -> None:
    whisper.heard = heard
    with pytest.raises(BadAudio, match="No words"):
        Recognizer().transcribe(CLIP)
    with pytest.raises(BadInput, match="'fr'"):
        Recognizer().transcribe(CLIP, "fr")


def test_what_is_not_installed_is_named(
    whisper: type[FakeWhisper], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / recognizer.PARTS[1]
    package.rename(tmp_path / "gone")
    importlib.invalidate_caches()
    monkeypatch.setattr(recognizer, "PARTS", (recognizer.PARTS[0], "glmtts_no_such_part"))
    with pytest.raises(MissingExtra, match=r"glmtts\[eval\]"):
        Recognizer()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingExtra, match=r"glmtts\[eval\]"):
        Recognizer()


# ----- the command line ---------------------------------------------------------------------------


def test_say_clones_with_what_was_heard(
    glmtts: Run, humming: FakeSynthesizer, whisper: type[FakeWhisper], tmp_path: Path
) -> None:
    CLIP.save(tmp_path / "clip.wav")
    flags = ("-o", tmp_path / "a.wav", "-v", tmp_path / "clip.wav", "--transcribe")
    result = glmtts("say", "One.", *flags)
    assert result.status == 0, result.err
    assert "Heard: 你好，世界。\n" in result.err
    clip, transcript = humming.calls[0][1]
    assert (clip.seconds, transcript) == (2.0, "你好，世界。")
    both = glmtts("say", "One.", *flags, "--transcript", "Hi.")
    assert both.status == 2
    assert "exclude each other" in both.err
    assert glmtts("say", "One.", "--transcribe").status == 2


@pytest.mark.parametrize(("seconds", "used"), [(2.0, 2.0), (33.0, 10.0)])
def test_a_voice_is_added_with_what_is_heard_in_the_part_that_is_used(
    glmtts: Run, whisper: type[FakeWhisper], model_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, seconds: float, used: float,
) -> None:  # fmt: skip
    from tests.tiny import buzz

    asked: list[tuple[float, str]] = []

    def encode(audio: Audio, transcript: str, name: str, *args: str, trim_long: bool) -> object:
        asked.append((audio.seconds, transcript))
        return tiny_voice(name, *args)

    synthesizer = types.SimpleNamespace(encoder=encode)
    monkeypatch.setattr("glmtts.synthesizer.Synthesizer.load", lambda *a, **k: synthesizer)
    buzz(seconds).save(tmp_path / "clip.wav")
    flags = ("--transcribe", "--trim-long", "--language", "zh", "--model", model_folder)
    result = glmtts("voice", "add", "anna", tmp_path / "clip.wav", *flags)
    assert result.status == 0, result.err
    assert "Heard: 你好，世界。\n" in result.err
    assert asked == [(pytest.approx(used, abs=0.3), "你好，世界。")]
    assert len(whisper.asked[0][0]) == pytest.approx(16_000 * used, abs=4_800)
    both = glmtts("voice", "add", "b", tmp_path / "clip.wav", *flags, "--transcript", "Hi.")
    assert both.status == 2
    assert "exclude each other" in both.err
