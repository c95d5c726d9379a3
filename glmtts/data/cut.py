"""A stretch of a recording to clips: cut at pauses and where the speaker changes. Read `cut` first.

Pieces are what lies between pauses; a clip is a run of pieces of one speaker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from glmtts.audio import Audio
from glmtts.cloning import LEAD_SECONDS, TAIL_SECONDS
from glmtts.vad import FRAME_SECONDS, frame_levels, spans_of, speech_mask

SENTENCE_PAUSE = 0.45
"""Seconds of a pause that ends a clip which is long enough already."""
LONG_PAUSE = 1.2
"""Seconds of a pause that always ends a clip."""
ENOUGH = 3.0
"""Seconds from which a clip may end at the next sentence."""
VOICED = 1.2
"""Seconds of speech from which a speaker vector of a piece can be trusted."""
SAME_SPEAKER = 0.65
"""Cosine below which two neighbouring pieces are taken for two speakers. Of pieces of 1.2 s and
more of the teacher corpus, those of one speaker have a median of 0.84 (one in a hundred below
0.70), of two 0.53 (one in a hundred above 0.75)."""
MIXED = 0.66
"""`consistency` below which a clip holds two speakers: none of 144 clips of one speaker are below,
and two of three of those joined from two."""


@dataclass(frozen=True)
class Span:
    """Seconds within a sound."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start


@dataclass(frozen=True)
class Turn:
    """Seconds in which one speaker talks, by an engine that tells (`data.plugins.diariser`)."""

    start: float
    end: float
    speaker: str


def pieces(audio: Audio, longest: float) -> list[Span]:
    """Speech between pauses; speech without a pause is cut at its quietest moments.

    Args:
        audio: A stretch of a recording.
        longest: Seconds a piece may have.
    """
    levels = frame_levels(audio)
    spans: list[tuple[int, int]] = []
    most = round(longest / FRAME_SECONDS)
    for first, last in spans_of(speech_mask(audio)):
        spans += _halved(levels, first, last, most)
    return [Span(a * FRAME_SECONDS, b * FRAME_SECONDS) for a, b in spans]


def _halved(levels: np.ndarray, first: int, last: int, most: int) -> list[tuple[int, int]]:
    """Cut [first, last) at quiet frames of its middle third until no part exceeds `most`."""
    size = last - first
    if size <= most:
        return [(first, last)]
    begin, end = first + size // 3, last - size // 3
    at = begin + int(np.convolve(levels[begin:end], np.ones(9) / 9, mode="same").argmin())
    return [*_halved(levels, first, at, most), *_halved(levels, at, last, most)]


def cut(
    audio: Audio,
    longest: float,
    embed: Callable[[Audio], Tensor] | None = None,
    *,
    whole: bool = False,
    turns: Sequence[Turn] = (),
) -> list[Span]:
    """The clips of a stretch, in order; they begin and end in pauses.

    Args:
        audio: A stretch of a recording.
        longest: Seconds a clip may have.
        embed: Speaker vector of a sound, unit length; None: nobody listens for another speaker.
        whole: All speech is one clip if it fits, as when a transcript of it is known.
        turns: Who speaks when, if somebody told: clips are cut there too, and what two say at once
            is left out.
    """
    # With the silence kept around it a clip still is no longer than asked.
    longest -= LEAD_SECONDS + TAIL_SECONDS
    parts = pieces(audio, longest)
    alone = len({turn.speaker for turn in turns}) < 2
    if whole and alone and parts and parts[-1].end - parts[0].start <= longest:
        return [Span(parts[0].start, parts[-1].end)]
    owned = [(part, "") for part in parts] if alone else by_speaker(parts, turns)
    clips: list[Span] = []
    voices: list[Tensor] = []
    last = ""
    for part, who in owned:
        vector = _vector(audio, part, embed)
        pause = part.start - clips[-1].end if clips else LONG_PAUSE
        joined = part.end - clips[-1].start if clips else longest
        apart = (
            pause >= LONG_PAUSE
            or joined > longest
            or (pause >= SENTENCE_PAUSE and clips[-1].seconds >= ENOUGH)
            or (_changes(voices, vector) if alone else bool(last and who and who != last))
        )
        last = who or last
        if apart:
            clips.append(part)
            voices, last = [], who
        else:
            clips[-1] = Span(clips[-1].start, part.end)
        if vector is not None:
            voices.append(vector)
    return clips


def by_speaker(parts: Sequence[Span], turns: Sequence[Turn]) -> list[tuple[Span, str]]:
    """Pieces and who says them: cut where speakers change, without what two say at once.

    Where speakers change without a pause, the piece is shortened by the silence that clips keep
    around them: there it would be the other's speech.

    Args:
        parts: Pieces of speech, in order.
        turns: Who speaks when.

    Returns:
        Pieces with one speaker, or with none ("") where no turn tells.
    """
    edges = sorted({edge for turn in turns for edge in (turn.start, turn.end)})
    found: list[tuple[Span, str]] = []
    for part in parts:
        marks = [part.start, *(e for e in edges if part.start < e < part.end), part.end]
        said: list[tuple[float, float, set[str]]] = []
        for start, end in pairwise(marks):
            who = {turn.speaker for turn in turns if turn.start < end and start < turn.end}
            before = said[-1][2] if said else set[str]()
            if said and (not who or not before or who == before):  # nobody else begins here
                said[-1] = (said[-1][0], end, who or before)
            else:
                said.append((start, end, who))
        for start, end, who in said:
            start += LEAD_SECONDS if start > part.start else 0.0
            end -= TAIL_SECONDS if end < part.end else 0.0
            if len(who) < 2 and end > start:
                found.append((Span(start, end), next(iter(who), "")))
    return found


def _vector(audio: Audio, part: Span, embed: Callable[[Audio], Tensor] | None) -> Tensor | None:
    return None if embed is None or part.seconds < VOICED else embed(taken(audio, part))


def _changes(voices: Sequence[Tensor], vector: Tensor | None) -> bool:
    """Whether a piece is of another speaker than those before it in the clip."""
    if not voices or vector is None:
        return False
    mean = torch.stack(list(voices)).mean(dim=0)
    return functional.cosine_similarity(mean, vector, dim=0).item() < SAME_SPEAKER


def consistency(audio: Audio, embed: Callable[[Audio], Tensor]) -> float:
    """How alike the parts of a clip sound, as the least cosine of neighbours; 1 where it is short.

    Parts are about two seconds of what is heard, cut anywhere: two people who talk without a pause
    between them are found here.
    """
    count = int(audio.seconds / 2.0)
    if count < 2:
        return 1.0
    size = len(audio.samples) // count
    parts = [audio.samples[k * size : (k + 1) * size] for k in range(count)]
    rows = [embed(replace(audio, samples=part)) for part in parts]
    return float(min((a @ b).item() for a, b in pairwise(rows)))


def taken(audio: Audio, span: Span, *, margin: bool = False) -> Audio:
    """The sound of a span; with `margin` a little of the silence around it stays."""
    before, after = (LEAD_SECONDS, TAIL_SECONDS) if margin else (0.0, 0.0)
    start = max(0, round((span.start - before) * audio.sample_rate))
    return replace(
        audio, samples=audio.samples[start : round((span.end + after) * audio.sample_rate)]
    )
