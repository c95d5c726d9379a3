"""Readings in brackets, phoneme tokens and SSML: what is forced, from where, what is refused."""

import time
import unicodedata
from contextlib import suppress

import pytest
from pypinyin.constants import PINYIN_DICT

from glmtts.errors import BadText
from glmtts.text.markup import parse
from glmtts.text.phonemes import (
    MANDARIN,
    PHONEME_TOKENS,
    SYLLABLES,
    canonical_pinyin,
    edit_distance,
    nearest_pinyin,
    pinyin_to_tokens,
    tokens_to_reading,
)


def forced(text: str) -> list[tuple[str, str]]:
    """Surfaces and readings that a text forces, in order."""
    found: list = []
    for stretch in parse(text):
        previous = None
        for item in stretch.forced:
            if item is not None and item is not previous:
                found.append((item.surface, item.reading))
            previous = item
    return found


def plain(text: str) -> str:
    return "".join(stretch.text for stretch in parse(text))


# ----- the inventory ------------------------------------------------------------------------------


def test_every_syllable_of_the_dictionary_has_phonemes_and_comes_back() -> None:
    listed = {r for readings in PINYIN_DICT.values() for r in readings.split(",")}
    assert len(listed) > 1_000
    for written in listed:
        reading = canonical_pinyin(written)
        assert reading is not None, written
        phonemes = pinyin_to_tokens(reading)
        assert set(phonemes) <= set(PHONEME_TOKENS)
        assert pinyin_to_tokens(tokens_to_reading(phonemes)) == phonemes


def test_the_holes_of_the_official_inventory_are_filled() -> None:
    for final in ("UAI", "UAN", "IONG", "VE", "UENG", "ER"):
        assert f"{final}5" in MANDARIN
    assert {"UENG2", "UENG5", "ER1", "M5", "IO2"} <= set(MANDARIN)
    assert len(set(MANDARIN)) == len(MANDARIN) >= 204


@pytest.mark.parametrize(
    ("written", "reading"),
    [
        ("zhǎng", "zhang3"), ("Zhang3", "zhang3"), ("ma0", "ma5"), ("ma", "ma5"), ("lü4", "lv4"),
        ("lu:4", "lv4"), ("lǜ", "lv4"), ("lüè", "lve4"), ("lue4", "lve4"), ("nǚ", "nv3"),
        ("jü1", "ju1"), ("ế", "ê2"), ("ń", "n2"), (unicodedata.normalize("NFD", "zhǎng"), "zhang3"),
        ("zhang9", None), ("zhng3", None), ("zhǎng3", None), ("bua3", None), ("", None),
        ("3", None),
    ],
)  # fmt: skip
def test_spellings_of_a_syllable(written: str, reading: str | None) -> None:
    assert canonical_pinyin(written) == reading


def test_the_nearest_readings_come_first() -> None:
    assert nearest_pinyin("zhng3", ["zhang3", "chang2"])[0] == "zhang3"
    assert set(nearest_pinyin("zhng3")) >= {"zhang3", "zheng3", "zhong3"}
    assert nearest_pinyin("chang9", ["chang2"])[0] == "chang2"
    assert nearest_pinyin("hagn2")[0] == "hang2"
    assert nearest_pinyin("hello3") == []
    assert edit_distance("kitten", "sitting") == 3
    assert len(SYLLABLES) > 400


# ----- readings in brackets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("这果子真长[zhǎng]啊", "这果子真长啊", [("长", "zhang3")]),
        ("长[zhang3]大", "长大", [("长", "zhang3")]),
        ("长［chang2］大", "长大", [("长", "chang2")]),
        ("去银行[yin2 hang2]", "去银行", [("银", "yin2"), ("行", "hang2")]),
        ("银行[yínháng]的", "银行的", [("银", "yin2"), ("行", "hang2")]),
        ("银行[yin2hang2]的", "银行的", [("银", "yin2"), ("行", "hang2")]),
        ("西安[xi1'an1]人", "西安人", [("西", "xi1"), ("安", "an1")]),
        ("了[le]", "了", [("了", "le5")]),
        ("长[zhang]大", "长大", [("长", "zhang3")]),
        ("花儿[huar1]开", "花儿开", [("花", "hua1"), ("儿", "er5")]),
        ("花[huar1]开", "花开", [("花", "hua1 er5")]),
        ("I read[R EH1 D] it", "I read it", [("read", "R EH1 D")]),
        ("I read[r eh1 d] it", "I read it", [("read", "R EH1 D")]),
        ("read[R EH1 D]'s", "read's", [("read's", "R EH1 D Z")]),
        ("don't[D OW1 N T] go", "don't go", [("don't", "D OW1 N T")]),
        ("用WeChat[wei1 xin4]吧", "用WeChat吧", [("WeChat", "wei1 xin4")]),
        ("打110[yao1 yao1 ling2]", "打110", [("110", "yao1 yao1 ling2")]),
        ("mp3[EH1 M P IY1 TH R IY1] file", "mp3 file", [("mp3", "EH1 M P IY1 TH R IY1")]),
        ("<|ZH|><|ANG3|>大", "<|ZH|><|ANG3|>大", [("<|ZH|><|ANG3|>", "zhang3")]),
        ("<|ANG3|><|ER5|>", "<|ANG3|><|ER5|>", [("<|ANG3|>", "ang3"), ("<|ER5|>", "er5")]),
        ("<|EN_R|><|EN_EH1|><|EN_D|>", "<|EN_R|><|EN_EH1|><|EN_D|>",
         [("<|EN_R|><|EN_EH1|><|EN_D|>", "R EH1 D")]),
    ],
)  # fmt: skip
def test_a_reading_is_bound_to_what_stands_before_it(
    text: str, said: str, expected: list[tuple[str, str]]
) -> None:
    assert forced(text) == expected
    assert plain(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "见[1]", "参考[see below]", "注[note]", "见[fig3]", "表[A1]", "见[ref1]", "下载[mp3]",
        "word[sic]", "a[1]", "plan[A]", "cell[B2]", "NASA[US]", "x[i]", "男[men]", "写[TODO]",
        "，[zhang3]", "长 [zhang3]", "看[图一]", "长[zhang3", "长]zhang3[", "[[[]]]",
        "H<sub>2</sub>O", "1 <2", "<p>x</p>", "</phoneme>", "<b>", "R&D", "AT&amp;T",
        "<phoneme>", "<break>", "<sub>", "文[注1]", "c\n[zhang3]", "a < b & c > d",
    ],
)  # fmt: skip
def test_other_brackets_and_signs_stay_text(text: str) -> None:
    assert forced(text) == []
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("长[zhang9]", "zhang3"),
        ("长[zhng3]", "zhang3"),
        ("行[hagn2]", "hang2"),
        ("长大[zhang3 da9]", "da4"),
        ("绿[lx4]", "lv4"),
        ("read[R EH9 D]", "EH1"),
        ("read[R EHH1 D]", "EH1"),
        ("read[EH9]", "EH1"),
        ("<|ZH|><|ANG9|>", "<|ANG3|>"),
        ("<|ANG|>", "<|ANG1|>"),
        ("<|EN_EH9|>", "<|EN_EH1|>"),
        ("<|ZH|>大", "<|ZH|><|ANG3|>"),
        ("行[yin2 hang2]", "only 1 Hanzi"),
        ("的[DH AH0]", "pinyin"),
        ('<phoneme alphabet="py" ph="chang9">长</phoneme>', "chang2"),
    ],
)
def test_a_reading_that_does_not_exist_is_refused_with_the_nearest(text: str, named: str) -> None:
    with pytest.raises(BadText, match=r"[A-Za-z]") as refused:
        parse(text)
    assert named in str(refused.value)


def test_characters_know_their_place_in_the_input() -> None:
    (stretch,) = parse("真长[zhang3]啊")
    assert stretch.where == [0, 1, 10]
    text = '<speak>\r\n你&amp;<sub alias="世">W</sub>好</speak>'
    (stretch,) = parse(text)
    assert stretch.text.strip() == "你&世好"
    known = [(char, place) for char, place in zip(stretch.chars, stretch.where, strict=True)]
    assert [text[p] for c, p in known if p is not None and c in "你好"] == ["你", "好"]
    assert [text[p] for c, p in known if p is not None and c == "&"] == ["&"]
    assert [p for c, p in known if c == "世"] == [None]


def test_private_and_broken_characters_of_the_user_are_harmless() -> None:
    assert plain("\ue000长\uf8ff[zhang3]\U000f0000") == "长"
    assert forced("\ue000长\uf8ff[zhang3]") == [("长", "zhang3")]
    assert plain("a\ud800b") == "a\ufffdb"


# ----- SSML ---------------------------------------------------------------------------------------


def pauses(text: str) -> list[tuple[str, float]]:
    return [(stretch.text, pytest.approx(stretch.pause_s)) for stretch in parse(text)]


def test_breaks_cut_the_text() -> None:
    text = '<speak>你好<break time="300ms"/>世界<break strength="strong"/></speak>'
    assert pauses(text) == [("你好", 0.3), ("世界", 0.7), ("", 0.0)]
    assert pauses('你好<break time="1.5s"/> <break/>世界') == [("你好", 1.9), (" 世界", 0.0)]
    assert pauses('<break strength="none"/>好') == [("好", 0.0)]
    assert pauses("<speak><break time='.5s'/>好</speak>") == [("", 0.5), ("好", 0.0)]


@pytest.mark.parametrize("alphabet", ["py", "pinyin", ""])
def test_phoneme_forces_pinyin(alphabet: str) -> None:
    text = f'<speak><phoneme alphabet="{alphabet}" ph="yin2 háng">银行</phoneme>行长</speak>'
    assert forced(text) == [("银", "yin2"), ("行", "hang2")]


def test_what_a_phoneme_element_holds_is_read_as_it_says() -> None:
    assert forced('<phoneme ph="R EH1 D">a[EY1] <|ZH|></phoneme>') == [("a[EY1] <|ZH|>", "R EH1 D")]


def test_phoneme_forces_english_and_ipa() -> None:
    assert forced('<phoneme alphabet="cmu" ph="R EH1 D">read</phoneme>') == [("read", "R EH1 D")]
    text = '<phoneme alphabet="ipa" ph="təˈmɑːtoʊ">tomato</phoneme> a'
    assert forced(text) == [("tomato", "T AH0 M AA1 T OW0")]
    assert forced('<phoneme alphabet="ipa" ph="dʒuːˈlaɪ">July</phoneme>') == [
        ("July", "JH UW0 L AY1")
    ]
    with pytest.raises(BadText, match="pinyin"):
        parse('<phoneme alphabet="ipa" ph="tʂaŋ˨˩˦">长</phoneme>')


@pytest.mark.parametrize(
    ("attributes", "content", "around", "said"),
    [
        ("digits", "2024", "{}年", "二零二四年"),
        ("digits", "2024", "code {} ok", "code two zero two four ok"),
        ("telephone", "138-0013", "电话{}", "电话幺三八，零零幺三"),
        ("cardinal", "-1,024.5", "{}度", "负一千零二十四点五度"),
        ("ordinal", "3", "{}名", "第三名"),
        ("ordinal", "23", "the {} day", "the twenty-third day"),
        ("fraction", "3/4", "{}杯", "四分之三杯"),
        ("date' format='mdy", "05/03/2024", "于{}", "于二零二四年五月三日"),
        ("date", "2024-05-03", "on {}.", "on May third twenty twenty-four ."),
        ("time", "14:05", "在{}", "在十四点零五分"),
        ("characters", "a-1", "编号{}", "编号a杠一"),
        ("spell-out", "WTO", "the {} is", "the W T O is"),
        ("currency", "$5", "花{}", "花$5"),
        ("cardinal", "many", "{} x", "many x"),
    ],
)
def test_say_as(attributes: str, content: str, around: str, said: str) -> None:
    text = around.format(f"<say-as interpret-as='{attributes}'>{content}</say-as>")
    assert " ".join(plain(text).split()) == said
    assert " ".join(plain(f"<speak>{text}</speak>").split()) == said


def test_letters_are_spelled_by_their_names() -> None:
    assert forced("<say-as interpret-as='characters'>A</say-as> b") == [("A", "EY1")]


def test_sub_says_something_else() -> None:
    assert plain('<sub alias="世界贸易组织">WTO</sub>成员') == "世界贸易组织成员"
    assert plain('the <sub alias="three &amp; more">3+</sub>s') == "the three & more s"


def test_unheeded_elements_say_their_text_and_warn(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        '<?xml version="1.0"?><speak><metadata>x</metadata><p>一</p><s>二</s>'
        '<prosody rate="slow">三</prosody><emphasis>四</emphasis><mark name="m"/></speak>'
    )
    assert plain(text).split() == ["一", "二", "三四"]
    assert "<prosody>" in caplog.text
    assert "<emphasis>" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<speak>你好", "line 1, column 10: <speak> is not closed"),
        ("<speak>你\n 好 & 再见</speak>", "line 2, column 4: malformed"),
        ("<speak><p>x</s></p></speak>", "does not close <p>"),
        ("<speak>a</speak>b", "text after </speak>"),
        ("<speak>\n<phonem ph='x'>长</phonem></speak>", "line 2, column 1: .*<phoneme>"),
        ("<speak><phoneme>长</phoneme></speak>", "needs the attribute ph"),
        ("<speak><sub>x</sub></speak>", "needs the attribute alias"),
        ("<speak><say-as>x</say-as></speak>", "needs the attribute interpret-as"),
        ("<speak><phoneme ph='zhang3'><s>长</s></phoneme></speak>", "text alone"),
        ("<speak><phoneme alphabet='x' ph='y'>长</phoneme></speak>", "Known: pinyin"),
        ("<speak><phoneme alphabet='py' ph='zhang'>x</phoneme></speak>", "zhang"),
        ("<phoneme alphabet='py' ph='zhang3'>长大</phoneme>", "2 Hanzi"),
        ("好<phoneme ph='zhang3'>长", "line 1, column 2: <phoneme> is not closed"),
        ("<phoneme ph='zhang3>长</phoneme>", "malformed"),
        ("<break time='3 weeks'/>", "not a time"),
        ("<break time='99s'/>", "at most 10 s"),
        ("<break strength='huge'/>", "x-strong"),
        ("<speak><say-as interpret-as='expletive'>x</say-as></speak>", "not supported"),
        ("<speak>&nbsp;</speak>", "unknown entity"),
        ('<!DOCTYPE speak [<!ENTITY a "b">]><speak>&a;</speak>', "document type"),
        ('<?xml version="1.0"?><!DOCTYPE speak SYSTEM "file:///x"><speak/>', "document type"),
    ],
)
def test_bad_ssml_is_refused_and_located(text: str, message: str) -> None:
    with pytest.raises(BadText, match=message):
        parse(text)


@pytest.mark.parametrize(
    "piece",
    [
        "[", "]", "长[zhang3]", "a[1]", "<", "&", "<phoneme ", "<phoneme ph='", "<|ZH|><|ANG3|>",
        "x<break/>", "\u202e", "[a1 ", "<speak>", "<!--", "［", "<|", "yin", "[zhang", "é[",
        "\ue000", "<sub alias='a'>b</sub>",
    ],
)  # fmt: skip
def test_hostile_text_is_read_or_refused_in_linear_time(piece: str) -> None:
    for start in ("", "<speak>", "长[", "<!"):
        text = start + piece * (6_000 // len(piece))
        begun = time.process_time()
        with suppress(BadText):
            parse(text)
        assert time.process_time() - begun < 10.0  # backtracking takes minutes


def test_deep_nesting_is_no_recursion() -> None:
    parse("<speak>" + "<p>" * 5_000 + "好" + "</p>" * 5_000 + "</speak>")
