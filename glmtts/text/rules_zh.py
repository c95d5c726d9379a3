"""What is no word in a Mandarin sentence, as Hanzi: an ordered table of rules. Read `read`.

The rules apply from top to bottom; each takes what is certain (a date, a telephone number) away
from the more general ones below it. Whatever digit is left at the end is read by itself.
"""

import re
import unicodedata
from functools import lru_cache
from re import Match

from glmtts.text import addresses
from glmtts.text.measures import CURRENCIES_ZH, FIRST_ZH, UNIT, UNITS_ZH, alternatives, unit_zh
from glmtts.text.numbers_zh import DIGITS, cardinal, counted, digits, number, scaled, signed
from glmtts.text.symbols import GREEK, SIGNS_ZH, roman
from glmtts.text.traced import Part, Row, Rule, Traced, apply, rules
from glmtts.text.units import HANZI

_N = r"\d+(?:\.\d+)?"
_START = r"(?<![\d.])"
_DASH = "[-~～—–〜至]"
_RANGE = "[-~～—–〜]"
_ROMAN = "(?=[XVI])(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLC])"
_MEASURED = rf"(?:{UNIT})(?![A-Za-z0-9^])"
_NO_MEASURE = rf"(?!\d|\.\d|[%％‰元]|个百分点|(?:{alternatives(UNITS_ZH)})(?![A-Za-z0-9]))"
"""Behind digits that are no quantity: 4000000000% is not a telephone."""
_MONEY = alternatives(CURRENCIES_ZH)
_CALLED_BY_DIGITS = r"(?<![\d.])(?:" + "|".join((
    r"(?:985|211)(?=(?:[和、/及或](?:985|211))?\s?(?:高校|大学|院校|工程|名校|学校|毕业|本科|硕士|研究生|双一流))",
    r"(?:996|007)(?=\s?(?:工作制|加班|福报|模式|的?工作))",
    r"618(?=\s?(?:大促|购物节|促销|活动|年中|期间|电商|狂欢))",
    r"315(?=\s?(?:晚会|打假|消费者))",
    r"911(?=\s?(?:事件|恐怖|袭击))",
    r"(?:404|50[0-4])(?=\s?(?:错误|页面|报错|状态码))",
    r"502(?=\s?胶)",
    r"360(?=\s?(?:软件|杀毒|安全卫士|浏览器|公司|集团))",
    r"520(?=\s?(?:表白|情人节|礼物|快乐))",
    r"7[0-8]7(?=\s?(?:客机|飞机|机型|系列|航班))",
    r"(?:720|1080|1440|2160)(?=[pP](?![A-Za-z]))",
)) + ")"  # fmt: skip
"""Numbers that are names: 985高校."""
_COUNTED = (
    "个|位|名|人|只|条|头|匹|张|把|本|册|支|枝|根|块|片|件|套|双|对(?![吗了不呢的])|辆|架|艘|台|座|栋|间|家|所|次(?!方|元)|"
    "遍|趟|场|回|顿|天|年(?!级)|周|小时|分钟|分(?!之)|秒|点(?!零|一|二|三|四|五|六|七|八|九)|岁|米|公里|"
    "厘米|毫米|千米|千克|公斤|斤|克|吨|升|毫升|元|角|毛|倍|种|类|项|门|杯|瓶|碗|盘|袋|箱|包|盒|份|篇|首|"
    "句|段|页|层|站|步|口|颗|粒|朵|棵|株|滴|部|美元|欧元|英镑|日元|韩元|港币|港元|平方|立方|平米|亩|公顷|"
    "度|瓦|千瓦|亿|万|千|百|个月|星期|人次|国|室(?=[\\d一二两三四]厅|\\d卫)|里(?!面|头|边|程)|英里|英尺|英寸|寸|尺|丈|海里|光年|"
    "世纪|年代|季度|夜|晚|刻钟|成|股|帧|列|排|组|批|堆|串|束|幅|代|届|集|章|节|"
    "打|桶|罐|壶|筐|车|船|户|餐|桌|课时|学分|学期|字|词|行|笔|道|扇|面|顶|枚|尊|盏|架次|艘次|万亿"
)
_PROVINCES = "京沪津渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_CODE_NAMES = (
    "(?:QQ|qq|微信)(?:群|号|群号|号码)?|(?<![A-Za-z])(?:ID|id|PIN|ISBN)码?|"
    "(?:身份证|护照|学|工|卡|账|帐|编|单|尾|证|群|房间|门牌|座位|航班|车牌|序列|订单|流水|批|考|案|文|税|证件|"
    "银行卡|手机|准考证|社保|股票)号码?|(?:股票|商品|机构|邮政)?(?:代码|编码)|"
    "密码|口令|验证码|校验码|取件码|邮编|车牌|号码|条形码|身份证|护照|尾数|账户"
)

# --- context -----------------------------------------------------------------------------------
_SCORE_BEFORE = re.compile(
    "(?:比分|总分|战成|打成|踢成|战平|扳成|[以由].{0,3}|大比分|领先|落后|赛果|赛)[^。！？；]{0,4}$"
)
_SCORE_AFTER = re.compile(
    "^[^。！？；，]{0,4}(?:胜|负于|败|战平|击败|力克|领先|落后|逆转|取胜|告负|失利|获胜|险胜|大胜|完胜|"
    "横扫|平局|逼平|拿下|不敌|淘汰)"
)
_RATIO_BEFORE = re.compile(
    "(?:比例|配比|比值|比率|赔率|宽高比|长宽比|缩放|尺寸|按照?|兑)[^。！？；，]{0,3}$"
)
_RATIO_AFTER = re.compile("^[^。！？；，]{0,2}(?:稀释|的比例|的比值|混合|配比|配制|兑|的地图|比例)")
_LASTS = re.compile(
    "(?:时长|用时|耗时|片长|全长|长度|历时|时间长|成绩|配速|跑了|跑出)[^。！？；，]{0,3}$"
)
_CLOCK = re.compile(
    "(?:早上|上午|中午|下午|晚上|凌晨|傍晚|清晨|深夜|今晚|明早|时间|于|点)[^。！？；，]{0,3}$"
)
_HALF_SAID = re.compile("(?:[上中下]午|[早晚]上|凌晨|傍晚)$")
_MODELS = re.compile(
    "(?:歼|轰|运|直|强|教|武直|东风|长征|神舟|嫦娥|天宫|苏|米格|红旗|鹰击|图|巨浪|伊尔|安)$"
)


_CURRENCY_BEFORE = re.compile(rf"(?:{'|'.join(code for code in CURRENCIES_ZH if code.isalpha())})$")


def _before(match: Match[str], group: int = 0) -> str:
    return match.string[max(0, match.start(group) - 12) : match.start(group)]


def _after(match: Match[str], group: int = 0) -> str:
    return match.string[match.end(group) : match.end(group) + 12]


def _in_formula(match: Match[str]) -> bool:
    """Whether it stands in a run of signs, digits and letters that has a relation in it."""
    place = match.start()
    left = match.string[max(0, place - 40) : place]
    right = match.string[match.end() : match.end() + 40]
    left = re.split(f"[{HANZI}，。！？；、:：]", left)[-1]
    right = re.split(f"[{HANZI}，。！？；、:：]", right)[0]
    return bool(re.search("[=≠≈≡<>≤≥]", left + right)) or bool(
        re.match("(?:等于|得多少|是多少)", match.string[match.end() + len(right) :][:4])
    )


# --- what matches become -----------------------------------------------------------------------
def _phone(match: Match[str]) -> str:
    return digits(match[0], phone=True)


def _row(match: Match[str]) -> str:
    """Numbers beside each other, as those of a lottery: 03 08 15."""
    numbers = match[0].split()
    return "，".join(digits(one) if one[0] == "0" else cardinal(one) for one in numbers)


def _groups(match: Match[str]) -> str:
    """Groups of digits with pauses between them."""
    return "，".join(digits(group, phone=True) for group in re.findall(r"\d+", match[0]))


def _code(match: Match[str]) -> tuple[Part, ...]:
    """A code after its name: letters stay, digits are spelled."""
    parts: list[Part] = [1]
    for piece in re.finditer(r"\d+|[A-Za-z]+|[-_]|.", match.string[match.start(2) : match.end(2)]):
        start = match.start(2)
        if piece[0].isdecimal():
            parts.append(digits(piece[0], phone=True))
        elif piece[0] == "-":
            parts.append("杠")
        elif piece[0] == "_":
            parts.append("下划线")
        else:
            parts.append(slice(start + piece.start(), start + piece.end()))
    return tuple(parts)


def _letter_code(match: Match[str]) -> str | None:
    """Digits after letters: B203, G101, X100."""
    text = match[1]
    if _CURRENCY_BEFORE.search(match.string[max(0, match.start() - 4) : match.start()]):
        return None
    if text.endswith("00") and text[0] != "0" and len(text) <= 4:
        return cardinal(text)
    return digits(text, phone=True)


def _model(match: Match[str]) -> str | None:
    """A number after a name in capitals: RTX 4090."""
    text = match[1]
    if _CURRENCY_BEFORE.search(match.string[max(0, match.start() - 4) : match.start()]):
        return None
    return cardinal(text) if text.endswith("00") and text[0] != "0" else digits(text)


def _date(match: Match[str]) -> str | None:
    year, month, day = match[1], int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{digits(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


def _date_backwards(match: Match[str]) -> str | None:
    first, second, year = int(match[1]), int(match[2]), match[3]
    month, day = (first, second) if first <= 12 else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{digits(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


def _month_and_day(match: Match[str]) -> tuple[Part, ...] | None:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return (1, f"{cardinal(str(month))}月{cardinal(str(day))}日")


def _until(match: Match[str]) -> str | None:
    """The second of two dates, without its year."""
    words = _month_and_day(match)
    return f"到{words[1]}" if words else None


def _four_digit_year(match: Match[str]) -> str:
    text = match[1]
    lasts = re.match(
        f"年(?:的?历史|以?前|以?来|之久|后|间|以上|左右|的|[{HANZI}]?期限)", _after(match)
    )
    round_number = text.endswith("00") and text not in ("1900",) and lasts
    if text[0] in "3456789" or round_number or (text[1:] == "000" and text != "2000"):
        return counted(text)
    return digits(text)


def _two_digit_year(match: Match[str]) -> str | None:
    text = match[1]
    after, before = _after(match), _before(match)
    if re.search("(?:[了近约达满第过共用每]|长达|历时|已有|[上下]千)$", before):
        return None
    if re.match(
        "年(?:以?[前后来内]|[间多余代]|的?历史|之|期|级|制|[一两三四五六七八九十]|左右|以上|功)",
        after,
    ):
        return None
    if re.match(r"年(?:[初底末春夏秋冬]|\d{1,2}月|Q[1-4]|出生|生人|第[一二三四]季度)", after):
        return digits(text)
    return digits(text) if text[0] in "56789" and text[1] != "0" else None


def _clock(hour: str, minute: str, second: str | None = None) -> str:
    words = f"{counted(str(int(hour)))}点"
    minutes = int(minute)
    if minutes or second:
        words += f"{'零' if minutes < 10 and minutes else ''}{cardinal(str(minutes))}分"
    if second:
        words += f"{'零' if 0 < int(second) < 10 else ''}{cardinal(str(int(second)))}秒"
    return words


def _time(match: Match[str]) -> str | None:
    hour, minute, second = match["hour"], match["minute"], match["second"]
    before, after = _before(match), _after(match)
    half = (match["half"] or "").lower()
    if not half and not second:
        score = _SCORE_BEFORE.search(before) or _SCORE_AFTER.match(after)
        if score and not _CLOCK.search(before):
            return None
        if _RATIO_BEFORE.search(before) or _RATIO_AFTER.match(after):
            return None
    if _LASTS.search(before):
        words = f"{cardinal(str(int(hour)))}分{cardinal(str(int(minute)))}秒"
        if second:
            words = f"{counted(str(int(hour)))}小时{cardinal(str(int(minute)))}分{number(second)}秒"
        return words
    if int(hour) > 24:
        return None
    words = _clock(hour, minute, second)
    if half and not _HALF_SAID.search(before):
        return ("上午" if half[0] == "a" else "下午") + words
    return words


def _whole_hour(match: Match[str]) -> str:
    half = "" if _HALF_SAID.search(_before(match)) else "上午" if match[2] in "aA" else "下午"
    return f"{half}{counted(match[1])}点"


def _ratio(match: Match[str]) -> str:
    return "比".join(map(number, re.split(r"\s?[:：]\s?", match[0])))


def _share(match: Match[str]) -> str:
    sign = {"-": "负", "+": "正", "±": "正负"}.get(match[1], "")
    return f"{sign}{'百' if match[3] == '%' else '千'}分之{number(match[2])}"


def _share_range(match: Match[str]) -> str:
    hundred = {"%": "百分之", "‰": "千分之"}[match[3]]
    first, second = (
        ("负" if share[0] == "-" else "") + hundred + number(share.lstrip("-"))
        for share in match.group(1, 2)
    )
    return f"{first}到{second}"


_SCALE = {"k": 3, "K": 3, "w": 4, "W": 4, "M": 6, "m": 6, "mn": 6, "B": 9, "b": 9, "bn": 9,
          "T": 12}  # fmt: skip


def _amount(text: str, scale: str | None) -> str:
    if scale in _SCALE:
        return scaled(text, _SCALE[scale])
    return counted(text) + (scale or "")


def _money(match: Match[str]) -> str:
    sign = "负" if match["sign"] else ""
    return sign + _amount(match["n"], match["scale"]) + CURRENCIES_ZH[match["money"]]


def _money_range(match: Match[str]) -> str:
    first = counted(match["n"]) + (match["scale"] or "")
    return f"{first}到{_amount(match['m'], match['end'])}{CURRENCIES_ZH[match['money']]}"


def _money_after(match: Match[str]) -> str:
    return _amount(match[1], match[2]) + CURRENCIES_ZH[match[3]]


def _unit(match: Match[str]) -> str | None:
    text, scale, unit, after = match[1], match[2] or "", match[3], _after(match)
    if unit == "g" and re.match("网|信号|手机|时代|基站|流量|用户|通信|技术", after):
        return None
    if (
        unit == "A"
        and re.match(f"[{HANZI}]", after)
        and not re.match("电|的电|以|左右|保险", after)
    ):
        return None
    if unit in ("s", "h", "m", "t", "l", "in", "A", "V") and re.match(r"['’]?[A-Za-z]", after):
        return None
    name = unit_zh(unit)
    if name is None:
        return None
    mass, _, volume = unit.partition("/")
    if mass in FIRST_ZH and volume in ("m^3", "m3"):
        return f"每立方米{number(text)}{scale}{UNITS_ZH[mass]}"
    if name[:2] in ("摄氏", "华氏") and _before(match).endswith(name[:2]):
        name = "度"
    words = counted(text) + scale
    return (words.replace("两", "二") if unit == "V" else words) + name  # 二百二十伏 is a name


def _unit_sign(match: Match[str]) -> str:
    """Units that are one character: ㎏."""
    plain = unicodedata.normalize("NFKC", match[2])
    return (counted(match[1]) if match[1] else "") + UNITS_ZH.get(plain, plain)


def _minus(match: Match[str]) -> str | None:
    before = match.string[: match.start()].rstrip()[-4:]
    if _MODELS.search(before):
        return ""
    if before.endswith("零下"):
        return ""
    if re.search(
        r"[\d零一二三四五六七八九十]\s?(?:[年月日号天岁个元米度章页条层级万亿点分秒周楼]|小时|分钟)$",
        before,
    ):
        return None
    if before and (before[-1].isascii() and (before[-1].isalnum() or before[-1] in ")%]°}")):
        return None
    return "负"


def _binary(match: Match[str]) -> str | None:
    """A hyphen between two terms of a formula."""
    return "减" if _in_formula(match) else None


def _score(match: Match[str]) -> str | None:
    """Two integers with a hyphen, where they are a score or a short number."""
    before, after = _before(match), _after(match)
    first, second = match[1], match[2]
    if re.match(rf"\s?(?:{_COUNTED}|{_MEASURED}|[%‰月日号])", after) or before.endswith("第"):
        return None
    if re.match(r"0\d", second):  # no quantity: a number such as 555-0123
        return f"{digits(first, phone=True)}，{digits(second, phone=True)}"
    if _SCORE_BEFORE.search(before) or _SCORE_AFTER.match(after) or int(first) > int(second):
        return f"{number(first)}比{number(second)}"
    return None


def _to(match: Match[str]) -> tuple[Part, ...] | None:
    chain = re.search(rf"\d{_RANGE}\d+$", match.string[: match.start() + 1])
    name = re.search(r"[A-Za-z][\d.]*$", match.string[: match.start() + 1])
    return None if chain or (name and "-" in match[0]) else (1, "到")


def _fraction(match: Match[str]) -> str | None:
    top, bottom = match[1], match[2]
    if not float(bottom):
        return None
    whole = {"100": "百", "1000": "千", "10000": "万"}.get(bottom) or number(bottom)
    return f"{whole}分之{number(top)}"


def _phones(match: Match[str]) -> tuple[Part, ...]:
    """Further numbers of a list of phone numbers, each behind a mark or 或."""
    parts: list[Part] = []
    for found in re.finditer(r"\d+", match[0]):
        start = match.start() + found.start()
        parts += [slice(start - 1, start), digits(found[0], phone=True)]
    return tuple(parts)


def _division(match: Match[str]) -> str | None:
    """A fraction before an equals sign is a division if it leaves no rest."""
    top, bottom = int(match[1]), int(match[2])
    if not bottom or top % bottom:
        return None
    return f"{cardinal(match[1])}除以{cardinal(match[2])}"


def _power(match: Match[str]) -> str:
    exponent = match[1]
    if exponent.lstrip("+-").isdecimal():
        return f"的{signed(exponent.lstrip('+'))}次方"
    return f"的{'负' if exponent[0] == '-' else ''}{exponent.lstrip('+-')}次方"


def _scientific(match: Match[str]) -> str:
    exponent = match[3].lstrip("+")
    sign, size = ("负", exponent[1:]) if exponent.startswith("-") else ("", exponent)
    base = f"{'负' if match[1] else ''}{number(match[2])}"
    return f"{base}乘十的{sign}{cardinal(size.lstrip('0') or '0')}次方"


def _integer(match: Match[str]) -> str:
    text = match[0]
    return digits(text) if len(text) > 12 else cardinal(text)


def _no_commas(match: Match[str]) -> str:
    return match[0].replace(",", "")


def _version(match: Match[str]) -> str:
    """Three parts or more; four are the address of a computer, digit by digit."""
    parts = match[0].split(".")
    spell = len(parts) == 4 or any(len(part) > 2 for part in parts)
    return "点".join(map(digits if spell else cardinal, parts))


def _code_alone(match: Match[str]) -> tuple[Part, ...]:
    last = match.end() - 1
    if match.string[last] in "Xx":
        return (digits(match[0][:-1], phone=True), slice(last, last + 1))
    return (digits(match[0], phone=True),)


def _plane(match: Match[str]) -> str:
    return digits(match[1] or match[4] or "") + (f"杠{digits(match[2])}" if match[2] else "")


def _date_words(match: Match[str]) -> str | None:
    words = _date(match)
    return words[:-1] + match[0][-1] if words else None


def _years(match: Match[str]) -> tuple[Part, ...] | None:
    first, second = match[1], match[3]
    both_round = first.endswith("00") and second.endswith("00") and len(first) == 3
    if int(first) >= int(second) or both_round:
        return None
    return (digits(first), 2, "到", digits(second))


def _degrees(match: Match[str]) -> str:
    words = f"{number(match[1])}度{number(match[2])}分"
    return words + (f"{number(match[3])}秒" if match[3] else "")


def _lap(match: Match[str]) -> str:
    if re.search("(?:身高|高|尺)[^。，]{0,4}$", _before(match)):
        return f"{number(match[1])}英尺{number(match[2])}英寸"
    words = f"{cardinal(match[1])}分{number(match[2])}秒"
    return words + digits(match[3])


def _inches(match: Match[str]) -> str | None:
    """Inches, unless the mark closes a quotation."""
    return f"{number(match[1])}英寸" if match.string[: match.start()].count('"') % 2 == 0 else None


_KEYS = {"+": "加号", "-": "减号", "*": "星号", "/": "斜杠", "=": "等号", "×": "乘号", "÷": "除号",
         "#": "井号", "%": "百分号"}  # fmt: skip
_ROWS: tuple[Row, ...] = (
    (
        "thousands",
        r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3})(?!\d|,\d)",
        _no_commas,
    ),
    ("decimal", r"(?<![\d.A-Za-z])\.(?=\d)", "0."),
    ("index", "S&P(?= ?[0-9])|标普 ?(?=500)", "标普"),
    ("sum-sign", "∑(?=从)", ""),
    ("interjection", "(?<![\u4e00-\u9fff])额(?=[，。！？…～,.!?~]|$)", "呃"),
    ("interjection", "噢", "哦"),
    ("interjection", "欸", "诶"),
    ("letter-pair", "(?<=[A-Za-z])&(?=[A-Za-z])", " and "),
    # units with powers, then powers
    (
        "unit",
        rf"(?<![\d.^-])({_N})\s?([万亿千百]{{0,2}})\s?((?=[^\s\d]*\^){UNIT})(?![A-Za-z0-9^])",
        _unit,
    ),
    (
        "unit",
        r"(?<![A-Za-z0-9])(?:[kcdm]?m\^[23]|km/h|m/s\^2|m/s|[kμm]?g/[cm]*m\^3|kWh|mmHg)(?![A-Za-z0-9^/])",
        lambda m: unit_zh(m[0]),
    ),
    (
        "scientific",
        rf"((?<![\w.)])-)?{_START}({_N})[eE]([+-]?\d{{1,3}})(?![\dA-Za-z])",
        _scientific,
    ),
    ("times", r"(?<=[\d)])\s?[×*·xX]\s?(?=10\s?\^)", "乘"),
    ("square", r"(?<=[\d)])\s?\^\s?2(?!\d)", "的平方"),
    ("power", r"(?<=[\d)])\s?\^\s?\(?([+-]?(?:\d+|[A-Za-z]))\)?(?:次方)?", _power),
    ("unit", rf"(?<=次方)\s?({UNIT})(?![A-Za-z0-9^])", lambda m: unit_zh(m[1])),
    ("square", r"(?<=[A-Za-z])\^2(?!\d)", "平方"),
    ("cube", r"(?<=[A-Za-z])\^3(?!\d)", "立方"),
    ("power", r"(?<=[\w)])\s?\^\s?\(?([+-]?(?:\d+|[A-Za-z]))\)?(?:次方)?", _power),
    ("dimensions", r"(?<=\d)\s?[xX×*]\s?(?=\d)", "乘"),
    # telephone numbers and other codes
    (
        "phone",
        r"\+\s?(?:\d{1,4}[\s-])(?:\d{2,5}[\s-]){1,4}\d{2,8}(?!\d)",
        lambda m: "加" + _groups(m),
    ),
    ("phone", r"\+\s?86[\s-]{0,2}(?=\d)", "加八六，"),
    (
        "phone",
        r"(?<![\d.])1[3-9]\d([\s-]?)\d{4}\1\d{4}(?!\d|\.\d|\s?[%‰元个亿万条米]|\s?[a-zμ°℃])",
        _phone,
    ),
    ("phone", r"(?<!\d)[(（]0\d{2,3}[)）][-\s]?\d{3,4}[-\s]?\d{4}(?!\d)", _phone),
    (
        "thousands",
        rf"(?<![\d.,])[1-9]\d{{0,2}}(?: \d{{3}})+(?=\s?(?:{_COUNTED}|{_MONEY}))",
        lambda m: cardinal(m[0].replace(" ", "")),
    ),
    ("row-of-numbers", r"(?<![\d.,+-])\d{1,2}(?: +\d{1,2}){2,}(?!\d|[.,]\d| ?[-年月日/:])", _row),
    ("card", r"(?<![\d.])\d{4}(?:\s\d{4}){2,4}(?:\s\d{1,4})?(?![\d.])", _groups),
    ("plate", rf"([{_PROVINCES}][A-Z])\s?([A-Z0-9]{{5,6}})(?![A-Za-z0-9])", _code),
    (
        "phone",
        r"(?<!\d)0\d{2,3}[-\s]\d{3,4}\s?\d{4}(?!\d)|(?<!\d)0\d{2,3}-\d{3,4}-\d{4}(?!\d)",
        _phone,
    ),
    (
        "phone",
        rf"(?<!\d)[48]00[-\s]?\d{{3}}[-\s]?\d{{4}}{_NO_MEASURE}|(?<!\d)[48]00-\d{{4}}-\d{{3}}(?!\d)",
        _phone,
    ),
    (
        "phone",
        r"((?:(?:电话|热线|拨打|拨|报警|急救|火警|呼叫|客服|总机|传真)(?!费)[^\d，。！？；]{0,4})|打给?)("
        r"\d{3,12}(?:-\d{3,8}){0,2})"
        r"(?!\d|\.\d|-\d|[%折]|\s?(?:[个次人元块天分秒年万千百岁层]))",
        lambda m: (1, digits(m[2], phone=True)),
    ),
    (
        "phone",
        r"(?<=[零幺二三四五六七八九]{2})(?:[或和、及/]\d{3,5}(?!\d|\.\d|[个次人元块天分秒年万千百]))+",
        _phones,
    ),
    ("phone", r"(?<![\d.])(?:110|119|120|122)(?=报警|急救|火警|电话|热线|救护车)", _phone),
    (
        "phone",
        r"(?<![\d.])(?:12306|12315|12123|12366|10086|10010|955\d\d)"
        rf"(?![\d.%]|\s?(?:{_COUNTED}|{_MEASURED}))",
        _phone,
    ),
    ("called-by-digits", _CALLED_BY_DIGITS, lambda m: digits(m[0], phone=True)),
    (
        "extension",
        r"((?<=[零幺二三四五六七八九])转\s?|分机号?\s?)(\d{2,5})(?!\d|\.|[%个次人元块天分秒年万千百亿美欧港日度折])",
        lambda m: (1, digits(m[2], phone=True)),
    ),
    (
        "code",
        rf"((?:{_CODE_NAMES})(?:为|是|叫|改成|改为|设为|设成|输入)?[:：\s]{{0,2}})"
        r"((?:[A-Za-z0-9]+[-_]){0,4}[A-Za-z]{0,12}\d{2,}[A-Za-z0-9]*"
        r"(?![A-Za-z0-9.%]|[-_][A-Za-z0-9]|[个次人元块天秒万千百岁]))",
        _code,
    ),
    ("card", r"(?<![\dA-Za-z.])\d{17}[\dXx](?![\dA-Za-z])", _code_alone),
    (
        "room",
        r"(?<![\d.])(\d{3,4})(?=号?(?:室|房)(?!间的|产|子|屋)|房间|教室|办公室|会议室|病房|包厢|包间|宿舍|"
        r"航班|次列车|次航班|次高铁|次动车|路公交|路车|路电车|国道|省道|县道)",
        lambda m: digits(m[1], phone=True),
    ),
    ("model", r"(?<=波音)(\d{3})(?:-(\d{3}))?|(?<=空客)()(\d{3})", _plane),
    (
        "room",
        rf"(?<=[座栋幢楼元])(?<!\d元)(\d{{3,4}})(?!\d|\.\d|\s?(?:{_COUNTED}))",
        lambda m: digits(m[1], phone=True),
    ),
    ("letter-code", r"(?<=[A-Za-z]\d)-(\d{4,5})(?!\d)", lambda m: digits(m[1])),
    ("bus", r"(?<![\d.])(\d{3})(?=路(?![人口灯过程费由线边]))", lambda m: digits(m[1])),
    ("letter-code", r"(?<=[A-Za-z])-?(\d{3,})(?![\d.]\d|\d|,\d{3})", _letter_code),
    (
        "model",
        rf"(?<=[A-Z])\s(\d{{3,4}})(?![\d.,%:：]|\s?(?:{_COUNTED}|{_MEASURED}|[年月日号%+{re.escape('¥$€£')}]))"
        r"(?!\s?[-~～—]\s?\d)",
        _model,
    ),
    # dates
    (
        "date",
        r"(?<![\d.])(\d{4})(?P<sign>[-/.])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})[日号]?"
        r"(?!\d|(?P=sign)\d)",
        _date,
    ),
    (
        "date",
        rf"(?<!\d)(\d{{4}})\s?年\s?(?P<month>\d{{1,2}})\s?月\s?(?P<day>\d{{1,2}})\s?[日号](?!楼|\s?{_DASH})",
        _date_words,
    ),
    ("date", r"(?<![\d/.])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])", _date_backwards),
    (
        "date",
        r"(?<!\d)((?:19|20)\d\d)([-/])(0[1-9]|1[0-2])(?![\d.]|[-/]\d)",
        lambda m: f"{digits(m[1])}年{cardinal(str(int(m[3])))}月",
    ),
    (
        "date",
        r"((?:日期|生日|今天|明天|昨天|后天|截止|截至|[周星期][一二三四五六日天])[是在为于到]?[:：\s]{0,2})"
        r"(\d{1,2})/(\d{1,2})(?![\d/])",
        _month_and_day,
    ),
    (
        "date",
        r"(?<![\d/.])()(\d{1,2})/(\d{1,2})(?=\s?[(（]?(?:周|星期)[一二三四五六日天])",
        _month_and_day,
    ),
    (
        "version",
        rf"{_START}\d+(?:\.\d+){{2,}}(?![\d])",
        _version,
    ),
    ("number-groups", r"(?<![\d.-])\d{1,6}(?:-\d{1,6}){2,6}(?!\d|\.\d|-\d)", _groups),
    (
        "date",
        r"(?<=日)([-~～—至到])(\d{1,2})\.(\d{1,2})日?(?!\d|\.\d)",
        _until,
    ),
    (
        "day",
        r"(?<![\d.])(\d{1,2})\.(\d{1,2})(?=晚会|假期|黄金周|大促|小长假|促销|购物节)",
        lambda m: "".join(cardinal(m[1]) if len(m[1]) > 1 else digits(m[1])) + digits(m[2]),
    ),
    # years
    (
        "years",
        rf"(?<![\d.])([12]\d{{3}}|\d{{3}})(年?)\s?{_DASH}\s?([12]\d{{3}}|\d{{3}})(?=年(?![级前内]))",
        _years,
    ),
    (
        "years",
        rf"(?<![\d.])(1[89]\d\d|20\d\d){_RANGE}(1[89]\d\d|20\d\d)(?![\d.]|{_RANGE}\d|{_MEASURED}|[元个人])",
        lambda m: f"{digits(m[1])}到{digits(m[2])}" if int(m[1]) < int(m[2]) else None,
    ),
    (
        "years",
        r"(?<!\d)((?:19|20)\d\d)/(\d\d)(?=\s?(?:赛季|学年|财年|年度))",
        lambda m: f"{digits(m[1])}到{digits(m[2])}",
    ),
    ("year", r"(公元前?|西元前?)(\d{3,4})(?=年)", lambda m: (1, digits(m[2]))),
    ("year", r"(?<![\d.])(\d{4})(?=\s?年(?!级))", _four_digit_year),
    ("year", r"(?<![\d.])(0\d)(?=\s?年(?!级))", lambda m: digits(m[1])),
    ("year", r"(?<![\d.])(\d\d)(?=年)", _two_digit_year),
    (
        "year",
        r"(?<![\d.])((?:19|20)\d\d)(?=[级届款]|财年|学年|赛季|[春夏秋冬]季|世界杯|奥运|\s?(?:Q[1-4]|H[12])(?![A-Za-z0-9]))",
        lambda m: digits(m[1]),
    ),
    ("generation", r"(?<![\d.])([05-9][05])(?=后(?!面|来|天))", lambda m: digits(m[1])),
    # times
    (
        "time",
        rf"(?<=\d[:：]\d\d)\s?{_DASH}\s?(?=\d{{1,2}}[:：]\d\d)",
        "到",
    ),
    (
        "time",
        r"(?<!\d[:：])(?<![\d.])(?P<hour>\d{1,2})\s?[:：]\s?(?P<minute>[0-5]\d)(?:[:：](?P<second>[0-5]\d(?:\.\d+)?))?"
        r"(?:\s?(?P<half>[aApP])\.?[mM](?![A-Za-z])\.?|分(?![钟之别开享配]))?(?![\d:：])",
        _time,
    ),
    ("time", r"(?<![\d.:])(1[0-2]|[1-9])\s?([aApP])\.?[mM](?![A-Za-z])", _whole_hour),
    ("ratio", rf"{_START}{_N}(?:\s?[:：]\s?{_N}){{1,3}}(?!\d)", _ratio),
    # money
    (
        "money-range",
        rf"(?P<money>{_MONEY})\s?(?P<n>{_N})(?P<scale>[万亿千百]{{0,2}}){_DASH}(?:{_MONEY})?\s?"
        rf"(?P<m>{_N})(?P<end>[kKMB](?![A-Za-z])|[万亿千百]{{0,2}})元?",
        _money_range,
    ),
    (
        "money",
        rf"(?<![A-Za-z])(?P<sign>-?)(?P<money>{_MONEY})\s?(?P<n>{_N})\s?"
        r"(?P<scale>(?:[kKwWMBbT]|bn|mn)(?![A-Za-z/])|[万亿千百]{0,2})元?",
        _money,
    ),
    (
        "money",
        rf"{_START}({_N})\s?([kKwWMBT](?=\s?[A-Z¥$€£])|[万亿千百]{{0,2}})\s?({_MONEY})(?![A-Za-z\d])",
        _money_after,
    ),
    # shares
    (
        "percent-range",
        rf"(?<![\d.A-Za-z])(-?{_N})[%‰]?\s?{_DASH}\s?(-?{_N})\s?([%‰])",
        _share_range,
    ),
    ("percent", rf"(?<![\d.A-Za-z%])([-+±]?)({_N})\s?([%‰])", _share),
    ("percent", rf"{_START}()({_N})\s?([%‰])", _share),
    # formulas
    ("absolute", r"\|([-+\dA-Za-z.*×/÷^ ]{1,20})\|", (1, "的绝对值")),
    ("sum", r"\(([^()+]{1,20}\+[^()]{1,20})\)(?=\s?[×÷*])", (1, "的和")),
    ("sum", r"(?<=[×÷*])\s?\(([^()+]{1,20}\+[^()]{1,20})\)", (1, "的和")),
    ("difference", r"\(([^()-]{1,20}-[^()]{1,20})\)(?=\s?[×÷*])", (1, "的差")),
    ("difference", r"(?<=[×÷*])\s?\(([^()-]{1,20}-[^()]{1,20})\)", (1, "的差")),
    ("function", r"(?<![A-Za-z])([A-Za-z])\(([A-Za-z0-9.]{1,6})\)", (1, " ", 2, " ")),
    ("minus", r"(?<=[A-Za-z0-9)方])\s?-\s?(?=[A-Za-z0-9(√])", _binary),
    # signs
    ("sign", r"±\s?(?=\.?\d)", "正负"),
    ("plus", rf"(?<=[{HANZI}])\+(?=\d{{1,4}}\s?[个只条件份种次本张位名人斤杯碗])", "加"),
    ("plus", rf"(?<![\dA-Za-z)\]%方零一二三四五六七八九十百千万亿])(?<!\d[{HANZI}])\+(?=\d)", "正"),
    ("sign", r"-(?=\d|√|[a-z](?![A-Za-z]))", _minus),
    # fractions
    ("division", r"(?<![\d/.])(\d{1,6})\s?/\s?(\d{1,6})(?=\s?=\s?\d)", _division),
    (
        "pressure",
        r"(?<=[^\d/])(\d{2,3})/(\d{2,3})(?=\s?(?:mmHg|毫米汞柱))",
        lambda m: f"{number(m[1])}，{number(m[2])}",
    ),
    (
        "pressure",
        r"(血压[^\d，。]{0,3})(\d{2,3})/(\d{2,3})",
        lambda m: (1, f"{number(m[2])}，{number(m[3])}"),
    ),
    ("always", r"(?<![\d/])24/7(?![\d/])", "二十四七"),
    (
        "mixed-fraction",
        r"(?<![\d/.])(\d+)\s(\d{1,2})/(\d{1,3})(?![\d/])",
        lambda m: f"{cardinal(m[1])}又{cardinal(m[3])}分之{cardinal(m[2])}" if int(m[3]) else None,
    ),
    (
        "fraction",
        r"√(\d{1,5})/(\d{1,5})(?![\d/])",
        lambda m: f"{cardinal(m[2])}分之根号{cardinal(m[1])}",
    ),
    (
        "fraction",
        r"(?<![\d/.])(\d{1,5}(?:\.\d+)?)\s?/\s?(\d{1,5}(?:\.\d+)?)(?![\d/.]\d|\d|/)",
        _fraction,
    ),
    (
        "bracket",
        r"\(((?:负|正)?[\dA-Za-z.]{1,12})\)(?=\s?[×÷*/+=^-])|(?<=[×÷*/+=-])\s?\(((?:负|正)?[\dA-Za-z.]{1,12})\)",
        lambda m: (1,) if m[1] else (2,),
    ),
    ("about", rf"(?<![\d{HANZI}A-Za-z%℃°])[~～]\s?(?=\d)", "约"),
    (
        "numbered",  # 图3-1
        r"(?<=[图表式例])\s?(\d{1,3})-(\d{1,3})(?![\d.:-]|\s?[年月日个人])",
        lambda m: f"{cardinal(m[1])}杠{cardinal(m[2])}",
    ),
    # ranges and scores
    (
        "score",
        rf"(?<![\d.A-Za-z-])(\d+)\s?-\s?(\d+)(?!\.?\d|{_RANGE}\d)",
        _score,
    ),
    (
        "range",
        rf"([\d零一二三四五六七八九十]\s?(?:{_MEASURED}|[年月日号天岁个元米度章页条层级万亿点分秒周]|小时|分钟)?)\s?{_RANGE}\s?(?=[负正第]?{_N})"
        rf"(?!\d+(?:{_RANGE}\d+)+)",
        _to,
    ),
    (
        "range",
        rf"((?:周|星期)[一二三四五六日天]|[一二三四五六七八九十]+[月日号点年]|[早中晚上下][上午])\s?{_RANGE}\s?"
        r"(?=(?:周|星期)[一二三四五六日天]|[一二三四五六七八九十]+[月日号点年]|[早中晚上下][上午])",
        _to,
    ),
    (
        "range",
        rf"(?<=[一二三四五六七八九十百千万两年月日号点分秒])\s?[-~～]\s?"
        rf"(?=[零一二三四五六七八九十两]{{1,4}}[^{HANZI}]?[{HANZI}])",
        "到",
    ),
    ("range", r"([A-Z])(\d{1,2})\s?[-~～—–]\s?(?=\1\d{1,2}(?![\d.]))", (1, 2, "到")),
    # measures
    (
        "duration",
        r"(?<![\d.])(\d{1,2})h(?=\d{1,2}m(?:in)?(?![A-Za-z]))",
        lambda m: f"{counted(m[1])}小时",
    ),
    ("duration", r"(?<=小时)(\d{1,2})m(?:in)?(?![A-Za-z])", lambda m: f"{cardinal(m[1])}分钟"),
    (  # a man of 1米82, 3块50
        "and-some",
        rf"(?<=[\d一二两三四五六七八九十])([米块])([1-9]\d{{1,2}})"
        rf"(?![\d.:/%-]|\s?(?:{_COUNTED}|{_MEASURED}))",
        lambda m: (1, digits(m[2].removesuffix("0") if len(m[2]) == 2 else m[2])),
    ),
    ("discount", r"(?<![\d.])([1-9])([1-9])(?=折(?!叠|线|扣率|算))", lambda m: digits(m[0])),
    ("class-number", rf"(?<=[{HANZI}])\((\d{{1,2}})\)(?=班)", lambda m: cardinal(m[1])),
    (
        "myriads",
        rf"{_START}({_N})\s?[wW](?=[+多粉人元阅播点浏销]|个|\s?用户)",
        lambda m: scaled(m[1], 4),
    ),
    ("megabit", rf"({_N})\s?M(?=宽带|光纤|网|流量|的?文件|带宽)", lambda m: number(m[1]) + "兆"),
    ("coordinates", rf"({_N})\s?°\s?({_N})\s?[′'](?:\s?({_N})\s?[″\"])?", _degrees),
    ("lap", r"(?<![\d.])(\d{1,3})[′'](\d{1,2}(?:\.\d+)?)(?:[″\"]|'')(\d{0,2})", _lap),
    ("inch", rf"{_START}({_N})\s?(?:″|\")(?!\w)", _inches),
    ("unit", rf"{_START}({_N})\s?([万亿千百]{{0,2}})\s?({UNIT})(?![A-Za-z0-9^])", _unit),
    (
        "unit",
        r"(?<=[一二三四五六七八九十百千万亿])\s?([a-zμ][A-Za-z][A-Za-z/]{0,4})(?![A-Za-z0-9])",
        lambda m: unit_zh(m[1]),
    ),
    ("unit", rf"({_N})?\s?([\u3371-\u33df])", _unit_sign),
    (
        "per",
        rf"(?<=[{HANZI}])/(km|kg|g|t|h|s|min|L|m\^2|m\^3|m2|m3|m)(?![A-Za-z0-9])",
        lambda m: "每" + UNITS_ZH[m[1]],
    ),
    ("per", rf"(?<=\d[{HANZI}])/(?=[{HANZI}])|(?<=\d[{HANZI}]{{2}})/(?=[{HANZI}])", "每"),
    (
        "per",
        rf"(?<=[零一二三四五六七八九十百千万亿][{HANZI}])/(?=[{HANZI}])|(?<=[零一二三四五六七八九十百千万亿][{HANZI}]{{2}})/(?=[{HANZI}])",
        "每",
    ),
    ("quoted-sign", r"\"([-+*/=×÷#%])\"", lambda m: _KEYS[m[1]]),
    # plain numbers
    (
        "roman-numeral",
        rf"(第\s?|路易|亨利|查理|腓力|乔治|彼得|保罗|威廉|爱德华|伊丽莎白|拿破仑|约翰|世界大战)\s?({_ROMAN})"
        r"(?![A-Za-z0-9])",
        lambda m: (1, cardinal(str(roman(m[2])))),
    ),
    (
        "roman-numeral",
        rf"(?<![A-Za-z0-9])(?:(I)|({_ROMAN})(?<=[A-Z]{{2}}))(?=[期型类级部章卷世篇])",
        lambda m: cardinal(str(roman(m[0]))),
    ),
    ("ordinal", r"№\s?(\d+)", lambda m: f"第{cardinal(m[1])}"),
    ("ordinal", r"(第\s?)(\d+)", lambda m: (1, cardinal(m[2]))),
    ("hash-number", r"#\s?(\d+)(号?)", lambda m: f"{cardinal(m[1])}号"),
    (
        "couple",
        rf"(?<![\dA-Za-z.第])2(?=\s?(?:{_COUNTED})|到\d+(?:\.\d+)?\s?(?:{_COUNTED}|{_MEASURED}))",
        "两",
    ),
    (
        "decade",
        r"(?<![\d.])(\d0)(?=年代)",
        lambda m: digits(m[1]) if m[1] == "00" else cardinal(m[1]),
    ),
    ("times", r"(?<=[\dA-Za-z)])\s?\*\s?(?=[\dA-Za-z(])", "乘"),
    ("plus-plus", r"(?<=[A-Za-z])\+\+", "加加"),
    ("sharp", r"(?<![A-Za-z])([CF])#(?![A-Za-z])", (1, " sharp")),
    ("net", r"(?<![\w.])\.(?=NET(?![A-Za-z]))", "点"),
    ("decimal", rf"{_START}\d+\.\d+(?!\d)", lambda m: number(m[0])),
    ("integer", rf"{_START}\d+(?![\d])", _integer),
    ("dash", r"(?<=[零一二三四五六七八九十百千万亿])-(?=\d)", "杠"),
    ("digit", r"\d", lambda m: DIGITS[int(m[0])]),
)


@lru_cache(maxsize=1)
def _table() -> tuple[Rule, ...]:
    return rules(*_ROWS)


_NAMES = SIGNS_ZH | {letter: mandarin for letter, (_, mandarin) in GREEK.items()}
_SIGNS = rules(
    ("sign", f"([{re.escape(''.join(_NAMES))}])\\1*", lambda m: _NAMES[m[1]]),
    ("dot", r"(?<=[A-Za-z])\.(?=[A-Za-z])", "点"),
)
_MAY_APPLY = re.compile(
    r"[\d额噢欸∑&^|.+\-*/(№#&IVX\u3371-\u33df]|[一二三四五六七八九十午晚早日天月点年]\s?[-~～—–]"
)


def read(text: Traced) -> Traced:
    """`text`, a cleaned Mandarin sentence, without digits, addresses and signs that have a name.

    >>> read(Traced.of("2024年3月5日下午3:30")).text
    '二零二四年三月五日下午三点三十分'
    """
    if _MAY_APPLY.search(text.text):
        text = apply(_table(), text)
    return apply(_SIGNS, apply(addresses.READ_ZH, text))
