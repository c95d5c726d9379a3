"""The lists that are read."""

import json
from pathlib import Path

import pytest

from glmtts.errors import BadInput
from glmtts.eval import cases
from glmtts.eval.cases import builtin, cv3_emotion, in_every_style, made, own, seed_tts
from glmtts.eval.tasks import TASKS


def test_all_forms_of_seed_tts_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "meta.lst"
    path.write_text(
        "a|你好吗|prompts/a.wav|今天很好。|wavs/a.wav\n"
        "b|你好吗|prompts/b.wav|OK\n\nc.wav|再见|prompts/c.wav\nd|谢谢\n",
        encoding="utf-8",
    )
    a, b, c, d = seed_tts(path)
    assert (a.id, a.text, a.prompt_text) == ("a", "今天很好。", "你好吗")
    assert (a.prompt, a.reference) == (
        str(tmp_path / "prompts/a.wav"),
        str(tmp_path / "wavs/a.wav"),
    )
    assert (c.id, c.text, d.prompt) == ("c", "再见", "")
    assert b.language == "zh", "the list is Mandarin, so its Latin text is counted by character"


def test_a_testset_folder_has_subsets(tmp_path: Path) -> None:
    for name in ("zh/meta.lst", "zh/hardcase.lst", "en/meta.lst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name.replace('/', '-')}|some text\n")
    assert seed_tts(tmp_path, "hard")[0].id == "zh-hardcase.lst"
    assert seed_tts(tmp_path, "en")[0].subset == "en"
    with pytest.raises(BadInput, match="--subset zh, en, hard"):
        seed_tts(tmp_path, "fr")


def test_the_emotion_set_of_cv3_eval_is_read(tmp_path: Path) -> None:
    for style in ("happy", "sad"):
        folder = tmp_path / "data" / "emotion_zeroshot" / "en" / style
        folder.mkdir(parents=True)
        (folder / "text").write_text("uttid_1 What a day!\nuttid_2 It rains.\n")
        (folder / "prompt_text").write_text("uttid_1 Oh.\nuttid_2 Well.\n")
        scp = f"data/emotion_zeroshot/en/{style}/waveform/p.wav"
        (folder / "prompt_wav.scp").write_text(f"uttid_1 {scp}\nuttid_2 {scp}\n")
        (folder / "waveform").mkdir()
        (folder / "waveform" / "p.wav").touch()
    found = cv3_emotion(tmp_path / "data" / "emotion_zeroshot" / "en")
    assert [case.id for case in found[:2]] == ["happy_uttid_1", "happy_uttid_2"]
    assert (found[2].style, found[2].prompt_text) == ("sad", "Oh.")
    assert Path(found[0].prompt).is_file()
    with pytest.raises(BadInput, match="no STYLE/text"):
        cv3_emotion(tmp_path)


def test_a_list_of_your_own(tmp_path: Path) -> None:
    plain = tmp_path / "texts.txt"
    plain.write_text("你好。\n\nHello.\n", encoding="utf-8")
    assert [(c.id, c.language) for c in own(plain)] == [("0001", "zh"), ("0003", "en")]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "Ha!", "style": "laughter", "laugh": [1, 2]}) + "\n")
    assert own(rows)[0].laugh == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a", "speed": 2}', "unknown field 'speed'"),
        ('{"txt": "a"}', "expected JSON with a text"),
        ('{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}', "two cases named 'x'"),
        ('{"text": "a", "id": "../x"}', "cannot name a sound file"),
        ("", "holds no cases"),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        own(path)
    with pytest.raises(BadInput, match="Cannot read the list"):
        seed_tts(tmp_path / "none.lst")


def test_a_seed_tts_line_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meta.lst"
    path.write_text("a|b|c|d|e|f\n")
    with pytest.raises(BadInput, match="line 1"):
        seed_tts(path)


def test_some_tasks_bring_a_list() -> None:
    for task in TASKS.values():
        if task.builtin:
            assert len(builtin(task.name)) >= 4
    assert cases.SEED_LISTS["zh"] == "zh/meta.lst"


def test_each_text_is_said_neutrally_and_in_every_style() -> None:
    said = in_every_style([made("a", "Hello."), made("b", "Bye.", style="sad")])
    assert [case.id for case in said] == [
        "a-neutral", "a-happy", "a-sad", "a-angry", "a-surprised", "b",
    ]  # fmt: skip
    assert [case.style for case in said[:2]] == ["neutral", "happy"]
    assert all(case.subset == case.style for case in said)
    assert len(in_every_style(builtin("tags"))) == 250
