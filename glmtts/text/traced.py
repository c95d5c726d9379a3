"""A text under rewriting whose every character knows its place in the input or the rule it is of.

    text -> Traced.of -> sub, sub, sub ... -> spans

Rules are written as for `re.sub`; whatever a rule copies keeps its source.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from glmtts.text.spans import PLAIN, PROTECTED, Span

_PROTECTED = re.compile(f"[{PROTECTED}]")

Origin = tuple[int, int, str]
"""First character of the input, one past the last, and the rule that rewrote them, if any."""

Part = str | int | slice
"""New text, the number of a group to copy, or a stretch of the text under rewriting to copy."""

Replacement = str | tuple[Part, ...] | Callable[[re.Match[str]], str | tuple[Part, ...] | None]
"""What a match becomes; a function may answer None: leave it."""


class Traced:
    """An unchanging string and, for each of its characters, an `Origin`."""

    __slots__ = ("origins", "text")

    def __init__(self, text: str, origins: list[Origin]) -> None:
        """Pair each character with its origin."""
        assert len(text) == len(origins), f"{len(text)} characters, {len(origins)} origins"
        self.text = text
        self.origins = origins

    @classmethod
    def of(cls, text: str) -> "Traced":
        """An input nothing has been done to."""
        return cls(text, [(i, i + 1, "") for i in range(len(text))])

    @classmethod
    def joined(cls, parts: "Iterable[Traced]") -> "Traced":
        """Parts one after the other."""
        parts = list(parts)
        return cls(
            "".join(part.text for part in parts), [o for part in parts for o in part.origins]
        )

    def __len__(self) -> int:
        """In characters."""
        return len(self.text)

    def __getitem__(self, places: slice) -> "Traced":
        """A stretch with its origins."""
        return Traced(self.text[places], self.origins[places])

    def __add__(self, other: "Traced") -> "Traced":
        """One after the other."""
        return Traced(self.text + other.text, self.origins + other.origins)

    def adding(self, text: str, rule: str) -> "Traced":
        """With `text` at the end, which the input has not."""
        end = self.origins[-1][1] if self.origins else 0
        return Traced(self.text + text, self.origins + [(end, end, rule)] * len(text))

    def sub(self, pattern: re.Pattern[str], replacement: Replacement, rule: str) -> "Traced":
        """As `pattern.sub`; what is not copied is from then on of `rule`.

        A match in which a stand-in for a forced reading would be lost stays as it is.
        """
        texts: list[str] = []
        origins: list[Origin] = []
        done = 0
        for match in pattern.finditer(self.text):
            parts = replacement(match) if callable(replacement) else replacement
            if parts is None or parts == match[0]:
                continue
            start, end = match.span()
            parts = (parts,) if isinstance(parts, str) else parts
            if not self._keeps_stand_ins(match, parts):
                continue
            texts.append(self.text[done:start])
            origins += self.origins[done:start]
            origin = (*self._range(start, end), rule)
            for part in parts:
                if isinstance(part, str):
                    texts.append(part)
                    origins += [origin] * len(part)
                else:
                    places = _places(match, part)
                    texts.append(self.text[places])
                    origins += self.origins[places]
            done = end
        if not texts:
            return self
        return Traced("".join(texts) + self.text[done:], origins + self.origins[done:])

    def _keeps_stand_ins(self, match: re.Match[str], parts: tuple[Part, ...]) -> bool:
        if not _PROTECTED.search(match[0]):
            return True
        kept = (self.text[_places(match, part)] for part in parts if not isinstance(part, str))
        return _PROTECTED.findall("".join(kept)) == _PROTECTED.findall(match[0])

    def _range(self, start: int, end: int) -> tuple[int, int]:
        """The input's characters that start..end come from."""
        if start < end:
            origins = self.origins[start:end]
            return min(o[0] for o in origins), max(o[1] for o in origins)
        place = self.origins[start - 1][1] if start else self.origins[0][0] if self.origins else 0
        return place, place

    def spans(self) -> list[Span]:
        """Stretches of one origin each."""
        found: list[Span] = []
        begun = 0
        for i in range(1, len(self.text) + 1):
            if i < len(self.text) and _goes_on(self.origins[i - 1], self.origins[i]):
                continue
            start, _, rule = self.origins[begun]
            found.append(Span(self.text[begun:i], start, self.origins[i - 1][1], rule))
            begun = i
        return found


def _places(match: re.Match[str], part: int | slice) -> slice:
    return slice(*match.span(part)) if isinstance(part, int) else part


def _goes_on(origin: Origin, following: Origin) -> bool:
    if origin[2] in ("", PLAIN):
        return following[2] == origin[2] and following[0] == origin[1]
    return following == origin


class Rule(NamedTuple):
    """One rewriting, with the name it leaves in the spans.

    Attributes:
        name: In kebab case.
        pattern: What it looks for.
        replacement: What that becomes.
    """

    name: str
    pattern: re.Pattern[str]
    replacement: Replacement


Row = tuple[str, str, Replacement]


def rules(*rows: Row) -> tuple[Rule, ...]:
    """Rules from rows of name, regular expression and replacement."""
    return tuple(Rule(name, re.compile(pattern), action) for name, pattern, action in rows)


def apply(table: Iterable[Rule], text: Traced) -> Traced:
    """`text` after all rules of an ordered table."""
    for rule in table:
        if rule.pattern.search(text.text):  # most rules find nothing: asked first, they cost little
            text = text.sub(rule.pattern, rule.replacement, rule.name)
    return text
