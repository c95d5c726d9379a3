"""Any text has ids, phonemes are single ids, and units encode as their rendering does."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from glmtts.data.teacher_units import corpus_units
from glmtts.errors import CheckpointError
from glmtts.text.g2p import analyse
from glmtts.text.phonemes import PHONEME_TOKENS
from glmtts.text.tokenizer import TextTokenizer, build_nano_tokenizer, render

TEXTS = [
    "今天天气真不错，我们一起去公园散步吧。",
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "我在GitHub上看到the best project，很cool！",
    "A well-known reader's guide: read it; keep it.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nano_tokenizer(TEXTS, tmp_path_factory.mktemp("tokenizer"), merges=50)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer.load(folder)


@pytest.mark.parametrize("text", [*TEXTS, "😀龘é\n\t<html>", "<|H|><|ANG2|>，<|EN_HH|>ok", ""])
def test_any_text_comes_back_in_lower_case(tokenizer: TextTokenizer, text: str) -> None:
    back = tokenizer.decode(tokenizer.encode(text))
    assert back.lower() == text.lower()


def test_phonemes_and_hanzi_are_single_ids(tokenizer: TextTokenizer) -> None:
    ids = [tokenizer.encode(name) for name in (*PHONEME_TOKENS, "你", "园", "。")]
    assert all(len(i) == 1 for i in ids)
    assert len({i[0] for i in ids}) == len(ids)


def test_special_ids_are_in_order(tokenizer: TextTokenizer) -> None:
    special = tokenizer.special
    assert special.boa < special.ats
    assert special.speech_count == 4096
    assert tokenizer.vocab_size == special.ate + 1
    assert tokenizer.encode("<|user|>") == [special.eoa]
    speech = [special.boa, special.ats, special.ate]
    assert tokenizer.decode(speech) == "<|begin_of_audio|><|audio_0|><|audio_4095|>"


def test_case_makes_no_difference(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode("HELLO Fox") == tokenizer.encode("hello fox")


def test_units_encode_as_their_hybrid_text(tokenizer: TextTokenizer) -> None:
    rng = random.Random(0)
    for text in TEXTS * 10:
        units = analyse(text)
        choice = [rng.random() < 0.5 for _ in units]
        ids, where = tokenizer.encode_units(units, choice)
        assert ids == tokenizer.encode(render(units, choice))
        assert len(where) == len(ids)
        known = [i for i in where if i >= 0]
        assert known == sorted(known)
        assert max(known) < sum(len(unit.phonemes) for unit in units)


def test_every_id_knows_its_phoneme(tokenizer: TextTokenizer) -> None:
    units = [
        ("行", ("<|H|>", "<|ANG2|>")),
        ("，", ()),
        ("ok", ("<|EN_K|>",)),
        ("go", ("<|EN_G|>",)),
    ]
    ids, where = tokenizer.encode_units(units, [True, True, True, True])
    assert where == [0, 1, -1, 2, -1, 3]
    assert tokenizer.decode(ids) == "<|H|><|ANG2|>，<|EN_K|> <|EN_G|>"
    ids, where = tokenizer.encode_units(units, [False, False, True, False])
    assert where[:4] == [0, -1, 2, -1]
    assert set(where[4:]) == {3}


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Cannot read a text tokenizer"):
        TextTokenizer.load(tmp_path)
    text = (folder / "tokenizer.json").read_text("utf-8")
    (tmp_path / "special.json").write_text(json.dumps({"speech_count": 4096}))
    (tmp_path / "tokenizer.json").write_text(text.replace("<|user|>", "<|loser|>"), "utf-8")
    with pytest.raises(CheckpointError, match=r"no token <\|user\|>"):
        TextTokenizer.load(tmp_path)


def test_a_build_is_repeatable(folder: Path, tmp_path: Path) -> None:
    again = build_nano_tokenizer(TEXTS, tmp_path, merges=50)
    assert (again / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_manifest_records_pair_text_with_what_was_spoken() -> None:
    zh = {
        "lang": "zh",
        "text": "你好，一流。",
        "pinyin": ["ni3", "hao3", "yi4", "liu2"],
        "phonemes": "",
    }
    assert [unit.phonemes for unit in corpus_units(zh)][2:4] == [(), ("<|I4|>",)]
    en = {
        "lang": "en",
        "text": "On e.g. short-ish.",
        "pinyin": None,
        "phonemes": "ˌɒn ˌiʤˈi ʃˈɔːtɪʃ.",
    }
    units = corpus_units(en)
    assert [unit.surface for unit in units] == ["On", "e.g", "short-ish", "."]
    assert units[2].phonemes == ("<|EN_SH|>", "<|EN_AO1|>", "<|EN_T|>", "<|EN_IH0|>", "<|EN_SH|>")


def test_the_text_front_end_does_not_import_torch() -> None:
    code = (
        "import sys, glmtts.text.normalize, glmtts.text.g2p, glmtts.text.tokenizer;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
