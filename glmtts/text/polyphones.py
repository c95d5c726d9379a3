"""Rules for characters with several readings: which one, by the words and characters around.

They stand in `assets/text/polyphones.txt`. A line reads: the character, a reading, conditions that
must all hold. The first line of a character that holds decides; one without conditions is the
reading otherwise. Conditions:

    L=pattern   the clause before the character ends with it; a single character must be a word of
                its own, or in the same word
    S=pattern   the same, but a single character may be the end of a word
    R=pattern   the clause after it starts with it
    C=pattern   the clause contains it
    <nvr        the word before is a noun, a verb or a pronoun (`glmtts.text.words.Word.tag`)
    >nvr        the word after is; ^ stands for "none before", $ for "none after"
    @           the classifier (`glmtts.text.senses`) thinks so too; @wei4 names another reading
    *           the line holds inside words that a dictionary reads, too
    !           before any of these: not

A clause lies between two marks. In a pattern N is any character of a Chinese numeral.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import resources

_NUMERALS = "零〇一二三四五六七八九十百千万亿两"
_LITERAL = re.compile(r"[^\\.^$*+?{}\[\]()|N]+")


@dataclass(frozen=True)
class Context:
    """A character of a sentence that has several readings.

    Attributes:
        char: It.
        sense: Asks the classifier for its reading.
        before: The clause up to it.
        after: The clause behind it.
        tag_before: Part of speech of the word before, "^" if none is.
        tag_after: Part of speech of the word after, "$" if none is.
        alone: The character before it is a word of its own, or in the same word.
        free: No dictionary has read it as part of a longer word.
    """

    char: str
    sense: Callable[[], str]
    before: str
    after: str
    tag_before: str
    tag_after: str
    alone: bool
    free: bool

    @property
    def clause(self) -> str:
        """The whole clause."""
        return self.before + self.char + self.after


class _Pattern:
    """Alternatives, the literal ones apart, since testing for those is faster than a pattern."""

    def __init__(self, kind: str, source: str) -> None:
        self._kind = kind
        alternatives = _alternatives(source)
        literals = [a for a in alternatives if _LITERAL.fullmatch(a)]
        self._bounded = tuple(a for a in literals if kind == "L" and len(a) == 1)
        self._literals = tuple(a for a in literals if a not in self._bounded)
        self._source = "|".join(a for a in alternatives if not _LITERAL.fullmatch(a))

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        source = _with_numerals(self._source)
        return re.compile(f"(?:{source})$" if self._kind in "LS" else source)

    def compile(self) -> None:
        """Compile what is otherwise compiled at first use.

        Raises:
            re.error: the pattern is none.
        """
        assert self._compiled

    def holds(self, context: Context) -> bool:
        """Whether the text around the character is like this."""
        if self._kind == "R":
            text, search = context.after, re.Pattern[str].match
            literal = text.startswith(self._literals)
        elif self._kind == "C":
            text, search = context.clause, re.Pattern[str].search
            literal = any(map(text.__contains__, self._literals))
        else:
            text, search = context.before, re.Pattern[str].search
            literal = text.endswith(self._literals) or (
                context.alone and text.endswith(self._bounded)
            )
        return literal or (bool(self._source) and bool(search(self._compiled, text)))


def _alternatives(source: str) -> list[str]:
    """Parts of a pattern between bars that stand in no group."""
    parts, depth, in_class, escaped = [""], 0, False, False
    for char in source:
        if char == "|" and not (depth or in_class or escaped):
            parts.append("")
            continue
        parts[-1] += char
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        else:
            depth += {"(": 1, ")": -1}.get(char, 0)
    return parts


def _with_numerals(source: str) -> str:
    """Spell out N, inside of character classes and outside."""
    pieces = re.split(r"(\[[^\]]*\])", source)
    return "".join(
        piece.replace("N", _NUMERALS if i % 2 else f"[{_NUMERALS}]")
        for i, piece in enumerate(pieces)
    )


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        reading: Numbered syllable.
        line: Its number in the file.
        everywhere: Holds inside words that a dictionary reads, too.
        before: Parts of speech the word before may have, "!" and those it may not; "" = any.
        after: The same of the word after.
        classifier: Reading the classifier must favour; any if empty.
        patterns: Each with whether it must hold or must not.
    """

    reading: str
    line: int
    everywhere: bool
    before: str
    after: str
    classifier: str
    patterns: tuple[tuple[_Pattern, bool], ...]

    @property
    def conditional(self) -> bool:
        """Whether the line has any condition."""
        return bool(self.before or self.after or self.classifier or self.patterns)

    def compile(self) -> None:
        """Compile the patterns, to see that they are some.

        Raises:
            re.error: one is none.
        """
        for pattern, _ in self.patterns:
            pattern.compile()

    def holds(self, context: Context) -> bool:
        """Whether all conditions do."""
        if not (context.free or self.everywhere):
            return False
        if not (
            _allowed(context.tag_before, self.before) and _allowed(context.tag_after, self.after)
        ):
            return False
        if any(pattern.holds(context) != wanted for pattern, wanted in self.patterns):
            return False
        return not self.classifier or context.sense() == self.classifier


def _allowed(tag: str, tags: str) -> bool:
    return not tags or (tag in tags) != tags.startswith("!")


def _parse(line: str, number: int) -> tuple[str, Rule]:
    char, reading, *conditions = line.split()
    patterns: list[tuple[_Pattern, bool]] = []
    before = after = classifier = ""
    everywhere = False
    for condition in conditions:
        body = condition.removeprefix("!")
        negated = "!" if body != condition else ""
        if body == "*":
            everywhere = True
        elif body[0] == "<":
            before = negated + body[1:]
        elif body[0] == ">":
            after = negated + body[1:]
        elif body[0] == "@":
            classifier = body[1:] or reading
        else:
            assert body[:2] in ("L=", "S=", "R=", "C="), (
                f"line {number}: {condition!r} is no condition"
            )
            patterns.append((_Pattern(body[0], body[2:]), not negated))
    return char, Rule(reading, number, everywhere, before, after, classifier, tuple(patterns))


@lru_cache(maxsize=1)
def _lines() -> dict[str, list[tuple[int, str]]]:
    path = resources.files("glmtts") / "assets" / "text" / "polyphones.txt"
    found: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            found.setdefault(line[0], []).append((number, line))
    return found


def table() -> list[str]:
    """The lines of the table."""
    return [line for lines in _lines().values() for _, line in lines]


@cache
def rules(char: str) -> Sequence[Rule]:
    """The rules of a character, in order; none for most."""
    return [_parse(line, number)[1] for number, line in _lines().get(char, ())]


def decide(context: Context) -> Rule | None:
    """The rule that says how a character is read there; None if there is none."""
    for rule in rules(context.char):
        if rule.holds(context):
            return rule
    return None
