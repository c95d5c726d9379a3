"""Any text to speakable sentences. Read `normalise` first; `Normalizer` is what synthesis calls.

    text -> cleaning (markup, emoji, odd characters) -> sentence by sentence: language,
         -> rules_zh or rules_en (numbers, signs), marks -> pieces of a length a model speaks well

What comes out holds Hanzi, Latin letters, apostrophes, hyphens, spaces and punctuation marks (and
the stand-ins of `spans`, untouched), and normalising it again changes nothing. Every character
knows its place in the input, or the rule that made it.
"""

import re
import unicodedata
from itertools import pairwise
from typing import Literal

from glmtts.errors import BadText
from glmtts.text import rules_en, rules_zh
from glmtts.text.cleaning import clean, prepared
from glmtts.text.sentences import ranges
from glmtts.text.spans import PLAIN, PROTECTED, Span, joined
from glmtts.text.symbols import ALONE, SIGNS_EN, SIGNS_ZH
from glmtts.text.traced import Traced, apply, rules
from glmtts.text.traditional import SIMPLIFIED, made
from glmtts.text.units import HANZI

Lang = Literal["auto", "zh", "en"]

_BREAK = re.compile(
    f"(?<=[。！？!?；;…])|(?<=[{HANZI}{PROTECTED}][.])(?!\\d)"
    f"|(?<=[A-Za-z0-9)\"'\\]%°][.])(?=[\"')\\]]*(?:\\s|$|[{HANZI}{PROTECTED}]))"
)
_BLOCK = re.compile("[^\n]{250,400}(?<=[。！？!?；;，, ])|[^\n]{1,400}|\n")
_HAS_HANZI = re.compile(f"[{HANZI}]")
_HAS_LETTER = re.compile(f"[{HANZI}{PROTECTED}A-Za-z]")
_HAS_CONTENT = re.compile(f"[{HANZI}{PROTECTED}A-Za-z0-9\u3371-\u33df]|[√π∞∑α-ωΑ-Ω]")
_WORD = re.compile("[A-Za-z]{2,}")
_FUNCTION_WORDS = re.compile(
    r"(?i)(?<![A-Za-z'-])(?:the|a|an|is|are|was|were|of|to|and|in|on|at|for|with|he|she|it|they|we|"
    r"you|i|my|his|her|their|said|that|this|not|have|has|had|will|would|can|do|did|from|by|be|but)"
    r"(?![A-Za-z'-])"
)
_WIDE_MARK = re.compile("[，。；？！：]")
_ENGLISH_FORMULA = re.compile("[^，。；？！：、]*\\s[-+*/×÷=<>]\\s[^，。；？！：、]*[.!?]\\s*")
_FORMULA = re.compile("[=≠≈<>≤≥∈∩∪+×÷√^|]")

_STRENGTH = ",，、:：;；….。!！?？"
_MARK = "，。！？；：、…,.!?;:"
_LATIN = "A-Za-z"
_WIDE = dict(zip(",!?;:", "，！？；：", strict=True))
_NARROW = dict(zip("，。！？；：、", ",.!?;:,", strict=True))


def _strongest(match: re.Match[str]) -> tuple[slice, ...]:
    """The strongest of a run of marks."""
    place = max(range(*match.span()), key=lambda i: _STRENGTH.find(match.string[i]))
    return (slice(place, place + 1),)


_MERGE = ("mark", f"[{_MARK}](?: *[{_MARK}])+", _strongest)
_MANDARIN = rules(
    ("bracket", rf"[)\]}}—–\s]*[)\]}}—–](?=\s*(?:$|[{_MARK}]))", ""),
    ("mark", r"\.+", "。"),
    ("mark", "[,!?;:]", lambda m: _WIDE[m[0]]),
    ("bracket", r"[()\[\]{}—–]+", "，"),
    ("silent-sign", f"[^{HANZI}{PROTECTED}{_LATIN}'\\-，。！？；：、… ]+", " "),
    ("silent-sign", f"(?<![{_LATIN}])['-]+|['-]+(?![{_LATIN}])", " "),
    ("space", f"(?<![{_LATIN}{PROTECTED}'-]) +| +(?![{_LATIN}{PROTECTED}])", ""),
    ("space", f"(?<=[{PROTECTED}]) +(?=[{PROTECTED}])", ""),
    _MERGE,
)
_ENGLISH_MARKS = rules(
    ("mark", "[，。！？；：、]", lambda m: _NARROW[m[0]]),
    (
        "quote",
        rf"(?<![{_LATIN}0-9])'([^'\n]{{1,80}}(?:'[a-z][^'\n]{{0,80}}){{0,3}})'(?![{_LATIN}])",
        (1,),
    ),
)
_ENGLISH = rules(
    ("bracket", rf"[)\]}}](?=\s*(?:$|[{_MARK}]))", ""),
    ("bracket", r"[()\[\]{}]+|\s[-–—]+\s|--+|[—–]", ", "),
    ("dot", r"(?<=[A-Za-z])\.(?=[A-Za-z])", " "),
    ("silent-sign", f"[^{HANZI}{PROTECTED}{_LATIN}'\\-,.!?;:… ]+", " "),
    (
        "silent-sign",
        f"(?<![{_LATIN}])['-]+|-+(?![{_LATIN}])|(?<!s)(?<!in)'+(?![{_LATIN}])|'{{2,}}",
        " ",
    ),
    ("space", " {2,}", " "),
    ("space", f" +(?=[{_MARK}])", ""),
    _MERGE,
    ("space", f"(?<=[,.!?;:…])(?=[{_LATIN}{PROTECTED}{HANZI}])", " "),
)


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
        return [joined(spans) for spans in self.spans(text)]

    def spans(self, text: str) -> list[list[Span]]:
        """The spans of each sentence of `text`, in order.

        Raises:
            BadText: nothing in it can be spoken.
        """
        spoken = _spoken(text, self.lang)
        return [
            spoken[start:end].spans()
            for start, end in ranges(spoken.text, max_length=self.max_length)
        ]


def normalise(text: str, lang: Lang = "auto") -> str:
    """The whole text as it is to be spoken, sentences in one line.

    Args:
        text: Anything: Mandarin, English, both; with markup, emoji, numbers.
        lang: How numbers are read where no Hanzi tells; "auto" looks at the words around them and
            takes Mandarin if there are none.

    Raises:
        BadText: nothing in it can be spoken.
    """
    return _spoken(text, lang).text


def normalise_spans(text: str, lang: Lang = "auto") -> list[Span]:
    """As `normalise`, in stretches that know where they come from.

    Raises:
        BadText: nothing in it can be spoken.
    """
    return _spoken(text, lang).spans()


def _spoken(text: str, lang: Lang) -> Traced:
    spoken = _settled(_read(Traced.of(text), text, lang), text, lang)
    if spoken.text:
        return spoken
    sign = unicodedata.normalize("NFKC", text.strip())
    names = SIGNS_ZH if lang == "zh" else SIGNS_EN | ALONE
    if sign in names and sign not in "<>^°′″":
        return Traced.of(text).sub(re.compile(r"(?s).+"), names[sign], "sign")
    # nothing but markup, it seems: its letters then
    letters = Traced.of(text).sub(_NO_LETTER, " ", "silent-sign")
    spoken = _settled(_read(letters, text, lang), text, lang)
    if spoken.text:
        return spoken
    shown = text.strip()[:40]
    raise BadText(
        f"Nothing in the text can be spoken: {shown!r}. "
        "Expected Chinese or English words, or numbers."
    )


def _settled(spoken: Traced, source: str, lang: Lang) -> Traced:
    """Read again until nothing changes: what one rule leaves may look like another's business."""
    for _ in range(4):
        again = _read(spoken, source, lang)
        if again.text in ("", spoken.text):
            break
        spoken = again
    return spoken


_NO_LETTER = re.compile(r"[\W_]+")


def _read(text: Traced, source: str, lang: Lang) -> Traced:
    segments, glued = _segments(text)
    parts: list[tuple[Traced, bool]] = []
    languages = _mandarin_segments([segment.text for segment in segments], lang)
    for segment, zh, glue in zip(segments, languages, glued, strict=True):
        if _HAS_CONTENT.search(segment.text):
            parts.append((_mandarin(segment, source) if zh else _english(segment), glue))
        elif parts:
            before, goes_on = parts[-1]
            parts[-1] = (_merged(before + _marks_only(segment)), goes_on)
    return _joined([(part, glue) for part, glue in parts if _HAS_LETTER.search(part.text)])


def _segments(text: Traced) -> tuple[list[Traced], list[bool]]:
    """Cleaned sentences, roughly; and whether each goes on from the one before it.

    Lines are taken in blocks of at most 400 characters, so that no text is slow to read.
    """
    segments: list[Traced] = []
    glued: list[bool] = []
    goes_on = False
    text = prepared(text)
    for place in _BLOCK.finditer(text.text):
        if place[0] == "\n":
            goes_on = False
            continue
        block = clean(text[slice(*place.span())], starts_line=not goes_on)
        cuts = [0, *(m.start() for m in _BREAK.finditer(block.text)), len(block)]
        for number, (start, end) in enumerate(pairwise(cuts)):
            segment = block[start:end]
            if segment.text.strip():
                segments.append(segment)
                glued.append(goes_on and number == 0)
        goes_on = True
    return segments, glued


def _mandarin_segments(segments: list[str], lang: Lang) -> list[bool]:
    """For each segment whether it is read as Mandarin; numbers alone follow what stands before."""
    if lang == "zh":
        return [True] * len(segments)
    own = [_is_mandarin(segment) for segment in segments]
    if lang == "en":
        return [
            bool(zh) and bool(_HAS_HANZI.search(s)) for zh, s in zip(own, segments, strict=True)
        ]
    current = next((zh for zh in own if zh is not None), None)
    if current is None:  # neither Hanzi nor words: 2 + 2 = 4.
        current = not _ENGLISH_FORMULA.fullmatch("".join(segments))
    out: list[bool] = []
    for zh in own:
        current = current if zh is None else zh
        out.append(current)
    return out


def _is_mandarin(segment: str) -> bool | None:
    """Hanzi decide, unless an English sentence stands around them; None if there are no words."""
    segment = segment.replace("°C", "℃").replace("°F", "℉")
    hanzi = len(_HAS_HANZI.findall(segment))
    words = len(_WORD.findall(segment))
    if hanzi:
        english = words >= 2 * hanzi and len(_FUNCTION_WORDS.findall(segment)) >= 3
        return not english
    if not _HAS_LETTER.search(segment):
        return None
    if not re.search("[A-Za-z]", segment):
        return None  # nothing but stand-ins
    if not _WIDE_MARK.search(segment):
        return False
    if not words:
        return bool(_FORMULA.search(segment))
    number = bool(re.search("[0-9]", segment))
    return words <= 2 and number and not _FUNCTION_WORDS.search(segment)


def _mandarin(segment: Traced, source: str) -> Traced:
    simple = segment.text.translate(SIMPLIFIED)
    spoken = apply(_MANDARIN, rules_zh.read(Traced(simple, segment.origins)))
    if simple != segment.text:
        spoken = _spelled_as_written(spoken, source)
    return _trimmed(spoken)


def _spelled_as_written(spoken: Traced, source: str) -> Traced:
    """Copied characters as the source has them, the words of rules in traditional characters."""
    chars = [
        source[start] if rule == "" else char if rule == PLAIN else made(char)
        for char, (start, _, rule) in zip(spoken.text, spoken.origins, strict=True)
    ]
    return Traced("".join(chars), spoken.origins)


def _english(segment: Traced) -> Traced:
    spoken = rules_en.read(apply(_ENGLISH_MARKS, segment))
    return _trimmed(apply(_ENGLISH, apply(_ENGLISH_MARKS[:1], spoken)))


def _trimmed(spoken: Traced) -> Traced:
    """Without marks at the beginning and spaces at the ends."""
    start = len(spoken) - len(spoken.text.lstrip(_STRENGTH + " "))
    return spoken[start : max(start, len(spoken.text.rstrip()))]


def _marks_only(text: Traced) -> Traced:
    return text.sub(re.compile(f"[^{re.escape(_STRENGTH)}]+"), "", "silent-sign")


_MERGE_RULES = rules(_MERGE)


def _merged(text: Traced) -> Traced:
    """One mark, the strongest, for each run of them; none at the beginning."""
    return _trimmed(apply(_MERGE_RULES, text))


def _joined(parts: list[tuple[Traced, bool]]) -> Traced:
    """Parts in one line; where one ends without a mark and the next does not go on, a full stop."""
    done: list[Traced] = []
    for part, goes_on in parts:
        if done and not goes_on:
            last = done[-1]
            zh = bool(_HAS_HANZI.match(last.text[-1]) or _HAS_HANZI.match(part.text))
            if last.text[-1] in ",，、":
                zh, last = last.text[-1] != ",", last[: len(last) - 1]
            if last.text[-1] not in _STRENGTH:
                last = last.adding("。" if zh else ".", "sentence-end")
            done[-1] = last
        if done and part.text[0].isascii() and done[-1].text.rstrip("…")[-1:].isascii():
            done[-1] = done[-1].adding(" ", "space")
        done.append(part)
    return Traced.joined(done)
