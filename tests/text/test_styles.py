"""Tags in a text: styles hold to the next one, laughs stand where they are written."""

import pytest

from glmtts.errors import BadText
from glmtts.text.frontend import Frontend, encode
from glmtts.text.styles import style_of
from glmtts.text.tokenizer import TextTokenizer

read = Frontend()


def styled(text: str) -> list[tuple[str, str | None]]:
    return [(sentence.text, sentence.style) for sentence in read(text)]


def test_a_style_holds_until_the_next():
    assert styled("[sad] I am tired. So tired. [Happy]What a day! ［neutral］It rained.") == [
        ("I am tired. So tired.", "sad"), ("What a day!", "happy"), ("It rained.", None),
    ]  # fmt: skip
    assert styled("你好吗？[angry]马上走开！快走开！") == [
        ("你好吗？", None), ("马上走开！快走开！", "angry"),
    ]  # fmt: skip


def test_a_style_begins_a_sentence_where_none_ended():
    assert styled("今天下雨了[sad]我很难过") == [("今天下雨了", None), ("我很难过", "sad")]


def test_a_style_outlives_a_pause_and_a_pause_a_style():
    sentences = read('<speak>[angry]走开！<break time="1s"/>马上[happy]你好</speak>')
    assert [(s.text, s.style, s.pause_s) for s in sentences] == [
        ("走开！", "angry", 1.0), ("马上", "angry", 0.0), ("你好", "happy", 0.0),
    ]  # fmt: skip


def test_a_laugh_is_a_unit_of_its_sentence():
    (sentence,) = read("今天天气很好[laughter]，我们走吧。")
    assert [u.surface for u in sentence.units][6:9] == ["[laughter]", "，", "我"]
    assert sentence.tags == {"laughter"}
    assert "laughter" not in {u.surface for u in sentence.units}
    (sentence,) = read("That is so good[laughter]")
    assert [u.surface for u in sentence.units] == ["That", "is", "so", "good", "[laughter]"]
    with pytest.raises(BadText, match="Nothing in the text can be spoken"):
        read("[laughter]")


def test_readings_and_other_brackets_stay_what_they_are():
    (first, second) = read("真长[zhang3]啊[happy]你好吗？")
    assert first.said[1].reading == "zhang3"
    assert (first.style, second.style) == (None, "happy")
    assert styled("What a [lovely] day")[0][1] is None
    assert styled("The [sadly] missed")[0][1] is None


def test_a_model_reads_tags_in_front_and_in_place():
    tokenizer = TextTokenizer.load("glmtts/assets/nano/text_tokenizer")

    def shown(text: str, *, written: bool) -> str:
        return tokenizer.decode(encode(read(text)[0], tokenizer, "off", written=written))

    for written in (False, True):
        assert shown("[sad]我很难过[laughter]。", written=written) == "[sad]我很难过[laughter]。"
    plain = read("[sad]我很难过[laughter]。")[0].without({"sad", "laughter"})
    assert tokenizer.decode(encode(plain, tokenizer, "off", written=False)) == "我很难过。"


def test_the_style_among_units():
    assert style_of([("[happy]", ()), ("你", ("x",)), ("[laughter]", ())]) == "happy"
    assert style_of([("你", ("x",)), ("[laughter]", ())]) == "laughter"
    assert style_of([("你", ("x",))]) is None
