"""Whole runs: folders of sound and a synthesizer that hums, judged by judges without models."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from glmtts.audio import Audio
from glmtts.errors import BadInput
from glmtts.eval import report
from glmtts.eval.cases import made, seed_tts
from glmtts.eval.compare import compare, to_text
from glmtts.eval.run import Plan, evaluate, read_rows
from glmtts.eval.speaking import Folder, Speaker
from glmtts.judges.base import Judge, Sample, Score, Verdict, judged
from glmtts.judges.intelligibility import Cer
from glmtts.judges.registry import Wanted
from tests.conftest import Run
from tests.fakes import FakeSynthesizer
from tests.judging import Recites

CLIP = Audio(torch.sin(torch.arange(24_000) / 10) * 0.3, 24_000)


def folder(path: Path, *names: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        CLIP.save(path / f"{name}.wav")
    return path


class Seconds:
    """Stands for a MOS judge: 4 for everything, unless the text wants a failure."""

    name, version = "mos", "seconds 1"

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        return judged(samples, self.judge)

    def judge(self, sample: Sample) -> Score:
        if "unjudgeable" in sample.text:
            raise BadInput("this judge cannot")
        return Score(4.0)


class Alike:
    name, version = "sim", "alike 1"

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        assert all(sample.prompt is not None for sample in samples)
        return [Score(0.5 + 0.1 * i) for i, _ in enumerate(samples)]


def makes(*judges: Judge) -> Any:
    by_slot = {judge.name: judge for judge in judges}
    return lambda wanted: by_slot[wanted.slot]


# ----- seed-tts-eval by hand ----------------------------------------------------------------------


def test_seed_tts_on_five_items_equals_a_hand_computation(tmp_path: Path) -> None:
    """Per-utterance error rates averaged, uncapped, as average_wer.py does; numbers untouched.

    | utt | reference | heard | edits | rate |
    |---|---|---|---|---|
    | a | 今天天气很好。 | 今天天气很好 | 0 of 6 | 0 |
    | b | 我有3个苹果 | 我有三个苹果 | 1 of 6 | 1/6 |
    | c | 再见 | 再见再见再见 | 4 of 2 | 2 |
    | d | 谢谢你们 | 谢你 | 2 of 4 | 1/2 |
    | e | 没有声音 | no file | – | 1 |
    """
    sounds = folder(tmp_path / "wavs", "a", "b", "c", "d", "p")
    lines = ["a|x|wavs/p.wav|今天天气很好。", "b|x|wavs/p.wav|我有3个苹果", "c|x|wavs/p.wav|再见",
             "d|x|wavs/p.wav|谢谢你们", "e|x|wavs/p.wav|没有声音"]  # fmt: skip
    path = tmp_path / "meta.lst"
    path.write_text("\n".join(lines), encoding="utf-8")
    ears = Recites("今天天气很好", "我有三个苹果", "再见再见再见", "谢你")
    plan = Plan("seed-tts", seed_tts(path), ["cer=whisper-base-seed", "sim", "mos"], tmp_path / "o")
    judges = makes(Cer(ears, "seed"), Alike(), Seconds())
    summary = evaluate(plan, Folder(sounds), make=judges)
    metrics = summary["metrics"]
    assert metrics["error_rate"]["mean"] == pytest.approx((0 + 1 / 6 + 2 + 1 / 2 + 1) / 5)
    assert metrics["error_rate"]["n"] == 5
    assert metrics["error_rate_below_50"]["mean"] == pytest.approx((0 + 1 / 6 + 1 / 2) / 3)
    assert metrics["similarity"]["mean"] == pytest.approx((0.5 + 0.6 + 0.7 + 0.8 + 0.0) / 5)
    assert metrics["mos"]["mean"] == pytest.approx((4 * 4 + 1) / 5)
    assert summary["missing"] == 1
    assert summary["judges"]["cer"]["version"] == "recites, rule seed"
    rows = read_rows(tmp_path / "o")
    assert rows[("d", 0)]["judges"]["cer"]["detail"]["deletions"] == 2
    assert "holds no e.wav" in rows[("e", 0)]["error"]


# ----- runs ---------------------------------------------------------------------------------------


def plan_of(out: Path, *texts: str, judges: tuple[str, ...] = ("mos",), **more: Any) -> Plan:
    said = [made(f"c{i}", text) for i, text in enumerate(texts)]
    return Plan("list", said, judges, out, **more)


def hums(out: Path, fake: FakeSynthesizer | None = None) -> Speaker:
    return Speaker("fake", out / "audio", synthesizer=fake or FakeSynthesizer())


def test_a_model_speaks_each_case_once_for_each_seed(tmp_path: Path) -> None:
    fake = FakeSynthesizer()
    plan = plan_of(tmp_path, "One.", "Two. Three.", seeds=(0, 1))
    summary = evaluate(plan, hums(tmp_path, fake), make=makes(Seconds()))
    assert sorted(p.name for p in (tmp_path / "audio").iterdir()) == [
        "c0.0.wav", "c0.1.wav", "c1.0.wav", "c1.1.wav",
    ]  # fmt: skip
    assert [call[2].sampling.seed for call in fake.calls] == [0, 1, 0, 1]
    assert summary["metrics"]["mos"]["n"] == 2, "cases are independent, seeds are not"
    assert summary["metrics"]["real_time_factor"]["mean"] > 0
    assert summary["seeds"] == [0, 1]
    assert {"cpu", "cores", "torch"} <= summary["hardware"].keys()


def test_a_run_tells_which_parts_spoke_and_how_many_utterances_were_drawn(tmp_path: Path) -> None:
    fake = FakeSynthesizer()
    speaker = Speaker(
        "fake", tmp_path / "audio", components={"lm": Path("mine/lm")}, candidates=1,
        top_p=0.9, synthesizer=fake,
    )  # fmt: skip
    evaluate(plan_of(tmp_path, "One."), speaker, make=makes(Seconds()))
    assert fake.calls[0][2].sampling.candidates == 1
    assert fake.calls[0][2].sampling.top_p == 0.9
    run = json.loads((tmp_path / "summary.json").read_text())
    assert run["source"]["components"] == {"lm": "mine/lm"}
    assert run["source"]["candidates"] == 1
    assert run["source"]["top_p"] == 0.9


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    texts = [f"Sentence {i}." for i in range(12)]
    fake = FakeSynthesizer()

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(plan_of(tmp_path, *texts), hums(tmp_path, fake), tell=stop, make=makes(Seconds()))
    done = len(fake.calls)
    assert 0 < done < 12
    with (tmp_path / "results.jsonl").open("a") as stream:
        stream.write('{"case": {"id": "c11"')  # killed in the middle of a line
    summary = evaluate(plan_of(tmp_path, *texts), hums(tmp_path, fake), make=makes(Seconds()))
    assert len(fake.calls) == 12
    assert summary["metrics"]["mos"]["n"] == 12
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 12


def test_a_judge_added_later_hears_what_is_there(tmp_path: Path) -> None:
    fake = FakeSynthesizer()
    evaluate(plan_of(tmp_path, "One."), hums(tmp_path, fake), make=makes(Seconds()))
    both = plan_of(tmp_path, "One.", judges=("mos", "cer"))
    judges = makes(Seconds(), Cer(Recites("one")))
    summary = evaluate(both, hums(tmp_path, fake), make=judges)
    assert len(fake.calls) == 1
    assert (summary["metrics"]["error_rate"]["mean"], summary["metrics"]["mos"]["mean"]) == (0, 4)


def test_a_folder_of_another_run_is_not_written_over(tmp_path: Path) -> None:
    evaluate(plan_of(tmp_path, "One."), hums(tmp_path), make=makes(Seconds()))
    with pytest.raises(BadInput, match="holds another run"):
        evaluate(plan_of(tmp_path, "Two."), hums(tmp_path), make=makes(Seconds()))


def test_a_judge_that_fails_is_left_out_and_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "One.", "unjudgeable")
    summary = evaluate(plan, hums(tmp_path), make=makes(Seconds()))
    assert summary["metrics"]["mos"] == {
        "mean": 4.0, "low": None, "high": None, "n": 1, "groups": {}
    }  # fmt: skip
    assert summary["failed"]["mos"]["count"] == 1
    assert "this judge cannot" in summary["failed"]["mos"]["reasons"][0]


def test_what_cannot_be_spoken_counts_as_an_error(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "One.", "。", judges=("cer",))
    summary = evaluate(plan, hums(tmp_path), make=makes(Cer(Recites("one"))))
    assert summary["missing"] == 1
    assert summary["metrics"]["error_rate"]["mean"] == 0.5


def test_a_clip_that_is_missing_is_told_before_anything_is_spoken(tmp_path: Path) -> None:
    plan = Plan("list", [made("a", "One.", prompt="none.wav")], ["mos"], tmp_path)
    with pytest.raises(BadInput, match="clip of a is missing"):
        evaluate(plan, hums(tmp_path), make=makes(Seconds()))


def test_two_judges_for_one_slot_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Two judges for sim"):
        plan_of(tmp_path, "One.", judges=("sim=ge2e", "sim=dvector"))
    assert plan_of(tmp_path, "One.").wanted == {"mos": Wanted("mos", "distillmos")}


# ----- laughter -----------------------------------------------------------------------------------


class Laughs:
    name, version = "laughter", "by text"

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        return [
            Score(0.9, detail={"laughs": [[0.0, 0.4, 0.9]] * ("heard" in s.text),
                               "asked": s.style == "laughter", "place": [0.5, 1.0]})
            for s in samples
        ]  # fmt: skip


def test_laughter_has_hits_false_alarms_and_timing(tmp_path: Path) -> None:
    said = [made("a", "heard", style="laughter"), made("b", "none", style="laughter"),
            made("c", "none"), made("d", "heard"), made("e", "none"), made("f", "。")]  # fmt: skip
    plan = Plan("laughter", said, ["laughter"], tmp_path)
    metrics = evaluate(plan, hums(tmp_path), make=makes(Laughs()))["metrics"]
    assert metrics["laughter_hits"]["mean"] == 0.5
    assert metrics["laughter_false_alarms"]["mean"] == pytest.approx(1 / 3)
    assert metrics["laughter_offset_s"]["mean"] == pytest.approx(0.3)


# ----- comparison and report ----------------------------------------------------------------------


def test_two_runs_are_compared_case_by_case(tmp_path: Path) -> None:
    texts = [f"one two three four number {i}" for i in range(10)]
    for name, heard in (("a", "one too three for number"), ("b", "one two three for number")):
        judges = makes(Cer(Recites(*(f"{heard} {i}" for i in range(10)))), Seconds())
        plan = plan_of(tmp_path / name, *texts, judges=("cer", "mos"))
        evaluate(plan, hums(tmp_path / name), make=judges)
    result = compare(tmp_path / "a", tmp_path / "b")
    row = result["metrics"]["error_rate"]
    assert (row["a"], row["b"]) == (pytest.approx(2 / 6), pytest.approx(1 / 6))
    assert (row["verdict"], row["relative"]) == ("better", pytest.approx(-0.5))
    assert row["p"] < 0.01
    assert result["metrics"]["mos"]["verdict"] == ""
    assert "error_rate" in to_text(result)
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    summary["judges"]["cer"]["version"] = "another"
    (tmp_path / "b" / "summary.json").write_text(json.dumps(summary))
    other = compare(tmp_path / "a", tmp_path / "b")
    assert "error_rate" not in other["metrics"]
    assert "another" in other["left_out"]["error_rate"]
    with pytest.raises(BadInput, match="no finished evaluation"):
        compare(tmp_path / "a", tmp_path / "nowhere")
    with pytest.raises(BadInput, match="compared with A"):
        compare(tmp_path / "a")


def test_several_runs_are_compared_by_the_mean_of_each_case(tmp_path: Path) -> None:
    texts = [f"one two three four number {i}" for i in range(10)]
    said = {
        "a": "one too three for number",
        "b0": "one two three for number",
        "b1": "one two three four number",
        "short": "one two three four number",
    }
    for name, heard in said.items():
        count = 8 if name == "short" else 10
        judges = makes(Cer(Recites(*(f"{heard} {i}" for i in range(count)))), Seconds())
        plan = plan_of(tmp_path / name, *texts[:count], judges=("cer", "mos"))
        evaluate(plan, hums(tmp_path / name), make=judges)
    a, b0, b1, short = (tmp_path / name for name in said)
    row = compare(a, b0, b1)["metrics"]["error_rate"]
    assert (row["a"], row["b"]) == (pytest.approx(2 / 6), pytest.approx(1 / 12))
    assert row["relative"] == pytest.approx(-0.75)
    fewer = compare(a, b0, short)
    assert fewer["cases"] == 8
    assert fewer["metrics"]["error_rate"]["b"] == pytest.approx(1 / 12)
    summary = json.loads((b1 / "summary.json").read_text())
    summary["judges"]["cer"]["version"] = "another"
    (b1 / "summary.json").write_text(json.dumps(summary))
    assert "another" in compare(a, b0, b1)["left_out"]["error_rate"]


def test_the_report_is_one_page_with_players(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "One <b>.", "Two.", "。", judges=("cer", "mos"))
    judges = makes(Cer(Recites("one", "<i>too</i>")), Seconds())
    evaluate(plan, hums(tmp_path), make=judges)
    html = report.write(tmp_path, players=2).read_text()
    assert html.count("<audio") == 2
    assert html.count("data:audio/ogg;base64,") == 2
    assert "<svg" in html
    assert "One &lt;b&gt;." in html
    assert "&lt;i&gt;too" in html
    assert "1 case has no sound" in html
    assert "<link" not in html
    assert re.findall(r"(?:src|href)=['\"](?!data:|#)[^'\"]+", html) == []


# ----- the command line ---------------------------------------------------------------------------


def test_the_command_writes_a_run_and_a_table(
    glmtts: Run, humming: FakeSynthesizer, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("One.\nTwo.\nThree.\n")
    flags = ("--only", "--judge", "pace", "--limit", "2")
    result = glmtts("eval", "list", texts, "-o", tmp_path / "run", *flags)
    assert result.status == 0, result.err
    assert "pace" in result.out
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(humming.calls) == 2
    same = glmtts("eval", "compare", tmp_path / "run", tmp_path / "run")
    assert "2 cases in common" in same.out
    again = glmtts("eval", "report", tmp_path / "run")
    assert again.out.strip().endswith("report.html")


def test_the_command_says_what_is_wrong(glmtts: Run, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("One.\n")
    wrong = glmtts("eval", "list", texts, "-o", tmp_path / "r", "--judge", "beauty")
    assert wrong.status == 2
    assert "Known: cer" in wrong.err
    none = glmtts("eval", "list", texts, "-o", tmp_path / "r", "--audio", tmp_path / "gone",
                  "--only", "--judge", "pace")  # fmt: skip
    assert none.status == 2
    assert "no folder" in none.err
    assert "sim=dvector" in glmtts("eval", "judges").out
