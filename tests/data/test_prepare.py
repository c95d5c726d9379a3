"""Raw recordings, good and bad, through the whole of `glmtts data prepare`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glmtts import Audio
from glmtts.data.clips import CutSettings
from glmtts.data.encode import encode_audio
from glmtts.data.listening import ListenSettings
from glmtts.data.manifest import read_manifest
from glmtts.data.prepare import Settings, prepare, recordings
from glmtts.data.quality import Limits
from glmtts.data.report import Report
from glmtts.data.selection import SelectSettings
from glmtts.data.shards import Corpus
from glmtts.errors import BadInput, MissingExtra
from tests import recordings as made
from tests.conftest import Run

OUR_EARS = Settings(listen=ListenSettings(recognizer=""))
"""The default tests do without Whisper."""
GOOD = {"good-mp3", "good-flac", "good-opus", "good-wav"}


def dirty_set(folder: Path) -> None:
    """Four good recordings of anna, and one with each defect."""
    folder.mkdir()
    anna, text = made.clip("anna")
    wide = anna.resampled(44_100).samples.numpy()
    stereo = np.stack([wide, 0.8 * wide], 1)
    soundfile.write(folder / "good-mp3.mp3", stereo, 44_100)
    soundfile.write(folder / "good-flac.flac", stereo, 44_100)
    anna.save(folder / "good-opus.opus")
    anna.save(folder / "good-wav.wav")
    made.noisy(anna, 8.0).save(folder / "noise.flac")
    made.with_music(anna, 5.0).save(folder / "music.flac")
    made.clipped(anna).save(folder / "clipped.wav")
    made.telephone(anna).save(folder / "telephone.wav")
    tom, toms_text = made.clip("tom")
    tom.save(folder / "someone-else.wav")
    Audio.concat([anna, tom]).save(folder / "mixed.wav")
    anna.save(folder / "wrong-text.wav")
    made.silence(3.0).save(folder / "silence.wav")
    data = (folder / "good-flac.flac").read_bytes()
    (folder / "corrupt.flac").write_bytes(data[: len(data) // 2])
    for path in folder.glob("*.*"):
        said = {"someone-else": toms_text, "mixed": f"{text} {toms_text}"}.get(path.stem, text)
        said = made.clip("emma")[1] if path.stem == "wrong-text" else said
        path.with_suffix(".txt").write_text(said)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Report]:
    """(raw folder, prepared folder, its report)."""
    folder = tmp_path_factory.mktemp("dirty")
    dirty_set(folder / "raw")
    return folder / "raw", folder / "out", prepare(folder / "raw", folder / "out", OUR_EARS)


def dropped(out: Path) -> dict[str, dict[str, str]]:
    lines = (out / "dropped.jsonl").read_text().splitlines()
    return {Path(row["file"]).stem: row for row in map(json.loads, lines)}


def test_every_defect_is_caught_by_its_step_and_nothing_good_is_lost(
    dirty: tuple[Path, Path, Report],
) -> None:
    raw, out, report = dirty
    kept = read_manifest(out / "manifest.jsonl")
    assert {clip.id.rsplit("-", 2)[0] for clip in kept} == GOOD
    assert {clip.speaker for clip in kept} == {"speaker0"}
    found = {name: (row["step"], row["reason"]) for name, row in dropped(out).items()}
    assert found.pop("corrupt")[0] == "decode"
    assert found == {
        "noise": ("quality", "noise or music"),
        "music": ("quality", "noise or music"),
        "clipped": ("quality", "clipped"),
        "telephone": ("quality", "narrow band"),
        "mixed": ("quality", "two speakers in one clip"),
        "wrong-text": ("listen", "transcript mismatch"),
        "someone-else": ("speaker", "another speaker"),
    }
    assert report.files == len(recordings(raw)) == 13
    assert sum(row.clips for row in report.dropped) == len(found) + 1
    assert report.steps[0].hours_in > report.steps[0].hours_out
    assert report.steps[-1].hours_out * 3600 == pytest.approx(report.seconds, abs=1.0)
    assert report.hours_per_core_hour > 1


def test_warnings_name_the_clips(dirty: tuple[Path, Path, Report]) -> None:
    text = "\n".join(dirty[2].warnings)
    assert "too little for a voice" in text
    assert "1 files cannot be read: corrupt.flac" in text
    assert "Someone else speaks in 1 clips" in text
    assert "someone-else-" in text
    assert "Two people speak in one clip: mixed-" in text
    assert "The text is not what is said in 1 clips: wrong-text-" in text


def test_the_page_shows_and_plays_what_happened(dirty: tuple[Path, Path, Report]) -> None:
    out = dirty[1]
    page = (out / "report.html").read_text()
    assert "Dropped: transcript mismatch" in page
    assert page.count("<svg") in (4, 5)  # with and without a judge of naturalness
    players = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(players) >= 10
    assert all((out / player).is_file() for player in players)
    assert json.loads((out / "report.json").read_text())["kept"] == 4


def test_the_shards_are_what_the_trainings_read(dirty: tuple[Path, Path, Report]) -> None:
    out = dirty[1]
    corpus = Corpus(out / "train")
    assert {clip.text for clip in corpus} == {made.clip("anna")[1]}
    for index, clip in enumerate(corpus.clips):
        tokens = corpus.array("tokens", index)
        assert len(tokens) == round(clip.seconds * 25)
        assert len(corpus.array("mel", index)) == 2 * len(tokens)
        assert len(corpus.array("alignment", index)) == len(tokens)
        assert corpus.array("alignment", index)[-1] == sum(len(p) for _, p in clip.units) - 1
        assert np.linalg.norm(corpus.array("speaker", index)) == pytest.approx(1.0, abs=1e-2)


def test_the_manifest_can_be_encoded_for_the_other_trainings_too(
    dirty: tuple[Path, Path, Report], tmp_path: Path
) -> None:
    counts = encode_audio(dirty[1] / "manifest.jsonl", tmp_path / "audio", workers=1)
    assert sum(counts.values()) == 4


def test_what_is_done_is_not_done_again_and_other_settings_are_refused(
    dirty: tuple[Path, Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out, report = dirty
    before = (out / "manifest.jsonl").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("worked again")

    monkeypatch.setattr("glmtts.data.clips.Cutting.__call__", never)
    monkeypatch.setattr("glmtts.data.listening.Listening.__call__", never)
    again = prepare(raw, out, OUR_EARS)
    assert again == report
    assert (out / "manifest.jsonl").read_bytes() == before
    everybody = prepare(raw, out, Settings(OUR_EARS.model, listen=OUR_EARS.listen,
                                           select=SelectSettings("all")))  # fmt: skip
    assert everybody.kept == 5
    other = Settings(listen=ListenSettings(recognizer="", per=0.2))
    with pytest.raises(BadInput, match=r"listen\.per = 0\.35, now it is 0\.2"):
        prepare(raw, out, other)


def test_a_changed_recording_is_worked_on_again(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name in ("one", "two"):
        made.clip("anna")[0].save(raw / f"{name}.wav")
        (raw / f"{name}.txt").write_text(made.clip("anna")[1])
    assert prepare(raw, out, OUR_EARS).kept == 2
    made.noisy(made.clip("anna")[0], 5.0).save(raw / "one.wav")
    (raw / "two.txt").write_text(made.clip("emma")[1])
    with pytest.raises(BadInput, match="No clip was kept"):
        prepare(raw, out, OUR_EARS)
    (raw / "two.txt").write_text(made.clip("anna")[1])
    assert prepare(raw, out, OUR_EARS).kept == 1
    assert len(Corpus(out / "train")) == 1


def test_recordings_in_another_language_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("mei", "anna"):
        made.clip(name)[0].save(raw / f"{name}.wav")
        (raw / f"{name}.txt").write_text(made.clip(name)[1])
    settings = Settings(
        listen=ListenSettings(recognizer="", language="zh"), select=SelectSettings("all")
    )
    report = prepare(raw, tmp_path / "out", settings)
    assert report.kept == 1
    assert any(
        "Another language (en) is spoken" in text and "anna-" in text for text in report.warnings
    )


def test_recordings_without_transcripts_need_whisper(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    made.clip("anna")[0].save(raw / "anna.wav")
    with pytest.raises(MissingExtra, match=r"glmtts\[eval\]"):
        prepare(raw, tmp_path / "out", OUR_EARS)


def test_the_command_prints_the_report(glmtts: Run, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    made.clip("anna")[0].save(raw / "anna.wav")
    (raw / "anna.txt").write_text(made.clip("anna")[1])
    result = glmtts("data", "prepare", raw, tmp_path / "out", "--no-whisper", "--mos", "0")
    assert result.status == 0, result.err
    assert "1 recordings, 1 clips kept" in result.out
    assert "warning: Only" in result.out
    refused = glmtts("data", "prepare", raw, tmp_path / "b", "--no-whisper", "--longest", "90")
    assert refused.status == 2
    assert "Expected 1 to 40" in refused.err


# ----- kills and engines --------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from glmtts.data.prepare import Workers, prepare
from tests.data.test_prepare import OUR_EARS
if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), OUR_EARS, Workers(int(sys.argv[3]), sys.argv[4]))
"""


def outcome(out: Path) -> dict[str, bytes]:
    names = ["manifest.jsonl", "dropped.jsonl"]
    files = [out / name for name in names] + sorted(out.glob("*/shard-*"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_three_times_ends_like_one_that_was_not(
    dirty: tuple[Path, Path, Report], tmp_path: Path, workers: int
) -> None:
    raw, whole, _ = dirty
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(raw), str(tmp_path / "out"), str(workers), "local"]
    rng = random.Random(workers)
    for _ in range(3):
        child = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(4.0, 12.0))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert outcome(tmp_path / "out") == outcome(whole)


@pytest.mark.slow
def test_ray_gives_the_same_manifest(dirty: tuple[Path, Path, Report], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    raw, whole, _ = dirty
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(raw), str(tmp_path / "out"), "2", "ray"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert outcome(tmp_path / "out") == outcome(whole)


@pytest.mark.slow
def test_a_long_recording_without_a_transcript_is_cut_and_written_down(tmp_path: Path) -> None:
    """Two hours, mostly silent, in which anna speaks now and then; memory stays bounded."""
    pytest.importorskip("faster_whisper")
    raw = tmp_path / "raw"
    raw.mkdir()
    voice = made.clip("anna")[0].resampled(16_000).samples.numpy()
    with soundfile.SoundFile(raw / "long.flac", "w", 16_000, 1) as file:
        for _ in range(12):
            file.write(voice)
            file.write(np.zeros(600 * 16_000 - len(voice), np.float32))
    settings = Settings(cut=CutSettings(limits=Limits(mos=0.0)))
    report = prepare(raw, tmp_path / "out", settings)
    assert report.steps[0].hours_in == pytest.approx(2.0, abs=0.01)
    kept = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert len(kept) >= 12
    assert all(clip.lang == "en" for clip in kept)
