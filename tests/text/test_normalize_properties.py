"""What holds for any text: nothing unspeakable comes out, nothing is lost, twice is once."""

import re
import time
import unicodedata

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from glmtts.errors import BadText
from glmtts.text import numbers_en, numbers_zh
from glmtts.text.normalize import Normalizer, normalise, normalise_spans
from glmtts.text.sentences import length
from glmtts.text.spans import PLAIN, PROTECTED, joined, sources

HANZI = "\u4e00-\u9fff\u3400-\u4dbf〇"
SPEAKABLE = re.compile(f"[{HANZI}{PROTECTED}A-Za-z' ，。！？；：、…,.!?;:-]+")
CONTENT = re.compile(f"[A-Za-z0-9{HANZI}]")

WORDS = [
    "今天", "我们", "的", "个", "度", "年", "月", "日", "点", "分", "第", "到", "是",
    "天气", "。", "，", "hello", "The", "world", "a", "of", "is", "I", "Dr.", "St.", "e.g.",
    "U.S.", "vs.", "No.", "p.m.", "XIV", "Louis", "Chapter", "NASA", "iPhone", "kg", "km/h",
    "m²", "℃", "臺灣", "兩", "個",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "12", "200", "2024", "007", "3.14", ".5", "1,234", "1,234,567.89",
    "13800138000", "10:30", "3:2", "1/2", "2024-03-05", "12/31/2025", "192.168.1.1", "50%",
    "1e-5", "10^8", "½", "²", "①", "Ⅳ", "１２", "٣",
]  # fmt: skip
MARKUP = [
    "**", "```", "![", "](", "...", "<b>", "</b>", "<br>", "&amp;", "&lt;", "[a](b)",
    "https://a.com/b?c=1", "www.b.cn", "x@y.org", "main.py", "/etc/hosts", "C:\\a", "#tag",
    "@user", "😀", "❤️", "👨\u200d👩\u200d👧", "★", ":)", "T_T", "<|x|>", "\ue000",
    "\uf8ff", "# ", "- ", "> ", "1. ",
]  # fmt: skip
SIGNS = [*"-+=×÷±~–—/\\*_#@&^|<>%$¥€°πα√∞()[]{}（）《》“”'\"`…！!？?：:；;、,. \n\t\u3000\u200b"]
PIECES = [*WORDS, *NUMBERS, *SIGNS, *MARKUP]
mixtures = st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join)
anything = st.text(max_size=40)
more = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def spoken(text: str) -> str | None:
    try:
        return normalise(text)
    except BadText:
        return None


@more
@given(st.one_of(mixtures, anything))
@example("Hello world. 你好")
@example("Wait... really?")
@example("a<b且c>d")
def test_only_speech_comes_out_and_it_stays_as_it_is(text: str) -> None:
    once = spoken(text)
    if once is not None:
        assert SPEAKABLE.fullmatch(once), once
        assert normalise(once) == once


@more
@given(st.one_of(mixtures, anything))
def test_a_text_with_a_letter_a_digit_or_a_hanzi_is_never_empty(text: str) -> None:
    if CONTENT.search(text):
        result = spoken(text)
        assert result is not None, text
        assert re.search(f"[A-Za-z{HANZI}{PROTECTED}]", result), result


@more
@given(mixtures)
def test_every_character_knows_where_it_comes_from(text: str) -> None:
    if spoken(text) is None:
        return
    spans = normalise_spans(text)
    assert joined(spans) == normalise(text)
    for span in spans:
        assert span.text
        assert 0 <= span.start <= span.end <= len(text)
        if span.rule == "":
            assert span.text == text[span.start : span.end]
    for char, place in zip(joined(spans), sources(spans), strict=True):
        if place is not None:
            assert char == text[place] or char == unicodedata.normalize("NFKD", text[place])[0]
    copied = [place for place in sources(spans) if place is not None]
    assert all(span.rule != PLAIN or span.end - span.start == len(span.text) for span in spans)
    assert len(set(copied)) == len(copied)


@more
@given(mixtures, st.integers(0, 8), st.integers(0, 8))
def test_stand_ins_for_forced_readings_pass_untouched(text: str, first: int, second: int) -> None:
    text = re.sub(f"[{PROTECTED}]", "", text)
    marked = text[:first] + "\ue123" + text[first:]
    marked = marked[:second] + "\uf123" + marked[second:]
    expected = re.findall(f"[{PROTECTED}]", marked)
    assert re.findall(f"[{PROTECTED}]", normalise(marked)) == expected
    assert re.findall(f"[{PROTECTED}]", "".join(Normalizer()(marked))) == expected


@more
@given(st.lists(mixtures, min_size=1, max_size=30).map("，".join))
def test_sentences_hold_the_whole_text_and_no_scrap(text: str) -> None:
    whole = spoken(text)
    if whole is None:
        return
    sentences = Normalizer()(text)
    squeezed = re.sub(" ", "", whole)
    assert re.sub(" ", "", "".join(sentences)) == squeezed
    if length(whole) >= 5:
        assert all(length(sentence) > 1 for sentence in sentences), sentences
    assert all(length(sentence) <= 60 for sentence in sentences)


# --- numbers come back ---------------------------------------------------------------------------
ZH_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2}


def value_zh(words: str) -> float:
    """What 负一万两千零三点四 means."""
    sign, words = (-1, words[1:]) if words[0] == "负" else (1, words)
    whole, _, fraction = words.partition("点")
    before, large, after = whole.rpartition("亿")
    value = _below_yi(before) * 10**8 + _below_yi(after) if large else _below_yi(whole)
    return sign * float(f"{value}.{''.join(str(ZH_DIGITS[char]) for char in fraction) or 0}")


def _below_yi(words: str) -> int:
    value, group, digit = 0, 0, 0
    for char in words:
        if char in ZH_DIGITS:
            digit = ZH_DIGITS[char]
        elif char == "万":
            value, group, digit = (group + digit) * 10_000, 0, 0
        else:
            group += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[char]
            digit = 0
    return value + group + digit


EN_WORDS = {numbers_en.cardinal(str(n)): n for n in range(100)}


def value_en(words: str) -> float:
    """What negative twelve thousand and three point four means."""
    sign = -1 if words.startswith("negative ") else 1
    whole, _, fraction = words.removeprefix("negative ").partition(" point ")
    total, group = 0, 0
    for word in whole.split():
        if word == "hundred":
            group *= 100
        elif word in ("thousand", "million", "billion", "trillion"):
            total += group * {"thousand": 10**3, "million": 10**6, "billion": 10**9}.get(
                word, 10**12
            )
            group = 0
        elif word != "and":
            group += EN_WORDS[word]
    text = "".join(str(EN_WORDS[word]) for word in fraction.split())
    return sign * float(f"{total + group}.{text or 0}")


signs = st.sampled_from(["", "-"])
wholes = st.integers(0, 10**11)
fractions = st.one_of(st.just(""), st.from_regex(r"\A\.[0-9]{1,6}\Z"))


@more
@given(signs, wholes, fractions)
def test_a_number_in_mandarin_keeps_its_value(sign: str, whole: int, fraction: str) -> None:
    assume(fraction or not 13 * 10**9 <= whole < 2 * 10**10)  # a mobile telephone's number
    text = f"{sign}{whole}{fraction}"
    words = normalise(f"结果是{text}吗").removeprefix("结果是").removesuffix("吗")
    assert value_zh(words) == float(text)
    separated = normalise(f"结果是{sign}{whole:,}{fraction}吗")
    assert separated == f"结果是{words}吗"


@more
@given(signs, wholes, fractions)
def test_a_number_in_english_keeps_its_value(sign: str, whole: int, fraction: str) -> None:
    if not fraction and 1600 <= whole < 2100:
        return  # read as a year
    text = f"{sign}{whole}{fraction}"
    words = normalise(f"it is {text} now").removeprefix("it is ").removesuffix(" now")
    assert value_en(words) == float(text)
    assert normalise(f"it is {sign}{whole:,}{fraction} now") == f"it is {words} now"


@more
@given(signs, wholes, fractions, st.sampled_from(["%", "℃", "kg", "元", "km/h", "个百分点"]))
@example("", 4_000_000_000, "", "%")
@example("", 8_001_234_567, ".5", "km/h")
def test_a_measure_keeps_sign_and_digits(sign: str, whole: int, fraction: str, unit: str) -> None:
    text = normalise(f"变化为{sign}{whole}{fraction}{unit}。")
    number = numbers_zh.counted(f"{whole}{fraction}")
    assert number in text or numbers_zh.number(f"{whole}{fraction}") in text
    assert ("负" in text) == (sign == "-")


@more
@given(st.text("0123456789", min_size=2, max_size=11), st.sampled_from(["密码", "QQ号", "验证码"]))
def test_a_code_keeps_every_digit(code: str, name: str) -> None:
    expected = numbers_zh.digits(code, phone=True)
    assert normalise(f"{name}是{code}，请记住。") == f"{name}是{expected}，请记住。"


@more
@given(st.integers(1000, 2999), st.integers(1, 12), st.integers(1, 28))
def test_a_date_keeps_its_fields(year: int, month: int, day: int) -> None:
    words = f"{numbers_zh.digits(str(year))}年{numbers_zh.number(str(month))}月"
    words += f"{numbers_zh.number(str(day))}日"
    for form in (
        f"{year}年{month}月{day}日",
        f"{year}-{month:02}-{day:02}",
        f"{year}/{month}/{day}",
    ):
        assert normalise(f"定于{form}召开") == f"定于{words}召开"


# --- time
SHAPES = {
    "mandarin": "他说：“今天是2024年3月5日，价格¥199.5元，电话13800138000。”",
    "english": "Dr. Lee paid $1234.50 on Jan 3rd, i.e. at 3:05 p.m. (see www.a.com/b). ",
    "digits": "1",
    "letters": "a",
    "hanzi": "长",
    "dots": "a.1-",
    "brackets": "[a](",
    "stars": "**a",
    "tags": "<a ",
    "spaces": " ",
    "formula": "1+2-3=",
    "quotes": "'a ",
    "lines": "x\n",
    "pipes": "| a ",
    "dashes": "-",
    "ampersands": "&a",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_time_grows_with_the_length_only(shape: str) -> None:
    def seconds(size: int) -> float:
        text = (SHAPES[shape] * (size // len(SHAPES[shape]) + 1))[:size] + "完"
        return min(once(text) for _ in range(3))  # garbage is collected in one of them at most

    def once(text: str) -> float:
        begun = time.process_time()
        Normalizer()(text)
        return time.process_time() - begun

    small, large = seconds(5_000), seconds(20_000)
    assert large < 10 * small + 0.2, (small, large)  # linear 4, quadratic 16


def test_a_hundred_kilobytes_take_seconds() -> None:
    text = (SHAPES["mandarin"] + SHAPES["english"]) * 700
    assert len(text.encode()) >= 100_000
    begun = time.process_time()
    Normalizer()(text)
    assert time.process_time() - begun < 30.0  # growth is looked at above
