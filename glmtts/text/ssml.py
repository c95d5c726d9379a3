"""SSML (W3C, version 1.1) to stretches of text. Read `parse` first.

A document is read by expat, without a DTD, so that no entity can grow; in other text the elements
phoneme, say-as, sub and break are understood where they stand. Everything else stays text.
"""

import html
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from xml.parsers import expat

from glmtts.errors import BadText
from glmtts.text import misaki, readings, say_as
from glmtts.text.marked import Marked
from glmtts.text.phonemes import arpabet_to_tokens, nearest_symbols, pinyin_to_tokens, read_arpabet
from glmtts.text.readings import Forced

log = logging.getLogger(__name__)

MAX_PAUSE_S = 10.0
STRENGTHS = {
    "none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.7, "x-strong": 1.2,
}  # fmt: skip
"""Pause in seconds of each `strength` of a break."""

PINYIN = frozenset({"py", "pinyin", "x-pinyin", "sapi", "x-microsoft-sapi"})
ARPABET = frozenset({"arpabet", "x-arpabet", "cmu", "cmu-arpabet", "x-cmu", "x-cmu-arpabet"})
IPA = frozenset({"ipa", "x-ipa"})
_IPA_SPELLINGS = (
    ("eɪ", "A"), ("aɪ", "I"), ("oʊ", "O"), ("əʊ", "O"), ("aʊ", "W"), ("ɔɪ", "Y"), ("tʃ", "ʧ"),
    ("dʒ", "ʤ"), ("t͡ʃ", "ʧ"), ("d͡ʒ", "ʤ"), ("ɝ", "ɜɹ"), ("ɫ", "l"), ("ɡ", "g"), ("'", "ˈ"),
    (".", ""), ("‿", ""), (" ", ""),
)  # fmt: skip

_HOLDS_TEXT_ALONE = frozenset({"phoneme", "say-as", "sub"})
_BLOCKS = frozenset({"p", "s", "paragraph", "sentence"})
_PLAIN = frozenset({"speak", "voice", "lang", "w", "token", "mark", "bookmark", "audio"})
_NOT_OBEYED = frozenset({"emphasis", "prosody"})
_SILENT = frozenset({"metadata", "meta", "lexicon", "lookup", "desc"})
_ELEMENTS = _HOLDS_TEXT_ALONE | _BLOCKS | _PLAIN | _NOT_OBEYED | _SILENT | {"break"}

_DOCUMENT = re.compile(r"\ufeff?\s*<(?:speak[\s/>]|(?:\?xml|!)[^\0]*?<speak[\s/>])")
_TIME = re.compile(r"\s*\+?(\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})\s*(ms|s)\s*", re.ASCII | re.I)
_TAG = re.compile(r"<(/?)(phoneme|say-as|sub|break)(?![\w-])([^<>]*?)(/?)>")
_ATTRIBUTE = re.compile(r"\s+([A-Za-z_][\w:.-]*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_NEEDED = {"phoneme": ("ph",), "say-as": ("interpret-as",), "sub": ("alias",),
           "break": ("time", "strength")}  # fmt: skip


def parse(text: str) -> list[Marked]:
    """Stretches of a text, cut where SSML asks for a pause; of text without SSML the whole.

    Raises:
        BadText: malformed SSML, with line and column, or one that asks for what is not supported.
    """
    builder = _Builder(text)
    if _DOCUMENT.match(text):
        _read_document(text, builder)
    else:
        _read_fragments(text, builder)
    return builder.stretches


def _read_document(text: str, builder: "_Builder") -> None:
    start = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    place = list(accumulate((len(char.encode()) for char in text[start:]), initial=0))
    char_at = {offset: start + index for index, offset in enumerate(place)}
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = False

    def here() -> int:
        return char_at.get(parser.CurrentByteIndex, len(text))

    def no_document_type(*_: object) -> None:
        raise builder.error("a document type is not allowed in SSML, nor are entities", here())

    parser.StartElementHandler = lambda name, attributes: builder.start(name, attributes, here())
    parser.EndElementHandler = lambda name: builder.end(name, here())
    parser.CharacterDataHandler = lambda data: builder.text(_SPACES.sub(" ", data), here())
    parser.StartDoctypeDeclHandler = no_document_type
    parser.EntityDeclHandler = no_document_type
    try:
        parser.Parse(text[start:].encode(), True)
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, "malformed XML")
        place_of_error = char_at.get(parser.ErrorByteIndex, len(text))
        place_of_error -= text[place_of_error - 1 : place_of_error] == "&"
        raise builder.malformed(what, place_of_error) from error


_SPACES = re.compile(r"[\t\r\n\u2028\u2029\x85]")


def _read_fragments(text: str, builder: "_Builder") -> None:
    done = 0
    for match in _TAG.finditer(text):
        closing, name, inside, empty = match.groups()
        attributes = _attributes(inside)
        if closing:
            ours = builder.is_open(name)
        elif attributes is None:
            ours = any(re.search(rf"\b{needed}\s*=", inside) for needed in _NEEDED[name])
            if ours:
                raise builder.error(f"the attributes of <{name}> are malformed", match.start())
        else:
            ours = (name == "break" and bool(empty) and not attributes) or any(
                needed in attributes for needed in _NEEDED[name]
            )
        if not ours:
            continue
        builder.text(text[done : match.start()], done)
        done = match.end()
        if not closing:
            builder.start(name, attributes or {}, match.start())
        if closing or empty or name == "break":
            builder.end(name, match.start())
    builder.text(text[done:], done)
    builder.finish(len(text))


def _attributes(inside: str) -> dict[str, str] | None:
    """The attributes of a tag, or None if they are malformed."""
    found: dict[str, str] = {}
    done = 0
    while match := _ATTRIBUTE.match(inside, done):
        found[match[1]] = html.unescape(match[2] if match[2] is not None else match[3])
        done = match.end()
    return found if not inside[done:].strip() else None


@dataclass
class _Element:
    name: str
    attributes: Mapping[str, str]
    start: int
    lang: str
    chars: list[str] = field(default_factory=list[str])
    where: list[int] = field(default_factory=list[int])


class _Builder:
    """Takes tags and text in order; `stretches` is what they say."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stretches = [Marked()]
        self._open: list[_Element] = []
        self._silent = 0
        self._warned: set[str] = set()
        self._apart = False
        self._has_hanzi = bool(readings.IS_HANZI.search(source))
        self._has_letters = bool(re.search("[A-Za-z]", re.sub("<[^<>]*>", "", source)))

    def error(self, what: str, place: int) -> BadText:
        """A refusal that tells where."""
        before = self.source[:place]
        line, column = before.count("\n") + 1, place - before.rfind("\n")
        return BadText(f"SSML, line {line}, column {column}: {what}.")

    def malformed(self, what: str, place: int) -> BadText:
        """A refusal in the words of expat, or clearer ones."""
        element = self._open[-1].name if self._open else "speak"
        clearer = {
            "no element found": f"<{element}> is not closed",
            "mismatched tag": f"this does not close <{element}>",
            "undefined entity": "an unknown entity; write the character itself",
            "unclosed token": "a tag that does not end; write < as &lt;",
            "junk after document element": "text after </speak>",
            "not well-formed (invalid token)": "malformed XML; write & as &amp; and < as &lt;",
        }
        return self.error(clearer.get(what, what), place)

    def is_open(self, name: str) -> bool:
        """Whether the innermost element is one of this name."""
        return bool(self._open) and self._open[-1].name == name

    def start(self, name: str, attributes: Mapping[str, str], place: int) -> None:
        """An opening tag."""
        name = name.removeprefix("ssml:")
        outer = self._open[-1] if self._open else None
        if outer is not None and outer.name in _HOLDS_TEXT_ALONE:
            raise self.error(f"<{name}> inside <{outer.name}>, which may hold text alone", place)
        if name not in _ELEMENTS and ":" not in name:
            near = nearest_symbols(name, [element.upper() for element in sorted(_ELEMENTS)], 1)
            hint = f" (perhaps <{near[0].lower()}> is meant)" if near else ""
            raise self.error(f"the element <{name}> is not known{hint}", place)
        lang = _language(attributes.get("xml:lang", "")) or (outer.lang if outer else "")
        self._open.append(_Element(name, attributes, place, lang))
        if name in _SILENT:
            self._silent += 1
        elif name in _BLOCKS:
            self._line_end()
        elif name == "break":
            self._pause(attributes, place)
        elif name in _NOT_OBEYED or name not in _ELEMENTS:
            self._warn(f"<{name}> changes nothing yet: its text is spoken as usual")
        if name == "speak" and lang:
            self.stretches[-1].lang = lang

    def end(self, name: str, place: int) -> None:
        """A closing tag."""
        element = self._open.pop()
        if element.name in _SILENT:
            self._silent -= 1
        elif element.name in _BLOCKS:
            self._line_end()
        elif element.name == "phoneme":
            self._phoneme(element)
        elif element.name == "sub":
            self._sub(element)
        elif element.name == "say-as":
            self._say_as(element)

    def text(self, text: str, place: int) -> None:
        """Characters of the source from `place` on."""
        if self._silent or not text:
            return
        if self._open and self._open[-1].name in _HOLDS_TEXT_ALONE:
            self._open[-1].chars += text
            self._open[-1].where += range(place, place + len(text))
            return
        self._write(text, place)

    def finish(self, place: int) -> None:
        """The end of the text."""
        if self._open:
            element = self._open[-1]
            raise self.error(f"<{element.name}> is not closed", element.start)

    def _write(self, text: str, place: int | None = None) -> None:
        """Append to the stretch; what an element said does not join the word beside it."""
        stretch = self.stretches[-1]
        if place is None or self._apart:
            stretch.keep_words_apart(text)
        stretch.write(text, place)
        self._apart = place is None

    def _line_end(self) -> None:
        stretch = self.stretches[-1]
        if stretch.chars and stretch.chars[-1] != "\n":
            stretch.write("\n")

    def _pause(self, attributes: Mapping[str, str], place: int) -> None:
        strength = attributes.get("strength", "medium").strip().lower()
        time = attributes.get("time")
        if strength not in STRENGTHS:
            known = ", ".join(STRENGTHS)
            raise self.error(f'strength="{strength}" of <break> is not one of {known}', place)
        seconds = STRENGTHS[strength]
        if time is not None:
            match = _TIME.fullmatch(time)
            if not match:
                raise self.error(f'time="{time}" is not a time such as 300ms or 1.5s', place)
            seconds = float(match[1]) / (1000 if match[2].lower() == "ms" else 1)
        if seconds > MAX_PAUSE_S:
            most = f"at most {MAX_PAUSE_S:g} s are possible"
            raise self.error(f"a break of {seconds:g} s; {most}", place)
        if seconds == 0.0:
            return
        stretch = self.stretches[-1]
        if len(self.stretches) > 1 and not stretch.text.strip():
            self.stretches[-2].pause_s += seconds
        else:
            stretch.pause_s = seconds
            self.stretches.append(Marked(lang=stretch.lang))

    def _phoneme(self, element: _Element) -> None:
        content, where = "".join(element.chars), element.where
        start = len(content) - len(content.lstrip())
        content, where = content.strip(), where[start:][: len(content.strip())]
        ph = element.attributes.get("ph", "").strip()
        if not ph:
            raise self.error('<phoneme> needs the attribute ph, such as ph="zhang3"', element.start)
        try:
            given = phoneme(content, ph, element.attributes.get("alphabet", ""))
        except BadText as error:
            raise self.error(f"<phoneme>: {str(error).rstrip('.')}", element.start) from error
        fits = sum(len(item.surface) for item in given) == len(where)
        self.stretches[-1].force(given, where if fits else None)
        self._apart = True

    def _sub(self, element: _Element) -> None:
        alias = element.attributes.get("alias")
        if alias is None or not alias.strip():
            raise self.error("<sub> needs the attribute alias, the text to say", element.start)
        self._write(_SPACES.sub(" ", alias))

    def _say_as(self, element: _Element) -> None:
        kind = element.attributes.get("interpret-as", "").strip().lower().removeprefix("vxml:")
        if not kind:
            raise self.error("<say-as> needs the attribute interpret-as", element.start)
        if kind in ("expletive", "bleep"):
            raise self.error(f'interpret-as="{kind}" is not supported', element.start)
        content = "".join(element.chars)
        zh = self._is_mandarin(content, element.lang)
        stretch = self.stretches[-1]
        if kind in say_as.SPELLED:
            for place, said in say_as.spelled(content, zh=zh):
                if isinstance(said, Forced):
                    stretch.force([said], [element.where[place]])
                else:
                    stretch.write(said, element.where[place] if said == content[place] else None)
            self._apart = True
            return
        said = say_as.spoken(content, kind, element.attributes.get("format", ""), zh=zh)
        if kind not in say_as.KNOWN:
            self._warn(f'interpret-as="{kind}" is not known: its text is read as usual')
        if said is not None:
            self._write(said)
            return
        for char, place in zip(element.chars, element.where, strict=True):
            stretch.write(char, place)

    def _is_mandarin(self, content: str, lang: str) -> bool:
        if readings.IS_HANZI.search(content):
            return True
        if self._has_hanzi:
            inner = [e.lang for e in self._open[1:] if "xml:lang" in e.attributes]
            return not inner or inner[-1] != "en"
        if lang:
            return lang == "zh"
        return not self._has_letters

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            log.warning("SSML: %s.", message)
        self._warned.add(message)


def _language(tag: str) -> str:
    primary = tag.lower().replace("_", "-").split("-")[0]
    return {"zh": "zh", "cmn": "zh", "en": "en"}.get(primary, "")


def phoneme(content: str, ph: str, alphabet: str = "") -> list[Forced]:
    """Readings of the content of a `<phoneme>`: one for each Hanzi, or one for all of it.

    Args:
        content: What is read so; may be empty.
        ph: The phonemes.
        alphabet: "py" or "pinyin", "arpabet" or "cmu", "ipa" (English); "" to guess.

    Raises:
        BadText: the alphabet is not known, a phoneme does not exist, or there are more or fewer
            syllables than Hanzi.
    """
    alphabet = alphabet.strip().lower() or _guess(content, ph)
    if alphabet in PINYIN:
        return _pinyin(content, re.sub(r"(?<=[^\W\d_]) +(?=[0-5](?:\D|$))", "", ph))
    if alphabet in ARPABET:
        phonemes = arpabet_to_tokens(read_arpabet(re.sub(r"[-.,]", " ", ph).split()))
    elif alphabet in IPA:
        phonemes = arpabet_to_tokens(_ipa(ph, content))
    else:
        raise BadText(f'the alphabet "{alphabet}" is not known. Known: pinyin, arpabet, ipa')
    return [Forced(content or "".join(phonemes), phonemes, "ssml phoneme")]


def _guess(content: str, ph: str) -> str:
    if readings.is_arpabet(ph.split()) and not readings.IS_HANZI.search(content):
        return "arpabet"
    if readings.IS_HANZI.search(content) or readings.canonical(ph.split()[0]):
        return "pinyin"
    return "ipa"


def _pinyin(content: str, ph: str) -> list[Forced]:
    syllables = readings.syllables_of(ph, content, strict=True)
    hanzi = content if content and all(map(readings.IS_HANZI.match, content)) else ""
    if hanzi:
        count, given = readings.spread(syllables, hanzi, ph)
        if count != len(hanzi):
            raise BadText(f"{ph!r} has {len(given)} syllables for the {len(hanzi)} Hanzi {hanzi}")
        return [replace(item, rule="ssml phoneme") for item in given]
    parts = [part for syllable in syllables for part in readings.without_erhua(syllable)]
    phonemes = tuple(token for part in parts for token in pinyin_to_tokens(part))
    return [Forced(content or "".join(phonemes), phonemes, "ssml phoneme")]


def _ipa(ph: str, content: str) -> list[str]:
    """ARPAbet of English in IPA."""
    if readings.IS_HANZI.search(content):
        raise BadText('ipa is read for English; write Mandarin with alphabet="pinyin"')
    for written, symbol in _IPA_SPELLINGS:
        ph = ph.replace(written, symbol)
    try:
        phones = misaki.word_to_arpabet(ph)
    except ValueError:
        unknown = next(c for c in ph if not _is_ipa(c))
        raise BadText(
            f"{unknown!r} in {ph!r} is no sound of English in IPA. Write Mandarin with "
            'alphabet="pinyin", or English with alphabet="arpabet"'
        ) from None
    if not any(phone[-1].isdigit() for phone in phones):
        raise BadText(f"{ph!r} has no vowel")
    return phones


def _is_ipa(char: str) -> bool:
    try:
        misaki.word_to_arpabet(char)
    except ValueError:
        return False
    return True
