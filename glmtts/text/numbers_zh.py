"""Digits and symbols of a Mandarin sentence to Hanzi: an ordered table of rules.

`read` applies the rules from top to bottom; each takes what is certain (a date, a phone number)
away from the more general ones below it. Whatever digit is left at the end is read by itself.
"""

import re
from collections.abc import Callable
from re import Match

DIGITS = "零一二三四五六七八九"
_NUMBER = r"\d+(?:\.\d+)?"
_START, _END = r"(?<![\d.])", r"(?![\d])"

_UNITS = {
    "km/h": "公里每小时", "m/s": "米每秒", "km²": "平方公里", "km2": "平方公里", "m²": "平方米",
    "m2": "平方米", "m³": "立方米", "m3": "立方米", "km": "公里", "kg": "千克", "cm": "厘米",
    "mm": "毫米", "mg": "毫克", "ml": "毫升", "mL": "毫升", "kWh": "千瓦时", "kW": "千瓦",
    "kHz": "千赫", "MHz": "兆赫", "GHz": "吉赫", "Hz": "赫兹", "°C": "摄氏度", "°F": "华氏度",
    "°": "度", "m": "米", "g": "克", "L": "升", "W": "瓦", "V": "伏", "t": "吨", "s": "秒",
    "h": "小时",
}  # fmt: skip
_CURRENCIES = {
    "¥": "元",
    "￥": "元",
    "$": "美元",
    "US$": "美元",
    "HK$": "港元",
    "€": "欧元",
    "£": "英镑",
}
_COUNTED = (
    "个|位|名|人|只|条|头|匹|张|把|本|册|支|枝|根|块|片|件|套|双|对|辆|架|艘|台|座|栋|间|家|所|次|遍|趟|"
    "场|回|顿|天|年|周|小时|分钟|分|秒|点|岁|米|公里|厘米|毫米|千克|公斤|斤|克|吨|升|毫升|元|块|角|毛|"
    "倍|种|类|项|门|杯|瓶|碗|盘|袋|箱|包|盒|份|篇|首|句|段|页|层|站|步|口|颗|粒|朵|棵|株|滴|套|部|"
    "美元|欧元|英镑|平方米|立方米|平方公里|度|瓦|千瓦|亿|万|千|百|个月|星期|人次|国"
)
_SYMBOLS = {
    "×": "乘", "÷": "除以", "=": "等于", "±": "正负", "≈": "约等于", "≥": "大于等于",
    "≤": "小于等于",
    ">": "大于", "<": "小于", "+": "加", "*": "", "&": "和", "@": "艾特", "%": "百分号",
    "‰": "千分号",
    "℃": "摄氏度", "°": "度", "√": "根号", "π": "派", "²": "的平方", "³": "的立方",
}  # fmt: skip


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
        first = (
            "两" if digit == 2 and (unit == 1000 or (unit == 100 and not words)) else DIGITS[digit]
        )
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


def _amount(text: str) -> str:
    """A sum of money: no trailing zeros after the point."""
    return counted(text.rstrip("0").rstrip(".") if "." in text else text)


def _date(match: Match[str]) -> str:
    year, month, day = match[1], int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{digits(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


def _time(match: Match[str]) -> str:
    hour, minute, second = int(match[1]), int(match[2]), match[3]
    if hour > 24 or minute > 59:
        return f"{number(match[1])}比{number(match[2])}"
    words = f"{counted(str(hour))}点"
    if minute or second:
        words += f"{'零' if 0 < minute < 10 else ''}{cardinal(str(minute))}分"
    return words + (f"{cardinal(str(int(second)))}秒" if second else "")


def _span(match: Match[str]) -> str:
    first, second = match[1], match[2]
    if re.match(r"0\d", second):  # no quantity: a number such as 555-0123
        return f"{digits(first, phone=True)}，{digits(second, phone=True)}"
    if "." not in first + second and int(first) > int(second) and match[0].count("-"):
        return f"{number(first)}比{number(second)}"  # a score: 3-2
    return f"{first}到{second}"  # rules below read the numbers


def _unit(match: Match[str]) -> str:
    return counted(match[1]) + _UNITS[match[2]]


def _money(match: Match[str]) -> str:
    return _amount(match[2]) + (match[3] or "") + _CURRENCIES[match[1]]


def _integer(match: Match[str]) -> str:
    text = match[0]
    long = len(text) >= 9 and not text.endswith("0000")
    return digits(text) if long else cardinal(text)


_ALTERNATIVES = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
_MONEY = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
_DASH = "[-~～—–−至]"

_TABLE: tuple[tuple[str, Callable[[Match[str]], str]], ...] = (
    (r"(?<=\d),(?=\d{3}(?:\D|$))", lambda m: ""),
    (r"(?<![\d.])\.(?=\d)", lambda m: "0."),
    (r"(\d+)\^(\d+)", lambda m: f"{m[1]}的{m[2]}次方"),
    (rf"(?<=\d:\d\d)\s?{_DASH}\s?(?=\d{{1,2}}:\d\d)", lambda m: "到"),
    # telephone numbers and other codes
    (r"\+\s?86[\s-]?(?=\d)", lambda m: "加八六，"),
    (r"(?<!\d)(1[3-9]\d)[\s-]?(\d{4})[\s-]?(\d{4})(?!\d)", lambda m: digits(m[0], phone=True)),
    (r"(?<!\d)0\d{2,3}[-\s]\d{7,8}(?!\d)", lambda m: digits(m[0], phone=True)),
    (r"(?<!\d)[48]00[-\s]?\d{3}[-\s]?\d{4}(?!\d)", lambda m: digits(m[0], phone=True)),
    (
        r"((?:电话|热线|拨打|打|拨|报警|呼叫|客服)[^\d，。！？；]{0,4})(\d{3,12})(?!\d|\.|[个次人元块天分秒年万千百])",
        lambda m: m[1] + digits(m[2], phone=True),
    ),
    (
        r"((?:QQ|qq|微信|ID|id|编号|学号|工号|卡号|账号|帐号|密码|验证码|邮编|车牌|单号|尾号|代码|号码)"
        r"[^\d，。！？；]{0,4})(\d{2,})",
        lambda m: m[1] + digits(m[2], phone=True),
    ),
    (
        r"(?<!\d)(\d{3,4})(?=室|号房|号楼|房间|航班|次列车|次航班)",
        lambda m: digits(m[1], phone=True),
    ),
    (r"(?<=[A-Za-z])(-?)(\d{3,})(?!\d)", lambda m: digits(m[2], phone=True)),
    (r"(?<![\d.])\d+(?:\.\d+){2,}", lambda m: "点".join(map(digits, m[0].split(".")))),
    (r"(?<=\d)\s+(?=\d)", lambda m: "，"),
    # dates and times
    (r"(?<!\d)(\d{4})年?[-/.](\d{1,2})[-/.](\d{1,2})日?(?!\d)", _date),
    (r"(?<!\d)(\d{4})\s*年\s*(\d{1,2})\s*月\s*(\d{1,2})\s*(?=[日号])", lambda m: _date(m)[:-1]),
    (
        rf"(?<!\d)(\d{{4}}){_DASH}(\d{{4}})(?=年)",
        lambda m: f"{digits(m[1])}到{digits(m[2])}",
    ),
    (
        rf"(?<![\d.])(1[89]\d\d|20\d\d){_DASH}(1[89]\d\d|20\d\d)(?![\d.])",
        lambda m: f"{digits(m[1])}到{digits(m[2])}",
    ),
    (r"(?<!\d)([12]\d{3}|0\d)(?=\s*(?:年|级|届|款))", lambda m: digits(m[1])),
    (r"(?<!\d)([5-9]0)(?=后)", lambda m: digits(m[1])),
    (r"(?<![\d:])(\d{1,2})[:：]([0-5]\d)(?:[:：]([0-5]\d))?(?![\d:])", _time),
    (
        rf"(?<![\d.])({_NUMBER})\s?[:：]\s?({_NUMBER})(?!\d)",
        lambda m: f"{number(m[1])}比{number(m[2])}",
    ),
    # shares, money, measures
    (
        rf"(?<![\d.])({_NUMBER})%?{_DASH}({_NUMBER})%",
        lambda m: f"百分之{number(m[1])}到百分之{number(m[2])}",
    ),
    (
        rf"(?<![\d.A-Za-z])([-−]?)({_NUMBER})\s?([%‰])",
        lambda m: ("负" if m[1] else "") + {"%": "百", "‰": "千"}[m[3]] + "分之" + number(m[2]),
    ),
    (rf"({_MONEY})\s?({_NUMBER})\s?([万亿千百]*)", _money),
    (
        r"(?<![\d/.])(\d{1,4})/(\d{1,4})(?![\d/])",
        lambda m: f"{cardinal(m[2])}分之{cardinal(m[1])}" if int(m[2]) else m[0],
    ),
    (rf"(?<![\d.A-Za-z])[-−](?={_NUMBER}\s?(?:°C|°F|°|度))", lambda m: "零下"),
    (rf"(?<![\d.A-Za-z一-龥])[-−](?={_NUMBER})", lambda m: "负"),
    (rf"(?<![\d.])({_NUMBER})\s?{_DASH}\s?({_NUMBER})(?![\d.]|{_DASH}\d)", _span),
    (rf"(?<![\d.])({_NUMBER})\s?({_ALTERNATIVES})(?![A-Za-z0-9])", _unit),
    (r"第\s?(\d+)", lambda m: "第" + cardinal(m[1])),
    (rf"(?<![\d.])2(?=\s?(?:{_COUNTED}|到\d))", lambda m: "两"),
    (r"(?<=\d)\s?\*\s?(?=\d)", lambda m: "乘"),
    (rf"{_START}\d+\.\d+{_END}", lambda m: number(m[0])),
    (rf"{_START}\d+{_END}", _integer),
    (r"(?<=\d)-(?=\d)", lambda m: "杠"),
    (r"\d", lambda m: DIGITS[int(m[0])]),
)
_RULES = tuple((re.compile(pattern), action) for pattern, action in _TABLE)
_OPERATORS = re.compile("[" + re.escape("".join(_SYMBOLS)) + "]")


def read(text: str) -> str:
    """`text` without digits and mathematical signs.

    >>> read("2024年3月5日下午3:30")
    '二零二四年三月五日下午三点三十分'
    """
    if any(char.isdecimal() for char in text):
        for pattern, action in _RULES:
            text = pattern.sub(action, text)
    return _OPERATORS.sub(lambda m: _SYMBOLS[m[0]], text)
