"""A tiktoken vocabulary through our tokenizer gives the ids that tiktoken gives."""

import base64
import json
import random
from pathlib import Path

import pytest
import tiktoken

from glmtts.errors import CheckpointError
from glmtts.text.bpe_ranks import GLM4_PATTERN, build, merges_of, read_added_tokens, read_ranks
from glmtts.text.tokenizer import TextTokenizer
from tests.official import added_tokens, ranks

TEXTS = (
    "今天天气不错，我们去公园吧。\n",
    "hello world, HELLO there's no  one's 'LL 的the",
    "1234567 890 ٣٤ ½ 3.14",
    "😀👨‍👩‍👧 ok\u0301 é naïve\t\ttabs \r\n\r\n  end  ",
    "<|user|>你好<|ANG3|><|audio_7|> <|nothing|> <|",
)


def variants() -> list[dict[bytes, int]]:
    """Plain, with tokens that no merge makes, and with parts of merges pruned."""
    plain = ranks(120, TEXTS)
    top = max(plain.values())
    odd = {text.encode(): top + 5 + i for i, text in enumerate(("<|UNUSED_1|>", "的的", "o w"))}
    rng = random.Random(0)
    long = sorted(token for token in plain if len(token) > 1)
    pruned = {token: rank for token, rank in plain.items() if token not in rng.sample(long, 20)}
    random_tokens = dict(plain)
    for i in range(80):
        token = bytes(rng.choice(b"ab \xe4\xbd\xa0") for _ in range(rng.randrange(2, 6)))
        random_tokens.setdefault(token, top + 1 + i)
    return [plain, plain | odd, pruned, random_tokens]


@pytest.mark.parametrize("table", variants(), ids=["plain", "odd", "pruned", "random"])
def test_ids_are_those_of_tiktoken(table: dict[bytes, int], tmp_path: Path) -> None:
    added = added_tokens(max(table.values()) + 2, 16)
    ours = TextTokenizer.load(build(table, added, tmp_path, speech_count=16))
    theirs = tiktoken.Encoding(
        "test", pat_str=GLM4_PATTERN, mergeable_ranks=table, special_tokens=added
    )
    rng = random.Random(1)
    alphabet = [*sorted(set("".join(TEXTS))), "的的", "o w", "<|UNUSED_1|>", "  ", "aaa", "你a "]
    made = ["".join(rng.choices(alphabet, k=rng.randrange(1, 25))) for _ in range(400)]
    for text in (*TEXTS, *made):
        ids = theirs.encode(text, allowed_special="all")
        assert ours.encode(text) == ids, text
        if "<|" not in text:
            assert ours.decode(ids) == text


def test_named_ids(tmp_path: Path) -> None:
    table = ranks(20)
    added = added_tokens(400, 32)
    special = TextTokenizer.load(build(table, added, tmp_path, speech_count=32)).special
    assert special.pad == 400
    assert special.eoa == special.pad + 7
    assert special.boa == special.pad + 14
    assert (special.ate - special.ats, special.speech_count) == (31, 32)
    assert special.boa < special.ats


def test_units_whose_phonemes_have_no_token_are_written_out(tmp_path: Path) -> None:
    tokenizer = TextTokenizer.load(build(ranks(20), added_tokens(400, 8), tmp_path, speech_count=8))
    units = [("行", ("<|H|>", "<|ANG2|>")), ("hi", ("<|EN_HH|>", "<|EN_AY1|>")), ("。", ())]
    ids, _ = tokenizer.encode_units(units, [True, True, False])
    assert ids == tokenizer.encode("<|H|><|ANG2|>hi。")
    assert ids[:2] == tokenizer.encode("<|H|><|ANG2|>")


def test_a_token_has_all_its_pairs_in_the_order_of_ranks() -> None:
    table = {b"a": 0, b"b": 1, b"ab": 2, b"ba": 3, b"aba": 4}
    assert merges_of(table) == [(b"a", b"b"), (b"b", b"a"), (b"a", b"ba"), (b"ab", b"a")]


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks(5).items()]
    for damage, message in (
        ([*lines, "not base64! 5"], "line 262"),
        ([*lines, "YWJjZGVm"], "line 262"),
        ([*lines, "YWJjZGVm 3"], "the same rank"),
        (lines[:200], "byte 0xC8 has no token"),
        ([], "byte 0x00"),
    ):
        path.write_text("\n".join(damage))
        with pytest.raises(CheckpointError, match=message):
            read_ranks(path)
    with pytest.raises(CheckpointError, match="Cannot read the text vocabulary"):
        read_ranks(tmp_path / "none")


def test_damaged_added_tokens_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    twice = {"1": {"content": "<|user|>"}, "2": {"content": "<|user|>"}}
    for text in ("{", "[]", "{}", '{"added_tokens_decoder": {}}', '{"added_tokens_decoder": 3}',
                 json.dumps({"added_tokens_decoder": twice})):  # fmt: skip
        path.write_text(text)
        with pytest.raises(CheckpointError, match="added"):
            read_added_tokens(path)
    with pytest.raises(CheckpointError, match="has id 5"):
        build(ranks(5), {"<|user|>": 5}, tmp_path, speech_count=8)
