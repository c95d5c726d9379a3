"""Mandarin words of numbers: digits one by one, integers, decimals, powers of ten."""

from decimal import Decimal

DIGITS = "零一二三四五六七八九"


def digits(text: str, *, phone: bool = False) -> str:
    """Digit by digit; 1 is 幺 in phone numbers."""
    read = "".join(DIGITS[int(char)] for char in text if char.isdecimal())
    return read.replace("一", "幺") if phone else read


def cardinal(text: str) -> str:
    """A decimal integer in words: "1005" -> 一千零五. Beyond 16 digits it is spelled."""
    if len(text) > 16 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    value = int(text)
    if value < 10:
        return DIGITS[value]
    words, gap = "", False
    for power, name in ((12, "万亿"), (8, "亿"), (4, "万"), (0, "")):
        group = value // 10**power % 10_000
        if group == 0:
            gap = bool(words)
            continue
        part = _group(group)
        if words and (gap or group < 1000):
            words += "零"
        if group == 2 and name:
            part = "两"
        words, gap = words + part + name, False
    return words.removeprefix("一") if words.startswith("一十") else words


def _group(value: int) -> str:
    """1 to 9999."""
    words, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit == 0:
            gap = bool(words)
            continue
        first = "两" if digit == 2 and unit >= 100 else DIGITS[digit]
        words += ("零" if gap else "") + first + name
        gap = False
    return words


def number(text: str) -> str:
    """An integer or decimal: "3.14" -> 三点一四."""
    whole, dot, fraction = text.partition(".")
    return cardinal(whole) + (f"点{digits(fraction)}" if dot else "")


def counted(text: str) -> str:
    """A number before a measure word: 2 is 两."""
    return "两" if text == "2" else number(text)


def signed(text: str) -> str:
    """A number with an optional sign: "-5" -> 负五."""
    sign = {"-": "负", "+": "正"}.get(text[:1], "")
    return sign + number(text[1:] if sign else text)


def scaled(text: str, power: int) -> str:
    """`text` times ten to the `power`: ("2.5", 6) -> 两百五十万."""
    value = format((Decimal(text) * 10**power).normalize(), "f")
    return counted(value)
