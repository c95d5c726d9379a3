"""User lexicons: what a line may say, where a word is found, what is refused, hot reloading."""

import os
import time
from pathlib import Path

import pytest

from glmtts.errors import BadInput, BadText
from glmtts.text.lexicon import Lexicon
from glmtts.text.markup import parse


def said(lexicon: Lexicon, text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text after the lexicon, and surfaces and readings it forces."""
    (stretch,) = [lexicon(stretch) for stretch in parse(text)]
    found: list = []
    previous = None
    for item in stretch.forced:
        if item is not None and item is not previous:
            found.append((item.surface, item.reading))
        previous = item
    return stretch.text, found


WORDS = Lexicon.of(
    {
        "银行": "yin2 hang2",
        "银行行长": "yín háng háng zhǎng",
        "github": "G IH1 T HH AH2 B",
        "US": "Y UW1 EH1 S",
        "WTO": "世界贸易组织",
        "卡拉OK": "ka3 la1 OW1 K EY1",
        "弦": "<|X|><|IAN2|>",
        "乡音无改鬓毛衰": "乡音无改鬓毛<|C|><|UEI1|>",
        "C++": "C plus plus",
        "GPT-4": "JH IY2 P IY2 T IY1 F AO1 R",
        "花儿": "huar1",
    }
)


@pytest.mark.parametrize(
    ("text", "spoken", "forced"),
    [
        ("去银行吧", None, [("银", "yin2"), ("行", "hang2")]),
        ("银行行长", None, [("银", "yin2"), ("行", "hang2"), ("行", "hang2"), ("长", "zhang3")]),
        ("GitHub is", None, [("GitHub", "G IH1 T HH AH2 B")]),
        ("GitHub's", None, [("GitHub's", "G IH1 T HH AH2 B Z")]),
        ("githubs mygithub github2", None, []),
        ("the US and us", None, [("US", "Y UW1 EH1 S")]),
        ("WTO成员", "世界贸易组织成员", []),
        ("唱卡拉OK去", None, [("卡", "ka3"), ("拉", "la1"), ("OK", "OW1 K EY1")]),
        ("二弦", None, [("弦", "xian2")]),
        ("乡音无改鬓毛衰。", None, [("衰", "cui1")]),
        ("C++, C+", "C plus plus, C+", []),
        ("用GPT-4写", None, [("GPT-4", "JH IY2 P IY2 T IY1 F AO1 R")]),
        ("看花儿", None, [("花", "hua1"), ("儿", "er5")]),
        ("银行[yin1 xing2]", "银行", [("银", "yin1"), ("行", "xing2")]),
        ("没有词", None, []),
    ],
)
def test_words_are_found_longest_first_and_bounded(
    text: str, spoken: str | None, forced: list[tuple[str, str]]
) -> None:
    assert said(WORDS, text) == (text if spoken is None else spoken, forced)


def test_the_entry_that_decided_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("# 人名\n\n单于\tchan2 yu2\tcomment\n", encoding="utf-8-sig")
    (stretch,) = [Lexicon.load(path)(s) for s in parse("单于")]
    assert [item and item.rule for item in stretch.forced] == ["lexicon names.tsv:3"] * 2


@pytest.mark.parametrize(
    "rows",
    [
        '{"word": "行长", "reading": "hang2 zhang3"}\n{"word": "噢", "spelling": "哦"}\n',
        '{"行长": "hang2 zhang3"}\n{"噢": "哦"}\n',
        '{"行长": "<|H|><|ANG2|><|ZH|><|ANG3|>", "噢": "哦"}\n',
        '["行长", "háng zhǎng"]\n["噢", "哦"]\n',
        '{"ori": "行长", "to": "hang2 zhang3"}\n{"x": "噢", "y": "哦"}\n',
        '{"word": "行长", "phonemes": ["hang2", "zhang3"]}\n{"from": "噢", "replace": "哦"}\n',
    ],
)
def test_json_lines_of_ours_and_of_the_official_model(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "custom_replace.jsonl"
    path.write_text(rows, encoding="utf-8")
    lexicon = Lexicon.load(path)
    assert len(lexicon) == 2
    assert said(lexicon, "噢，行长") == ("哦，行长", [("行", "hang2"), ("长", "zhang3")])


def test_a_whole_json_file(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text('{"噢": "哦", "弦": "<|X|><|IAN2|>"}', encoding="utf-8")
    assert said(Lexicon.load(path), "噢弦") == ("哦弦", [("弦", "xian2")])
    path.write_text('[{"word": "噢", "spelling": "哦"}]', encoding="utf-8")
    assert said(Lexicon.load(path), "噢弦") == ("哦弦", [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("银行\tyin2", "does not fit the 2 Hanzi"),
        ("长\tzhang9", "zhang3"),
        ("read\tR EH9 D", "EH1"),
        ("only one column", "a tab and its reading"),
        ("\tx", "a tab and its reading"),
        ("乡音\t乡<|X|><|IAN9|>", "IAN2"),
        ("乡音\t音<|X|><|IAN2|>", "not in its place"),
        ('{"word": "长", "reading": "foo"}', "not a reading"),
        ('{"word": "长"', "Not JSON"),
        ('{"word": 5, "reading": "a1"}', "Expected text"),
        ("{}", "Expected an object"),
        ("[" * 3_000, "Not JSON|Expected"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(f"好\thao3\n{line}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=rf"bad\.tsv, line 2: .*({message})"):
        Lexicon.load(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Cannot read the lexicon"):
        Lexicon.load(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        Lexicon.load(tmp_path / "latin.tsv")
    with pytest.raises(BadText):
        Lexicon.of({"长": "zhang9"})


def test_a_changed_file_is_read_again_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("长\tzhang3\n", encoding="utf-8")
    lexicon = Lexicon.load(path)
    assert not lexicon.reload_if_changed()
    path.write_text("长\tchang2\n行\thang2\n", encoding="utf-8")
    assert lexicon.reload_if_changed()
    assert not lexicon.reload_if_changed()
    assert said(lexicon, "长行") == ("长行", [("长", "chang2"), ("行", "hang2")])
    path.write_text("长\tchang9\n", encoding="utf-8")
    assert not lexicon.reload_if_changed()
    assert "line 1" in caplog.text
    os.unlink(path)
    assert not lexicon.reload_if_changed()
    assert said(lexicon, "长") == ("长", [("长", "chang2")])
    assert not Lexicon.of({"好": "hao3"}).reload_if_changed()


def test_a_path_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("长\tzhang3\n", encoding="utf-8")
    assert Lexicon.opened(path) is Lexicon.opened(str(path))
    assert Lexicon.opened(None) is None
    assert Lexicon.opened(WORDS) is WORDS


def test_a_large_lexicon_is_quick() -> None:
    lexicon = Lexicon.of({f"词{i}": "说法" for i in range(5_000)})
    (stretch,) = parse("词1词22词333" * 2_000)
    begun = time.process_time()
    assert "词" not in lexicon(stretch).text
    assert time.process_time() - begun < 10.0  # searching word by word takes minutes
