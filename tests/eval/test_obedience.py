"""Were tags obeyed: confusions, and errors over those of neutral speech."""

from pathlib import Path
from typing import Any

import pytest

from glmtts.commands.evaluation import table
from glmtts.errors import BadInput
from glmtts.eval import obedience, report
from glmtts.eval.cases import in_every_style, made
from glmtts.eval.run import Plan, evaluate
from glmtts.eval.speaking import Speaker
from glmtts.judges.base import Sample, Score, Verdict
from tests.fakes import FakeSynthesizer
from tests.tiny import build

HEARD = {"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "neutral"}
"""What the judge below hears; the surprised sound happy to it."""


class Manners:
    name, version = "emotion", "by heart 1"

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        return [self.judge(str(sample.style)) for sample in samples]

    def judge(self, style: str) -> Score:
        heard = HEARD.get(style, "happy")
        return Score(float(heard == style), detail={"style": heard, "right": heard == style})


class Errors:
    """Sad speech has twice the errors of any other."""

    name, version = "cer", "by heart 1"

    def __call__(self, samples: list[Sample]) -> list[Verdict]:
        return [self.judge(sample) for sample in samples]

    def judge(self, sample: Sample) -> Score:
        rate = {"One.": 0.1, "Two.": 0.3}[sample.text] * (2.0 if sample.style == "sad" else 1.0)
        counts = {"units": 10, "substitutions": 0, "deletions": 0, "insertions": 0}
        return Score(rate, detail={**counts, "per": rate, "tone_per": rate})


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    fake = FakeSynthesizer()
    said = in_every_style([made("1", "One."), made("2", "Two.")])
    speaker = Speaker("fake", tmp_path / "audio", styled=True, synthesizer=fake)
    judges = {"emotion": Manners(), "cer": Errors()}
    plan = Plan("tags", said, ["emotion", "cer"], tmp_path)
    found = evaluate(plan, speaker, make=lambda wanted: judges[wanted.slot])
    assert [call[2].style for call in fake.calls[:3]] == ["neutral", "happy", "sad"]
    return found


def test_what_was_heard_is_told_for_what_was_asked(summary: dict[str, Any], tmp_path: Path) -> None:
    assert summary["styles"]["confusion"] == {
        "neutral": {"neutral": 2}, "happy": {"happy": 2}, "sad": {"sad": 2},
        "angry": {"neutral": 2}, "surprised": {"happy": 2},
    }  # fmt: skip
    assert summary["metrics"]["emotion_accuracy"]["mean"] == pytest.approx(3 / 5)
    assert summary["metrics"]["emotion_accuracy"]["groups"]["angry"]["mean"] == 0.0
    shown = table(summary)
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines()}
    assert rows["asked"] == ["\\", "heard", "neutral", "angry", "happy", "sad", "surprised"]
    assert rows["angry"] == ["2", "0", "0", "0", "0", "0.0%", "right"]
    assert rows["sad"] == ["0", "0", "0", "2", "0", "100.0%", "right"]
    page = (report.write(tmp_path)).read_text()
    assert "<h2>Styles</h2>" in page
    assert "sad 2.00 (2.00 to 2.00)" in page


def test_errors_are_compared_with_those_of_the_same_words_said_neutrally(
    summary: dict[str, Any],
) -> None:
    ratios = summary["styles"]["ratios"]["error_rate"]
    assert ratios["sad"] == pytest.approx({"ratio": 2.0, "low": 2.0, "high": 2.0})
    assert ratios["happy"]["ratio"] == pytest.approx(1.0)
    assert "error_rate over neutral: happy 1.00 (1.00 to 1.00), sad 2.00" in obedience.text(
        summary["styles"]
    )


def test_a_run_without_styles_tells_of_none(tmp_path: Path) -> None:
    plan = Plan("list", [made("1", "One.")], ["cer"], tmp_path)
    speaker = Speaker("fake", tmp_path / "audio", synthesizer=FakeSynthesizer())
    assert evaluate(plan, speaker, make=lambda wanted: Errors())["styles"] is None


def test_a_model_without_tags_says_so(tmp_path: Path) -> None:
    tiny = build(tmp_path / "model")
    plan = Plan("tags", in_every_style([made("1", "你好。")])[1:2], ["cer"], tmp_path)
    speaker = Speaker(str(tiny), tmp_path / "audio", device="cpu", styled=True)
    with pytest.raises(BadInput, match="it knows none"):
        evaluate(plan, speaker, make=lambda wanted: Errors())


def test_a_limit_is_one_of_texts_and_keeps_all_styles_and_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmtts.commands import evaluation

    def speaker(model: str, folder: Path, **more: Any) -> Speaker:
        return Speaker("fake", folder, styled=more["styled"], synthesizer=FakeSynthesizer())

    monkeypatch.setattr(evaluation, "Speaker", speaker)
    found, shown = evaluation.run(
        "tags", cases=None, out=tmp_path, model="fake", audio=None, judges=("pace",), only=True,
        official=False, subset="", seeds=(), limit=2, voice="", workers=0, players=0, device="cpu",
    )  # fmt: skip
    assert found["cases"] == 10
    groups = found["metrics"]["seconds"]["groups"]
    assert {name: one["n"] for name, one in groups.items()} == {
        "en": 5, "zh": 5, "neutral": 2, "happy": 2, "sad": 2, "angry": 2, "surprised": 2,
    }  # fmt: skip
    assert "asked" not in shown, "no judge of styles was there"
