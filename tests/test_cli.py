"""The command line as its users know it."""

import io
import json
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from glmtts import __version__
from glmtts.audio import Audio
from glmtts.recipes import RECIPES, STAGES
from tests.conftest import Run, tiny_voice
from tests.fakes import SECONDS, FakeSynthesizer

ROOT = Path(__file__).parent.parent


def read(path: Path | io.BytesIO) -> tuple[np.ndarray, int]:
    return soundfile.read(path)


# ----- the command itself -------------------------------------------------------------------------


def test_help_names_every_command(glmtts: Run) -> None:
    result = glmtts("--help")
    assert result.status == 0
    for name in ("say", "voice", "models", "train", "data", "doctor"):
        assert f"\n  {name} " in result.out


def test_version(glmtts: Run) -> None:
    assert glmtts("--version").out == f"glmtts {__version__}\n"


def test_a_wrong_flag_is_refused_in_one_sentence(glmtts: Run) -> None:
    result = glmtts("say", "hi", "--loudness", "3")
    assert result.status == 2
    assert "--loudness" in result.err
    assert "Traceback" not in result.err


def test_an_error_is_one_line_and_status_2(glmtts: Run, tmp_path: Path) -> None:
    result = glmtts("voice", "list", "--model", tmp_path)
    assert result.status == 2
    assert result.err.startswith("glmtts: No model named")
    assert result.err.count("\n") == 1


def test_debug_shows_the_error_itself(tmp_path: Path) -> None:
    from glmtts.cli import main
    from glmtts.errors import UnknownModel

    with pytest.raises(UnknownModel, match=r"holds no glmtts\.json"):
        main(["--debug", "voice", "list", "--model", str(tmp_path)])


# ----- say ----------------------------------------------------------------------------------------


def test_say_writes_every_sentence(glmtts: Run, humming: FakeSynthesizer, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = glmtts("say", "One. Two. Three.", "-o", out)
    assert result.status == 0, result.err
    samples, rate = read(out)
    assert (len(samples), rate) == (3 * SECONDS * 24_000, 24_000)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=1e-3)
    assert f"{out}: 0.8 s of speech" in result.err


def test_say_writes_out_wav_by_default(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert glmtts("say", "One.").status == 0
    assert len(read(tmp_path / "out.wav")[0]) == SECONDS * 24_000


def test_flags_become_options(glmtts: Run, humming: FakeSynthesizer, tmp_path: Path) -> None:
    flags = ("--seed", 7, "--speed", 1.5, "--steps", 3, "-v", "mei", "--transcript", "嗯")
    assert glmtts("say", "One.", "-o", tmp_path / "a.wav", *flags).status == 0
    _, voice, options = humming.calls[0]
    assert voice == ("mei", "嗯")
    assert (options.sampling.seed, options.speed, options.flow.steps) == (7, 1.5, 3)


def test_components_replace_the_models_own(
    glmtts: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict] = []

    def load(name: str, **options: object) -> FakeSynthesizer:
        asked.append({"name": name, **options})
        return FakeSynthesizer()

    monkeypatch.setattr("glmtts.synthesizer.Synthesizer.load", load)
    flags = ("--model", "m", "--device", "cpu", "--component", "lm=a/b", "--component", "flow=c")
    assert glmtts("say", "One.", "-o", tmp_path / "a.wav", *flags).status == 0
    assert asked == [{"name": "m", "device": "cpu", "components": {"lm": "a/b", "flow": "c"}}]
    assert glmtts("say", "One.", "--component", "ear=x").status == 2
    assert glmtts("say", "One.", "--component", "lm").status == 2


def test_without_a_voice_the_language_chooses(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    glmtts("say", "One.", "-o", tmp_path / "a.wav")
    assert humming.calls[0][1] == "default"


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "opus"])
def test_compressed_files(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    assert glmtts("say", "One. Two. Three. Four.", "-o", out).status == 0
    samples, rate = read(out)
    # MP3 pads to whole frames; the others keep the exact length.
    assert len(samples) / rate == pytest.approx(4 * SECONDS, abs=0.1 if suffix == "mp3" else 1e-3)
    assert np.abs(samples).max() > 0.3


def test_a_text_file_and_a_sentence_that_ends_like_one(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    story = tmp_path / "story.txt"
    story.write_text("\ufeff从前。", encoding="utf-8")
    glmtts("say", story, "-o", tmp_path / "a.wav")
    glmtts("say", "Please read readme.md", "-o", tmp_path / "a.wav")
    assert [call[0] for call in humming.calls] == ["从前。", "Please read readme.md"]


def test_a_missing_text_file_is_not_spoken(glmtts: Run, humming: FakeSynthesizer) -> None:
    result = glmtts("say", "no-such-story.txt")
    assert result.status == 2
    assert "no-such-story.txt" in result.err
    assert humming.calls == []


def test_text_from_standard_input(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("从管道来。"))
    glmtts("say", "-", "-o", tmp_path / "a.wav")
    assert humming.calls[0][0] == "从管道来。"


def test_nothing_is_written_before_the_first_sound(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    out = tmp_path / "kept.wav"
    out.write_bytes(b"precious")
    result = glmtts("say", "", "-o", out)
    assert result.status == 2
    assert "nothing that can be spoken" in result.err
    assert out.read_bytes() == b"precious"


def test_an_unknown_format_is_refused(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    result = glmtts("say", "One.", "-o", tmp_path / "a.docx")
    assert result.status == 2
    assert ".wav" in result.err
    assert not (tmp_path / "a.docx").exists()


def test_a_sentence_that_was_cut_is_told(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    result = glmtts("say", "Fine. An endless one. Fine.", "-o", tmp_path / "a.wav")
    assert result.status == 0
    assert "sentence 2 (length)" in result.err


def test_standard_output_carries_a_wav() -> None:
    fake = [sys.executable, "tests/fakes.py", "0", "say", "One. Two.", "-o", "-"]
    done = subprocess.run(fake, cwd=ROOT, capture_output=True, check=True)
    samples, rate = read(io.BytesIO(done.stdout))
    assert (len(samples), rate) == (2 * SECONDS * 24_000, 24_000)
    assert len(done.stdout) == 44 + 2 * len(samples)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_run_keeps_what_it_spoke(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "long.wav"
    fake = [sys.executable, "tests/fakes.py", "0.1", "say", "One. " * 1000, "-o", str(out)]
    process = subprocess.Popen(fake, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    spoken = 44 + 2 * 24_000 * SECONDS * 2  # what is beyond came after the header told of these
    while not out.exists() or out.stat().st_size <= spoken:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "two sentences never came"
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status
    samples, _ = read(out)
    assert len(samples) >= 2 * SECONDS * 24_000
    assert len(samples) % (SECONDS * 24_000) == 0
    if number is not signal.SIGKILL:
        assert f"{out} keeps the {len(samples) / 24_000:.1f} s" in error
        assert "Traceback" not in error


def test_play_without_its_extra_says_what_to_install(
    glmtts: Run, humming: FakeSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = glmtts("say", "One.", "--play")
    assert result.status == 2
    assert "glmtts[play]" in result.err


def test_play_feeds_the_loudspeaker_and_writes_no_file(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[np.ndarray] = []

    class OutputStream:
        def __init__(self, rate: int, channels: int, dtype: str) -> None:
            assert (rate, channels, dtype) == (24_000, 1, "float32")

        def __enter__(self) -> "OutputStream":
            return self

        def __exit__(self, *error: object) -> None:
            played.append(np.zeros((0, 1)))

        def write(self, frames: np.ndarray) -> None:
            played.append(frames)

    module = types.ModuleType("sounddevice")
    module.OutputStream = OutputStream  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.chdir(tmp_path)
    assert glmtts("say", "One. Two.", "--play").status == 0
    assert [len(part) for part in played] == [SECONDS * 24_000, SECONDS * 24_000, 0]
    assert list(tmp_path.iterdir()) == []


# ----- voices and models --------------------------------------------------------------------------


def test_voice_list_as_json_has_three_fields(glmtts: Run, model_folder: Path) -> None:
    assert json.loads(glmtts("voice", "list", "--json", "--model", model_folder).out) == [
        {"name": "mei", "language": "zh", "gender": "female"},
        {"name": "tom", "language": "en", "gender": "male"},
    ]


def test_a_voice_is_added_shown_and_removed(
    glmtts: Run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple] = []

    def encode(audio: Audio, transcript: str, name: str, *args: str, trim_long: bool) -> object:
        asked.append((audio.seconds, transcript, trim_long))
        return tiny_voice(name, *args)

    synthesizer = types.SimpleNamespace(encoder=encode)
    monkeypatch.setattr("glmtts.synthesizer.Synthesizer.load", lambda *a, **k: synthesizer)
    clip = tmp_path / "clip.wav"
    Audio(torch.zeros(48_000), 24_000).save(clip)
    model = ("--model", model_folder)

    about = ("--transcript", "Hi.", "--language", "en", "--gender", "male", "--trim-long")
    added = glmtts("voice", "add", "anna", clip, *about, *model)
    assert (added.status, asked) == (0, [(2.0, "Hi.", True)]), added.err
    shown = json.loads(glmtts("voice", "show", "anna", "--json", *model).out)
    assert (shown["language"], shown["gender"], shown["bundled"]) == ("en", "male", False)
    assert "anna" in glmtts("voice", "list", *model).out

    again = glmtts("voice", "add", "anna", clip, *model)
    assert again.status == 2
    assert "--force" in again.err
    assert glmtts("voice", "add", "anna", clip, "--force", *model).status == 0
    assert glmtts("voice", "remove", "anna", *model).status == 0
    gone = glmtts("voice", "show", "anna", *model)
    assert gone.status == 2
    assert "mei" in gone.err


def test_a_name_that_cannot_be_stored_is_refused_before_anything_loads(
    glmtts: Run, model_folder: Path
) -> None:
    result = glmtts("voice", "add", "../up", "no-clip.wav", "--model", model_folder)
    assert result.status == 2
    assert "cannot name a voice" in result.err


def test_models_lists_the_bundled_one(glmtts: Run) -> None:
    rows = json.loads(glmtts("models", "--json").out)
    assert rows[0].keys() == {"name", "where", "bytes", "license", "about"}
    sizes = {row["name"]: row["bytes"] for row in rows}
    assert sizes["glmtts-nano"] > 1_000_000
    assert sizes["zai-org/GLM-TTS"] == 0
    assert json.loads(glmtts("models", "list", "--json").out) == rows
    assert "glmtts-nano" in glmtts("models").out


# ----- training and data --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_flags_vary_a_recipe(stage: str, glmtts: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    monkeypatch.setattr(f"{STAGES[stage]}.main", runs.append)
    for name in RECIPES[stage]:
        result = glmtts("train", stage, "--recipe", name, "--steps", 123, "--out", "elsewhere")
        assert result.status == 0, result.err
        expected = RECIPES[stage][name]()
        expected.steps, expected.out = 123, Path("elsewhere")
        assert runs.pop() == expected


def test_an_unknown_recipe_names_the_known_ones(glmtts: Run) -> None:
    result = glmtts("train", "flow", "--recipe=huge")
    assert result.status == 2
    assert "nano" in result.err
    assert "tiny" in result.err


def test_a_stage_without_data_says_which_flag_is_missing(glmtts: Run) -> None:
    result = glmtts("train", "flow")
    assert result.status == 2
    assert "--data" in result.out + result.err


def test_texts_are_made_with_the_counts_asked_for(
    glmtts: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmtts.data.texts import Text, read_texts

    asked: dict[str, int] = {}

    def build(cache: Path, **counts: int) -> list[Text]:
        asked.update(counts)
        return [Text("zh", "你好。")]

    monkeypatch.setattr("glmtts.data.texts.build", build)
    out = tmp_path / "new" / "texts.jsonl"
    counts = {"zh": 5, "en": 6, "mix": 7, "bare": 9, "seed": 8}
    flags = [part for name, count in counts.items() for part in (f"--{name}", count)]
    assert glmtts("data", "texts", out, *flags).status == 0
    assert asked == counts
    assert [text.text for text in read_texts(out)] == ["你好。"]


def test_encoding_tokens_asks_for_its_components(glmtts: Run, tmp_path: Path) -> None:
    result = glmtts("data", "encode", tmp_path, tmp_path / "out", "--stage", "tokens")
    assert result.status == 2
    assert "--tokenizer and --speaker" in result.err
