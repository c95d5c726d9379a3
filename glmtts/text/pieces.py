"""Text that arrives in pieces, such as token by token from a language model, cut where it may be.

A `SentenceFeed` holds text back until a sentence is certainly over: no decision of the front end
about what it gives out (a number, an abbreviation, a reading in brackets, SSML) can hang on what is
still to come. It knows no dictionary and no model.
"""

import re
from collections.abc import Iterable, Iterator

from glmtts.text.abbreviations import is_abbreviation
from glmtts.text.sentences import length

SHORTEST = 5.0
"""Less than this (in Hanzi) waits for what follows: `sentences.split` joins it to a neighbour."""
LONGEST = 2_000
"""Characters without any end after which a cut is made anyway, at a space or a mark if possible."""

_CLOSING = "」』”’\"')）】》〉\\]］"
_END = re.compile(
    f"[。！？!?；;…]+[{_CLOSING}]*(?=[^。！？!?；;…{_CLOSING}])|\n|[.][{_CLOSING}]*(?=\\s+\\S)"
)
_WORD = re.compile("[A-Za-z][A-Za-z.]*$")
_OPEN = re.compile("<(phoneme|say-as|sub|speak)\\b", re.IGNORECASE)
_CLOSE = re.compile("</(phoneme|say-as|sub|speak)\\s*>", re.IGNORECASE)


class SentenceFeed:
    """Takes pieces, gives out sentences: `push` as text comes, `flush` at a pause or the end."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._held = ""

    @property
    def held(self) -> str:
        """What waits for its end."""
        return self._held

    def push(self, piece: str) -> str:
        """Add text; what is complete by now, or ""."""
        self._held += piece
        cut = 0
        for match in _END.finditer(self._held):
            if self._ends(match):
                cut = match.end()
        if not cut and len(self._held) > LONGEST and not _unclosed(self._held):
            cut = max(self._held.rfind(mark, 0, LONGEST) for mark in " ，,、") + 1 or LONGEST
        if length(self._held[:cut]) < SHORTEST:
            return ""
        out, self._held = self._held[:cut], self._held[cut:]
        return out

    def flush(self) -> str:
        """All that is held, complete or not."""
        out, self._held = self._held, ""
        return out

    def _ends(self, match: "re.Match[str]") -> bool:
        before = self._held[: match.start()]
        if _unclosed(self._held[: match.end()]):
            return False
        if match[0].startswith("."):
            word = _WORD.search(before)
            following = self._held[match.end() :].lstrip()[:1]
            if following.islower() or (before[-1:].isdigit() and following.isdigit()):
                return False
            return not (word and (len(word[0]) == 1 or is_abbreviation(word[0])))
        return True


def _unclosed(text: str) -> bool:
    """Whether markup that is still open reaches over the end of `text`."""
    if len(_OPEN.findall(text)) > len(_CLOSE.findall(text)):
        return True
    return any(
        text.rfind(opening) > text.rfind(closing) and len(text) - text.rfind(opening) < 400
        for opening, closing in ("<>", "[]", "［］")
    )


def whole_sentences(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces joined and cut after sentences; a piece that ends in a blank line is let go."""
    feed = SentenceFeed()
    for piece in pieces:
        if out := feed.push(piece):
            yield out
        if piece.endswith("\n\n") and (out := feed.flush()):
            yield out
    if out := feed.flush():
        yield out
