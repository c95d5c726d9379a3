"""How the next speech token is drawn: nucleus sampling that sees repetitions. Pure functions."""

from dataclasses import dataclass

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
    """

    top_p: float | None = None
    top_k: int = 25
    temperature: float = 1.0
    repetition_window: int = 10
    repetition_threshold: float = 0.1
    seed: int | None = None
    retries: int = 2
    candidates: int | None = None
    accept: float = 0.8


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
    ranked, ids = probs.sort(dim=-1, descending=True, stable=True)
    ranked, ids = ranked[:, :top_k], ids[:, :top_k]
    kept = (ranked.cumsum(-1) - ranked) < top_p
    count = int(kept.sum(-1).max())
    return ids[:, :count], (ranked * kept)[:, :count]


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
