"""English words of numbers: digits one by one, integers, ordinals, years, fractions.

Integers have the "and" before their last two digits (two hundred and five), as the front end that
the official model was taught with says them.
"""

import re

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def digits(text: str) -> str:
    """Digit by digit: "101" -> one zero one."""
    return " ".join(_ONES[int(char)] for char in text if char.isdecimal())


def cardinal(text: str) -> str:
    """A decimal integer in words: "1234" -> one thousand two hundred and thirty-four.

    Leading zeros, and more than 15 digits, are spelled.
    """
    if len(text) > 15 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    value, words = int(text), list[str]()
    for scale, name in _SCALES:
        if value >= scale:
            words += [_below_thousand(value // scale), name]
            value %= scale
    if value >= 100:
        words.append(f"{_ONES[value // 100]} hundred")
        value %= 100
    if value or not words:
        words += ["and"] if words else []
        words.append(_below_thousand(value))
    return " ".join(words)


def _below_thousand(value: int) -> str:
    words: list[str] = []
    if value >= 100:
        words += [_ONES[value // 100], "hundred"]
        value %= 100
        if not value:
            return " ".join(words)
    if value < 20:
        return " ".join((*words, _ONES[value]))
    tens, one = _TENS[value // 10], value % 10
    return " ".join((*words, f"{tens}-{_ONES[one]}" if one else tens))


def ordinal(text: str) -> str:
    """Of a decimal integer: "21" -> twenty-first."""
    words = cardinal(text.lstrip("0") or "0")
    last = re.split("[ -]", words)[-1]
    head = words[: len(words) - len(last)]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(text: str) -> str:
    """Four digits: "1999" -> nineteen ninety-nine; "2005" -> two thousand five."""
    high, low = int(text[:2]), int(text[2:])
    if text[1] == "0" and low < 10:  # 2000 to 2009
        return f"{_ONES[int(text[0])]} thousand{f' {_ONES[low]}' if low else ''}"
    if low == 0:
        return f"{_below_thousand(high)} hundred"
    return f"{_below_thousand(high)} {'oh ' if low < 10 else ''}{_below_thousand(low)}"


def number(text: str) -> str:
    """An integer or decimal, commas allowed: "3.14" -> three point one four."""
    whole, dot, fraction = text.replace(",", "").partition(".")
    return cardinal(whole or "0") + (f" point {digits(fraction)}" if dot else "")


def signed(text: str) -> str:
    """A number with an optional sign: "-5" -> negative five."""
    sign = {"-": "negative ", "+": "plus "}.get(text[:1], "")
    return sign + number(text[1:] if sign else text)


def fraction(top: str, bottom: str) -> str:
    """A fraction: ("3", "4") -> three quarters; unusual ones with "over"."""
    if not 2 <= int(bottom) <= 100 or int(top) >= int(bottom):
        return f"{number(top)} over {number(bottom)}"
    return parts(top, bottom)


def parts(top: str, bottom: str) -> str:
    """How many of which part: ("1", "2") -> one half."""
    name = {"2": "half", "4": "quarter"}.get(bottom) or ordinal(bottom)
    several = "halves" if name == "half" else f"{name}s"
    return f"{number(top)} {name if int(top) == 1 else several}"


def tens_plural(tens: int) -> str:
    """Decades: 9 -> nineties, 1 -> tens."""
    name = _TENS[tens] if tens > 1 else ("hundred", "ten")[tens]
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
