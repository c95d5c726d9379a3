"""The table of runs/side_by_side.py and the page of docs/listen_page.py, without any engine."""

import json
import os
import re
import sys
import wave
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from glmtts.audio import Audio
from glmtts.data.manifest import Utterance, held_out_text
from glmtts.errors import BadAudio, BadInput, GlmTtsError
from glmtts.judges.base import Sample, Score, Verdict, judged

ROOT = Path(__file__).parent.parent
SCRIPTS = ("side_by_side", "side_by_side_engine", "side_by_side_table", "listen_page")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(ROOT / "runs"))
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield {name: import_module(name) for name in SCRIPTS}
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def tone(path: Path, seconds: float = 0.5, level: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = torch.sin(torch.arange(int(24_000 * seconds)) / 12) * level
    Audio(samples, 24_000).save(path)
    return path


# ----- figures and the table


def row(name: str, language: str, per: float | None, mos: float = 4.0) -> dict[str, Any]:
    found: dict[str, Any] = {
        "case": {"id": name, "text": "x", "language": language}, "seed": 0,
        "missing": per is None, "judges": {},
    }  # fmt: skip
    if per is not None:
        found["judges"] = {
            "cer": {"version": "ears 1", "value": per, "detail": {"per": per}},
            "mos": {"version": "taste 1", "value": mos, "detail": {}},
        }
    return found


def speech(engine: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    cost = {"cpu_s": 0.5, "wall_s": 1.0}
    return {
        "engine": engine, "versions": {"python": "3.11"}, "voices": {"zh": "mei", "en": "anna"},
        "threads": 1, "load": cost, "ready": cost, "warming": {"en": cost}, "rows": rows,
        "first_sound": {}, "streams": False, "peak_memory_mb": 500.0, "sha256": "0",
        "load_average": [1.5, 1.0, 0.5], "weights": {"a": 40_000_000, "b": 2_500_000}, **more,
    }  # fmt: skip


def test_work_is_counted_for_each_second_of_sound_in_each_language(scripts: dict[str, Any]):
    rows = [
        {"id": "a", "seconds": 2.0, "cpu_s": 0.2, "wall_s": 0.3},
        {"id": "b", "seconds": 3.0, "cpu_s": 0.4, "wall_s": 0.7},
        {"id": "c", "seconds": 4.0, "cpu_s": 2.0, "wall_s": 4.0},
    ]
    heard = [row("a", "zh", 0.1), row("b", "zh", 0.2), row("c", "en", 0.0, 3.0)]
    found = scripts["side_by_side_table"].figures(speech("kokoro", rows), heard)
    mandarin, english = found["languages"]["zh"], found["languages"]["en"]
    assert mandarin["rtf_cpu"] == pytest.approx(0.6 / 5.0)
    assert mandarin["rtf_wall"] == pytest.approx(1.0 / 5.0)
    assert english["rtf_cpu"] == pytest.approx(0.5)
    assert mandarin["per"]["mean"] == pytest.approx(0.15)
    assert english["mos"]["mean"] == 3.0
    assert found["weights_mb"] == 42.5


def test_the_first_sound_of_an_engine_that_cannot_stream_is_its_whole_sentence(
    scripts: dict[str, Any],
):
    spent = {"a": 1, "b": 3, "c": 9}
    rows = [{"id": n, "seconds": 1.0, "cpu_s": s, "wall_s": s} for n, s in spent.items()]
    heard = [row(name, "en", 0.0) for name in "abc"]
    table = scripts["side_by_side_table"]
    whole = table.figures(speech("piper", rows), heard)["languages"]["en"]
    assert whole["first_wall_s"] == 3
    streamed = speech("nano", rows, streams=True, first_sound={"en": {"cpu_s": 0.1, "wall_s": 0.2}})
    assert table.figures(streamed, heard)["languages"]["en"]["first_wall_s"] == 0.2
    unknown = speech("nano", rows, streams=True)
    assert table.figures(unknown, heard)["languages"]["en"]["first_wall_s"] is None


def test_a_sentence_without_sound_counts_as_misheard(scripts: dict[str, Any]):
    rows = [{"id": "a", "seconds": 1.0, "cpu_s": 0.1, "wall_s": 0.1}, {"id": "b", "error": "none"}]
    found = scripts["side_by_side_table"].figures(
        speech("nano", rows), [row("a", "zh", 0.0), row("b", "zh", None)]
    )
    mandarin = found["languages"]["zh"]
    assert mandarin["silent"] == 1
    assert mandarin["per"]["mean"] == 0.5
    assert mandarin["per_above_half"] == 1
    assert mandarin["mos"]["mean"] == 2.5
    assert mandarin["rtf_cpu"] == pytest.approx(0.1)


def result(scripts: dict[str, Any]) -> dict[str, Any]:
    table = scripts["side_by_side_table"]
    said = [
        {"id": "zh-1", "text": "今天<天气>很好。", "language": "zh", "seed": 0},
        {"id": "en-1", "text": 'She said "hello" & left.', "language": "en", "seed": 0},
    ]
    engines: list[Any] = []
    for engine, languages in (("nano", ("zh", "en")), ("piper", ("en",))):
        mine = [
            {"id": f"{code}-1", "seconds": 2.0, "cpu_s": 0.1, "wall_s": 0.1} for code in languages
        ]
        heard = [row(f"{code}-1", code, 0.25) for code in languages]
        engines.append(table.figures(speech(engine, mine), heard))
    return {
        "date": "2026-11-29T08:00:00+00:00", "command": "python runs/side_by_side.py out",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux", "python": "3.11"},
        "threads": 1, "judges": {"cer": "ears 1", "mos": "taste 1"}, "sentences": said,
        "engines": engines, "clones": [],
    }  # fmt: skip


def test_the_table_has_a_line_for_each_engine_and_language(scripts: dict[str, Any]):
    text = scripts["side_by_side_table"].table(result(scripts))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[:2] for line in lines[1:4]] == [
        ["| glmtts-nano", "zh"], ["| glmtts-nano", "en"], ["| piper", "en"],
    ]  # fmt: skip
    assert "| 0.250 | 4.00 | 0.050 | 0.050 | 100 ms | 100 ms |" in lines[1]
    assert "| 500 MB | 42.5 MB |" in lines[5]
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(widths[:5])) == len(set(widths[5:])) == 1
    for told in ("A CPU", "1 thread", "2026-11-29", "ears 1", "taste 1", "side_by_side.py out"):
        assert told in text


# ----- sentences


def held_out(language: str, count: int, held: bool = True) -> list[Utterance]:
    texts = (f"{language} sentence {number}." for number in range(10_000))
    kept = [text for text in texts if held_out_text(text) is held][:count]
    return [
        Utterance(f"{language}{number}.opus", language, "af_sky", text, 3.0)
        for number, text in enumerate(kept)
    ]


def test_only_texts_that_no_training_saw_are_said(scripts: dict[str, Any]):
    clips = [
        *held_out("zh", 10), *held_out("en", 12), *held_out("en", 40, held=False),
        Utterance("long.opus", "zh", "af_sky", held_out("zh", 11)[-1].text, 20.0),
    ]  # fmt: skip
    rows = scripts["side_by_side"].chosen(clips, 5)
    assert [r["language"] for r in rows] == ["zh"] * 5 + ["en"] * 5
    assert all(held_out_text(r["text"]) for r in rows)
    assert [r["id"] for r in rows[:5]] == ["zh-zh0", "zh-zh2", "zh-zh4", "zh-zh6", "zh-zh8"]
    assert len({r["id"] for r in rows}) == 10
    with pytest.raises(BadInput, match="10 are held out"):
        scripts["side_by_side"].chosen(clips, 11)


# ----- a process that speaks


def job(**more: Any) -> dict[str, Any]:
    said = [
        {"id": f"en-{number}", "text": text, "language": "en", "seed": number}
        for number, text in enumerate(("One.", "Give up.", "Three three."))
    ]
    return {"engine": "beeps", "threads": 1, "warm": {"en": "Warm."}, "firsts": 2,
            "sentences": said, **more}  # fmt: skip


def test_an_engine_tells_what_each_sentence_cost(
    scripts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    worker = scripts["side_by_side_engine"]
    begun: list[str] = []

    class Beeps(worker.Engine):
        packages, streams, failures = ("numpy", "not-installed"), True, (BadInput,)

        def __init__(self, job: dict[str, Any]) -> None:
            self.voices, self.weights = {"en": "beep"}, [Path(__file__)]

        def speak(self, text: str, language: str, seed: int) -> tuple[bytes, int]:
            if text == "Give up.":
                raise BadInput("no")
            return b"\1\0" * 800 * len(text), 8_000

        def first(self, text: str, language: str, seed: int) -> Any:
            begun.append(text)
            if text == "Give up.":
                raise BadInput("no")
            return lambda: begun.append("ended")

    monkeypatch.setitem(worker.ENGINES, "beeps", Beeps)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**job(), "launched": 0.0}))
    worker.main(path)
    found = json.loads((tmp_path / "speech.json").read_text())
    assert [r.get("seconds") for r in found["rows"]] == [0.4, None, 1.2]
    assert "BadInput: no" in found["rows"][1]["error"]
    with wave.open(str(tmp_path / "audio" / "en-2.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (8_000, 9_600)
    assert not (tmp_path / "audio" / "en-1.wav").exists()
    assert begun == ["One.", "ended", "Give up."]
    assert set(found["first_sound"]["en"]) == {"wall_s", "cpu_s"}
    assert found["weights"] == {__file__: Path(__file__).stat().st_size}
    assert found["versions"]["not-installed"] == "source"
    assert 5 < found["peak_memory_mb"] < 100_000


class Bar:
    def __init__(self) -> None:
        self.n = 0

    def update(self, count: int = 1) -> None:
        self.n += count


def test_what_was_spoken_is_not_spoken_again_and_another_run_is_refused(
    scripts: dict[str, Any], tmp_path: Path
):
    main = scripts["side_by_side"]
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"old")
    found = {"rows": [{"id": "a"}], "weights": {str(weights): 3}}
    found["sha256"] = main.digest(found["weights"])
    (tmp_path / "speech.json").write_text(json.dumps(found))
    (tmp_path / "job.json").write_text(json.dumps({**job(), "launched": 1.0}))
    bar, nowhere = Bar(), Path("no-python")
    assert main.speak(nowhere, job(), tmp_path, bar) == found
    assert bar.n == 1
    with pytest.raises(BadInput, match="another job"):
        main.speak(nowhere, job(threads=2), tmp_path, bar)
    weights.write_bytes(b"new")
    with pytest.raises(BadInput, match="other weights"):
        main.speak(nowhere, job(), tmp_path, bar)


def test_an_engine_that_fails_is_told_with_its_last_words(scripts: dict[str, Any], tmp_path: Path):
    with pytest.raises(GlmTtsError, match=r"beeps failed: KeyError: 'beeps'.*log\.txt"):
        scripts["side_by_side"].speak(Path(sys.executable), job(), tmp_path, Bar())


class Judge:
    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        if sample.text == "unjudgeable":
            raise BadInput("this judge cannot")
        return Score(0.5, detail={"per": 0.25, "units": 4, "substitutions": 1, "deletions": 0,
                                  "insertions": 0})  # fmt: skip


def test_judges_hear_what_an_engine_left_and_a_failing_judge_stops_the_run(
    scripts: dict[str, Any], tmp_path: Path
):
    tone(tmp_path / "audio" / "a.wav")
    said = [{"id": "a", "text": "x", "language": "en"}, {"id": "b", "text": "y", "language": "en"}]
    makes = {"make": lambda wanted: Judge(wanted.slot)}
    rows = scripts["side_by_side"].judged(tmp_path, said, lambda *_: None, **makes)
    assert [r["missing"] for r in rows] == [False, True]
    assert rows[0]["judges"]["cer"]["detail"]["per"] == 0.25
    tone(tmp_path / "other" / "audio" / "a.wav")
    said = [{"id": "a", "text": "unjudgeable", "language": "en"}]
    with pytest.raises(GlmTtsError, match="cer failed on 1 sounds"):
        scripts["side_by_side"].judged(tmp_path / "other", said, lambda *_: None, **makes)


# ----- the page


@pytest.fixture
def run(scripts: dict[str, Any], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    found = result(scripts)
    for engine in found["engines"]:
        for code in engine["languages"]:
            tone(folder / engine["engine"] / "audio" / f"{code}-1.wav", level=0.02)
    prompt = tone(folder / "clones" / "prompts" / "en-007.wav", 1.0)
    tone(folder / "clones" / "audio" / "en-1.wav")
    found["clones"] = [{**found["sentences"][1], "prompt": f"/elsewhere/{prompt.name}"}]
    (folder / "side_by_side.json").write_text(json.dumps(found))
    return folder


def write(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["listen_page.py", *map(str, arguments)])
    scripts["listen_page"].main()


def test_the_page_plays_every_sound_and_needs_nothing_but_its_folder(
    scripts: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "listen"
    write(scripts, monkeypatch, run, "--out", out, "--engines", "nano,piper")
    html = (out / "index.html").read_text(encoding="utf-8")
    sounds = re.findall(r'<audio [^>]*src="([^"]+)"', html)
    pictures = re.findall(r'<img src="([^"]+)" alt="[^"]+"', html)
    assert len(sounds) == len(pictures) == 5
    for file in (*sounds, *pictures):
        assert (out / file).is_file()
    assert "http" not in html
    assert {p.name for p in out.iterdir()} == {"audio", "index.html", "mel"}
    assert 'lang="zh">今天&lt;天气&gt;很好。</h3>' in html
    assert 'aria-label="piper: She said &quot;hello&quot; &amp; left."' in html
    assert html.count('controls preload="none"') == 5
    assert 'id="clones"' in html
    assert "<td>25.0%</td>" in html
    assert 'style="width:50.0%"' in html
    assert 'style="width:100.0%"' in html  # the clip, twice as long


def test_all_sounds_are_equally_loud(
    scripts: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(scripts, monkeypatch, run, "--out", tmp_path / "listen")
    levels = [
        float(Audio.load(path).samples.square().mean().sqrt())
        for path in sorted((tmp_path / "listen" / "audio").iterdir())
    ]
    assert len(levels) == 4
    assert max(levels) < 1.1 * min(levels)


def test_a_page_replaces_an_older_one_and_nothing_else(
    scripts: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "listen"
    write(scripts, monkeypatch, run, "--out", out, "--engines", "piper")
    write(scripts, monkeypatch, run, "--out", out, "--engines", "nano", "--sentences", "1")
    names = {path.stem for path in (out / "audio").iterdir()}
    assert names == {"nano-zh-1", "nano-en-1", "clip-en-1", "clone-en-1"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(BadInput, match="something else"):
        write(scripts, monkeypatch, run, "--out", other)


def test_a_page_of_no_run_or_of_one_that_lost_sounds_is_refused(
    scripts: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(BadInput, match="no finished run"):
        write(scripts, monkeypatch, tmp_path / "nothing", "--out", tmp_path / "listen")
    (run / "nano" / "audio" / "zh-1.wav").unlink()
    with pytest.raises(BadAudio):
        write(scripts, monkeypatch, run, "--out", tmp_path / "listen")
