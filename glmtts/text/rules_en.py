"""What is no word in an English sentence, in words: an ordered table of rules. Read `read`.

Each rule takes what is certain (a date, a price) away from the more general ones below it; whatever
digit is left at the end is read by itself.
"""

import re
from functools import lru_cache
from re import Match

from glmtts.text import addresses
from glmtts.text.measures import CURRENCIES_EN, UNIT, UNITS_EN, alternatives, plural
from glmtts.text.numbers_en import (
    cardinal,
    digits,
    fraction,
    number,
    ordinal,
    parts,
    signed,
    tens_plural,
    year,
)
from glmtts.text.symbols import GREEK, ROMAN, SIGNS_EN, roman
from glmtts.text.traced import Part, Row, Rule, Traced, apply, rules

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_N = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}|\d+)(?:\.\d+)?"
_MONTH = (
    r"(Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY = "(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)"
_MONEY = alternatives({sign: "" for sign in CURRENCIES_EN})
_OF_UNIT = rf"(?:[\s-]?({UNIT})(?![A-Za-z0-9^]))?"
_HALF = r"\s?([apAP])\.?[mM]\b"
_SPACED_UNIT = "sq ft|sq mi|sq m|fl oz"
_DASH = "[-–—~]"
_NOT_A_NOUN = (
    "of|and|or|in|at|to|from|wide|tall|long|high|deep|thick|away|apart|per|by|for|on|with|was|is|"
    "are|were|each|a|an|the|lower|higher|more|less|older|younger|later|ago|before|after|now|than|"
    "if|as|but|so|that|which|when|while|today|daily|weekly|it|he|she|they|we|i|you"
)
_AS_ADJECTIVE = re.compile(r"(?i)(?:^|\s)(?:an?|every|this|that|another|one|his|her|my|your)\s$")
_NOUN_FOLLOWS = re.compile(rf"\s(?!(?:{_NOT_A_NOUN})\b)[a-z]{{2,}}")
_THINGS = (
    "people|items|users|words|times|dollars|euros|pounds|miles|feet|meters|years|days|hours|minutes|"
    "seconds|points|votes|cases|students|cars|books|men|women|children|copies|pages|units|votes|"
    "members|employees|workers|soldiers|tons|kilometers|calories|steps|tickets|seats|rooms|houses|"
    "km|kg|m|g|cm|mm|mg|ml|lbs?|ft|mi|mph|Hz|MB|GB|W|kW|V|rpm|ms|s"
)
_KINGS = (
    "Louis|Henry|Elizabeth|Charles|George|James|William|Edward|Richard|Philip|Paul|Benedict|Mary|"
    "Catherine|Peter|Alexander|Nicholas|Frederick|Ferdinand|Napoleon|Wilhelm|Francis|Pius|Leo|"
    "Gregory|Innocent|Urban|Clement|Robert|Henri|Carl|Gustav|Harald|Rama|Ramesses|Xerxes|Darius|"
    "Ptolemy|Artaxerxes|Justinian|Theodosius|Haakon|Albert|Leopold|Joseph|Maria|Margrethe|Cosimo"
)
_PARTS = (
    "War|Chapter|Part|Act|Section|Volume|Book|Phase|Type|Class|Level|Stage|Appendix|Article|Title|"
    "Figure|Table|Bowl|Episode|Fantasy|Rocky|Mark|Grade|Division|Group|Form|Schedule|Scene|Canto|"
    "Quest|Schedule|Tier|Apollo|Saturn|Category|chapter|part|type|phase|stage|class|grade|volume|"
    "section|level|book|Symphony|Sonata|Unit|Vatican|Gen|Season|Series|Round|Palace"
)


def _before(match: Match[str]) -> str:
    return match.string[max(0, match.start() - 16) : match.start()]


def _after(match: Match[str]) -> str:
    return match.string[match.end() : match.end() + 24]


def _adjective(match: Match[str]) -> bool:
    """Whether a measure stands before a noun: a 5 km race."""
    return bool(_AS_ADJECTIVE.search(_before(match)) and _NOUN_FOLLOWS.match(_after(match)))


# --- what matches become -----------------------------------------------------------------------
def _unit(match: Match[str]) -> tuple[Part, ...] | None:
    text, hyphen, unit = match[1], match[2], match[3]
    noun = UNITS_EN.get(unit)
    rest: tuple[Part, ...] = ()
    if noun is None and "/" in unit:
        first, _, second = unit.partition("/")
        one, per = UNITS_EN.get(first), UNITS_EN.get(second)
        if one and per:
            noun = f"{one} per {per}"
        elif one:
            noun = one
            rest = (slice(match.start(3) + len(first), match.end(3)),)
    if noun is None or (unit == "in" and _in_is_a_word(match)):
        return None
    single = text == "1" or hyphen == "-" or _adjective(match)
    return (f"{number(text)} {noun if single else plural(noun)}", *rest)


_AFTER_INCHES = re.compile(
    r"(?!\s+[A-Za-z0-9])|\s+(?:x|by|wide|long|tall|high|deep|thick|across|apart|of|in|or|to|from|below|"
    r"above|per|diameter|screens?|displays?|monitors?|pipes?|nails?|pizzas?)\b"
)


def _in_is_a_word(match: Match[str]) -> bool:
    """Whether "in" behind a number is a preposition: she'll be 18 in 2025."""
    apart = match[2].isspace()
    return apart and not _AFTER_INCHES.match(_after(match))


def _inches(match: Match[str]) -> str | None:
    if match.string[: match.start()].count('"') % 2:
        return None  # it closes a quotation
    noun = "inch" if match[1] == "1" or _adjective(match) else "inches"
    return f"{number(match[1])} {noun}"


_SCALES = {"k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million",
           "MM": "million", "b": "billion", "B": "billion", "bn": "billion", "Bn": "billion",
           "T": "trillion", "tn": "trillion"}  # fmt: skip


def _sum(text: str, scale: str | None, major: str, minor: str, *, single: bool) -> str:
    whole, _, cents = text.replace(",", "").partition(".")
    name = major if single else plural(major)
    if scale:
        return f"{number(text)} {_SCALES.get(scale, scale)} {name}"
    if len(cents) == 2 and int(cents):
        small = f"{number(str(int(cents)))} {minor if int(cents) == 1 else plural(minor)}"
        large = f"{number(whole)} {major if int(whole) == 1 else plural(major)}"
        return f"{large} and {small}" if int(whole) else small
    if cents and int(cents):
        return f"{number(text)} {plural(major)}"
    return f"{number(whole)} {major if int(whole) == 1 else name}"


def _money(match: Match[str]) -> str:
    major, minor = CURRENCIES_EN[match["money"]]
    if match["money"] == "¥" and re.search("yuan|RMB|CNY|renminbi|Chin|Beijing", match.string):
        major, minor = CURRENCIES_EN["CN¥"]
    sign = "negative " if match["sign"] else ""
    return sign + _sum(match["n"], match["scale"], major, minor, single=_adjective(match))


def _money_range(match: Match[str]) -> str:
    major, minor = CURRENCIES_EN[match["money"]]
    return f"{number(match['n'])} to {_sum(match['m'], match['scale'], major, minor, single=False)}"


_NO_CLOCK = re.compile("(?i)(?:ratio|odds|scale|score|won|lost|beat|led|lead|mixed?)[a-z ]{0,6} $")


def _time(match: Match[str]) -> str | None:
    hour, minute, second, half = match[1], int(match[2]), match[3], match[4]
    if int(hour) > 24:
        lasts = re.search("(?i)(?:in|of|time|record|was) $", _before(match)) and not second
        return f"{number(hour)} {number(match[2])}" if lasts and not half else None
    if second:
        return (
            f"{number(hour)} hours {number(str(minute))} minutes and {number(str(int(second)))} "
            "seconds"
        )
    if not half and _NO_CLOCK.search(_before(match)):
        return None
    words = number(str(int(hour)))
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{number(str(minute))}"
    elif not half:
        words += " o'clock"
    return words + (f" {half.upper()}M" if half else "")


def _month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3]))


def _weekday(name: str) -> str:
    return next(day for day in _DAYS if day.startswith(name[:3]))


def _day_of(month: str, day: str, in_year: str) -> str:
    return f"the {ordinal(day)} of {month}, {year(in_year)}"


def _numeric_date(match: Match[str], order: str) -> str | None:
    fields = dict(zip(order, match.groups(), strict=True))
    month, day = int(fields["m"]), int(fields["d"])
    if order == "mdy" and month > 12:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    words = _day_of(_MONTHS[month - 1], str(day), fields["y"])
    return words.removeprefix("the ") if _before(match).lower().endswith(" the ") else words


def _month_slash_day(match: Match[str]) -> tuple[Part, ...] | None:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return (1, f"{_MONTHS[month - 1]} {ordinal(str(day))}")


def _month_day(match: Match[str]) -> str | None:
    if not 1 <= int(match[2]) <= 31:
        return None
    if match[3]:
        return _day_of(_month(match[1]), match[2], match[3])
    return f"{_month(match[1])} {ordinal(match[2])}"


def _day_month(match: Match[str]) -> str | None:
    if not 1 <= int(match[2]) <= 31:
        return None
    words = f"{match[1] or 'the '}{ordinal(match[2])} of {_month(match[3])}"
    return words + (f", {year(match[4])}" if match[4] else "")


def _decade(match: Match[str]) -> str:
    century, tens, apostrophe = match[1], int(match[2]), match[3]
    if century and tens == 0:
        thousands = century.endswith("0")
        words = cardinal(century + "00") if thousands else f"{cardinal(century)} hundred"
        return words + ("'s" if apostrophe else "s")
    named = number(f"{tens}0") + "'s" if apostrophe else tens_plural(tens)
    return f"{cardinal(century)} {named}" if century else named


def _era(match: Match[str]) -> str:
    return (year(match[1]) if len(match[1]) == 4 else cardinal(match[1])) + " "


def _phone(match: Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    words = ["eight hundred" if g == "800" and i < 2 else digits(g) for i, g in enumerate(groups)]
    return ("plus " if match[0].startswith("+") else "") + ", ".join(words)


def _dimensions(match: Match[str]) -> str:
    return " by ".join(
        year(text) if len(text) == 4 and text[0] != "0" else cardinal(text)
        for text in match.groups()
    )


def _year_or_number(match: Match[str]) -> str:
    text = match[0]
    return year(text) if text[:2] in ("16", "17", "18", "19", "20") else cardinal(text)


def _flight(text: str) -> str:
    return year(text) if len(text) == 4 and text[0] != "0" else digits(text)


def _after_letters(match: Match[str]) -> str:
    text = match[1]
    if text.endswith("00") and text[0] != "0" and len(text) <= 4:
        return f" {cardinal(text)} "
    return f" {digits(text)} "


def _house(match: Match[str]) -> tuple[Part, ...]:
    hundreds, rest = match[1], match[2]
    words = f"{number(hundreds)} {'oh ' if rest[0] == '0' else ''}{number(str(int(rest)))}"
    return (words if int(rest) else f"{number(hundreds)} hundred", " ", 3)


def _roman_ordinal(match: Match[str]) -> tuple[Part, ...] | None:
    value = roman(match[2])
    return (1, f" the {ordinal(str(value))}") if value else None


def _roman_cardinal(match: Match[str]) -> tuple[Part, ...] | None:
    if match[2] == "I" and _GOES_ON.match(_after(match)):
        return None  # the Book I read
    value = roman(match[2])
    return (1, " " + cardinal(str(value))) if value else None


_GOES_ON = re.compile(r"\s(?!of|and|or|is|was|were|in|to|begins|ends|ended|began|has)[a-z]")


def _power(match: Match[str]) -> str:
    exponent = match[1].lstrip("+")
    if exponent == "2":
        return " squared "
    if exponent == "3":
        return " cubed "
    if not exponent.lstrip("-").isdecimal():
        return f" to the {'negative ' if exponent[0] == '-' else ''}{exponent.lstrip('-')} "
    return f" to the {'negative ' if exponent[0] == '-' else ''}{ordinal(exponent.lstrip('-'))} "


def _power_of_number(match: Match[str]) -> str | None:
    exponent = match[1].lstrip("+")
    if exponent in ("2", "3"):
        return _power(match)
    if not exponent.lstrip("-").isdecimal():
        return None
    return f" to the {'negative ' if exponent[0] == '-' else ''}{ordinal(exponent.lstrip('-'))} "


def _scientific(match: Match[str]) -> str:
    exponent = match[3].lstrip("+")
    negative = "negative " if exponent.startswith("-") else ""
    base = f"{'negative ' if match[1] else ''}{number(match[2])}"
    return f"{base} times ten to the {negative}{ordinal(exponent.lstrip('-'))}"


def _share(match: Match[str]) -> str:
    return f"{signed(match[1])} percent"


def _duration(match: Match[str]) -> str:
    hours, minutes = match[1], match[2]
    return (
        f"{number(hours)} {'hour' if hours == '1' else 'hours'} "
        f"{number(str(int(minutes)))} {'minute' if minutes == '1' else 'minutes'}"
    )


def _minus(match: Match[str]) -> str | None:
    """A hyphen between two terms is a minus in a formula."""
    around = match.string[max(0, match.start() - 40) : match.end() + 40]
    return (
        " minus "
        if re.search("[=<>≤≥≠≈]", around) or re.search("[-+×*/÷]\\s*[\\w(]+\\s*=", around)
        else None
    )


def _feet(match: Match[str]) -> str:
    return f"{number(match[1])} foot {number(match[2])}"


_FUNCTIONS = {"sin": "sine", "cos": "cosine", "tan": "tangent", "log": "log", "ln": "natural log",
              "exp": "e to the"}  # fmt: skip


def _fraction(match: Match[str]) -> tuple[Part, ...] | None:
    top, bottom, unit = match.groups()
    if not int(bottom):
        return None
    words = fraction(top, bottom)
    if unit is None:
        return (words,)
    return (f"{words} {UNITS_EN[unit]}",) if unit in UNITS_EN else (words, " ", 3)


def _mixed(match: Match[str]) -> tuple[Part, ...] | None:
    whole, top, bottom, unit = match.groups()
    if not int(bottom) >= 2 or int(top) >= int(bottom):
        return None
    words = parts(top, bottom)
    if top == "1":
        words = words.replace("one ", "an " if words[4] in "aeiou" else "a ", 1)
    words = f"{number(whole)} and {words}"
    if unit is None:
        return (words,)
    return (f"{words} {plural(UNITS_EN[unit])}",) if unit in UNITS_EN else (words, " ", 4)


def _unit_of_power(match: Match[str]) -> str | None:
    power = " to the " in match.string[max(0, match.start() - 40) : match.start()]
    return plural(UNITS_EN[match[1]]) if power and match[1] in UNITS_EN else None


_LINES = frozenset(("240", "360", "480", "720", "1080", "1440", "2160", "4320"))


def _version(match: Match[str]) -> str:
    """Three parts or more; four are the address of a computer, digit by digit."""
    numbers = match[0].split(".")
    if len(numbers) == 4:
        return " dot ".join(map(digits, numbers))
    return " point ".join(map(number, numbers))


_ROWS: tuple[Row, ...] = (
    ("decimal", r"(?<![\w.])\.(?=\d)", "0."),
    ("sharp", r"\b([CFJ])#(?!\w)", (1, " sharp")),
    ("plus-plus", r"(?<=[A-Za-z])\+\+", " plus plus"),
    ("net", r"(?<![\w.])\.(?=NET\b)", "dot "),
    ("number-sign", r"№|#\s?(?=\d)", " number "),
    ("version", r"\b[vV](?=\d+\.\d)", "version "),
    ("scientific", rf"((?<![\w.)])-)?(?<![\w.])({_N})[eE]([+-]?\d{{1,3}})(?!\w)", _scientific),
    # telephone numbers and other codes
    ("phone", r"(?<!\d)(?:\+?1[-\s.]{1,2})?\(?\d{3}\)?[-\s.]\d{3}[-.]\d{4}(?!\d)", _phone),
    ("phone", r"\+\d{1,3}(?:[\s-]\d{2,5}){2,5}(?!\d)", _phone),
    ("phone", r"(?<![\d-])0\d{1,4}[-\s]\d{6,8}(?!\d)", _phone),
    ("phone", r"(?<![\d-])\d{3}-\d{4}(?![\d-])", _phone),
    ("phone", r"(?<!\d)1-800(?=-[A-Z])", "one, eight hundred"),
    (
        "phone",
        r"(?i)(?<=\bdial )(\d{3,})(?![\d.,]\d|\d)|(?<=\bcall )(911|999|112|411|311)\b",
        lambda m: digits(m[0]),
    ),
    (
        "phone",
        r"\b(?:911|999|112)\b(?=[\s.,!?]*(?:$|[a-z]*\s?(?:call|oper|emerg)))",
        lambda m: digits(m[0]),
    ),
    (
        "code",
        r"(?i)\b((?:room|suite|route|area code|zip code|zip|postal code|code|PIN|ID|extension|"
        r"password|QQ|SSN|phone|tel|fax)(?:\s(?:number|no|code|is))*\s*[:#]?\s?)"
        r"(\d{3,})(?![\d,.]\d|\d|\s?%)",
        lambda m: (1, digits(m[2])),
    ),
    (
        "code",
        r"(?i)\b((?:account|apartment|bus|channel|order|ticket|tracking|serial|confirmation|license|"
        r"badge|passport|case|invoice|member)\s+(?:number|no|code|id)(?:\sis)?\s*[:#]?\s?)"
        r"(\d{3,})(?![\d,.]\d|\d|\s?%)",
        lambda m: (1, digits(m[2])),
    ),
    (
        "code",
        r"(?i)\b((?:call|text|ring|WhatsApp|number|invoice|order|ticket)(?:\s(?:me|us|is|at|on))*"
        r"\s*[:#]?\s?)(\d{7,})(?![\d,.]\d|\d|\s?%|\s[a-z]+s\b)",
        lambda m: (1, digits(m[2])),
    ),
    ("code", r"(?<![\w.,$€£¥-])\d{13,}(?<!000)(?![\d,.]\d|\d|\s?%)", lambda m: digits(m[0])),
    (
        "flight",
        r"(?i)(?<=\bflight )([A-Z]{2}|[A-Z]\d|\d[A-Z])\s?(\d{3,4})\b",
        lambda m: (1, " " + _flight(m[2])),
    ),
    ("flight", r"(?i)(?<=\bflight )(\d{3,4})\b", lambda m: digits(m[1])),
    ("model", r"(?<=Boeing )7(\d\d)\b", lambda m: f"seven {number(m[1])}"),
    (
        "house",
        r"\b(\d{1,2})(\d\d)([A-F])\b(?=\s[A-Z][a-z]+\s(?:St|Ave|Road|Rd|Lane|Blvd|Dr|Way|Court|Place))",
        _house,
    ),
    ("letter-code", r"(?<=[A-Za-z]\d)-(\d{4,5})(?!\d)", lambda m: f" {digits(m[1])} "),
    ("card", r"(?<![\d.])\d{4}(?:\s\d{4}){2,4}(?:\s\d{1,4})?(?![\d.])", _phone),
    # dates
    ("date", r"\b(\d{4})[-/](\d{1,2})[-/](\d{1,2})\b", lambda m: _numeric_date(m, "ymd")),
    ("date", r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b", lambda m: _numeric_date(m, "mdy")),
    (
        "date",
        rf"\b{_MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?\b(?![:.]\d|\s?%)(?:,?\s([12]\d{{3}})\b)?",
        _month_day,
    ),
    (
        "date",
        rf"\b(the\s)?(\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}\b(?:,?\s([12]\d{{3}})\b)?",
        _day_month,
    ),
    (
        "date",
        r"(?i)\b((?:on|by|before|until|since|due|dated)\s)(\d{1,2})/(\d{1,2})\b(?![/%]|\s(?:of|cup|inch))",
        _month_slash_day,
    ),
    ("date", rf"\b{_MONTH}\s([12]\d{{3}})\b", lambda m: f"{_month(m[1])} {year(m[2])}"),
    (
        "month-range",
        rf"\b{_MONTH}\s?{_DASH}\s?{_MONTH}\b",
        lambda m: f"{_month(m[1])} to {_month(m[2])}",
    ),
    (
        "day-range",
        rf"\b{_DAY}\s?{_DASH}\s?{_DAY}\b",
        lambda m: f"{_weekday(m[1])} to {_weekday(m[2])}",
    ),
    ("always", r"(?<![\d/])24/7(?![\d/])", "twenty-four seven"),
    ("always", r"(?<![\d/])9/11(?![\d/])", "nine eleven"),
    (
        "lines",  # of a picture: 720p, 1080p
        r"(?<![\w.])(\d{1,2})(\d\d)([pi])(?!\w)",
        lambda m: f"{cardinal(m[1])} {cardinal(m[2])} {m[3]}" if m[1] + m[2] in _LINES else None,
    ),
    (
        "status",
        r"(?i)(?<=\berror )[45]0[1-9](?![\d.,]*\d)|(?<![\d.,])[45]0[1-9](?= (?:error|not found)\b)",
        lambda m: digits(m[0]).replace("zero", "oh"),
    ),
    (
        "always",
        r"(?<![\d/])(\d0)/(\d0)(?=\s(?:chance|split|odds|mix|basis|vision)|$)",
        lambda m: f"{number(m[1])} {number(m[2])}",
    ),
    ("number-groups", r"(?<![\d.-])\d{1,6}(?:-\d{1,6}){2,6}(?!\d|\.\d|-\d)", _phone),
    # times
    (
        "time",
        rf"(?<=\d:\d\d)(\s?[ap]\.?m\.?)?\s?{_DASH}\s?(?=\d{{1,2}}:\d\d)",
        lambda m: (1, " to ") if m[1] else " to ",
    ),
    ("time", rf"(?<=\d[apAP][mM])\s?{_DASH}\s?(?=\d)", " to "),
    ("time", rf"(?<![\d:])(\d{{1,2}}):([0-5]\d)(?::([0-5]\d))?(?:{_HALF})?(?![\d:])", _time),
    ("time", rf"(?<=\d)\s?{_DASH}\s?(?=\d{{1,2}}{_HALF})", " to "),
    ("time", rf"\b(\d{{1,2}}){_HALF}", lambda m: f"{cardinal(m[1])} {m[2].upper()}M"),
    ("time", r"\b(\d{1,2})(?= o'clock)", lambda m: cardinal(m[1])),
    (
        "ratio",
        rf"(?<![\d:.]){_N}(?::{_N}){{1,3}}(?![\d:])",
        lambda m: " to ".join(map(number, m[0].split(":"))),
    ),
    # years
    ("decade", r"(?<!\d)(\d\d)(\d)0('?)s\b", _decade),
    ("decade", r"(?<![\d$])'?()(\d)0('?)s\b", _decade),
    (
        "years",
        rf"(?<!\d)(1[1-9]\d\d|20\d\d)\s?{_DASH}\s?(1[1-9]\d\d|20\d\d)(?![\d.,])",
        lambda m: f"{year(m[1])} to {year(m[2])}" if int(m[1]) < int(m[2]) else None,
    ),
    (
        "years",
        rf"(?<!\d)(1[1-9]\d\d|20\d\d){_DASH}(\d\d)(?![\d.,]|{_DASH})",
        lambda m: f"{year(m[1])} to {number(m[2])}" if m[2] > m[1][2:] else None,
    ),
    (
        "years",
        r"(?<![\d/])(1[1-9]\d\d|20\d\d)/(\d\d|1[1-9]\d\d|20\d\d)(?![\d/])",
        lambda m: f"{year(m[1])} to {year(m[2]) if len(m[2]) == 4 else number(m[2])}",
    ),
    ("era", r"\b(\d{1,4})\s?(?=(?:BC|BCE|CE)\b)", _era),
    (
        "year",
        r"(?i)\b((?:in|since|by|from|until|till|before|after|during|around|year|to|of|circa|early|"
        r"late|mid|spring|summer|fall|autumn|winter)\s)"
        rf"((?<=in )10\d\d|1[1-9]\d\d|20\d\d)(?![\d%]|[.,]\d|\s(?:{_THINGS})\b)",
        lambda m: (1, year(m[2])),
    ),
    ("out-of", r"(?<![\w./])(\d{1,3}\.\d+)/(\d{1,3})(?![\d/.])", (1, " out of ", 2)),
    ("range", rf"(?<=\d)(\s?(?:°[CF]?|%|[A-Za-z]{{1,3}}))\s?{_DASH}\s?(?=\d)", (1, " to ")),
    ("sign", r"(?<![\w.)\]%°$^])-(?=\.?\d)|(?<=[=(])\s?-(?=[a-z]\b)", " negative "),
    # money
    (
        "money-range",
        rf"(?P<money>{_MONEY})\s?(?P<n>{_N})\s?{_DASH}\s?(?:{_MONEY})?(?P<m>{_N})"
        r"(?:\s?(?P<scale>thousand|million|billion|trillion|bn|[kKmMbB]))?(?![A-Za-z\d])",
        _money_range,
    ),
    (
        "money",
        rf"(?P<sign>-)?(?<![A-Z])(?P<money>{_MONEY})\s?(?P<n>{_N})"
        r"(?:[\s-]?(?P<scale>thousand|million|billion|trillion|bn|Bn|tn|mn|MM|[kKmMbBT]))?(?![A-Za-z])",
        _money,
    ),
    ("money", rf"({_N})\s?¢", lambda m: f"{number(m[1])} cent{'' if m[1] == '1' else 's'}"),
    ("money", rf"({_N})\s?(€|£)", lambda m: f"{number(m[1])} {plural(CURRENCIES_EN[m[2]][0])}"),
    (
        "per",
        r"(?<=[a-z])/(person|people|month|year|day|week|hour|night|unit|user|item|gallon|head|share|"
        r"ton|mile|minute|second|piece|student|seat|page|mo|yr|wk|hr|min|sec|kg|g|lb|gal|oz|L|GB|MB|"
        r"TB|sqft|ft|m)\b\.?",
        lambda m: f" per {UNITS_EN.get(m[1], m[1])}",
    ),
    (
        "money",
        rf"\b(USD|EUR|GBP|CNY|RMB|JPY|HKD|CAD|AUD)\s?({_N})\s?([kKmMbB]|bn)\b",
        lambda m: (1, f" {number(m[2])} {_SCALES[m[3]]}"),
    ),
    # formulas and powers
    ("unit", rf"(?<![\w.])({_N})([\s-]?)((?=[^\s\d]*\^){UNIT})(?![A-Za-z0-9^])", _unit),
    ("dimensions", r"(?<![\d.])(\d+)[x×](\d+)(?![\d^.]|\s?=)", _dimensions),
    ("dimensions", r"(?<=[a-z'\"]) x (?=\d)", " by "),
    ("times", r"(?<=[\d)])\s?[x×*·]\s?(?=[\d(])", " times "),
    ("times", r"(?<=\b[A-Za-z])\s?[×*]\s?(?=[A-Za-z]\b)", " times "),
    ("power", r"(?<=\d)\s?\^\s?\(?([+-]?(?:\d+|[A-Za-z]))\)?", _power_of_number),
    ("power", r"(?<=[A-Za-z)])\s?\^\s?\(?([+-]?(?:\d+|[A-Za-z]))\)?", _power),
    ("unit", rf"(?<=th |st |nd |rd )\s?({UNIT})(?![A-Za-z0-9^])", _unit_of_power),
    (
        "unit",
        r"(?<![\w/])(?:km/h|m/s|mg/L|mg/dL|mmol/L|μg/m\^3)(?![\w^])",
        lambda m: plural(UNITS_EN[m[0]]),
    ),
    (
        "function",
        r"\b(sin|cos|tan|log|ln|exp)(?=\s?[\d(α-ω]|\s[a-z]\b|\s(?:squared|cubed))",
        lambda m: _FUNCTIONS[m[1]],
    ),
    ("function", r"\b([A-Za-z])\(([A-Za-z0-9])\)", (1, " of ", 2)),
    (
        "bracket",
        r"[()](?=[^.!?]{0,40}=)|(?<==)([^.!?=]{0,40})[()]",
        lambda m: (" ",) if not m[1] else (1, " "),
    ),
    ("sign", r"±\s?", " plus or minus "),
    ("absolute", r"\|([-+\w.*×/÷^ ]{1,20})\|", ("the absolute value of ", 1)),
    ("minus", r"(?<=[\w)])\s?-\s?(?=[\d(])|(?<=\s\w)\s-\s(?=\w\b)|(?<=\d)\s-\s(?=\w)", _minus),
    ("plus", r"(?<=[\w)])\s?\+(?!\w)(?!\s?\w)", " plus"),
    ("approximately", r"(?<![\w])~\s?(?=\d)", "about "),
    # shares and measures
    ("duration", r"(?<![\w.])(\d{1,2})h\s?(\d{1,2})m(?:in)?(?!\w)", _duration),
    (
        "percent-range",
        rf"({_N})%?\s?{_DASH}\s?({_N})\s?%",
        lambda m: f"{number(m[1])} to {number(m[2])} percent",
    ),
    (
        "range",
        rf"(?<![\w.])({_N})\s?{_DASH}\s?(?={_N}(?!\d|{_DASH}\d|/\d))(?<!{_DASH}\d{_DASH})",
        lambda m: (f"{number(m[1])} to ",),
    ),
    (
        "range",
        rf"\b([A-Z])(\d{{1,2}})\s?{_DASH}\s?(?=\1\d{{1,2}}(?![\d.]))",
        (1, 2, " to "),
    ),
    ("percent", rf"({_N})\s?%", _share),
    ("feet-inches", r"(?<![\d.])(\d{1,2})['′]\s?(\d{1,2}(?:\.\d+)?)(?:\"|''|″)", _feet),
    ("inches", rf"(?<![\w.])({_N})\s?(?:\"|″)(?!\w)", _inches),
    (
        "feet",
        rf"(?<![\w.'])({_N})[′'](?![\w])",
        lambda m: f"{number(m[1])} {'foot' if _adjective(m) else 'feet'}",
    ),
    ("unit", rf"(?<![\w.,])({_N})([\s-]?)({_SPACED_UNIT})\b", _unit),
    (
        "ordinal",
        r"(?<![\d.])(\d+|\d{1,3}(?:,\d{3})+)(?:st|nd|rd|th)\b",
        lambda m: ordinal(m[1].replace(",", "")),
    ),
    ("unit", rf"(?<![\w.,/])({_N})([\s-]?)({UNIT})(?![A-Za-z0-9^])", _unit),
    (
        "pressure",
        r"(?i)(?<=blood pressure )((?:of |is |was )?)(\d{2,3})/(\d{2,3})",
        lambda m: (1, f"{number(m[2])} over {number(m[3])}"),
    ),
    ("mixed-fraction", rf"(?<![\d/.])(\d+)[\s-](\d{{1,2}})/(\d{{1,3}})(?![\d/]){_OF_UNIT}", _mixed),
    ("fraction", rf"(?<![\d/.])(\d{{1,4}})\s?/\s?(\d{{1,4}})(?![\d/]|\.\d){_OF_UNIT}", _fraction),
    ("version", r"(?<![\d.])\d+(?:\.\d+){2,}", _version),
    # names
    (
        "roman-numeral",
        rf"\b((?:{_KINGS}))\s({ROMAN})\b(?!')(?<!\sI)(?<!\sD)(?<!\sC)(?<!\sM)",
        _roman_ordinal,
    ),
    (
        "roman-numeral",
        rf"\b({_KINGS})\s(I)(?=\s(?:of|was|ruled|reigned|died)\b|[.,;:)]|$)",
        _roman_ordinal,
    ),
    ("roman-numeral", rf"\b((?:{_PARTS}))\s({ROMAN})\b(?!['.]\w)(?<!\s[LDCM])", _roman_cardinal),
    ("letter-code", r"(?<=[A-Za-z])-?(\d{3,})(?![\d,.]\d|\d)", _after_letters),
    ("hyphen", r"(?<=\d)-(?=\d)", " "),
    ("letter-digit", r"(?<=[A-Za-z])-?(?=\d)|(?<=\d)(?=[A-Za-z])", " "),
    (
        "number",
        rf"(?<![\d.,])(\d{{4}})(?![\d,]\d|\d|\.\d|\s(?:{_THINGS})\b)",
        _year_or_number,
    ),
    ("number", rf"(?<![\d.]){_N}", lambda m: number(m[0])),
    ("digit", r"\d", lambda m: f" {digits(m[0])} "),
)


@lru_cache(maxsize=1)
def _table() -> tuple[Rule, ...]:
    return rules(*_ROWS)


_NAMES = SIGNS_EN | {letter: english for letter, (english, _) in GREEK.items()}
_SIGNS = rules(("sign", f"([{re.escape(''.join(_NAMES))}])\\1*", lambda m: f" {_NAMES[m[1]]} "))
_MAY_APPLY = re.compile(
    rf"[\d№#^|±*~-]|\b(?:{_KINGS}|{_PARTS}) [IVXLCDM]+\b|\+\+|\.NET|[a-z]/[a-z]"
)


def read(text: Traced) -> Traced:
    """`text`, a cleaned English sentence, without digits, addresses and signs that have a name.

    >>> read(Traced.of("He paid $5.50 at 3:05 pm")).text
    'He paid five dollars and fifty cents at three oh five PM'
    """
    if _MAY_APPLY.search(text.text):
        text = apply(_table(), text)
    return apply(_SIGNS, apply(addresses.READ_EN, text))
