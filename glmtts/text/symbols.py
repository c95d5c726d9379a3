"""Names of signs and Greek letters, and the value of Roman numerals."""

import re

_GREEK = """
α alpha 阿尔法 | β beta 贝塔 | γ gamma 伽玛 | δ delta 德尔塔 | ε epsilon 艾普西龙 | ζ zeta 泽塔
η eta 伊塔 | θ theta 西塔 | ι iota 约塔 | κ kappa 卡帕 | λ lambda 拉姆达 | μ mu 缪 | ν nu 纽
ξ xi 克西 | ο omicron 奥密克戎 | π pi 派 | ρ rho 柔 | σ sigma 西格玛 | ς sigma 西格玛 | τ tau 陶
υ upsilon 宇普西龙 | φ phi 斐 | χ chi 希 | ψ psi 普西 | ω omega 欧米伽
"""
GREEK: dict[str, tuple[str, str]] = {
    letter: (english, mandarin)
    for row in re.split(r"[|\n]", _GREEK)
    if row.strip()
    for small, english, mandarin in [row.split()]
    for letter in {small, small.upper()}
}
"""Letter to its English and Mandarin names."""

SIGNS_ZH = {
    "×": "乘", "÷": "除以", "=": "等于", "±": "正负", "≈": "约等于", "≥": "大于等于",
    "≤": "小于等于", "≠": "不等于", ">": "大于", "<": "小于", "+": "加", "∞": "无穷大",
    "√": "根号", "∈": "属于", "∉": "不属于", "∪": "并", "∩": "交", "⊥": "垂直于", "∥": "平行于",
    "∵": "因为", "∴": "所以", "∅": "空集", "⊂": "真包含于", "⊃": "真包含", "⊆": "包含于",
    "⊇": "包含", "∠": "角", "△": "三角形", "∑": "求和", "∏": "求积", "∫": "积分", "≡": "恒等于",
    "∝": "正比于", "&": "和", "@": "艾特", "%": "百分号", "‰": "千分号", "°": "度",
    "′": "分", "″": "秒", "℃": "摄氏度", "℉": "华氏度", "Ω": "欧米伽", "§": "第",
    "∀": "任意", "∃": "存在", "$": "美元", "¥": "元",
    "€": "欧元", "£": "英镑", "^": "的", "#": "井号",
}  # fmt: skip
SIGNS_EN = {
    "×": "times", "÷": "divided by", "=": "equals", "±": "plus or minus", "≈": "about",
    "≥": "greater than or equal to", "≤": "less than or equal to", "≠": "not equal to",
    ">": "greater than", "<": "less than", "+": "plus", "∞": "infinity", "√": "square root of",
    "∈": "in", "∉": "not in", "∪": "union", "∩": "intersection", "⊥": "perpendicular to",
    "∥": "parallel to", "∵": "because", "∴": "therefore", "∅": "the empty set",
    "⊂": "subset of", "⊃": "superset of", "⊆": "subset of or equal to",
    "⊇": "superset of or equal to", "∠": "angle", "△": "triangle", "∑": "sum", "∏": "product",
    "∫": "integral", "≡": "identical to", "∝": "proportional to", "&": "and", "@": "at",
    "%": "percent", "‰": "per mille", "°": "degrees", "′": "minutes", "″": "seconds",
    "℃": "degrees Celsius", "℉": "degrees Fahrenheit", "Ω": "omega", "§": "section",
    "∀": "for all", "∃": "there exists", "$": "dollars", "¥": "yen",
    "€": "euros", "£": "pounds", "^": "to the", "#": "number",
}  # fmt: skip
ALONE = {"*": "asterisk", "#": "hash", "%": "percent", "$": "dollar"}
"""Signs with another name (English) when a text is nothing else."""

KEPT_SIGNS = "".join({*SIGNS_ZH, *GREEK, *"₩₹₽฿₺₱₫₿¢"} - set(map(chr, range(128))))

ROMAN = r"(?=[MDCLXVI])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLCDM])"
"""Regular expression of a numeral up to 3999."""
_VALUES = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}


def roman(numeral: str) -> int:
    """Value of a numeral in capitals: "XIV" -> 14."""
    values = [_VALUES[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-v if v < after else v for v, after in zip(values, following, strict=True))
