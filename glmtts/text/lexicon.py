"""A user's dictionary: words with their readings, or with other spellings. Read `Lexicon` first.

A file in TSV (word, tab, reading) or JSON lines; the official model's replacement dictionaries are
read too. Values are taken as follows:

    银行    yin2 hang2                 a syllable for each Hanzi (numbers or tone marks)
    弦      <|X|><|IAN2|>              phoneme tokens, among Hanzi that stay as they are
    GitHub  G IH1 T HH AH2 B           ARPAbet
    WTO     世界贸易组织               any other text is said in place of the word
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

from glmtts.errors import BadInput, BadText
from glmtts.text import readings
from glmtts.text.marked import PRIVATE, Marked
from glmtts.text.phonemes import arpabet_to_tokens, pinyin_to_tokens
from glmtts.text.readings import Forced
from glmtts.text.units import HANZI

log = logging.getLogger(__name__)

_WORD_KEYS = ("word", "text", "key", "from", "ori", "src", "pattern", "grapheme", "origin")
_READING_KEYS = ("reading", "phoneme", "phonemes", "pinyin", "pronunciation", "ph")
_SPELLING_KEYS = ("spelling", "alias", "replace", "replacement", "to", "value", "target", "sub")
_OUTSIDE = re.compile("[A-Za-z0-9]")


@dataclass(frozen=True)
class Entry:
    """A word of a lexicon.

    Attributes:
        word: As it is written in texts.
        given: The readings of it, in order; None for a Hanzi that is read as usual.
        spelling: What is said in its place, where there are no readings.
        source: Where it stands: "names.tsv:3".
    """

    word: str
    given: tuple[tuple[str, Forced | None], ...] = ()
    spelling: str = ""
    source: str = ""

    @property
    def rule(self) -> str:
        """Its name among those that decide readings."""
        return f"lexicon {self.source}".rstrip()


class Lexicon:
    """Words with readings of their own.

    The longest word that fits at a place is taken. A word that begins or ends with a Latin letter
    or a digit is not found inside a longer one. One written in lower case is found in any case, one
    with capitals only as it is written: `polish` and `Polish` may differ.
    """

    def __init__(self, entries: Iterable[Entry] = (), path: Path | None = None) -> None:
        """Take entries; of several for a word the last one counts."""
        self.path = path
        self._stamp = _stamp(path)
        self._fill(entries)

    @classmethod
    def load(cls, path: str | Path) -> "Lexicon":
        """Read a file: .jsonl (or .json), else tab-separated.

        Raises:
            BadInput: it is missing, not UTF-8, or a line is wrong; the message names it.
        """
        path = Path(path).expanduser()
        stamp = _stamp(path)
        lexicon = cls(_read(path), path)
        lexicon._stamp = stamp
        return lexicon

    @classmethod
    def opened(cls, lexicon: "Lexicon | str | Path | None") -> "Lexicon | None":
        """A lexicon, or that of a file, which is read once and again when it has changed.

        Raises:
            BadInput: the file cannot be read, or is wrong, the first time.
        """
        if lexicon is None or isinstance(lexicon, Lexicon):
            return lexicon
        return _loaded(Path(lexicon).expanduser().absolute())

    @classmethod
    def of(cls, words: Mapping[str, str]) -> "Lexicon":
        """Words and what to say for them, in the spelling of a file's values.

        Raises:
            BadText: a reading does not exist.
        """
        return cls([_entry(word, value, "any", "") for word, value in words.items()])

    def __len__(self) -> int:
        """Number of words."""
        return len(self._words.exact) + len(self._words.any_case)

    def reload_if_changed(self) -> bool:
        """Read the file again if it is another one than when it was read last.

        A file that has become wrong, or has gone, is reported in the log; the words stay as they
        were.

        Returns:
            Whether the words have been read again.
        """
        stamp = _stamp(self.path)
        if self.path is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._fill(_read(self.path))
        except BadInput as error:
            log.error("The lexicon stays as it was. %s", error)
            return False
        return True

    def __call__(self, stretch: Marked) -> Marked:
        """A stretch of text with this lexicon's readings and spellings in it.

        Words that already have a reading keep it.
        """
        words = self._words  # the same ones to the end, whatever is reloaded meanwhile
        if not words.lengths:
            return stretch
        marked = Marked(pause_s=stretch.pause_s, lang=stretch.lang, style=stretch.style)
        text = stretch.text
        folded = _folded(text)
        done = place = 0
        while place < len(text):
            entry = words.at(stretch, text, folded, place)
            if entry is None:
                place += 1
                continue
            marked.copy(stretch, done, place)
            _say(entry, stretch, place, marked)
            place = done = marked.take_possessive(stretch, place + len(entry.word))
        marked.copy(stretch, done, len(text))
        return marked

    def _fill(self, entries: Iterable[Entry]) -> None:
        self._words = _Words.of(entries)


class _Words(NamedTuple):
    """Entries by how they are looked up, and the lengths of words by their first character."""

    exact: dict[str, Entry]
    any_case: dict[str, Entry]
    lengths: dict[str, list[int]]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "_Words":
        """Sort entries; of several for a word the last one counts."""
        exact: dict[str, Entry] = {}
        any_case: dict[str, Entry] = {}
        for entry in entries:
            (any_case if entry.word == _folded(entry.word) else exact)[entry.word] = entry
        lengths: dict[str, set[int]] = {}
        for word in (*exact, *any_case):
            lengths.setdefault(_folded(word[0]), set()).add(len(word))
        ordered = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        return cls(exact, any_case, ordered)

    def at(self, stretch: Marked, text: str, folded: str, place: int) -> Entry | None:
        """The longest entry that fits at a place."""
        for length in self.lengths.get(folded[place], ()):
            stop = place + length
            entry = self.exact.get(text[place:stop]) or self.any_case.get(folded[place:stop])
            if entry is None or any(item is not None for item in stretch.forced[place:stop]):
                continue
            if place and _joins(text[place - 1], text[place]):
                continue
            if stop < len(text) and _joins(text[stop - 1], text[stop]):
                continue
            return entry
        return None


def _say(entry: Entry, stretch: Marked, place: int, marked: Marked) -> None:
    """Append what an entry makes of its word, which stands at `place` of `stretch`."""
    if entry.spelling:
        marked.write(entry.spelling)
        return
    for surface, forced in entry.given:
        stop = place + len(surface)
        if forced is None:
            marked.copy(stretch, place, stop)
        else:
            written = "".join(stretch.chars[place:stop])
            marked.force([replace(forced, surface=written)], stretch.where[place:stop])
        place = stop


def _folded(text: str) -> str:
    """Lower case, as many characters as before."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)


def _joins(left: str, right: str) -> bool:
    """Whether two neighbours belong to one word of Latin letters and digits."""
    return bool(_OUTSIDE.match(left) and _OUTSIDE.match(right))


@lru_cache(maxsize=64)
def _loaded(path: Path) -> Lexicon:
    return Lexicon.load(path)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None


# ----- files --------------------------------------------------------------------------------------


def _read(path: Path) -> list[Entry]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"Cannot read the lexicon {path} ({error}). Expected a file in UTF-8 with a word, a "
            "tab and its reading on each line, or JSON lines."
        ) from error
    if path.suffix.lower() == ".json":
        return _json_file(text, path)
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        source = f"{path.name}:{number}"
        if not line.strip() or line.startswith(("#", "//")):
            continue
        try:
            is_json = path.suffix.lower() == ".jsonl" or line.lstrip().startswith(("{", "["))
            entries += _json_row(line, source) if is_json else [_tsv_row(line, source)]
        except BadInput as error:
            raise BadInput(f"{path}, line {number}: {error}") from error
    return entries


def _tsv_row(line: str, source: str) -> Entry:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) < 2 or not columns[0] or not columns[1]:
        raise BadInput(f"Expected a word, a tab and its reading, got {line.strip()[:60]!r}.")
    return _entry(columns[0], columns[1], "any", source)


def _json_row(line: str, source: str) -> list[Entry]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Not JSON ({error}). Expected {_SHAPE}.") from error
    return _of_json(row, source)


def _json_file(text: str, path: Path) -> list[Entry]:
    try:
        data = json.loads(text)
        if isinstance(data, list):
            rows = enumerate(cast(list[object], data), 1)
            return [entry for i, row in rows for entry in _of_json(row, f"{path.name}:{i}")]
        return _of_json(data, path.name)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {error}") from error


_SHAPE = '{"word": "银行", "reading": "yin2 hang2"}, {"word": "WTO", "spelling": "世贸组织"}, ' \
    'or {"噢": "哦"}'  # fmt: skip


def _of_json(data: object, source: str) -> list[Entry]:
    """Entries of a JSON value: an object of ours, word and value, or words with their values."""
    row: dict[str, object] = {}
    if isinstance(data, dict):
        row = cast(dict[str, object], data)
    elif isinstance(data, list) and len(cast(list[object], data)) == 2:
        row = dict(zip(("word", "value"), cast(list[object], data), strict=True))
    if not row:
        raise BadInput(f"Expected an object such as {_SHAPE}.")
    word = _first(row, _WORD_KEYS)
    for keys, kind in ((_READING_KEYS, "reading"), (_SPELLING_KEYS, "any")):
        value = _first(row, keys)
        if word is not None and value is not None:
            kind = "spelling" if kind == "any" and {"spelling", "alias"} & set(row) else kind
            return [_entry(_text(word), _text(value), kind, source)]
    if len(row) == 2 and all(key.isascii() for key in row):
        first, second = row.values()
        if word is not None or not _text(first).isascii():  # names of columns we do not know
            return [_entry(_text(first), _text(second), "any", source)]
    return [_entry(_text(key), _text(value), "any", source) for key, value in row.items()]


def _first(row: Mapping[str, object], keys: Iterable[str]) -> object | None:
    return next((row[key] for key in keys if key in row), None)


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_text(item) for item in cast(list[object], value))
    if not isinstance(value, str):
        raise BadInput(f"Expected text, got {json.dumps(value, ensure_ascii=False)[:40]}.")
    return value


# ----- values -------------------------------------------------------------------------------------


def _entry(word: str, value: str, kind: str, source: str) -> Entry:
    """An entry of a word and its value.

    Raises:
        BadInput: the word is empty, or the value no reading though it must be or looks like one.
    """
    word, value = PRIVATE.sub("", word).strip(), PRIVATE.sub("", value).strip()
    if not word or not value:
        raise BadInput(f"The word {word!r} has no reading. Expected {_SHAPE}.")
    entry = Entry(word, source=source)
    given: list[tuple[str, Forced | None]] = []
    if kind != "spelling":
        hybrid = readings.TOKENS.search(value)
        given = _with_tokens(word, value) if hybrid else _readings(word, value)
    if given:
        named = [(s, replace(f, rule=entry.rule) if f else None) for s, f in given]
        return replace(entry, given=tuple(named))
    if kind == "reading":
        readings.syllables_of(value, word, strict=True)
        raise BadText(
            f"{value!r} is no reading of {word!r}. Expected a syllable for each Hanzi, such as "
            "zhang3, or ARPAbet for a word, such as R EH1 D."
        )
    return replace(entry, spelling=value)


def _with_tokens(word: str, value: str) -> list[tuple[str, Forced | None]]:
    """Hanzi and phoneme tokens mixed: the tokens stand for the Hanzi of `word` in their place."""
    said: list[Forced | None] = []
    done = 0
    for match in readings.TOKENS.finditer(value):
        said += [None] * (match.start() - done)
        kept = value[done : match.start()]
        if kept != word[len(said) - len(kept) : len(said)]:
            raise BadText(f"{kept!r} in {value!r} is not in its place in {word!r}.")
        said += readings.of_tokens(match[0])
        done = match.end()
    if value[done:] != word[len(said) :]:
        if len(said) == 1 and said[0] is not None:
            return [(word, replace(said[0], surface=word))]
        raise BadText(
            f"{value!r} does not fit {word!r}. Expected a syllable, or the Hanzi itself, for each "
            "Hanzi of the word."
        )
    said += [None] * (len(word) - len(said))
    return list(zip(word, said, strict=True))


def _readings(word: str, value: str) -> list[tuple[str, Forced | None]]:
    """The reading of each stretch of a word, or [] if the value is another spelling of it.

    Raises:
        BadText: it looks like a reading that does not exist or does not fit.
    """
    if all(map(readings.IS_HANZI.match, word)):
        bound = readings.bind(value, word)
        if bound is None:
            return []
        count, given = bound
        if count != len(word):
            raise BadText(
                f"{value!r} does not fit the {len(word)} Hanzi of {word!r}. Expected a syllable "
                "for each."
            )
        return [(item.surface, item) for item in given]
    if not readings.IS_HANZI.search(word):
        phonemes = readings.word_reading(value, strict=True)
        return [(word, Forced(word, phonemes, ""))] if phonemes else []
    return _mixed(word, value)


def _mixed(word: str, value: str) -> list[tuple[str, Forced | None]]:
    """A word of Hanzi and Latin letters: 卡拉OK, ka3 la1 OW1 K EY1."""
    syllables = [(readings.canonical(part), part) for part in value.split()]
    found: list[tuple[str, Forced | None]] = []
    for piece in re.findall(f"[{HANZI}]|[^{HANZI}]+", word):
        if not syllables:
            return []
        if readings.IS_HANZI.match(piece):
            reading, written = syllables.pop(0)
            if reading is None or not written[-1].isdigit() or written.isupper():
                return []
            found.append((piece, Forced(piece, pinyin_to_tokens(reading), "")))
            continue
        phones: list[str] = []
        while syllables and syllables[0][1].isupper():
            phones.append(syllables.pop(0)[1])
        if not readings.is_arpabet(phones) or not phones:
            return []
        found.append((piece, Forced(piece, arpabet_to_tokens(phones), "")))
    return found if not syllables else []
