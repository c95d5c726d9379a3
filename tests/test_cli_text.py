"""`glmtts text` as its users know it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run

ROOT = Path(__file__).parent.parent


def test_json_is_exactly_what_is_promised(glmtts: Run) -> None:
    result = glmtts("text", "我长[zhang3]大了3岁，read[R EH1 D] on.", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert set(found) == {"input", "sentences"}
    assert found["input"] == "我长[zhang3]大了3岁，read[R EH1 D] on."
    for sentence in found["sentences"]:
        assert set(sentence) == {"normalized", "readings"}
        for reading in sentence["readings"]:
            assert set(reading) == {"index", "text", "reading"}
    readings = [r for sentence in found["sentences"] for r in sentence["readings"]]
    assert readings[:3] == [
        {"index": 0, "text": "我", "reading": "wo3"},
        {"index": 1, "text": "长", "reading": "zhang3"},
        {"index": 10, "text": "大", "reading": "da4"},
    ]
    assert {"index": None, "text": "三", "reading": "san1"} in readings
    assert {"index": 15, "text": "read", "reading": "R EH1 D"} in readings


def test_lines_go_on_after_a_bad_one(glmtts: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = "你好\n长[zhang9]\n\n".encode() + b"\xff\n" + "hello\r\n银行[yin2 hang2]".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    result = glmtts("text", "--json", "--lines", "-")
    assert result.status == 0, result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["input"] for row in rows] == [
        "你好", "长[zhang9]", "", "\ufffd", "hello", "银行[yin2 hang2]",
    ]  # fmt: skip
    assert ["error" in row for row in rows] == [False, True, True, True, False, False]
    assert set(rows[1]) == {"input", "error"}
    assert "zhang3" in rows[1]["error"]
    assert [r["reading"] for r in rows[5]["sentences"][0]["readings"]] == ["yin2", "hang2"]


def test_lines_are_answered_one_by_one() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "glmtts", "text", "--json", "--lines", "-"], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("一", "二"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["input"] == text
        process.stdin.close()
        assert process.wait() == 0


def test_the_view_for_people(glmtts: Run, tmp_path: Path) -> None:
    words = tmp_path / "names.tsv"
    words.write_text("单于\tchan2 yu2\n", encoding="utf-8")
    text = "<speak>单于有12匹马<break time='300ms'/>长[zhang3]大</speak>"
    plain = glmtts("text", text, "--lexicon", words)
    assert plain.status == 0, plain.err
    assert "单于有十二匹马" in plain.out
    assert "chan2 yu2 you3" in plain.out
    assert "silence, 0.3 s" in plain.out
    assert "\x1b[" not in plain.out  # no colours unless it is a terminal
    assert "names.tsv" not in plain.out
    explained = glmtts("text", text, "--lexicon", words, "--explain", "--policy", "auto")
    for shown in ("lexicon names.tsv:1", "'12' -> '十二'", "inline", "auto: <|CH|><|AN2|><|V2|>"):
        assert shown in explained.out
    rows = json.loads(glmtts("text", text, "--lexicon", words, "--explain", "--json").out)
    first = rows["sentences"][0]
    assert first["pause_s"] == 0.3
    assert first["readings"][0]["rule"] == "lexicon names.tsv:1"
    assert any(change["spoken"] == "十二" for change in first["rewritten"])


def test_standard_input_and_files(
    glmtts: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("你好".encode())))
    assert json.loads(glmtts("text", "-", "--json").out)["input"] == "你好"
    lines = tmp_path / "lines.txt"
    lines.write_text("你好\n[\n", encoding="utf-8")
    shown = glmtts("text", "--lines", lines).out
    assert "ni3 hao3" in shown
    assert "Nothing in the text can be spoken" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected a text"),
        (("x", "--lines", "-"), "Expected a text"),
        (("长[zhang9]",), "zhang3"),
        (("<speak>",), "line 1, column"),
        (("x", "--lexicon", "none.tsv"), "Cannot read the lexicon"),
        (("--lines", "none.txt"), "Cannot read none.txt"),
        (("x", "--policy", "some"), "--policy"),
    ],
)
def test_errors_are_one_sentence(glmtts: Run, arguments: tuple[str, ...], message: str) -> None:
    result = glmtts("text", *arguments)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from glmtts.cli import app; "
        "app.main(['text', '你好', '--explain'], standalone_mode=False); "
        "print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip().endswith("[]")
