"""What `<say-as>` makes of its content: letters one by one, numbers of a kind. Read `spoken` first.

Where the words can be left to the normaliser, only the form is made plain for it.
"""

import re
from collections.abc import Iterator

from glmtts.text import numbers_en, numbers_zh
from glmtts.text.english import LETTER_NAMES
from glmtts.text.phonemes import arpabet_to_tokens
from glmtts.text.readings import Forced

SPELLED = frozenset({"characters", "spell-out", "verbatim", "letters"})
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SIGNS_ZH = {
    ".": "点", "-": "杠", "_": "下划线", "@": "艾特", "/": "斜杠", "\\": "反斜杠", "+": "加",
    "#": "井号", "*": "星号", "&": "和", "=": "等于", "%": "百分号", ":": "冒号", "?": "问号",
    "!": "叹号", ",": "逗号", "$": "美元符号",
}  # fmt: skip
_SIGNS_EN = {
    ".": "dot", "-": "dash", "_": "underscore", "@": "at", "/": "slash", "\\": "backslash",
    "+": "plus", "#": "hash", "*": "star", "&": "and", "=": "equals", "%": "percent",
    ":": "colon", "?": "question mark", "!": "exclamation mark", ",": "comma", "$": "dollar sign",
}  # fmt: skip
_NUMBER = re.compile(r"\s*([+\-−]?)\s*(\d[\d,]*(?:\.\d+)?)\s*", re.ASCII)
_FRACTION = re.compile(r"\s*(\d+)\s*[/⁄]\s*(\d+)\s*", re.ASCII)
_CLOCK = re.compile(
    r"\s*(\d{1,2})[:：.](\d{2})(?:[:：.](\d{2}))?\s*([ap])?\.?(?:m\.?)?\s*", re.ASCII | re.I
)


def spelled(text: str, *, zh: bool) -> Iterator[tuple[int, str | Forced]]:
    """Characters one by one: the place of each in `text` with its name, or a reading of itself."""
    for place, char in enumerate(text):
        if char.isascii() and char.isalpha():
            phones = LETTER_NAMES[char.lower()]
            yield place, Forced(char, arpabet_to_tokens(phones), "ssml say-as")
        elif char.isdecimal():
            digit = str(int(char))
            yield place, numbers_zh.digits(digit) if zh else f" {numbers_en.digits(digit)} "
        elif name := (_SIGNS_ZH if zh else _SIGNS_EN).get(char):
            yield place, name if zh else f" {name} "
        else:
            yield place, char


def spoken(text: str, kind: str, form: str, *, zh: bool) -> str | None:
    """The content of a `<say-as>` as the normaliser, or a listener, will understand it.

    Args:
        text: The content.
        kind: Its `interpret-as`.
        form: Its `format`: the order of a date, such as "mdy".
        zh: Whether it is read in Mandarin.

    Returns:
        Words, or a plainer form; None where the content is not of this kind, or the kind needs no
        help.
    """
    maker = _KINDS.get(kind)
    return maker(text, form, zh) if maker else None


def _digits(text: str, form: str, zh: bool) -> str | None:
    if not re.search("[0-9]", text):
        return None
    return numbers_zh.digits(text) if zh else f" {numbers_en.digits(text)} "


def _telephone(text: str, form: str, zh: bool) -> str | None:
    groups = [str(group) for group in re.findall(r"[0-9]+", text)]
    if not groups:
        return None
    plus = text.strip().startswith("+")
    if zh:
        return ("加" if plus else "") + "，".join(numbers_zh.digits(g, phone=True) for g in groups)
    return ("plus " if plus else " ") + ", ".join(numbers_en.digits(g) for g in groups) + " "


def _cardinal(text: str, form: str, zh: bool) -> str | None:
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    number = match[1].replace("−", "-") + match[2].replace(",", "")
    return numbers_zh.signed(number) if zh else f" {numbers_en.signed(number)} "


def _ordinal(text: str, form: str, zh: bool) -> str | None:
    match = re.fullmatch(r"\s*第?([0-9]{1,15})(?:st|nd|rd|th)?\s*", text)
    if not match:
        return None
    number = str(int(match[1]))
    return f"第{numbers_zh.number(number)}" if zh else f" {numbers_en.ordinal(number)} "


def _fraction(text: str, form: str, zh: bool) -> str | None:
    match = _FRACTION.fullmatch(text)
    if not match:
        return None
    if not zh:
        return f" {numbers_en.fraction(match[1], match[2])} "
    return f"{numbers_zh.number(match[2])}分之{numbers_zh.number(match[1])}"


def _date(text: str, form: str, zh: bool) -> str | None:
    numbers = [str(number) for number in re.findall("[0-9]+", text)]
    if len(numbers) == 1 and len(numbers[0]) == 8:
        numbers = [numbers[0][:4], numbers[0][4:6], numbers[0][6:]]
    order = form.lower().replace("yyyy", "y").replace("mm", "m").replace("dd", "d")
    order = re.sub("[^ymd]", "", order)
    if len(order) != len(numbers):
        first_is_year = bool(numbers) and len(numbers[0]) == 4
        orders = {3: "ymd" if first_is_year else "dmy" if zh else "mdy", 2: "ym" if first_is_year
                  else "md", 1: "y"}  # fmt: skip
        order = orders.get(len(numbers), "")
    if not order or len(set(order)) != len(order) or re.search("[A-Za-z]", text):
        return None
    parts = dict(zip(order, numbers, strict=True))
    month, day = int(parts.get("m", 1)), int(parts.get("d", 1))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if zh:
        year = f"{numbers_zh.digits(parts['y'])}年" if "y" in parts else ""
        return (
            year
            + (f"{numbers_zh.number(str(month))}月" if "m" in parts else "")
            + (f"{numbers_zh.number(str(day))}日" if "d" in parts else "")
        )
    words = [_MONTHS[month - 1]] if "m" in parts else []
    words += [numbers_en.ordinal(str(day))] if "d" in parts else []
    if "y" in parts:
        year = parts["y"]
        words += [numbers_en.year(year) if len(year) == 4 else numbers_en.number(year)]
    return f" {' '.join(words)} "


def _time(text: str, form: str, zh: bool) -> str | None:
    match = _CLOCK.fullmatch(text)
    if not match or int(match[1]) > 24 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        return None
    hour, minute, second = int(match[1]), int(match[2]), match[3]
    half = (match[4] or "").lower()
    if not zh:
        return f" {hour}:{match[2]} {half}m " if half and not second else None
    name = {"a": "上午", "p": "下午", "": ""}[half]
    hours = numbers_zh.counted(str(hour))
    words = numbers_zh.number(str(minute))
    if second:
        return f"{name}{hours}点{words}分{numbers_zh.number(str(int(second)))}秒"
    if not minute:
        return f"{name}{hours}点整"
    return f"{name}{hours}点{'零' if minute < 10 else ''}{words}分"


_KINDS = {
    "digits": _digits,
    "number_digit": _digits,
    "telephone": _telephone,
    "phone": _telephone,
    "cardinal": _cardinal,
    "number": _cardinal,
    "ordinal": _ordinal,
    "fraction": _fraction,
    "date": _date,
    "time": _time,
}
KNOWN = frozenset(_KINDS) | {"currency", "unit", "measure", "address", "name", "text", "net"}
"""Kinds of content, with those that the normaliser recognises by itself."""
