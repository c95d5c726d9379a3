"""Units and currencies with their names in both languages."""

import re

UNITS_ZH = {
    "km/h": "公里每小时", "km/s": "公里每秒", "m/s": "米每秒", "m/s^2": "米每二次方秒",
    "m/min": "米每分钟", "cm/s": "厘米每秒", "mph": "英里每小时", "rpm": "转每分钟",
    "fps": "帧每秒", "MB/s": "兆每秒", "GB/s": "GB每秒", "KB/s": "KB每秒",
    "km^2": "平方公里", "m^2": "平方米", "cm^2": "平方厘米", "mm^2": "平方毫米",
    "dm^2": "平方分米", "m^3": "立方米", "cm^3": "立方厘米", "dm^3": "立方分米",
    "mm^3": "立方毫米", "km2": "平方公里", "m2": "平方米", "m3": "立方米",
    "cm2": "平方厘米", "cm3": "立方厘米", "mm2": "平方毫米",
    "km": "公里", "hm": "百米", "dm": "分米", "cm": "厘米", "mm": "毫米", "μm": "微米",
    "nm": "纳米", "kg": "千克", "mg": "毫克", "μg": "微克", "ng": "纳克", "g": "克",
    "mL": "毫升", "ml": "毫升", "μL": "微升", "dL": "分升", "L": "升", "l": "升", "t": "吨",
    "ha": "公顷", "ft": "英尺", "in": "英寸", "inch": "英寸", "yd": "码", "mi": "英里",
    "lb": "磅", "lbs": "磅", "oz": "盎司", "gal": "加仑", "m": "米",
    "h": "小时", "hr": "小时", "hrs": "小时", "min": "分钟", "mins": "分钟", "s": "秒",
    "sec": "秒", "ms": "毫秒", "μs": "微秒", "ns": "纳秒",
    "kWh": "千瓦时", "Wh": "瓦时", "mAh": "毫安时", "Ah": "安时",
    "GW": "吉瓦", "MW": "兆瓦", "kW": "千瓦", "KW": "千瓦", "mW": "毫瓦", "W": "瓦",
    "kV": "千伏", "mV": "毫伏", "V": "伏", "mA": "毫安", "μA": "微安", "A": "安",
    "kΩ": "千欧", "MΩ": "兆欧", "Ω": "欧", "μF": "微法", "pF": "皮法", "mH": "毫亨",
    "Hz": "赫兹", "kHz": "千赫", "KHz": "千赫", "MHz": "兆赫", "GHz": "吉赫", "THz": "太赫",
    "dB": "分贝", "db": "分贝", "dBm": "分贝毫瓦",
    "Pa": "帕", "hPa": "百帕", "kPa": "千帕", "MPa": "兆帕", "GPa": "吉帕", "bar": "巴",
    "mmHg": "毫米汞柱", "atm": "大气压", "psi": "磅每平方英寸",
    "J": "焦", "kJ": "千焦", "MJ": "兆焦", "cal": "卡", "kcal": "千卡", "eV": "电子伏",
    "keV": "千电子伏", "MeV": "兆电子伏", "kN": "千牛", "Nm": "牛米", "mol": "摩尔",
    "mmol": "毫摩尔", "μmol": "微摩尔", "cd": "坎德拉", "lm": "流明", "lx": "勒克斯",
    "Sv": "希沃特", "mSv": "毫希沃特", "Bq": "贝可", "px": "像素", "MB": "兆",
    "°C": "摄氏度", "°F": "华氏度", "℃": "摄氏度", "℉": "华氏度", "°": "度",
}  # fmt: skip
FIRST_ZH = ("mg", "μg", "ng")
"""What is in the air is said the other way round in Mandarin: 每立方米七十五微克."""

_EN = """
km/h kilometer per hour | kph kilometer per hour | km/s kilometer per second
mph mile per hour | m/s meter per second | m/s^2 meter per second squared
ft/s foot per second | rpm revolution per minute | fps frame per second | mpg mile per gallon
Mbps megabit per second | Gbps gigabit per second | kbps kilobit per second
MB/s megabyte per second | GB/s gigabyte per second | KB/s kilobyte per second
km^2 square kilometer | m^2 square meter | cm^2 square centimeter | mm^2 square millimeter
m2 square meter | km2 square kilometer | m3 cubic meter | m^3 cubic meter | cm^3 cubic centimeter
ft^2 square foot | ft^3 cubic foot | sqft square foot | in^2 square inch | mi^2 square mile
km kilometer | cm centimeter | mm millimeter | μm micrometer | nm nanometer | m meter
kg kilogram | kgs kilogram | mg milligram | μg microgram | mcg microgram | g gram
lbs pound | lb pound | oz ounce | ft foot | yd yard | yds yard | mi mile | in inch
ml milliliter | mL milliliter | μL microliter | L liter | l liter | gal gallon | qt quart
pt pint | tsp teaspoon | tbsp tablespoon | ha hectare
kWh kilowatt hour | Wh watt hour | mAh milliampere hour | Ah ampere hour
GW gigawatt | MW megawatt | kW kilowatt | mW milliwatt | W watt | kV kilovolt | mV millivolt
V volt | mA milliamp | A amp | kΩ kilohm | MΩ megohm | Ω ohm | μF microfarad | pF picofarad
Hz hertz | kHz kilohertz | MHz megahertz | GHz gigahertz | THz terahertz | dB decibel
KB kilobyte | kB kilobyte | MB megabyte | GB gigabyte | TB terabyte | PB petabyte
ms millisecond | μs microsecond | ns nanosecond | s second | sec second | secs second | t ton
min minute | mins minute | h hour | hr hour | hrs hour | yr year | yrs year | mo month
Pa pascal | hPa hectopascal | kPa kilopascal | MPa megapascal | psi pound per square inch
bar bar | atm atmosphere | mmHg millimeter of mercury | J joule | kJ kilojoule | MJ megajoule
cal calorie | kcal kilocalorie | eV electronvolt | keV kiloelectronvolt
MeV megaelectronvolt | N newton | kN kilonewton | mol mole | mmol millimole | lm lumen | lx lux
mSv millisievert | px pixel | ppm part per million | mg/L milligram per liter
g/L gram per liter | mg/dL milligram per deciliter | mmol/L millimole per liter
g/cm^3 gram per cubic centimeter | kg/m^3 kilogram per cubic meter
μg/m^3 microgram per cubic meter | mg/kg milligram per kilogram | W/m^2 watt per square meter
°C degree Celsius | °F degree Fahrenheit | ℃ degree Celsius | ℉ degree Fahrenheit | ° degree
"""
UNITS_EN = {
    unit: noun
    for row in re.split(r"[|\n]", _EN)
    if row.strip()
    for unit, _, noun in [row.strip().partition(" ")]
} | {"sq ft": "square foot", "sq mi": "square mile", "fl oz": "fluid ounce", "sq m": "square meter"}

_IRREGULAR = {"foot": "feet", "inch": "inches", "hertz": "hertz", "kilohertz": "kilohertz",
              "megahertz": "megahertz", "gigahertz": "gigahertz", "terahertz": "terahertz",
              "lux": "lux", "penny": "pence", "yuan": "yuan", "yen": "yen", "won": "won",
              "baht": "baht"}  # fmt: skip

UNIT = r"(?:[A-Za-zμΩ°]{1,6}|[℃℉])(?:\^?[23](?!\d))?(?:/[A-Za-zμ]{1,3}(?:\^?[23](?!\d))?)?"
"""Regular expression of what may be a unit; `unit_zh` and `UNITS_EN` tell whether it is one."""


def unit_zh(unit: str) -> str | None:
    """Mandarin name of a unit, or of one unit per another; None if it is neither."""
    if unit in UNITS_ZH:
        return UNITS_ZH[unit]
    first, per, second = unit.partition("/")
    if per and first in UNITS_ZH and second in UNITS_ZH:
        return f"{UNITS_ZH[first]}每{UNITS_ZH[second]}"
    return None


CURRENCIES_ZH = {
    "¥": "元", "$": "美元", "US$": "美元", "HK$": "港币", "NT$": "新台币", "A$": "澳元",
    "AU$": "澳元", "C$": "加元", "CA$": "加元", "S$": "新加坡元", "€": "欧元", "£": "英镑",
    "₩": "韩元", "₹": "卢比", "₽": "卢布", "฿": "泰铢", "₫": "越南盾", "JP¥": "日元",
    "CN¥": "元", "R$": "雷亚尔", "₺": "里拉", "₱": "比索", "₿": "比特币", "Fr.": "法郎",
    "RMB": "元", "CNY": "元", "USD": "美元", "HKD": "港币", "TWD": "新台币", "EUR": "欧元",
    "GBP": "英镑", "JPY": "日元", "KRW": "韩元", "AUD": "澳元", "CAD": "加元", "SGD": "新加坡元",
    "CHF": "瑞士法郎", "INR": "卢比", "RUB": "卢布", "THB": "泰铢", "BTC": "比特币",
    "MOP": "澳门元",
}  # fmt: skip
CURRENCIES_EN = {
    "$": ("dollar", "cent"), "US$": ("US dollar", "cent"), "HK$": ("Hong Kong dollar", "cent"),
    "NT$": ("New Taiwan dollar", "cent"), "A$": ("Australian dollar", "cent"),
    "AU$": ("Australian dollar", "cent"), "C$": ("Canadian dollar", "cent"),
    "CA$": ("Canadian dollar", "cent"), "S$": ("Singapore dollar", "cent"),
    "R$": ("real", "centavo"), "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", "sen"),
    "CN¥": ("yuan", "fen"), "JP¥": ("yen", "sen"), "₩": ("won", "jeon"), "₹": ("rupee", "paisa"),
    "₽": ("ruble", "kopek"), "฿": ("baht", "satang"), "₺": ("lira", "kurus"),
    "₱": ("peso", "centavo"), "₫": ("dong", "xu"), "₿": ("bitcoin", "satoshi"),
}  # fmt: skip


def alternatives(names: dict[str, object] | dict[str, str]) -> str:
    """Names as a regular expression, longest first."""
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


def plural(noun: str) -> str:
    """More than one of a unit: meter per second -> meters per second."""
    head, per, tail = noun.partition(" per ")
    head, of, whole = head.partition(" of ")
    first, degree, scale = head.partition("degree")
    if degree:
        return f"{first}degrees{scale}"
    before, space, last = head.rpartition(" ")
    return f"{before}{space}{_IRREGULAR.get(last, last + 's')}{of}{whole}{per}{tail}"
