"""What is no speech goes: markup, emoji, odd forms of letters. Read `prepared`, then `clean`.

What stays are Hanzi, ASCII, the marks and signs that have a name, and the stand-ins of `spans`.
"""

import html
import re
import unicodedata
from functools import lru_cache

from glmtts.text import addresses
from glmtts.text.abbreviations import EXPAND
from glmtts.text.spans import PLAIN, PROTECTED
from glmtts.text.symbols import KEPT_SIGNS
from glmtts.text.traced import Traced, apply, rules
from glmtts.text.units import HANZI

_BLOCK_TAG = "p|br|div|li|ul|ol|h[1-6]|tr|table|hr|section|article|title|blockquote|pre"
_PREPARE = rules(
    ("html-entity", r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,20});", lambda m: _entity(m)),
    ("html-tag", rf"(?i)</?(?:{_BLOCK_TAG})(?:\s[^<>\n]{{0,200}})?/?>", "\n"),
    ("line-end", r"(?<![A-Za-z:\\])\\n(?![a-z])", "\n"),
    ("line-end", "\r\n?|[\v\f\x85\u2028\u2029]", "\n"),
    ("space", r"(?<=\n)[^\S\n]*\n+|(?<=[^\S\n])[^\S\n]+", ""),
    ("code-fence", r"(?m)^[^\S\n]?(?:```|~~~)[^\n]*", ""),
)


def prepared(text: Traced) -> Traced:
    """The whole text with plain line ends, short gaps and no HTML entities."""
    return apply(_PREPARE, text)


def _entity(match: re.Match[str]) -> str:
    return html.unescape(match[0])


_LINE_START = rules(
    ("rule-line", r"^\s*[-*_=][-*_=\s]{2,}$|^[\s|:-]*-{2,}[\s|:-]*$", ""),
    ("list-mark", r"^\s?(?:(?:#{1,6}|[-*+•◦▪●■◆‣⁃·])\s+|>(?:\s+|(?=[^\s\d=])))+", ""),
    ("task-box", r"^\[[ xX✓]?\]\s", ""),
    ("list-number", r"^\s?(\d{1,3})(?:[.)]\s+(?=\S)|[.．](?=[^\d\s.A-Za-z]))", (1, ", ")),
    ("table", r"^\s*\|(?=[^|]*\|.*\|\s*$|[^|]*\|\s*$)|(?<=\|)\s*$", ""),
)
_TAGS = (
    "a|abbr|b|big|button|center|cite|code|dd|del|dl|dt|em|font|form|i|img|input|ins|kbd|label|"
    "mark|ol|option|q|s|samp|script|select|small|span|strike|strong|style|sub|sup|svg|tbody|td|"
    "tfoot|th|thead|tt|u|ul|var|video|audio|source|iframe|link|meta|head|body|html|main|nav|"
    "footer|header|figure|details|summary|speak|voice|prosody|emphasis|break|phoneme|say-as"
)
_INLINE = rules(
    ("model-token", r"<\|[^|<>]{0,80}\|>", " "),
    ("footnote", r"\[\^[^\]\s]{1,20}\]:?", ""),
    ("link", r"!?\[([^\]\n]{0,300})\]\([^)\s]{0,500}(?:\s\"[^\"]{0,200}\")?\)", (1,)),
    ("link", r"\[([^\]\n]{1,300})\]\[[^\]\n]{0,100}\]", (1,)),
    ("html-comment", r"<!--.*?-->", " "),
    ("link", r"<((?:https?://|mailto:)[^<>\s]{1,500})>", (1,)),
    (
        "html-tag",
        rf"(?i)</?(?:{_TAGS})(?:\s[^<>\n]{{0,300}})?/?>|</[A-Za-z][\w:-]{{0,30}}\s?>"
        r"|<[A-Za-z][\w:-]{1,30}(?:\s+[\w:-]{1,30}=(?:\"[^\"<>]{0,200}\"|'[^'<>]{0,200}')){0,8}\s?/?>",
        "",
    ),
    ("latex", r"\$\$?([^$\n]{0,200}[\\^_=][^$\n]{0,200})\$\$?", (1,)),
    ("latex", r"\\d?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}", (1, "/", 2)),
    ("latex", r"\\sqrt\{([^{}]{1,40})\}", ("√", 1)),
    ("latex", r"\^\{([^{}]{1,20})\}", ("^", 1)),
    ("latex", r"\\([A-Za-z]{2,8})(?![A-Za-z\\])", lambda m: _LATEX.get(m[1])),
    ("emoticon", rf"[(（](?=[^()（）]{{0,14}}[^\w\s{HANZI},.，。+=-])"
                 rf"[^()（）A-Za-z0-9{HANZI}{PROTECTED}]"
                 r"{3,15}[)）]", ""),
    ("emoticon", r"(?<![A-Za-z0-9_])(?:\^[_.o]?\^|T[_.]T|>[_.]<|=_=|-_-+|o_o|O_O|QAQ)"
                 r"(?![A-Za-z0-9_])", ""),
    ("emoticon", rf"(?<![A-Za-z0-9])[:;][-']?[)(DPpO](?![A-Za-z0-9{HANZI}(（])", ""),
    ("emphasis", r"(\*\*\*|\*\*|__|~~|==)(?=[^\s*~=])([^\n]*?[^\s])\1", (2,)),
    (
        "emphasis",
        r"(?<![A-Za-z0-9_*)])([*_])(?=[^\s*_])([^*_\n]*?\S)\1(?![A-Za-z0-9_*(])",
        (2,),
    ),
    ("title-mark", rf"(?<![A-Za-z0-9)])<([{HANZI}][^<>\n]{{0,40}})(?<=[{HANZI}])>", (1,)),
    ("comparison", ">=", "≥"),
    ("comparison", "<=(?!=)", "≤"),
    ("comparison", r"(?<!\d)!=(?=[^=])", "≠"),
    ("factorial", r"(?<=[\dn)])!(?=\s?[=×÷+*/-])", "\u2441"),
    ("arrow", r"<?[-=]{1,2}>|<-{1,2}(?![\d.])", ", "),
    ("code", "`+", ""),
    ("table", r"\s\|\s", ", "),
    ("list-number", rf"(?<=[；;：:。！])(\s?)(\d{{1,2}})[.．](?=[{HANZI}“\"])", (1, 2, ", ")),
)  # fmt: skip
_LATEX = {
    "times": "×", "div": "÷", "pm": "±", "cdot": "×", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥",
    "ne": "≠", "neq": "≠", "approx": "≈", "infty": "∞", "in": "∈", "cup": "∪", "cap": "∩",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ",
    "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "Omega": "Ω", "sum": "∑", "int": "∫", "left": "",
    "right": "", "text": "", "quad": " ", "ldots": "…",
}  # fmt: skip

_MARKS = "，。！？；：、…～"
_ODD = re.compile(
    rf"[^\x00-\x7f{HANZI}{PROTECTED}{_MARKS}{re.escape(KEPT_SIGNS)}{addresses.CODED}–—\u3371-\u33df]"
)
_UNUSUAL = re.compile(r"[^\x00-\x7f\u4e00-\u9fff，。！？]")
_FOLDED = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ı": "i", "’": "'", "‘": "'", "ʼ": "'", "´": "'",
    "＇": "'", "−": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-", "‒": "–", "―": "—", "─": "—",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "⁄": "/", "∶": ":", "∕": "/", "∼": "~",
    "〜": "～", "〃": '"', "•": ",", "・": " ", "·": " ", "‧": " ", "●": " ", "→": ", ", "←": ", ",
    "⇒": ", ", "⇔": ", ", "↔": ", ", "∙": "×", "⋅": "×", "✕": "×", "✖": "×", "➕": "+", "➖": "-",
    "➗": "÷", "￥": "¥", "￡": "£", "￠": "¢", "￦": "₩", "∣": "|", "│": "|", "｜": "|",
    "〈": "", "〉": "", "《": "", "》": "", "｢": "", "｣": "", "「": "", "」": "", "『": "",
    "』": "",
    "【": ",", "】": ",", "〔": ",", "〕": ",", "〖": ",", "〗": ",", "™": "", "®": "", "©": "",
    "†": ",", "‡": ",", "⋯": "…", "︰": "：", "﹕": "：", "﹐": "，", "﹑": "、", "﹔": "；",
    "﹖": "？",
    "﹗": "！", "｡": "。", "､": "、", "❗": "！", "❓": "？", "‼": "！", "⁉": "？", "⁈": "？",
    "□": " ", "■": " ", "△": "△", "▲": " ", "∆": "Δ", "µ": "μ", "Ω": "Ω", "ϕ": "φ", "ϵ": "ε",
    "ϑ": "θ", "∖": "\\", "″": "″", "′": "′", "〇": "〇",
}  # fmt: skip
_EARLY = rules(
    ("superscript", "[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: "^" + m[0].translate(_UP)),
    ("fraction-sign", r"(?<=\d)\s?(?=[½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", " "),
    ("roman-numeral", "[Ⅰ-Ⅻⅰ-ⅻ]", lambda m: str(int(unicodedata.numeric(m[0])))),
    ("number-sign", "[①-⒛❶-❿➀-➓⓪⓿]", lambda m: f"{int(unicodedata.numeric(m[0]))}, "),
    ("subscript", r"[₀-₉]+(?=\d)", lambda m: f"{unicodedata.normalize('NFKD', m[0])} "),
    ("arrow", r"(?<=[A-Za-z0-9])\s?→\s?(?=[A-Za-z0-9∞+-])", "\u2442"),
    ("unit", "(?<=[WN])·(?=[hm](?![a-z]))", ""),
)
_ELLIPSES = rules(("ellipsis", r"…{2,}|\.{3,}|。{2,}", "…"))
_UP = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LATE = rules(
    ("control-character", r"[\x00-\x1f\x7f]", " "),
    ("space", " {2,}", " "),
)
_SENTENCES = rules(("space", r"(?<=[a-z][a-z])\.(?=[A-Z][a-z])", ". "))


def clean(text: Traced, *, starts_line: bool) -> Traced:
    """A line without markup, emoji and control characters, in plain letters.

    Addresses are in code (`addresses.code`), abbreviations in full.
    """
    if starts_line:
        text = apply(_LINE_START, text)
    text = apply(_INLINE, text)
    if _UNUSUAL.search(text.text):
        text = apply(_EARLY, text)
        text = text.sub(_ODD, lambda m: _letter(m[0]), PLAIN)
        text = text.sub(_ODD, lambda m: _plain(m[0]), "character")
    text = apply(_ELLIPSES, text)
    text = addresses.code(apply(_LATE, text))
    if "." in text.text or "/" in text.text:
        text = apply(_SENTENCES, apply(EXPAND, text))
    return text


@lru_cache(maxsize=5_000)
def _letter(char: str) -> str | None:
    """The one letter, digit or mark that stands for it: é -> e, Ａ -> A; None if there is none."""
    plain = _plain(char)
    return plain if len(plain) == 1 and (plain.isalnum() or plain in ".-'\"") else None


@lru_cache(maxsize=5_000)
def _plain(char: str) -> str:
    """One unusual character in plain ones: ﬁ -> fi, ½ -> 1/2; a space if it is not speech."""
    if char in _FOLDED:
        return _FOLDED[char]
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    out = ""
    for c in unicodedata.normalize("NFKD", char):
        if c.isascii() or not _ODD.match(c):
            out += c
        elif c in _FOLDED:
            out += _FOLDED[c]
    silent = unicodedata.category(char) in ("Cf", "Mn", "Me")  # zero width, accents, selectors
    return out or ("" if silent else " ")
