"""Any text to speakable sentences. Read `normalise` first; `Normalizer` is what synthesis calls.

    text -> clean (markup, emoji, odd characters) -> sentence by sentence: language, numbers, marks
         -> split into pieces of a length that a model speaks well

What comes out holds Hanzi, Latin letters, apostrophes, hyphens, spaces and punctuation marks,
and normalising it again changes nothing.
"""

import html
import re
import unicodedata
from typing import Literal

from glmtts.errors import BadText
from glmtts.text import numbers_en, numbers_zh
from glmtts.text.sentences import split
from glmtts.text.units import HANZI

Lang = Literal["auto", "zh", "en"]

_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<\|[^|<>]*\|>"), " "),  # tokens of a model have no place in a text
    (re.compile(r"^\s*[-*_=][-*_=\s]{2,}$"), ""),
    (re.compile(r"^\s*(?:#{1,6}|>+|[-*+•])\s+"), ""),
    (re.compile(r"^\s*(\d{1,3})[.)、]\s+(?=\S)"), r"\1, "),
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?:\s\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>\n]{0,200}>|<!--.*?-->"), " "),
    (re.compile(r"(\*\*|__|~~)(?=\S)([^\n]*?\S)\1"), r"\2"),
    (re.compile(r"(?<![A-Za-z0-9_*])([*_])(?=\S)([^*_\n]*?\S)\1(?![A-Za-z0-9_*])"), r"\2"),
    (re.compile(r"`+"), ""),
    (re.compile(r"\s*\|\s*"), " "),
)
_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s，。！？；、）》”]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII
)
_DOMAIN = re.compile(r"\b[A-Za-z][\w-]*\.(?:com|cn|org|net|io|ai|edu|gov)(?:\.cn)?\b", re.ASCII)

_KEPT = "，。！？；：、…～²³℃¥"  # compatibility characters that rules or marks need as they are
_ODD = re.compile(rf"[^\x00-\x7f{HANZI}{_KEPT}]")
_FOLDED = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
    "ð": "d", "þ": "th", "ı": "i", "’": "'", "‘": "'", "ʼ": "'", "´": "'", "−": "-", "‐": "-",
    "‑": "-", "–": "–", "—": "—", "―": "—", "“": '"', "”": '"', "（": "(", "）": ")", "×": "×",
    "÷": "÷", "±": "±", "≈": "≈", "≥": "≥", "≤": "≤", "‰": "‰", "€": "€", "£": "£", "￥": "¥",
    "°": "°", "√": "√", "π": "π", "⁄": "/", "•": " ", "·": " ", "・": " ", "∼": "~", "〜": "～",
}  # fmt: skip
_FIGURES = re.compile("(?<=[0-9])(?=[½¼¾⅓⅔⅛])")
_BREAK = re.compile(f"(?<=[。！？!?；;…])|(?<=[{HANZI}][.])|(?<=[a-z)\"'][.])(?=\\s+[A-Z\"'(])")
_BLOCK = re.compile("[^\n]{250,400}(?<=[。！？!?；;，, ])|[^\n]{1,400}|\n")
_HAS_HANZI = re.compile(f"[{HANZI}]")
_HAS_LETTER = re.compile(f"[{HANZI}A-Za-z]")
_HAS_CONTENT = re.compile(f"[{HANZI}A-Za-z0-9]")

_WIDE = str.maketrans(",!?;:", "，！？；：")
_NARROW = str.maketrans("，。！？；：、", ",.!?;:,")
_UNSPOKEN_ZH = re.compile(rf"[^{HANZI}A-Za-z'\-，。！？；：、… ]+")
_UNSPOKEN_EN = re.compile(rf"[^{HANZI}A-Za-z'\-,.!?;:… ]+")
_STRAY = re.compile(r"(?<![A-Za-z])['-]+|['-]+(?![A-Za-z])")
_STRENGTH = ",，、:：;；….。!！?？"
_MARK_RUN = re.compile("[，。！？；：、…,.!?;:](?: *[，。！？；：、…,.!?;:])+")


class Normalizer:
    """Text to a list of speakable sentences."""

    def __init__(self, lang: Lang = "auto", max_length: int = 60) -> None:
        """Fix the language of numbers, and the longest sentence (Hanzi; a Latin letter is 0.3)."""
        self.lang: Lang = lang
        self.max_length = max_length

    def __call__(self, text: str) -> list[str]:
        """Sentences of `text`, in order.

        Raises:
            BadText: nothing in it can be spoken.
        """
        return split(normalise(text, self.lang), max_length=self.max_length)


def normalise(text: str, lang: Lang = "auto") -> str:
    """The whole text as it is to be spoken, sentences in one line.

    Args:
        text: Anything: Mandarin, English, both; with markup, emoji, numbers.
        lang: How numbers are read where no Hanzi tells; "auto" looks at the words around them and
            takes Mandarin if there are none.

    Raises:
        BadText: nothing in it can be spoken.
    """
    segments, glued = _segments(text)
    parts: list[tuple[str, bool]] = []
    for segment, zh, glue in zip(segments, _mandarin_segments(segments, lang), glued, strict=True):
        if _HAS_CONTENT.search(segment):
            parts.append((_mandarin(segment) if zh else _english(segment), glue))
        elif parts:
            parts[-1] = (_merge_marks(parts[-1][0] + _marks_only(segment)), parts[-1][1])
    spoken = _joined([(part, glue) for part, glue in parts if _HAS_LETTER.search(part)])
    if not spoken:
        shown = text.strip()[:40]
        raise BadText(
            f"Nothing in the text can be spoken: {shown!r}. "
            "Expected Chinese or English words, or numbers."
        )
    return spoken


def _segments(text: str) -> tuple[list[str], list[bool]]:
    """Cleaned sentences, roughly; and whether each goes on from the one before it.

    Lines are taken in blocks of at most 400 characters, so that no text is slow to read.
    """
    segments: list[str] = []
    glued: list[bool] = []
    goes_on = False
    for block in _BLOCK.findall(_with_short_gaps(text)):
        for number, segment in enumerate(_BREAK.split(clean(block))):
            if segment.strip():
                segments.append(segment)
                glued.append(goes_on and number == 0)
        goes_on = block != "\n"
    return segments, glued


def _with_short_gaps(text: str) -> str:
    text = re.sub(r"\r\n?|[\n\v\f\x85\u2028\u2029]", "\n", html.unescape(text))
    text = re.sub(r"(?<=\n)[^\S\n]*\n+|(?<=[^\S\n])[^\S\n]+", "", text)
    return re.sub(r"^\s*(?:```|~~~)[^\n]*", "", text, flags=re.MULTILINE) if "`" in text else text


def _mandarin_segments(segments: list[str], lang: Lang) -> list[bool]:
    """For each segment whether it is read as Mandarin; numbers alone follow what stands before."""
    if lang != "auto":
        return [lang == "zh" or bool(_HAS_HANZI.search(segment)) for segment in segments]
    own = [
        bool(_HAS_HANZI.search(segment)) if _HAS_LETTER.search(segment) else None
        for segment in segments
    ]
    current = next((zh for zh in own if zh is not None), True)
    out: list[bool] = []
    for zh in own:
        current = current if zh is None else zh
        out.append(current)
    return out


def clean(text: str) -> str:
    """A line without markup, emoji and control characters, in plain letters."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    text = _FIGURES.sub(" ", text)
    text = _ODD.sub(_plain, text)
    text = re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", " ", text)
    text = _ADDRESS.sub(_address, text)
    text = _DOMAIN.sub(_address, text)
    text = re.sub(r"(?<=[a-z])\.(?=[A-Z][a-z])", ". ", numbers_en.expand_abbreviations(text))
    return re.sub(r" {2,}", " ", text)


def _plain(match: re.Match[str]) -> str:
    """One unusual character in plain ones: é -> e, Ａ -> A, ① -> 1; a space if it is not speech."""
    char = match[0]
    if char in _FOLDED:
        return _FOLDED[char]
    out = ""
    for c in unicodedata.normalize("NFKD", char):
        if c.isascii() or _HAS_HANZI.match(c):
            out += c
        elif c in _FOLDED:
            out += _FOLDED[c]
    if unicodedata.decomposition(char).startswith("<circle>") and out.isdecimal():
        return f"{out}, "
    joiner = unicodedata.category(char) in ("Cf", "Mn", "Me")  # zero width, accents, selectors
    return out or ("" if joiner else " ")


def _address(match: re.Match[str]) -> str:
    """A web or mail address in words, Chinese ones if there are Hanzi near by."""
    address = re.sub(r"^https?://|[/.,;:!?)]+$", "", match[0])
    tail = match[0][len(match[0].rstrip(".,;:!?)")) :]
    before = match.string[max(0, match.start() - 40) : match.start()]
    after = match.string[match.end() : match.end() + 40]
    zh = bool(_HAS_HANZI.search(before + after))
    words = {"@": "艾特", ".": "点", "/": "斜杠"} if zh else {"@": "at", ".": "dot", "/": "slash"}
    address = re.sub(r"[?#].*", "", address)
    spelled = re.sub(r"[@./]", lambda m: f" {words[m[0]]} ", address)
    return " " + re.sub(r"[^A-Za-z0-9艾特点斜杠 ]+", " ", spelled).strip() + tail


def _mandarin(text: str) -> str:
    text = numbers_zh.read(text)
    text = re.sub(r"(?<=[A-Za-z])\.(?=[A-Za-z])", "点", text)
    text = re.sub(r"\.+", "。", text).translate(_WIDE)
    text = re.sub(r"[()\[\]{}「」『』【】—–]+", "，", text)
    text = re.sub(r"(?<=[A-Za-z])/(?=[A-Za-z])", " ", text)
    text = _STRAY.sub(" ", _UNSPOKEN_ZH.sub(" ", text))
    text = re.sub(r"(?<![A-Za-z'-]) +| +(?![A-Za-z])", "", text)
    return _merge_marks(text)


def _english(text: str) -> str:
    text = text.translate(_NARROW)
    text = re.sub(r"\s+", " ", numbers_en.read(text)).translate(_NARROW)
    text = re.sub(r"[()\[\]{}]+|\s[-–—]+\s|--+|[—–]", ", ", text)
    text = re.sub(r"(?<=[A-Za-z])\.(?=[A-Za-z])", " ", text)
    text = _STRAY.sub(" ", _UNSPOKEN_EN.sub(" ", text))
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r" +(?=[,.!?;:…])", "", text)
    text = _merge_marks(text)
    return re.sub(r"([,.!?;:…])(?=[A-Za-z])", r"\1 ", text).strip()


def _marks_only(text: str) -> str:
    return "".join(char for char in text if char in _STRENGTH)


def _merge_marks(text: str) -> str:
    """One mark, the strongest, for each run of them; none at the beginning."""
    text = _MARK_RUN.sub(lambda m: max(m[0].replace(" ", ""), key=_STRENGTH.index), text)
    return text.lstrip(_STRENGTH + " ").rstrip()


def _joined(parts: list[tuple[str, bool]]) -> str:
    """Parts in one line; where one ends without a mark and the next does not go on, a full stop."""
    text = ""
    for part, goes_on in parts:
        if text and not goes_on:
            zh = bool(_HAS_HANZI.match(text[-1]) or _HAS_HANZI.match(part))
            if text[-1] in ",，、":
                zh, text = text[-1] != ",", text[:-1]
            if text[-1] not in _STRENGTH:
                text += "。" if zh else "."
        text += " " if text and part[0].isascii() and text[-1].isascii() else ""
        text += part
    return text
