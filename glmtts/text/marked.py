"""Text whose markup is gone, character by character: where each is from and how it must be read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from glmtts.text.readings import Forced, is_english, possessive

PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")
"""Characters of private use; those of a user say nothing, ours stand for forced readings."""

_POSSESSIVE = re.compile("['’]s(?![A-Za-z0-9])")


@dataclass
class Marked:
    """A stretch of text without markup, between two pauses.

    Attributes:
        chars: Its characters.
        where: For each the character of the input it comes from; None where it was written by us.
        forced: For each the reading it has been given, the same object for all of a word; or None.
        pause_s: Silence after it, in seconds.
        lang: "zh" or "en" where it is declared; counts only where no letter tells.
        style: The manner it is said in (`styles.STYLES`), or None.
    """

    chars: list[str] = field(default_factory=list[str])
    where: list[int | None] = field(default_factory=list[int | None])
    forced: list[Forced | None] = field(default_factory=list[Forced | None])
    pause_s: float = 0.0
    lang: str = ""
    style: str | None = None

    @property
    def text(self) -> str:
        """The characters in one string."""
        return "".join(self.chars)

    def copy(self, other: "Marked", start: int, stop: int) -> None:
        """Append characters `start` .. `stop` of another stretch as they are."""
        self.chars += other.chars[start:stop]
        self.where += other.where[start:stop]
        self.forced += other.forced[start:stop]

    def write(self, text: str, start: int | None = None) -> None:
        """Append text of the input from its character `start` on, or words of our own.

        Characters of private use are left out.
        """
        where = range(start, start + len(text)) if start is not None else [None] * len(text)
        if PRIVATE.search(text):
            where = [w for char, w in zip(text, where, strict=True) if not PRIVATE.match(char)]
            text = PRIVATE.sub("", text)
        self.chars += text
        self.where += where
        self.forced += [None] * len(text)

    def force(self, given: Sequence[Forced], where: Sequence[int | None] | None = None) -> None:
        """Append readings with their surfaces, whose characters stand at `where` in the input."""
        text = "".join(item.surface for item in given)
        self.keep_words_apart(text)
        self.chars += text
        self.where += where if where is not None else [None] * len(text)
        for item in given:
            self.forced += [item] * len(item.surface)

    def force_last(self, count: int, given: Sequence[Forced]) -> None:
        """Give readings to the last `count` characters."""
        where = self.where[-count:]
        del self.chars[-count:], self.where[-count:], self.forced[-count:]
        self.force(given, where)

    def take_possessive(self, source: "Marked", start: int) -> int:
        """Append the 's that stands at `start` of `source` to the English word forced last.

        Returns:
            Where to go on in `source`: `start` if there is no such ending.
        """
        word = self.forced[-1] if self.forced else None
        ending = _POSSESSIVE.match("".join(source.chars[start : start + 3]))
        if word is None or ending is None or not is_english(word.phonemes):
            return start
        self.copy(source, start, start + 2)
        self.force_last(len(word.surface) + 2, [possessive(word, ending[0])])
        return start + 2

    def keep_words_apart(self, following: str) -> None:
        """A space, if `following` would otherwise join the word before it."""
        if self.chars and all(c.isascii() and c.isalnum() for c in (self.chars[-1], following[:1])):
            self.write(" ")
