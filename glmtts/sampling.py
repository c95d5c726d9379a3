"""How the next speech token is drawn: nucleus sampling that sees repetitions. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

OFFICIAL_TOP_P = 0.8


@dataclass(frozen=True)
class Sampling:
    """Options of one generation; the defaults are the official model's (VALL-E 2's scheme).

    Attributes:
        top_p: Keep the likeliest tokens until their mass reaches this; None = what the model was
            tuned for, `OFFICIAL_TOP_P` where nobody knows.
        top_k: Keep at most this many.
        temperature: Divides the logits before the nucleus is taken; 0 takes the likeliest token.
        repetition_window: How many past tokens are searched for the drawn one.
        repetition_threshold: Draw anew from all tokens when at least this share of the window
            equals the drawn token.
        seed: Seed where the caller brings no generator; None draws one.
        retries: How often a failed utterance is tried again with another seed.
        candidates: Utterances drawn side by side, of which the one that reads back best is kept
            (whole sentences only); None = what the model was tuned for.
        accept: Reading error (nat a phoneme) above which an utterance counts as failed.
        ahead: How many text ids beyond the one it speaks a model with an aligned head may look, so
            that it skips and repeats nothing (`glmtts.nn.gaze`); 0 = anywhere; None = what the
            model was tuned for, anywhere where nobody knows.
    """

    top_p: float | None = None
    top_k: int = 25
    temperature: float = 1.0
    repetition_window: int = 10
    repetition_threshold: float = 0.1
    seed: int | None = None
    retries: int = 2
    candidates: int | None = None
    accept: float = 1.2
    ahead: int | None = None

    @property
    def side_by_side(self) -> int:
        """Utterances drawn at once; the likeliest tokens are always the same, one is enough."""
        return 1 if self.temperature == 0 else max(1, self.candidates or 1)


def nucleus(probs: Tensor, top_p: float, top_k: int) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of each row, best first.

    A token is kept while the mass before it is below `top_p` and fewer than `top_k` are kept, so
    the token that crosses is in. Ties keep the order of ids.

    Args:
        probs: (B, V) probabilities.
        top_p: Mass to reach.
        top_k: Most tokens to keep.

    Returns:
        ids (B, K) and their probabilities (B, K), not renormalised; K is the largest count of a
        row, shorter rows end in zeros.
    """
    ranked, ids = _ranked(probs, top_k)
    kept = (ranked.cumsum(-1) - ranked) < top_p
    count = int(kept.sum(-1).max())
    return ids[:, :count], (ranked * kept)[:, :count]


def _ranked(probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row and their ids, (B, count) each; ties keep the order of ids.

    On a CPU a partial sort does where no tie crosses the end: a tenth of the time for 32,769.
    """
    if probs.device.type == "cpu" and count < probs.shape[-1] // 4:
        best, ids = probs.topk(count + 1)
        if not bool((best[:, -1] == best[:, -2]).any()):
            ids, _ = ids[:, :count].sort(-1)
            ranked, order = probs.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
            return ranked, ids.gather(-1, order)
    ranked, ids = probs.sort(dim=-1, descending=True, stable=True)
    return ranked[:, :count], ids[:, :count]


def repeated(drawn: Tensor, history: Tensor, sampling: Sampling) -> Tensor:
    """Which rows drew a token too frequent in their recent past.

    Args:
        drawn: (B,) tokens.
        history: (B, H) earlier tokens, newest last, -1 where there is none.
        sampling: Gives the window and the threshold.

    Returns:
        (B,) bool.
    """
    recent = history[:, max(0, history.shape[1] - sampling.repetition_window) :]
    count = (recent == drawn[:, None]).sum(-1)
    return count >= sampling.repetition_window * sampling.repetition_threshold


def draw(
    logits: Tensor, history: Tensor, sampling: Sampling, rng: torch.Generator | None = None
) -> Tensor:
    """Repetition-aware sampling (VALL-E 2, Chen et al. 2024, §3.2).

    A token is drawn from the nucleus; where it repeats, one is drawn from all tokens instead, at
    temperature 1.

    Args:
        logits: (B, V); -inf forbids a token.
        history: (B, H) earlier tokens, newest last, -1 where there is none.
        sampling: Options.
        rng: Generator on the device of `logits`.

    Returns:
        (B,) token indices.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        return logits.argmax(-1)
    ids, probs = nucleus(
        (logits / sampling.temperature).softmax(-1),
        OFFICIAL_TOP_P if sampling.top_p is None else sampling.top_p,
        sampling.top_k,
    )
    drawn = ids.gather(-1, torch.multinomial(probs, 1, generator=rng))[:, 0]
    again = repeated(drawn, history, sampling)
    if bool(again.any()):
        other = torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]
        drawn = torch.where(again, other, drawn)
    return drawn


def draw_each(
    logits: Tensor,
    histories: Sequence[Sequence[int]],
    samplings: Sequence[Sampling],
    rngs: Sequence[torch.Generator],
) -> list[int]:
    """`draw` for rows that have nothing to do with one another: each has its options and generator.

    A row gives the same token, and leaves its generator in the same state, as `draw` of it alone.

    Args:
        logits: (B, V); -inf forbids a token.
        histories: Earlier tokens of each row, newest last.
        samplings: Options of each row.
        rngs: Generators on the device of `logits`.

    Returns:
        B token indices.
    """
    logits, heats = logits.float(), [s.temperature or 1.0 for s in samplings]
    heat = torch.tensor(heats, device=logits.device)[:, None]
    ranked, ids = _ranked((logits / heat).softmax(-1), max(s.top_k for s in samplings))
    # A row has few tokens left: from here on NumPy is quicker, and sums as torch does.
    probs, classes = ranked.cpu().numpy(), ids.cpu().numpy()
    before = probs.cumsum(-1, dtype=np.float64).astype(np.float32) - probs
    tokens = list[int]()
    for row, (sampling, rng) in enumerate(zip(samplings, rngs, strict=True)):
        if sampling.temperature == 0:
            tokens.append(int(logits[row].argmax()))
            continue
        top_p = OFFICIAL_TOP_P if sampling.top_p is None else sampling.top_p
        count = int((before[row, : sampling.top_k] < np.float32(top_p)).sum())
        drawn = torch.multinomial(ranked[row, :count], 1, generator=rng)
        token, window = int(classes[row, int(drawn)]), sampling.repetition_window
        recent = histories[row][max(0, len(histories[row]) - window) :]
        if recent.count(token) >= window * sampling.repetition_threshold:
            token = int(torch.multinomial(logits[row].softmax(-1), 1, generator=rng))
        tokens.append(token)
    return tokens
