"""The one way from a text to what is said: sentences of units with readings. Read Frontend first.

    text -> markup (readings, SSML)      markup.parse
         -> lexicon                      lexicon.Lexicon
         -> normalised sentences         normalize.Normalizer.spans
         -> units with readings          g2p
         -> text ids, hybrid             Frontend.encode (hybrid.as_phonemes)

Characters keep their place in the input all along, so that a reading given to one is found again at
the end. Where the normaliser would rewrite such a character, a private one stands in for it.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from glmtts.errors import BadText
from glmtts.text import g2p, hybrid, markup, styles
from glmtts.text.hybrid import Policy
from glmtts.text.lexicon import Lexicon
from glmtts.text.marked import Marked
from glmtts.text.normalize import Lang, Normalizer
from glmtts.text.phonemes import tokens_to_reading
from glmtts.text.readings import IS_HANZI, Forced, is_mandarin
from glmtts.text.spans import Span, sources
from glmtts.text.tokenizer import TextTokenizer, render
from glmtts.text.units import HANZI, Unit
from glmtts.text.written import as_written

log = logging.getLogger(__name__)

_FIRST_STAND_IN = 0xE000
_STAND_INS = 0x1900


@dataclass(frozen=True)
class Said:
    """A unit of a sentence with its reading.

    Attributes:
        unit: The Hanzi, word or mark, and its phoneme tokens.
        rule: What decided the reading: a dictionary, a rule, "inline", "lexicon names.tsv:3".
        start: Where it begins in the sentence's text.
        index: The character of the input it begins with; None where it was written by us.
        forced: Whether its reading was given by the user.
    """

    unit: Unit
    rule: str
    start: int
    index: int | None
    forced: bool = False

    @property
    def reading(self) -> str:
        """Numbered pinyin with the lexical tone, or ARPAbet; "" for a mark."""
        return tokens_to_reading(self.unit.phonemes)


@dataclass(frozen=True)
class Rewriting:
    """A stretch of the input that is said in other words.

    Attributes:
        written: As it stands in the input.
        spoken: As it is said.
        rule: Which rule did it.
    """

    written: str
    spoken: str
    rule: str


@dataclass(frozen=True)
class Sentence:
    """What is said at once.

    Attributes:
        text: In words; phoneme tokens that the user wrote stay among them.
        said: Its units in order. A sentence without any is a pause alone.
        pause_s: Silence asked for after it, in seconds.
        rewritings: What the normaliser changed.
        style: The manner it is said in (`styles.STYLES`), or None.
    """

    text: str
    said: tuple[Said, ...] = ()
    pause_s: float = 0.0
    rewritings: tuple[Rewriting, ...] = ()
    style: str | None = None

    @property
    def units(self) -> list[Unit]:
        """Surfaces and phoneme tokens."""
        return [item.unit for item in self.said]

    @property
    def tags(self) -> set[str]:
        """Styles and laughs that are asked for."""
        surfaces = {item.unit.surface for item in self.said}
        tags = {self.style} if self.style else set[str]()
        return tags | ({styles.LAUGHTER} if styles.tag(styles.LAUGHTER) in surfaces else set())

    def without(self, tags: Collection[str]) -> "Sentence":
        """The same words without those styles and laughs."""
        unwanted = {styles.tag(name) for name in tags}
        said = tuple(item for item in self.said if item.unit.surface not in unwanted)
        return replace(self, said=said, style=None if self.style in tags else self.style)

    @property
    def phonemes(self) -> list[str]:
        """All phoneme tokens."""
        return [phoneme for item in self.said for phoneme in item.unit.phonemes]

    @property
    def is_chinese(self) -> bool:
        """Whether it holds any Hanzi, or Mandarin syllables in phoneme tokens."""
        return is_mandarin(self.text)

    def as_phonemes(self, policy: Policy) -> list[bool]:
        """For each unit whether it is written in phonemes."""
        forced = {index for index, item in enumerate(self.said) if item.forced}
        return hybrid.as_phonemes(self.units, policy, forced)

    def hybrid(self, policy: Policy) -> str:
        """The sentence as a model is given it: units, those in phonemes as tokens."""
        return render(self.units, self.as_phonemes(policy))


class Frontend:
    """Text to sentences; holds a lexicon and how long a sentence may be."""

    def __init__(
        self, lexicon: Lexicon | None = None, *, lang: Lang = "auto", max_length: int = 60
    ) -> None:
        """Fix the lexicon, the language of numbers, and the longest sentence (in Hanzi)."""
        self.lexicon = lexicon
        self.lang: Lang = lang
        self.max_length = max_length

    def __call__(
        self, text: str, lexicon: Lexicon | None = None, lang: Lang = "auto"
    ) -> list[Sentence]:
        """Sentences of `text`, in order.

        Args:
            text: Anything, with readings or SSML in it.
            lexicon: Counts before that of this front end.
            lang: The language of a text without any letter (numbers alone), such as the voice's.
                In "en" so is all that holds no Hanzi.

        Raises:
            BadText: nothing in it can be spoken, a reading does not exist, or its SSML is wrong.
        """
        stretches = markup.parse(text)
        for words in (lexicon, self.lexicon):
            if words is not None:
                words.reload_if_changed()
                stretches = [words(stretch) for stretch in stretches]
        hint, reader = self._hint(stretches, lang), self
        if self.lang == "auto" and lang == "en" == hint:  # 20°C, No. 5
            reader = Frontend(lang="en", max_length=self.max_length)
        sentences: list[Sentence] = []
        for stretch in stretches:
            found = list(reader._sentences(stretch, text, hint))
            if stretch.pause_s:
                last = found.pop() if found else Sentence("")
                found.append(replace(last, pause_s=stretch.pause_s))
            sentences += found
        if not any(sentence.said for sentence in sentences):
            raise BadText(
                f"Nothing in the text can be spoken: {text.strip()[:40]!r}. "
                "Expected Chinese or English words, or numbers."
            )
        return sentences

    def _hint(self, stretches: Sequence[Marked], otherwise: Lang) -> Lang:
        """The language of stretches without any letter: what is around them, or declared."""
        texts = [stretch.text for stretch in stretches]
        if any(map(IS_HANZI.search, texts)):
            return "zh"
        if any(char.isascii() and char.isalpha() for text in texts for char in text):
            return "en"
        declared = {stretch.lang for stretch in stretches} & {"zh", "en"}
        return "en" if declared == {"en"} else "zh" if declared else otherwise

    def _sentences(self, stretch: Marked, text: str, hint: Lang) -> Iterator[Sentence]:
        """The sentences of one stretch.

        Args:
            stretch: Without markup.
            text: The whole input.
            hint: Language where the stretch has no letters.
        """
        for spans, places in self._normalised(stretch, hint):
            line = _Line()
            for span in spans:
                found = sources([span])
                for char, source in zip(span.text, found, strict=True):
                    place = None if source is None else places[source]
                    forced = None if place is None else stretch.forced[place]
                    if place is not None and forced is not None and _is_stand_in(char):
                        line.add(forced.surface, range(place, place + len(forced.surface)), forced)
                    else:
                        line.add(char, [place], forced)
            rewritings = tuple(_rewritings(spans, places, stretch))
            said = tuple(line.said(stretch))
            yield Sentence(line.text, said, rewritings=rewritings, style=stretch.style)

    def _normalised(
        self, stretch: Marked, hint: Lang
    ) -> Iterator[tuple[list[Span], Sequence[int]]]:
        """Normalised sentences, and the place in the stretch of each character they come from.

        Forced words go through the normaliser as they are, so that it sees their language, unless
        it would change one: then a stand-in takes the place of each.
        """
        text = stretch.text
        places: Sequence[int] = range(len(text))
        if not any(stretch.forced):
            for spans in self._spans(text, self._lang(text, text, hint)):
                yield spans, places
            return
        if "<|" not in text:
            sentences = self._spans(text, self._lang(text, text, hint))
            kept = {place for spans in sentences for place in sources(spans)}
            if all(i in kept for i, forced in enumerate(stretch.forced) if forced is not None):
                for spans in sentences:
                    yield spans, places
                return
        stood_in, places = _with_stand_ins(stretch)
        found = self._spans(stood_in, self._lang(stood_in, text, hint))
        for spans in found or [[Span(stood_in, 0, len(stood_in))]]:
            yield spans, places

    def _lang(self, visible: str, text: str, hint: Lang) -> Lang:
        if self.lang != "auto":
            return self.lang
        if IS_HANZI.search(visible):
            return "auto"
        if IS_HANZI.search(text):
            return "zh"
        return "auto" if any(c.isascii() and c.isalpha() for c in visible) else hint

    def _spans(self, text: str, lang: Lang) -> list[list[Span]]:
        try:
            return Normalizer(lang, self.max_length).spans(text)
        except BadText:
            return []


def _with_stand_ins(stretch: Marked) -> tuple[str, list[int]]:
    """The text with one private character for each forced reading, and the place of each."""
    chars: list[str] = []
    places: list[int] = []
    for place, (char, forced) in enumerate(zip(stretch.chars, stretch.forced, strict=True)):
        if forced is not None:
            if place and stretch.forced[place - 1] is forced:
                continue
            char = chr(_FIRST_STAND_IN)
        chars.append(char)
        places.append(place)
    return "".join(chars), places


def _is_stand_in(char: str) -> bool:
    return _FIRST_STAND_IN <= ord(char) < _FIRST_STAND_IN + _STAND_INS


def _rewritings(
    spans: Sequence[Span], places: Sequence[int], stretch: Marked
) -> Iterator[Rewriting]:
    for span in spans:
        if span.rule:
            first = places[span.start] if span.start < len(places) else len(stretch.chars)
            last = places[span.end - 1] + 1 if span.end > span.start else first
            yield Rewriting("".join(stretch.chars[first:last]), span.text, span.rule)


@dataclass
class _Line:
    """A sentence's text while it is put together, with its place in the stretch."""

    chars: list[str] = field(default_factory=list[str])
    places: list[int | None] = field(default_factory=list[int | None])
    forced: list[Forced | None] = field(default_factory=list[Forced | None])

    @property
    def text(self) -> str:
        return "".join(self.chars)

    def add(self, text: str, places: Sequence[int | None], forced: Forced | None) -> None:
        """Append characters that stand at `places` of the stretch."""
        self.chars += text
        self.places += places
        self.forced += [forced] * len(text)

    def said(self, stretch: Marked) -> Iterator[Said]:
        """The units of the line, in order; stand-ins take the places of forced ones."""
        chars: list[str] = []
        starts: list[int] = []
        given: dict[str, Forced] = {}
        for start, (char, forced) in enumerate(zip(self.chars, self.forced, strict=True)):
            if forced is not None:
                if start and self.forced[start - 1] is forced:
                    continue
                char = chr(_FIRST_STAND_IN + len(given) % _STAND_INS)
                given[char] = forced
            chars.append(char)
            starts.append(start)
        for unit, rule, place in _read("".join(chars), given):
            start = starts[place]
            index = self.places[start]
            if index is not None:
                index = stretch.where[index]
            yield Said(unit, rule, start, index, unit.phonemes != () and chars[place] in given)


_IN_CONTEXT = re.compile(f"[A-Za-z]+(?:'[A-Za-z]+)*|[{HANZI}]")
_MARK = re.compile("[，。！？；：、…—–～,.!?;:~]")


def _read(text: str, given: Mapping[str, Forced]) -> Iterator[tuple[Unit, str, int]]:
    """Units of a sentence, what decided the reading of each, and where it begins.

    Args:
        text: The sentence, with stand-ins.
        given: What each of them stands for.
    """
    # Their neighbours are read in the context of what is there, a Hanzi or a word.
    forced = {
        char: Unit(item.surface if _IN_CONTEXT.fullmatch(item.surface) else "#", item.phonemes)
        for char, item in given.items()
    }
    try:
        units = g2p.analyse_explained(text, forced)
    except BadText as error:
        log.debug("No units: %s", error)
        return
    text = text.replace("’", "'")
    done = 0
    for unit, rule in units:
        if rule == "forced":
            place = next(i for i in range(done, len(text)) if text[i] in given)
            done = place + 1
            item = given[text[place]]
            unit, rule = Unit(item.surface, item.phonemes), item.rule
        elif unit.phonemes:
            place = text.index(unit.surface, done)
            done = place + len(unit.surface)
        else:  # a mark, perhaps another one than is written
            match = _MARK.search(text, done)
            place = match.start() if match else len(text) - 1
        yield unit, rule, place


def encode(
    sentence: Sentence, tokenizer: TextTokenizer, policy: Policy, *, written: bool
) -> list[int]:
    """(T,) text ids of a sentence.

    Args:
        sentence: What is said.
        tokenizer: Of the model.
        policy: Which units are given as phonemes; those a user forced always are.
        written: The text is in the official model's spelling (`as_written`), and not in units.
    """
    chosen = sentence.as_phonemes(policy)
    for item, phonetic in zip(sentence.said, chosen, strict=True):
        if item.forced and phonetic and not tokenizer.knows(item.unit.phonemes):
            log.warning("This model has no phonemes for %s; it reads the text.", item.reading)
    if not written:
        units = sentence.units
        if units and units[-1].phonemes:  # a model of sentences wants to see an end
            units.append(Unit("。" if sentence.is_chinese else "."))
            chosen.append(False)
        if sentence.style:
            units.insert(0, Unit(styles.tag(sentence.style)))
            chosen.insert(0, False)
        return tokenizer.encode_units(units, chosen)[0]
    text, done = "", 0
    tokens: dict[str, str] = {}
    for item, phonetic in zip(sentence.said, chosen, strict=True):
        if not phonetic:
            continue
        stop = item.start + len(item.unit.surface)
        known = tokenizer.knows(item.unit.phonemes)
        stand_in = chr(_FIRST_STAND_IN + len(tokens))
        if known:
            tokens[stand_in] = "".join(item.unit.phonemes)
        elif item.unit.surface.startswith("<|"):
            tokens[stand_in] = ""
        else:
            continue
        text += sentence.text[done : item.start] + stand_in
        done = stop
    text = as_written(text + sentence.text[done:], mandarin=sentence.is_chinese)
    if sentence.style:
        text = styles.tag(sentence.style) + text
    return tokenizer.encode("".join(tokens.get(char, char) for char in text))
