"""A normalised text cut into sentences that a model can speak in one breath."""

import re
from itertools import accumulate

from glmtts.text.units import HANZI

_LATIN = 0.3
"""Length of a Latin letter, in Hanzi: 200 letters last about as long as 60 Hanzi."""

_MARKS = "，。！？；：、…,.!?;:"
_ENDS = re.compile("(?<=[。！？!?；;…])\\s*|(?<=[.])\\s+")
_TOKEN = re.compile(
    f"[零一二三四五六七八九十百千万亿两点幺]{{2,20}}|[A-Za-z'-]{{1,60}}|[{HANZI}]|[{_MARKS}]| |."
)


def length(text: str) -> float:
    """How long `text` is to speak, in Hanzi; marks and spaces count nothing."""
    return sum(map(_weight, text))


def _weight(char: str) -> float:
    if char in _MARKS or char in " '-":
        return 0.0
    return _LATIN if char.isascii() else 1.0


def split(text: str, *, min_length: int = 5, max_length: int = 60) -> list[str]:
    """Cut a normalised text into sentences.

    Cuts come after 。！？；… and after a full stop; a sentence longer than `max_length` is cut at
    commas, else between words, else between Hanzi, in parts of about the same length. A part
    shorter than `min_length` joins a neighbour where that stays within `max_length`.

    Args:
        text: What `normalise` returned.
        min_length: In Hanzi; a Latin letter counts 0.3.
        max_length: In Hanzi.
    """
    assert 0 < min_length <= max_length / 2, "two short sentences must fit into one"
    parts = [
        part.strip()
        for sentence in _ENDS.split(text)
        if sentence.strip()
        for part in _cut(sentence.strip(), max_length)
    ]
    return _merged([part for part in parts if length(part)], min_length, max_length)


def _cut(sentence: str, limit: float) -> list[str]:
    if length(sentence) <= limit:
        return [sentence]
    tokens = _TOKEN.findall(sentence)
    ends = list(accumulate(length(token) for token in tokens))
    parts: list[str] = []
    start, done = 0, 0.0
    while ends[-1] - done > limit:
        left = ends[-1] - done
        target = done + left / -(-left // limit)
        stop = _best_cut(tokens, ends, start, done, target, limit)
        parts.append("".join(tokens[start:stop]))
        start, done = stop, ends[stop - 1]
    parts.append("".join(tokens[start:]))
    return parts


def _best_cut(
    tokens: list[str], ends: list[float], start: int, done: float, target: float, limit: float
) -> int:
    """Index of the token to cut before: near `target`, after a mark if there is one."""
    after_mark, after_space, anywhere = list[int](), list[int](), list[int]()
    for stop in range(start + 1, len(tokens)):
        if ends[stop - 1] - done > limit:
            break
        if tokens[stop] in _MARKS:  # a mark stays with what it follows
            continue
        anywhere.append(stop)
        if ends[stop - 1] - done < limit / 4:
            continue
        if tokens[stop - 1] in _MARKS:
            after_mark.append(stop)
        elif tokens[stop - 1] == " ":
            after_space.append(stop)
    choice = after_mark or after_space or anywhere or [start + 1]
    return min(choice, key=lambda stop: abs(ends[stop - 1] - target))


def _merged(parts: list[str], shortest: float, limit: float) -> list[str]:
    out: list[str] = []
    for part in parts:
        short = out and (length(part) < shortest or length(out[-1]) < shortest)
        if short and length(out[-1]) + length(part) <= limit:
            out[-1] = _glue(out[-1], part)
        else:
            out.append(part)
    return out


def _glue(first: str, second: str) -> str:
    return f"{first}{' ' if first[-1].isascii() and second[0].isascii() else ''}{second}"
