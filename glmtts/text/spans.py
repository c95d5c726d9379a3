"""Normalised text that remembers where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass

PROTECTED = "\ue000-\uf8ff"
"""Character class of the stand-ins for stretches with a forced reading (for use inside [...])."""

PLAIN = "plain-letter"
"""Rule of the spans whose characters stand one by one for the input's: `Ａ` as A, `é` as e."""


@dataclass(frozen=True)
class Span:
    """A stretch of normalised text.

    Attributes:
        text: The stretch as it is to be read.
        start: First character of the input it comes from.
        end: One past its last character; `text` is the input's characters start..end one by one
            where `rule` is empty.
        rule: Name of the rule that rewrote it; empty where it was copied.
    """

    text: str
    start: int
    end: int
    rule: str = ""


def joined(spans: Sequence[Span]) -> str:
    """The whole normalised text."""
    return "".join(span.text for span in spans)


def sources(spans: Sequence[Span]) -> list[int | None]:
    """For each character of the normalised text its character of the input, None if rewritten.

    A letter in another guise (full width, with an accent) counts as the same character.
    """
    return [
        None if span.rule not in ("", PLAIN) else span.start + offset
        for span in spans
        for offset in range(len(span.text))
    ]
