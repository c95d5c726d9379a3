"""What a policy is asked to say: texts of several kinds in voices that fit, always the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from glmtts.data.shards import write_shard
from glmtts.errors import BadInput
from glmtts.synthesizer import Synthesizer
from glmtts.train.cases import Cases
from glmtts.voice import Prompt
from tests.tiny import build
from tests.train.test_lm import write_clips


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    folder = tmp_path_factory.mktemp("cases")
    return Synthesizer.load(build(folder / "model"), device="cpu", voices=folder / "stored")


def said(cases: Cases, count: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(c.text, c.voice.name, c.text_ids) for c in map(cases.at, range(count))]


def test_lines_of_a_text_file_in_voices_of_their_language(synthesizer: Synthesizer, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("你好。\n\nHello, hello!\n世界。\n")
    cases = Cases(str(path), synthesizer, seed=1)
    assert len(cases.lines) == 3
    drawn = [cases.at(i) for i in range(30)]
    assert {c.text for c in drawn} == {"你好。", "Hello, hello!", "世界。"}
    for case in drawn:
        assert (case.voice.name, case.language) in {("mei", "zh"), ("tom", "en")}
        assert case.prompt == case.voice.prompt
        assert case.phonemes
    assert said(cases, 30) == said(Cases(str(path), synthesizer, seed=1), 30)
    assert said(cases, 30) != said(Cases(str(path), synthesizer, seed=2), 30)
    texts = [c.text for c in drawn]
    assert all(len(set(texts[i : i + 3])) == 3 for i in range(0, 30, 3))  # each line once an epoch


def test_lines_that_cannot_be_spoken_give_way_to_others(synthesizer: Synthesizer, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("[laughter]\n!!!\n你好。\n")
    assert {case.text for case in map(Cases(str(path), synthesizer).at, range(6))} == {"你好。"}
    path.write_text("[laughter]\n!!!\n")
    with pytest.raises(BadInput, match="None of the 2 texts"):
        Cases(str(path), synthesizer).at(0)


def test_json_lines_name_voice_and_style(synthesizer: Synthesizer, tmp_path: Path):
    path = tmp_path / "texts.jsonl"
    records = [
        {"text": "你好。", "voice": "tom", "style": "happy"},
        {"text": "世界。", "lang": "zh"},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    drawn = {c.text: c for c in map(Cases(str(path), synthesizer).at, range(2))}
    assert (drawn["你好。"].voice.name, drawn["你好。"].style) == ("tom", "happy")
    assert (drawn["世界。"].voice.name, drawn["世界。"].style) == ("mei", None)


def test_shards_give_texts_with_readings_and_voices(synthesizer: Synthesizer, tmp_path: Path):
    write_clips(tmp_path / "texts", 12)
    cases = Cases(str(tmp_path / "texts"), synthesizer)
    case = cases.at(0)
    clip = next(line.clip for line in cases.lines if line.text == case.text)
    assert clip is not None
    assert list(case.phonemes) == [p for _, ps in clip.units for p in ps]

    clips = [line.clip for line in cases.lines if line.clip is not None]
    rng = np.random.default_rng(0)
    arrays = {
        "tokens": [rng.integers(0, 32, 40) for _ in clips],
        "mel": [rng.integers(0, 255, (80, 80)) for _ in clips],
        "speaker": [np.full(256, 1 / 16) for _ in clips],
    }
    write_shard(tmp_path / "voices", 0, clips, arrays)
    voices = Cases(str(tmp_path / "texts"), synthesizer, voices=str(tmp_path / "voices"))
    drawn = [voices.at(i) for i in range(20)]
    assert len({c.voice.name for c in drawn}) > 5
    for case in drawn:
        number = [clip.id for clip in clips].index(case.voice.name)
        assert case.voice.speech_tokens == tuple(arrays["tokens"][number])
        assert case.prompt.turns[0].speech_tokens == case.voice.speech_tokens
        assert case.voice.mel.shape == (80, 80)


def test_some_cases_are_said_without_hearing_the_voice(synthesizer: Synthesizer, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("你好。\n世界。\n")
    cases = Cases(str(path), synthesizer, voiceless=0.5)
    drawn = [cases.at(i).prompt == Prompt() for i in range(60)]
    assert 15 < sum(drawn) < 45


def test_texts_that_are_too_long_give_way(synthesizer: Synthesizer, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("你好。\n" + "你好世界" * 5 + "。\n")
    cases = Cases(str(path), synthesizer, longest=10)
    assert {cases.at(i).text for i in range(6)} == {"你好。"}
    with pytest.raises(BadInput, match="at most 1 text ids"):
        Cases(str(path), synthesizer, longest=1).at(0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("texts.txt", "\n", "no texts"),
        ("texts.jsonl", '{"words": "你好"}', "Expected a text on each line"),
        ("texts.jsonl", "你好", "Expected a text on each line"),
        ("shards", "", "No shards"),
    ],
)
def test_sources_that_cannot_be_read_are_named(
    synthesizer: Synthesizer, tmp_path: Path, name: str, content: str, says: str
):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=says):
        Cases(str(tmp_path / name), synthesizer)
