"""Normalised text that remembers where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass


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
    """For each character of the normalised text its character of the input, None if rewritten."""
    return [
        None if span.rule else span.start + offset
        for span in spans
        for offset in range(len(span.text))
    ]
