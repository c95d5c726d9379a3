"""The whole front end: what a user forces arrives, in its place, under every policy."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from glmtts.errors import BadText
from glmtts.text import hybrid
from glmtts.text.frontend import Frontend, Sentence, encode
from glmtts.text.lexicon import Lexicon
from glmtts.text.phonemes import MANDARIN, token
from glmtts.text.tokenizer import TextTokenizer, build_nano_tokenizer

READ = Frontend()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Nano's kind: Hanzi, letters, and all phonemes."""
    folder = tmp_path_factory.mktemp("tokenizer")
    return TextTokenizer.load(build_nano_tokenizer(["你好"], folder, speech_count=4, merges=0))


def only(text: str, frontend: Frontend = READ) -> Sentence:
    (sentence,) = frontend(text)
    return sentence


def readings(sentence: Sentence) -> list[tuple[str, str, int | None]]:
    return [(s.unit.surface, s.reading, s.index) for s in sentence.said if s.unit.phonemes]


@pytest.mark.parametrize(
    ("text", "normalised", "expected"),
    [
        ("果子真长[zhǎng]啊", "果子真长啊", ("长", "zhang3", 3)),
        ("头发很长[zhang3]，", "头发很长", ("长", "zhang3", 3)),
        ("3行[hang2]字", "三行字", ("行", "hang2", 1)),
        ("他姓单[shan4]，", "他姓单", ("单", "shan4", 2)),
        ("㐂[xi3]", "㐂", ("㐂", "xi3", 0)),
        ("在𠮷[ji2]野家", "在𠮷野家", ("𠮷", "ji2", 1)),
        ("I read[R EH1 D] it.", "I read it.", ("read", "R EH1 D", 2)),
        ("Ask Dr[D R AY1 V] Smith.", "Ask Dr Smith.", ("Dr", "D R AY1 V", 4)),
        ("An mp3[EH1 M P IY1 TH R IY1] file.", None, ("mp3", "EH1 M P IY1 TH R IY1", 3)),
        ("打110[yao1 yao1 ling2]报警", "打110报警", ("110", "yao1 yao1 ling2", 1)),
        ("真<|ZH|><|ANG3|>啊", "真<|ZH|><|ANG3|>啊", ("<|ZH|><|ANG3|>", "zhang3", 1)),
        ("<|ZH|><|ANG3|>", "<|ZH|><|ANG3|>", ("<|ZH|><|ANG3|>", "zhang3", 0)),
        ('<phoneme alphabet="py" ph="chang2">长</phoneme>大', "长大", ("长", "chang2", 35)),
        ("<say-as interpret-as='characters'>GO</say-as>", None, ("G", "JH IY1", 34)),
    ],
)  # fmt: skip
def test_what_is_forced_is_said(
    text: str, normalised: str | None, expected: tuple[str, str, int]
) -> None:
    sentence = only(text)
    assert expected in readings(sentence)
    forced = [s.unit.surface for s in sentence.said if s.forced]
    assert expected[0] in forced
    if normalised is not None:
        assert sentence.text.rstrip("，。") == normalised.rstrip("，。")


def test_neighbours_of_a_forced_character_are_read_in_context() -> None:
    sentence = only("银行[yin2 hang2]行长到了")
    assert [reading for _, reading, _ in readings(sentence)][:4] == [
        "yin2", "hang2", "hang2", "zhang3",
    ]  # fmt: skip


def test_indices_count_characters_of_the_input() -> None:
    text = "今天[1]有3个长[chang2]，GitHub的人。"
    found = {surface: index for surface, _, index in readings(only(text))}
    assert {s: i for s, i in found.items() if i is not None and len(s) == 1} == {
        char: text.index(char) for char in "今天有个长的人"
    }
    assert found["GitHub"] == text.index("GitHub")
    assert found["三"] is None


def test_the_rule_that_decided_is_named() -> None:
    frontend = Frontend(Lexicon.of({"行长": "hang2 zhang3"}))
    sentence = only("行长长[chang2]", frontend)
    assert [s.rule for s in sentence.said if s.unit.phonemes] == ["lexicon", "lexicon", "inline"]
    assert all(s.rule for s in only("今天好。", frontend).said if s.unit.phonemes)
    (changed,) = [r for r in only("有12个").rewritings if r.written == "12"]
    assert changed.spoken == "十二"
    assert changed.rule


def test_a_lexicon_for_one_text_counts_before_that_of_the_front_end() -> None:
    frontend = Frontend(Lexicon.of({"长": "chang2", "行": "hang2"}))
    sentence = frontend("长行", Lexicon.of({"长": "zhang3"}))[0]
    assert [reading for _, reading, _ in readings(sentence)] == ["zhang3", "hang2"]


def test_a_lexicons_file_is_reloaded(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("长\tchang2\n", encoding="utf-8")
    frontend = Frontend(Lexicon.load(path))
    assert readings(only("长", frontend)) == [("长", "chang2", 0)]
    path.write_text("长\tzhang3 \n", encoding="utf-8")
    assert readings(only("长", frontend)) == [("长", "zhang3", 0)]


def test_another_spelling_is_normalised_too() -> None:
    frontend = Frontend(Lexicon.of({"WTO": "世贸组织", "ETA": "3点"}))
    sentence = only("WTO的ETA", frontend)
    assert sentence.text.rstrip("。") == "世贸组织的三点"
    assert [index for _, _, index in readings(sentence)][:5] == [None] * 4 + [3]


def test_pauses_stand_after_sentences() -> None:
    text = "<speak><break time='1s'/>你好<break time='300ms'/>世界，再见。好的，好的。</speak>"
    found = [(s.text, s.pause_s) for s in READ(text)]
    assert found[0] == ("", 1.0)
    assert found[1][0].startswith("你好")
    assert [pause for _, pause in found[1:]] == [0.3, *[0.0] * (len(found) - 2)]
    assert READ(text)[0].said == ()


def test_a_stretch_of_numbers_follows_the_language_around_it() -> None:
    assert [s.text.rstrip(".") for s in READ("Wait <break/> 5 <break/> more")] == [
        "Wait", "five", "more",
    ]  # fmt: skip
    assert READ("等<break/>5")[1].text.rstrip("。") == "五"
    assert READ("<speak xml:lang='en-US'>5</speak>")[0].text.rstrip(".") == "five"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "<break/>",
        "[",
        "[]",
        "。",
        "\ue000",
        "<speak/>",
        "<speak><break/></speak>",
        "<|user|>",
    ],
)
def test_nothing_to_say_is_refused(text: str) -> None:
    with pytest.raises(BadText, match="Nothing in the text can be spoken"):
        READ(text)


# ----- policies -----------------------------------------------------------------------------------


def test_policies_choose_what_becomes_phonemes() -> None:
    sentence = only("我read[R EH1 D]过长[chang2]的重庆，鼋头渚")
    off, auto, every = (sentence.hybrid(policy) for policy in ("off", "auto", "all"))
    assert off.startswith("我<|EN_R|><|EN_EH1|><|EN_D|>过<|CH|><|ANG2|>的重庆")
    assert auto.startswith("我<|EN_R|><|EN_EH1|><|EN_D|>过<|CH|><|ANG2|>的<|CH|><|ONG2|>庆")
    assert "<|VAN2|>头" in auto
    assert not set("我过长的重庆鼋头渚") & set(every)


def test_polyphones_and_rare_characters_are_not_plain() -> None:
    assert all(map(hybrid.is_plain, "我的一不是人们今天儿"))
    assert not any(map(hybrid.is_plain, "行长重得还都好了为中发乐参差种处数鼋䶮繁"))
    assert hybrid.is_plain("hello")
    common = bytes(range(0xB0, 0xD8))
    plain = [
        char
        for row in common
        for cell in range(0xA1, 0xFF)
        if (char := bytes((row, cell)).decode("gb2312", "ignore")) and hybrid.is_plain(char)
    ]
    assert 3_200 < len(plain) < 3_500  # the official list has 3,372


def test_ids_hold_forced_phonemes_under_every_policy(tokenizer: TextTokenizer) -> None:
    sentence = only("真长[zhang3]啊。")
    for policy in ("off", "auto", "all"):
        for written in (False, True):
            ids = encode(sentence, tokenizer, policy, written=written)
            text = tokenizer.decode(ids)
            assert "<|zh|><|ang3|>" in text.lower(), (policy, written, text)
            assert ("啊" in text) == (policy != "all")


def test_the_official_spelling_of_hybrid_text(tokenizer: TextTokenizer) -> None:
    sentence = only("GitHub真长[zhang3]啊！")
    ids = encode(sentence, tokenizer, "off", written=True)
    assert tokenizer.decode(ids) == "github真<|ZH|><|ANG3|>啊。"
    only_tokens = only("<|ZH|><|ANG3|>")
    assert tokenizer.decode(encode(only_tokens, tokenizer, "off", written=True)) == (
        "<|ZH|><|ANG3|>。"
    )


class OfficialTokenizer:
    """Knows Mandarin phonemes alone."""

    def __init__(self) -> None:
        self.encoded = ""

    def knows(self, phonemes: tuple[str, ...]) -> bool:
        return set(phonemes) <= {token(symbol) for symbol in MANDARIN}

    def encode(self, text: str) -> list[int]:
        self.encoded = text
        return [1]


def test_a_model_without_a_phoneme_reads_the_text_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokenizer = OfficialTokenizer()
    encode(only("我read[R EH1 D]过长[chang2]"), tokenizer, "auto", written=True)  # type: ignore[arg-type]
    assert tokenizer.encoded == "我read过<|CH|><|ANG2|>。"
    assert "no phonemes for R EH1 D" in caplog.text


# ----- hostile input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3_000, "]" * 3_000, "长[zhang3]" * 300, "a[EY1] " * 300, "<|ZH|><|ANG3|>" * 300,
        "<speak>" * 50, "\u202e长[zhang3]\u202c\u200f", "\ue000\ue001长\uf8ff", "a<b>c</d>&e;",
        "<" * 3_000, "<|ZH|" * 500, "😀[zhang3]", "\x00\x01", "\ud83d", "𠮷" * 100,
        "<say-as interpret-as='x'>y</say-as>", "长[" * 500 + "zhang3" + "]" * 500, "好" * 5_000,
        "<sub alias='[zhang3]'>x</sub>", "<phoneme ph=''>x</phoneme>",
        "<sub alias='&lt;speak>'>x</sub>", "[zhang3]" * 300, "<speak>长[zhang9]</speak>",
    ],
)  # fmt: skip
def test_any_text_is_spoken_or_refused(text: str) -> None:
    begun = time.process_time()
    sentences: list[Sentence] = []
    with suppress(BadText):
        sentences = READ(text)
        assert any(sentence.said for sentence in sentences)
    assert not any("\ue000" <= char <= "\uf8ff" for s in sentences for char in s.text)
    assert time.process_time() - begun < 30.0  # backtracking takes minutes
