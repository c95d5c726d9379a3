"""Pauses between the items of a list, and within long numbers.

"3, 6, 9" without a breath is 369 to a listener, and of the zeros of 13800138000 nobody knows how
many there were. Teachers read lists so, and what learnt from them does, too; where `glmtts.json`
asks for it (`list_pause_s`), silence is put between the speech tokens of two items, or groups of
digits, that follow each other too closely. The proofreader tells where that is.
"""

import re
from collections.abc import Sequence

from glmtts.proofreader import Proofreader
from glmtts.text.units import HANZI

COMMAS = ("，", ",")
LONGEST = 2.0
"""Words of an item, two Hanzi for one."""
LONGEST_NUMBER = 7.0
"""The same where it has a number in it."""

_HANZI = re.compile(f"[{HANZI}]")
_NUMERALS = frozenset("零一二三四五六七八九十百千万亿两幺") | frozenset(
    "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen "  # noqa: SIM905
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
    "ninety hundred thousand million billion".split()
)
_DIGITS = frozenset("零一二三四五六七八九幺") | frozenset(
    "zero oh one two three four five six seven eight nine".split()  # noqa: SIM905
)
"""What numbers are read with digit by digit."""
_POINTS = ("点", "point")
LONG_NUMBER = 7
"""Digits from which a number is said in groups."""
IDENTITY = 18
"""Digits of an identity card of China: place, date of birth, rest."""
_BEFORE, _BEHIND = 4, 2
"""Tokens before and behind the beginning of an item among which silence belongs to its comma."""


def list_commas(units: Sequence[tuple[str, Sequence[str]]]) -> tuple[int, ...]:
    """For each comma of a list how many phonemes stand before it.

    A list is at least two commas with something short between each and the next: a number, one or
    two words. What stands before the first and behind the last may be of any length.
    """
    items: list[list[str]] = [[]]  # of words, between marks
    marks: list[str] = []
    places: list[int] = []
    said = 0
    for surface, phonemes in units:
        if phonemes:
            said += len(phonemes)
            items[-1].append(surface.lower())
        elif surface[:1] != "[":  # a tag is no mark
            items.append([])
            marks.append(surface)
            places.append(said)
    comma = [mark in COMMAS for mark in marks]
    inner = [
        0 < at < len(marks) and comma[at - 1] and comma[at] and _is_short(item)
        for at, item in enumerate(items)
    ]
    return tuple(
        place for at, place in enumerate(places) if comma[at] and (inner[at] or inner[at + 1])
    )


def digit_groups(units: Sequence[tuple[str, Sequence[str]]]) -> tuple[int, ...]:
    """For each group of a long number read digit by digit, but the first, where it begins.

    Returns:
        How many phonemes stand before each.
    """
    places: list[int] = []
    starts, said, before = list[int](), 0, ""
    for surface, phonemes in (*units, ("", ())):
        if surface.lower() in _DIGITS:
            starts.append(said)
        else:
            if before not in _POINTS:
                places += [starts[at] for at in grouped(len(starts))]
            starts, before = [], surface.lower()
        said += len(phonemes)
    return tuple(places)


def grouped(length: int) -> list[int]:
    """Where the groups of a number of `length` digits begin, but the first: threes, then fours.

    So mobile numbers of China are 138 0013 8000, service numbers 400 820 8820, those with an area
    code 010 6278 1234 and 0755 2663 8888; only those of identity cards go 110101 19900307 4512.
    """
    if length < LONG_NUMBER:
        return []
    if length == IDENTITY:
        return [6, 14]
    groups = -(-length // 4)
    threes = 4 * groups - length
    return [3 * min(at, threes) + 4 * max(0, at - threes) for at in range(1, groups)]


def _is_short(words: Sequence[str]) -> bool:
    length = sum(0.5 if _HANZI.match(word) else 1.0 for word in words)
    numeral = any(part in _NUMERALS for word in words for part in word.split("-"))
    return 0 < length <= (LONGEST_NUMBER if numeral else LONGEST)


class ListPauses:
    """Puts the pauses into the speech tokens of one sentence, as they come."""

    def __init__(
        self,
        proofreader: Proofreader,
        phonemes: Sequence[str],
        commas: Sequence[int],
        silent: Sequence[int],
        least: int,
    ) -> None:
        """Of a sentence.

        Args:
            proofreader: Tells which token says what.
            phonemes: (T,) of the sentence.
            commas: How many of them stand before each comma that needs a pause, rising.
            silent: Speech tokens that sound like silence.
            least: Tokens that a pause takes at least.
        """
        self._proofreader = proofreader
        self._phonemes = phonemes
        self._commas = list(commas) if silent else []
        self._silent = frozenset(silent)
        self._usual = silent[0] if silent else 0
        self._least = least

    def put(self, spoken: Sequence[int], block: Sequence[int], *, last: bool) -> list[int]:
        """The next block, with what its pauses lack.

        What is certain of a block can no longer be changed by the next: a pause whose place is
        known too late is left as it is.

        Args:
            spoken: Tokens of the sentence so far, with their pauses.
            block: Those that come next.
            last: They end the sentence.
        """
        if not self._commas or not block:
            return list(block)
        tokens = [*spoken, *block]
        owners = self._proofreader.owners(tokens, self._phonemes, whole=last)
        out: list[int] = []
        done = len(spoken)
        while self._commas and owners and owners[-1] >= self._commas[0]:
            comma = self._commas.pop(0)
            begin = next(place for place, owner in enumerate(owners) if owner >= comma)
            if begin < done:
                continue
            near = [place for place in range(max(done, begin - _BEFORE), begin + _BEHIND)
                    if place < len(tokens) and tokens[place] in self._silent]  # fmt: skip
            cut = near[-1] + 1 if near else begin
            heard = [token for token in tokens[:cut] if token in self._silent]
            fill = heard[-1] if heard else self._usual
            out += [*tokens[done:cut], *[fill] * (self._least - len(near))]
            done = cut
        return out + tokens[done:]
