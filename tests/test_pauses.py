"""Pauses between the items of a list."""

import pytest

from glmtts.pauses import ListPauses, digit_groups, list_commas
from glmtts.text.frontend import Frontend
from glmtts.text.phonemes import pinyin_to_tokens
from tests.reading import Reading, reader, spoken


@pytest.mark.parametrize(
    ("text", "paused"),
    [
        ("3, 6, 9 and 12.", [True, True]),
        ("密码是3，8，2，9。", [True, True, True]),
        ("苹果、香蕉、葡萄和西瓜。", [True, True]),
        ("参加会议的有中国，美国，日本和德国的代表。", [True, True]),
        ("I bought apples, pears, plums and cheese.", [True, True]),
        ("123, 45%, 7,000 miles, and 27.", [True, True, True]),
        ("Well, well, well, look who is here.", [True, True, True]),
        ("Call 555-123-4567.", [True, True]),
        ("One, two.", [False]),
        ("今天下午我们去公园，然后回家。", [False]),
        ("她走进屋子，把窗户慢慢地关上，然后坐了下来。", [False, False]),
        ("When it rained, nobody wanted to go, so we stayed.", [False, False]),
        ("Three, two, one. Off, they went away, of course.", [True, True, False, False]),
        ("你好。", []),
    ],
)
def test_a_list_is_short_things_between_commas(text: str, paused: list[bool]) -> None:
    found: list[bool] = []
    for sentence in Frontend(max_length=200)(text):
        said, places = 0, list_commas(sentence.units)
        for surface, phonemes in sentence.units:
            said += len(phonemes)
            if surface in "，,":
                found.append(said in places)
        assert len(places) == len(set(places))
    assert found == paused


def test_a_tag_is_no_item() -> None:
    (sentence,) = Frontend()("[happy] One, [laughter] two, three.")
    assert len(list_commas(sentence.units)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("我的电话是13800138000。", "我的电话是幺三八|零零幺三|八零零零。"),
        ("请拨打4008208820。", "请拨打四零零|八二零|八八二零。"),
        ("电话010-62781234", "电话零幺零|六二七八|幺二三四"),
        ("证号110101199003074512。", "证号幺幺零幺零幺|幺九九零零三零七|四五幺二。"),
        ("It is 07700900123.", "Itiszerosevenseven|zerozeroninezero|zeroonetwothree."),
        ("验证码是385216。", "验证码是三八五二幺六。"),
        ("圆周率是3.14159265", "圆周率是三点一四一五九二六五"),
    ],
)
def test_a_long_number_is_said_in_groups(text: str, said: str) -> None:
    (sentence,) = Frontend(max_length=200)(text)
    places, found, before = digit_groups(sentence.units), "", 0
    for surface, phonemes in sentence.units:
        found += "|" * (before in places) + surface
        before += len(phonemes)
    assert found == said


PHONEMES = [p for s in ("san1", "liu4", "jiu3") for p in pinyin_to_tokens(s)]
COMMAS = (2, 4)
SILENT = 0
ONE, TWO, THREE = spoken("san1"), spoken("liu4"), spoken("jiu3")


def pauses(*, silent: tuple[int, ...] = (SILENT,), commas: tuple[int, ...] = COMMAS) -> ListPauses:
    return ListPauses(reader(Reading), PHONEMES, commas, silent, 3)


def test_what_a_pause_lacks_is_put_in() -> None:
    gap = [SILENT] * 3
    assert len(PHONEMES) == 6
    assert pauses().put([], ONE + TWO + THREE, last=True) == ONE + gap + TWO + gap + THREE
    some = [*ONE, SILENT, *TWO, SILENT, SILENT, SILENT, SILENT, *THREE, SILENT]
    assert pauses().put([], some, last=True) == [
        *ONE, *gap, *TWO, *gap, SILENT, *THREE, SILENT
    ]  # fmt: skip


def test_blocks_get_the_pauses_that_the_whole_gets() -> None:
    tokens = ONE + TWO + THREE
    whole = pauses().put([], tokens, last=True)
    for size in (3, 5, 7):
        put, out = pauses(), list[int]()
        for start in range(0, len(tokens), size):
            last = start + size >= len(tokens)
            out += put.put(out, tokens[start : start + size], last=last)
        assert out == whole, size


def test_what_was_handed_on_is_not_changed() -> None:
    rest = pauses().put(ONE + TWO[:1], TWO[1:] + THREE, last=True)
    assert rest == [*TWO[1:], *[SILENT] * 3, *THREE]


def test_nothing_is_put_where_nothing_is_known() -> None:
    tokens = ONE + TWO + THREE
    assert pauses(commas=()).put([], tokens, last=True) == tokens
    assert pauses(silent=()).put([], tokens, last=True) == tokens
    assert pauses().put([], [], last=True) == []
    assert pauses().put([], tokens[:2], last=True) == tokens[:2]  # too short for the text
