"""English abbreviations in full, so that their full stops end no sentence."""

import re

from glmtts.text.traced import Part, rules

STARTERS = (
    "A|An|And|But|He|Her|His|I|If|In|It|My|Our|She|So|That|The|Then|There|They|This|"
    "We|What|When|Who|Why|How|You"
)
_BEFORE_NAMES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor",
    "Gen": "General", "Capt": "Captain", "Col": "Colonel", "Lt": "Lieutenant", "Sgt": "Sergeant",
    "Cpl": "Corporal", "Maj": "Major", "Cmdr": "Commander", "Adm": "Admiral", "Rev": "Reverend",
    "Hon": "Honorable", "Sen": "Senator", "Rep": "Representative", "Gov": "Governor",
    "Pres": "President", "Mt": "Mount", "Ft": "Fort",
}  # fmt: skip
_BEFORE_NUMBERS = {
    "Fig": "figure", "fig": "figure", "Figs": "figures", "figs": "figures", "Vol": "Volume",
    "vol": "volume", "Ch": "Chapter", "ch": "chapter", "Chap": "Chapter", "Sec": "Section",
    "sec": "section", "Eq": "equation", "eq": "equation", "Eqs": "equations", "Art": "Article",
    "Apt": "Apartment", "apt": "apartment", "Ext": "Extension", "ext": "extension",
    "Rm": "Room", "rm": "room", "Pt": "Part", "pt": "part", "p": "page", "pp": "pages",
    "pg": "page", "c": "circa", "ca": "circa", "Tbl": "Table", "Ex": "Example", "Jan": "January",
    "Feb": "February", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July",
    "Aug": "August", "Sep": "September", "Sept": "September", "Oct": "October",
    "Nov": "November", "Dec": "December",
}  # fmt: skip
_ANYWHERE = {
    "Jr": "Junior", "Sr": "Senior", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "Ln": "Lane", "Hwy": "Highway", "vs": "versus", "etc": "etc", "approx": "approximately",
    "Approx": "Approximately",
    "dept": "department", "Dept": "Department", "Inc": "Incorporated", "Ltd": "Limited",
    "Corp": "Corporation", "Co": "Company", "Bros": "Brothers", "Assn": "Association",
    "govt": "government", "Govt": "Government", "Univ": "University", "Mfg": "Manufacturing",
    "est": "established", "max": "maximum", "min": "minimum", "avg": "average", "misc":
    "miscellaneous", "incl": "including", "excl": "excluding", "temp": "temperature",
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "al": "al", "Esq": "Esquire",
}  # fmt: skip
_LATIN = {
    "e.g": "for example,", "i.e": "that is,", "a.k.a": "also known as", "cf": "compare",
    "viz": "namely,", "w.r.t": "with respect to",
}  # fmt: skip
_UNITS = "ft|in|lbs?|oz|mins?|hrs?|secs?|mi|yds?|kg|km|cm|mm|mph|gal|tsp|tbsp|sq"


def is_abbreviation(word: str) -> bool:
    """Whether a full stop behind `word` (given without it) need not end a sentence."""
    tables = (_BEFORE_NAMES, _BEFORE_NUMBERS, _ANYWHERE, _LATIN)
    return any(word in table for table in tables) or bool(re.fullmatch(f"St|{_UNITS}", word))


def _any(names: dict[str, str]) -> str:
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


def _street(match: re.Match[str]) -> str:
    before = match.string[: match.start()].split()
    return "Street." if before and before[-1][0].isupper() else "Saint"


def _latin(match: re.Match[str]) -> str:
    return _LATIN[match[1].lower().replace(" ", "")]


def _letters(match: re.Match[str]) -> tuple[Part, ...]:
    """U.S.A. as USA, its letters copied."""
    start, end = match.span()
    stop = match.string[start:end].endswith("!") or _ENDS.match(match.string, end)
    copied = [slice(i, i + 1) for i in range(start, end) if match.string[i].isalpha()]
    return (*copied, ".") if stop else tuple(copied)


_ENDS = re.compile(rf"\s+(?:{STARTERS})\b|\s*$")
_A_KIND = re.compile(
    "(?i)(?:vitamin|plan|group|team|class|type|grade|part|section|option|hepatitis|point|step|model|"
    "appendix|exhibit|figure|table|level|phase|room|gate|block|building|letter|variable|a|an) $"
)
_B = "(?<![A-Za-z.])"
_ZONES = "[ECMP][SD]?T|GMT|UTC|BST|CET|CEST|JST|IST|AEST|HKT"

EXPAND = rules(
    ("abbreviation", rf"(?i){_B}(e\.\s?g|i\.\s?e|a\.k\.a|w\.r\.t)\.,?", _latin),
    ("abbreviation", rf"{_B}(cf|viz)\.(?=\s[A-Za-z])", lambda m: _LATIN[m[1]]),
    ("abbreviation", rf"{_B}(Ph|M|B)\.(D|Sc|A|S|Phil)\.(?=\s+[a-z,]|[,;])", (1, 2)),
    ("abbreviation", rf"{_B}(Ph)\.(D)\.?", (1, 2)),
    ("abbreviation", rf"(?<=\d)(\s?)([aApP])\.\s?([mM])\.(?=\s+(?:{_ZONES})\b)", (1, 2, 3)),
    ("abbreviation", r"(?<=\d)(\s?)([aApP])\.\s?([mM])\.(?=\s+[A-Z]|\s*$)", (1, 2, 3, ".")),
    ("abbreviation", r"(?<=\d)(\s?)([aApP])\.\s?([mM])\.", (1, 2, 3)),
    ("abbreviation", rf"{_B}([ap])\.(m)\.", (1, 2)),
    (
        "initial",
        rf"(?<![.\w°])([A-Z])\.\s(?=[A-Z](?:\.\s|[a-z]))(?!(?:{STARTERS})\b(?!\.))",
        lambda m: None if _A_KIND.search(m.string, 0, m.start()) else (1, " "),
    ),
    ("number-sign", rf"{_B}(?:No|no|NO)s?\.\s?(?=\d)", "№"),
    ("abbreviation", r"(?<=[a-z] )St\.(?=\s+[A-Z]|\s*$)", _street),
    ("abbreviation", r"(?<=[a-z] )St\.(?=[\s,;])", "Street"),
    ("abbreviation", rf"{_B}St\.\s(?=[A-Z])", "Saint "),
    ("abbreviation", rf"(?<=\d)(\s?(?:{_UNITS}))\.(?=\s+[a-z(]|,)", (1,)),
    (
        "abbreviation",
        rf"{_B}({_any(_BEFORE_NUMBERS)})\.\s?(?=\d|[IVX]+\b)",
        lambda m: _BEFORE_NUMBERS[m[1]] + " ",
    ),
    ("abbreviation", rf"{_B}({_any(_BEFORE_NAMES)})\.(?=\s)", lambda m: _BEFORE_NAMES[m[1]]),
    ("abbreviation", rf"{_B}(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\.(?=\s?[-–—]\s?[A-Z])", (1,)),
    (
        "abbreviation",
        rf"{_B}(Jr|Sr)\.(?=\s+[A-Z])(?!\s+(?:{STARTERS})\b)",
        lambda m: _ANYWHERE[m[1]],
    ),
    ("abbreviation", rf"{_B}(Sat)\.(?=,|\s+(?:at|night|morning|and)\b)", "Saturday"),
    ("abbreviation", rf"{_B}(Sun)\.(?=,|\s+(?:at|night|morning|and)\b)", "Sunday"),
    ("abbreviation", rf"{_B}p\.a\.", "per annum"),
    ("abbreviation", rf"{_B}(vs)\.", "versus"),
    ("abbreviation", r"(?<=\bet )(al)\.(?=\s+[a-z(]|[,;])", (1,)),
    (
        "abbreviation",
        rf"{_B}({_any(_ANYWHERE)})\.(?=\s+[a-z(&\d]|[,;:)])",
        lambda m: _ANYWHERE[m[1]],
    ),
    (
        "abbreviation",
        rf"{_B}((?!Mon|Tue|Wed|Thu|Fri|al|min|max|temp)(?:{_any(_ANYWHERE)}))\.",
        lambda m: _ANYWHERE[m[1]] + ".",
    ),
    ("initials", rf"{_B}(?:[A-Z]\.){{2,}}", _letters),
    ("abbreviation", r"(?<![\w/])w/o(?=\s)", "without"),
    ("abbreviation", r"(?<![\w/])w/\s?(?=[A-Za-z])", "with "),
)
