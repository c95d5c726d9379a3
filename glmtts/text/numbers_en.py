"""Digits, abbreviations and symbols of an English sentence to words: ordered tables of rules.

American readings, without "and". Each rule takes what is certain (a date, a price) away from the
more general ones below it; whatever digit is left at the end is read by itself.
"""

import re
from collections.abc import Callable
from re import Match

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
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_ABBREVIATIONS = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor",
    "Jr": "Junior", "Sr": "Senior", "Gen": "General", "Capt": "Captain", "Lt": "Lieutenant",
    "Sgt": "Sergeant",
    "Rev": "Reverend", "Mt": "Mount", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "vs": "versus", "etc": "et cetera", "approx": "approximately", "dept": "department",
    "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Fig": "figure",
    "fig": "figure",
}  # fmt: skip
_UNITS = {
    "km/h": "kilometer per hour", "mph": "mile per hour", "m/s": "meter per second",
    "km²": "square kilometer", "m²": "square meter", "m2": "square meter", "m³": "cubic meter",
    "sq ft": "square foot", "km": "kilometer", "kg": "kilogram", "cm": "centimeter",
    "mm": "millimeter", "mg": "milligram", "ml": "milliliter", "mL": "milliliter", "lbs": "pound",
    "lb": "pound", "oz": "ounce", "ft": "foot", "yd": "yard", "mi": "mile", "kWh": "kilowatt hour",
    "kW": "kilowatt", "MW": "megawatt", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "Hz": "hertz", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "ms": "millisecond", "min": "minute", "hrs": "hour", "hr": "hour", "secs": "second",
    "sec": "second", "°C": "degree Celsius", "°F": "degree Fahrenheit", "°": "degree", "m": "meter",
    "g": "gram", "L": "liter",
}  # fmt: skip
_CURRENCIES = {
    "$": ("dollar", "cent"), "US$": ("dollar", "cent"), "£": ("pound", "penny"),
    "€": ("euro", "cent"), "¥": ("yuan", "fen"), "￥": ("yuan", "fen"),
}  # fmt: skip
_IRREGULAR = {"foot": "feet", "penny": "pence", "hertz": "hertz", "yuan": "yuan", "fen": "fen"}
_SYMBOLS = {
    "%": " percent ", "&": " and ", "@": " at ", "+": " plus ", "=": " equals ", "#": " number ",
    "°": " degrees ", "×": " times ", "÷": " divided by ", "±": " plus or minus ",
    "≈": " about ", "≥": " at least ", "≤": " at most ", ">": " greater than ", "<": " less than ",
    "*": " ", "√": " root ", "π": " pi ", "²": " squared ", "³": " cubed ",
}  # fmt: skip


def digits(text: str) -> str:
    """Digit by digit: "101" -> one zero one."""
    return " ".join(_ONES[int(char)] for char in text if char.isdecimal())


def cardinal(text: str) -> str:
    """A decimal integer in words: "1234" -> one thousand two hundred thirty-four.

    Leading zeros, and more than 15 digits, are spelled.
    """
    if len(text) > 15 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    value, words = int(text), list[str]()
    for scale, name in _SCALES:
        if value >= scale:
            words += [_below_thousand(value // scale), name]
            value %= scale
    if value or not words:
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
    head, last = re.fullmatch(r"(.*?)(\w+)", cardinal(text)).groups()  # pyright: ignore
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(text: str) -> str:
    """Four digits: "1999" -> nineteen ninety-nine; "2005" -> two thousand five."""
    high, low = int(text[:2]), int(text[2:])
    if text[1:3] == "00" or (low == 0 and high % 10 == 0):
        return cardinal(text)
    if low == 0:
        return f"{_below_thousand(high)} hundred"
    return f"{_below_thousand(high)} {'oh ' if low < 10 else ''}{_below_thousand(low)}"


def number(text: str) -> str:
    """An integer or decimal, commas allowed: "3.14" -> three point one four."""
    whole, dot, fraction = text.replace(",", "").partition(".")
    return cardinal(whole or "0") + (f" point {digits(fraction)}" if dot else "")


def _plural(noun: str) -> str:
    if noun.startswith(("kilometer p", "mile p", "meter p", "degree")):
        first, space, rest = noun.partition(" ")
        return f"{first}s{space}{rest}"
    head, space, last = noun.rpartition(" ")
    return f"{head}{space}{_IRREGULAR.get(last, last + 's')}"


def _quantity(text: str, noun: str) -> str:
    return f"{number(text)} {noun if text == '1' else _plural(noun)}"


def _money(match: Match[str]) -> str:
    major, minor = _CURRENCIES[match[1]]
    whole, _, cents = match[2].replace(",", "").partition(".")
    scale = {"k": "thousand", "K": "thousand", "m": "million", "M": "million", "b": "billion",
             "B": "billion", "bn": "billion"}.get(match[3] or "", match[3])  # fmt: skip
    if scale:
        return f"{number(match[2])} {scale} {_plural(major)}"
    if len(cents) == 2 and int(cents):
        small = _quantity(str(int(cents)), minor)
        return f"{_quantity(whole, major)} and {small}" if int(whole) else small
    if cents and int(cents):
        return f"{number(match[2])} {_plural(major)}"
    return _quantity(whole, major)


def _time(match: Match[str]) -> str:
    hour, minute, half = int(match[1]), int(match[2]), match[3]
    if hour > 24 or minute > 59:
        return f"{number(match[1])} to {number(match[2])}"
    words = _below_thousand(hour)
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{_below_thousand(minute)}"
    elif not half:
        words += " o'clock"
    return words + (f" {half[0].upper()}M" if half else "")


def _day_of(month: str, day: str, in_year: str | None) -> str:
    return f"{month} {ordinal(day)}" + (f", {year(in_year)}" if in_year else "")


def _numeric_date(match: Match[str], order: str) -> str:
    parts = dict(zip(order, match.groups(), strict=True))
    month, day = int(parts["m"]), int(parts["d"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return " ".join(number(part) for part in match.groups())
    return _day_of(_MONTHS[month - 1], str(day), parts["y"])


def _month_day(match: Match[str]) -> str:
    return _day_of(_month(match[1]), match[2], match[3])


def _day_month(match: Match[str]) -> str:
    words = f"{'' if match[1] else 'the '}{ordinal(match[2])} of {_month(match[3])}"
    return f"{match[1] or ''}{words}" + (f", {year(match[4])}" if match[4] else "")


def _month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3].capitalize()))


def _fraction(match: Match[str]) -> str:
    top, bottom = match[1], match[2]
    if not 2 <= int(bottom) <= 100 or int(top) >= int(bottom):
        return f"{number(top)} {'over ' if int(bottom) > 1 else 'slash '}{number(bottom)}"
    name = {"2": "half", "4": "quarter"}.get(bottom) or ordinal(bottom)
    several = "halves" if name == "half" else f"{name}s"
    return f"{number(top)} {name if top == '1' else several}"


def _decade(match: Match[str]) -> str:
    century, tens = match[1], _TENS[int(match[2])] if match[2] != "0" else "hundred"
    if match[2] == "1":
        tens = "ten"
    named = f"{tens[:-1]}ies" if tens.endswith("y") else f"{tens}s"
    if match[2] == "0" and century and century.endswith("0"):
        return f"{cardinal(century + '00')}s"
    return f"{cardinal(century)} {named}" if century else named


def _phone(match: Match[str]) -> str:
    return ", ".join(map(digits, re.findall(r"\d+", match[0])))


def _year_or_number(match: Match[str]) -> str:
    text = match[0]
    return year(text) if text[:2] in ("16", "17", "18", "19", "20") else cardinal(text)


def _street(match: Match[str]) -> str:
    before = match.string[: match.start()].split()
    return "Street." if before and before[-1][0].isupper() else "Saint"


def _dotted(match: Match[str]) -> str:
    return match[0].replace(".", "")


_STARTERS = (
    "A|An|And|But|He|Her|His|I|If|In|It|My|Our|She|So|That|The|Then|There|They|This|"
    "We|What|When|You"
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_MONTH = (
    r"(Jan(?:uary|\.)?|Feb(?:ruary|\.)?|Mar(?:ch|\.)?|Apr(?:il|\.)?|May|June?|July?|Aug(?:ust|\.)?"
    r"|Sept?(?:ember|\.)?|Oct(?:ober|\.)?|Nov(?:ember|\.)?|Dec(?:ember|\.)?)"
)
_MONEY = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
_ALTERNATIVES = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
_HALF = r"\s?([apAP])(?:[mM]\b|\.[mM]\b(?:\.(?!\s+[A-Z]|\s*$))?)"

_ABBREVIATED: tuple[tuple[str, Callable[[Match[str]], str]], ...] = (
    # abbreviations that end in a full stop
    (r"\be\.g\.,?", lambda m: "for example,"),
    (r"\bi\.e\.,?", lambda m: "that is,"),
    (r"\bPh\.D\.?", lambda m: "PhD"),
    (rf"(?<![.\w])([A-Z])\.\s(?=[A-Z](?:\.\s|[a-z]))(?!(?:{_STARTERS})\b)", lambda m: f"{m[1]} "),
    (r"\bNo\.\s?(?=\d)", lambda m: "number "),
    (r"(?<=[a-z] )St\.(?=\s+[A-Z]|\s*$)", lambda m: _street(m)),
    (r"(?<=[a-z] )St\.(?=[\s,;])", lambda m: "Street"),
    (r"\bSt\.\s(?=[A-Z])", lambda m: "Saint "),
    (rf"\b({'|'.join(_ABBREVIATIONS)})\.(?=\s+[a-z,])", lambda m: _ABBREVIATIONS[m[1]]),
    (
        r"\b(Mr|Mrs|Ms|Dr|Prof|Gen|Capt|Lt|Sgt|Rev|Mt|vs)\.(?=\s)",
        lambda m: _ABBREVIATIONS[m[1]],
    ),
    (rf"\b({'|'.join(_ABBREVIATIONS)})\.", lambda m: _ABBREVIATIONS[m[1]] + "."),
    (rf"\b(?:[A-Z]\.){{2,}}(?=\s+(?:{_STARTERS})\b|\s*$)", lambda m: _dotted(m) + "."),
    (r"\b(?:[A-Z]\.){2,}", _dotted),
)
_NUMERIC: tuple[tuple[str, Callable[[Match[str]], str]], ...] = (
    (r"(?<![\d.])\.(?=\d)", lambda m: "0."),
    (r"(?<=\d)\^(?=\d)", lambda m: " to the power of "),
    (r"(?<=\d:\d\d)\s?[-–—~]\s?(?=\d{1,2}:\d\d)", lambda m: " to "),
    (r"\b[vV](?=\d+\.\d)", lambda m: "version "),
    # telephone numbers
    (r"(?<!\d)(?:\+?1[-\s])?\(?\d{3}\)?[-\s]\d{3}-\d{4}(?!\d)", _phone),
    (r"(?<![\d-])\d{3}-\d{4}(?![\d-])", _phone),
    (r"\b911\b(?=[\s.,!?]*(?:$|[a-z]*\s?(?:call|oper|emerg)))", lambda m: "nine one one"),
    # dates and times
    (r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b", lambda m: _numeric_date(m, "ymd")),
    (r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b", lambda m: _numeric_date(m, "mdy")),
    (rf"\b{_MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)(?:,?\s(\d{{4}})\b)?", _month_day),
    (
        rf"\b(the\s)?(\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}\b(?:,?\s(\d{{4}})\b)?",
        _day_month,
    ),
    (rf"\b(\d{{1,2}}):([0-5]\d)(?:{_HALF})?", _time),
    (rf"\b(\d{{1,2}}){_HALF}", lambda m: f"{cardinal(m[1])} {m[2].upper()}M"),
    (r"(?<!\d)(\d\d)(\d)0s\b", _decade),
    (r"(?<!\d)'?()(\d)0s\b", _decade),
    (
        r"(?<!\d)(1[1-9]\d\d|20\d\d)\s?[-–—]\s?(1[1-9]\d\d|20\d\d)(?!\d)",
        lambda m: f"{year(m[1])} to {year(m[2])}",
    ),
    (
        r"(?i)\b((?:in|since|by|from|until|till|before|after|during|around|year|to)\s)"
        r"(1[1-9]\d\d|20\d\d)(?![\d,%]|\.\d)",
        lambda m: m[1] + year(m[2]),
    ),
    # money, shares, measures
    (
        rf"({_MONEY})\s?({_NUMBER})(?:\s?(thousand|million|billion|trillion|bn|[kKmMbB]))?\b",
        _money,
    ),
    (r"(?<!\d)(\d)'\s?(\d{1,2})(?:\"|''|”)", lambda m: f"{number(m[1])} foot {number(m[2])}"),
    (rf"(?<![\d\w.])[-−](?={_NUMBER})", lambda m: "minus "),
    (r"(?<!\d)(\d+)(?:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
    (r"(?<![\d.])\d+(?:\.\d+){2,}", lambda m: " point ".join(number(p) for p in m[0].split("."))),
    (
        rf"(?<![\d.])({_NUMBER})\s?({_ALTERNATIVES})(?![A-Za-z0-9])",
        lambda m: _quantity(m[1], _UNITS[m[2]]),
    ),
    (r"(?<![\d/])(\d+)\s(\d)/(\d)(?![\d/])", lambda m: _mixed(m)),
    (r"(?<![\d/])(\d{1,4})/(\d{1,4})(?![\d/])", _fraction),
    (
        rf"(?<![\d.])({_NUMBER})\s?[-–—~]\s?({_NUMBER})(?![\d]|[-–—~]\d)",
        lambda m: f"{number(m[1])} to {number(m[2])}",
    ),
    (r"(?i)\b((?:room|flight|route|area code)\s)(\d{3,4})\b", lambda m: m[1] + digits(m[2])),
    (r"(?<=[A-Za-z])-?(\d{3,})(?!\d)", lambda m: f" {digits(m[1])}"),
    (r"(?<=[A-Za-z])-?(?=\d)|(?<=\d)(?=[A-Za-z])", lambda m: " "),
    (r"(?<=\d)\s?\*\s?(?=\d)", lambda m: " times "),
    (r"(?<![\d.,])(\d{4})(?![\d,]|\.\d)", _year_or_number),
    (rf"(?<![\d.]){_NUMBER}", lambda m: number(m[0])),
    (r"\d", lambda m: f" {_ONES[int(m[0])]} "),
)


def _mixed(match: Match[str]) -> str:
    whole, top, bottom = match.groups()
    name = {"2": "half", "4": "quarter"}.get(bottom) or ordinal(bottom)
    if top == "1":
        return f"{number(whole)} and {'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"{number(whole)} and {number(top)} {name}s"


_RULES = tuple((re.compile(pattern), action) for pattern, action in _ABBREVIATED)
_NUMERIC_RULES = tuple((re.compile(pattern), action) for pattern, action in _NUMERIC)
_OPERATORS = re.compile("[" + re.escape("".join(_SYMBOLS)) + "]")


def expand_abbreviations(text: str) -> str:
    """`text` without the full stops that end no sentence: Dr. Lee -> Doctor Lee, U.S. -> US."""
    if "." in text:
        for pattern, action in _RULES:
            text = pattern.sub(action, text)
    return text


def read(text: str) -> str:
    """`text` without digits and mathematical signs.

    >>> read("He paid $5.50 at 3:05 p.m. sharp")
    'He paid five dollars and fifty cents at three oh five PM sharp'
    """
    if any(char.isdecimal() for char in text):
        for pattern, action in _NUMERIC_RULES:
            text = pattern.sub(action, text)
    return _OPERATORS.sub(lambda m: _SYMBOLS[m[0]], text)
