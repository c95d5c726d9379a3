"""Control tags in a text: `[happy] What a day! [neutral] It rained. [laughter]`. Read `cut`.

A style holds from its tag to the next one; a laugh is heard where its tag stands. To a language
model a tag is text like any other, spelled as here; it means something to one trained with it.
"""

import re
from collections.abc import Sequence

from glmtts.text.marked import Marked
from glmtts.text.readings import Forced

STYLES = ("happy", "sad", "angry", "surprised")
"""Manners of speaking; without one, speech is neutral."""
NEUTRAL = "neutral"
LAUGHTER = "laughter"

_TAG = re.compile(rf"[\[［]\s*({'|'.join((*STYLES, NEUTRAL, LAUGHTER))})\s*[\]］]", re.IGNORECASE)


def tag(name: str) -> str:
    """How a style or a laugh is spelled in a text."""
    return f"[{name}]"


TAGS = frozenset(tag(name) for name in (*STYLES, LAUGHTER))
"""Surfaces of the units that tags become."""


def style_of(units: Sequence[tuple[str, object]]) -> str | None:
    """What is asked for by the tags among units: the style in front, else a laugh, else None."""
    names = [surface[1:-1] for surface, _ in units if surface in TAGS]
    return next((name for name in names if name != LAUGHTER), names[0] if names else None)


def style_class(style: str | None) -> int:
    """The number of a style for a flow that is told it: 1 …; 0 for none, neutral and laughter."""
    return 1 + STYLES.index(style) if style in STYLES else 0


def untagged(text: str) -> str:
    """A text without its tags."""
    return _TAG.sub("", text)


def laughs(text: str) -> list[tuple[int, int]]:
    """Where `[laughter]` stands in a text: first character, and one past the last."""
    return [m.span() for m in _TAG.finditer(text) if m[1].lower() == LAUGHTER]


def laugh_places(units: Sequence[tuple[str, Sequence[str]]]) -> tuple[int, ...]:
    """For each laugh among units how many phonemes stand before it."""
    places: list[int] = []
    count = 0
    for surface, phonemes in units:
        count += len(phonemes)
        if surface == tag(LAUGHTER):
            places.append(count)
    return tuple(places)


def cut(stretches: Sequence[Marked]) -> list[Marked]:
    """Stretches of one style each, laughs bound to the place they stand at.

    Args:
        stretches: Of a text, in order. Pauses stay behind what they were behind.
    """
    style: str | None = None
    out: list[Marked] = []
    for stretch in stretches:
        piece, done = Marked(lang=stretch.lang, style=style), 0
        for match in _TAG.finditer(stretch.text):
            if any(stretch.forced[match.start() : match.end()]):
                continue  # the reading of something
            piece.copy(stretch, done, match.start())
            done, name = match.end(), match[1].lower()
            if name == LAUGHTER:
                laugh = [Forced(tag(LAUGHTER), (), "tag")]
                first = stretch.where[match.start()]
                piece.force(laugh, [first] * len(laugh[0].surface))
                continue
            if piece.text.strip():
                out.append(piece)
            style = None if name == NEUTRAL else name
            piece = Marked(lang=stretch.lang, style=style)
        piece.copy(stretch, done, len(stretch.chars))
        piece.pause_s = stretch.pause_s
        out.append(piece)
    return out
