"""The maths of group-relative policy optimisation, as pure functions. Read `policy_loss` first.

GRPO: Shao et al. 2024 (DeepSeekMath), §4.1; sequence ratios: Zheng et al. 2025 (GSPO), §4. The
reward rules and their constants are those of the official GLM-TTS trainer (paper §2.4, spec §8);
`upstream_compat` gives its numbers where we think it is mistaken.

One group is the answers drawn for one text. Shapes: n answers, (B, S) answers by drawn tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glmtts.errors import BadInput

LEAST_SPREAD = 0.01
"""Rewards of a group that deviate by less say nothing about which answer is better."""
RAW_REWARDS = ("token_cer_reward",)
"""Token-wise rewards (1 right, 0 wrong) that are used as they are."""

KL = Literal["k1", "k2", "k3"]
"""Estimators of Schulman 2020, "Approximating KL Divergence"."""


def standardised(values: Tensor, least: float = LEAST_SPREAD) -> Tensor:
    """Values less their mean, by their population deviation; zeros where it is at most `least`."""
    deviation = values.std(correction=0)
    if float(deviation) <= least:
        return torch.zeros_like(values)
    return (values - values.mean()) / deviation


def group_advantages(
    rewards: Mapping[str, Sequence[float]],
    weights: Mapping[str, float] | None = None,
    spreads: Mapping[str, float] | None = None,
) -> tuple[Tensor, bool]:
    """Advantage of each answer: every reward standardised, weighted, summed, standardised again.

    Args:
        rewards: n values of each reward. Those without a weight are left out.
        weights: Weight of each reward; None: all count alike.
        spreads: Deviation below which the values of a reward count as equal, where it is not
            `LEAST_SPREAD`.

    Returns:
        (n,) float64, and whether the answers differ at all (else there is nothing to learn).

    Raises:
        BadInput: a weighted reward is missing.
    """
    total = sum(
        (
            weight * standardised(_values(rewards[key]), (spreads or {}).get(key, LEAST_SPREAD))
            for key, weight in _used(rewards, weights)
        ),
        start=torch.zeros((), dtype=torch.float64),
    )
    advantages = standardised(total)
    return advantages, bool(advantages.any())


def reward_first_advantages(
    rewards: Mapping[str, Sequence[float]],
    weights: Mapping[str, float],
    *,
    upstream_compat: bool = False,
) -> tuple[Tensor, bool]:
    """Advantage of each answer: the weighted mean of the rewards as they are, then standardised.

    The official function of this kind divides the weights by the rewards, so that the worse answer
    wins, and adds 1e-4 to the deviation instead of leaving out groups that hardly differ;
    `upstream_compat` does so too.

    Args:
        rewards: n values of each reward. Those without a weight are left out.
        weights: Weight of each reward.
        upstream_compat: As above.

    Returns:
        As `group_advantages`.

    Raises:
        BadInput: a weighted reward is missing.
    """
    total, mass = torch.zeros((), dtype=torch.float64), 0.0
    for key, weight in _used(rewards, weights):
        values = _values(rewards[key])
        total = total + (weight / values.clamp(min=1e-12) if upstream_compat else weight * values)
        mass += weight
    mean = total / (mass or 1.0)
    if upstream_compat:
        advantages = (mean - mean.mean()) / (mean.std(correction=0) + 1e-4)
    else:
        advantages = standardised(mean)
    return advantages, bool(advantages.any())


def token_advantages(
    rewards: Mapping[str, Sequence[float] | Sequence[Sequence[float]]],
    weights: Mapping[str, float],
    lengths: Sequence[int],
    *,
    upstream_compat: bool = False,
) -> tuple[list[Tensor], bool]:
    """Advantage of each token: the weighted mean of standardised rewards.

    A reward is one value an answer, which all its tokens get, or one value a token; those are
    standardised over all tokens of the group (`RAW_REWARDS` are not).

    Args:
        rewards: n values, or n sequences of values, of each reward.
        weights: Weight of each reward.
        lengths: Tokens of each answer.
        upstream_compat: Call the group useful only when an error rate or an emotion differs in it,
            as officially; else any weighted reward counts.

    Returns:
        n tensors (tokens,) float64, and whether the group is useful.

    Raises:
        BadInput: a weighted reward is missing, or has not one value a token.
    """
    sums = [torch.zeros(length, dtype=torch.float64) for length in lengths]
    mass, useful = 0.0, False
    for key, weight in _used(rewards, weights):
        parts = [_values(value).reshape(-1) for value in rewards[key]]  # type: ignore[arg-type]
        wrong = [
            row
            for row, (part, length) in enumerate(zip(parts, lengths, strict=True))
            if isinstance(rewards[key][row], Sequence) and len(part) != length
        ]
        if wrong:
            raise BadInput(
                f"Reward {key!r} of answer {wrong[0]} has {len(parts[wrong[0]])} values for "
                f"{lengths[wrong[0]]} tokens. Give one value a token."
            )
        pooled = torch.cat(parts)
        scaled = pooled if key in RAW_REWARDS else standardised(pooled)
        start = 0
        for row, part in enumerate(parts):
            sums[row] = sums[row] + weight * scaled[start : start + len(part)]
            start += len(part)
        mass += weight
        judged = not upstream_compat or "cer" in key or "emo" in key
        differs = float(pooled.std(correction=0)) >= LEAST_SPREAD
        useful = useful or bool(judged and weight and differs)
    return [row / mass if mass else row for row in sums], useful


@dataclass(frozen=True)
class PolicyLoss:
    """What `policy_loss` gives; all are scalars.

    Attributes:
        loss: To be minimised.
        clipped_low: Share of tokens whose ratio is below the trusted range.
        clipped_high: Share above it.
    """

    loss: Tensor
    clipped_low: Tensor
    clipped_high: Tensor


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    masks: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    sequence_ratio: bool = False,
) -> PolicyLoss:
    """The clipped surrogate, averaged over all tokens drawn in the batch (PPO; GSPO by choice).

    Args:
        logprobs: (B, S) log-probability of each drawn token under the present weights.
        old_logprobs: (B, S) the same under the weights that drew them (`Rollouts.logprobs`). The
            official trainer takes the frozen first model here, which is not what drew them.
        advantages: (B, S), or (B, 1) where an answer's tokens share it.
        masks: (B, S) true where a token was drawn. The official trainer leaves the end out.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far it may rise above 1.
        sequence_ratio: One ratio an answer, the geometric mean of its tokens' (GSPO).
    """
    change = (logprobs - old_logprobs.detach()).masked_fill(~masks, 0.0)
    if sequence_ratio:
        change = (change.sum(-1) / masks.sum(-1).clamp(min=1))[:, None].expand_as(change)
    ratio = change.exp()
    inside = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain = torch.minimum(ratio * advantages, inside * advantages)
    with torch.no_grad():
        low = masked_mean((ratio < 1.0 - clip_low).to(ratio), masks)
        high = masked_mean((ratio > 1.0 + clip_high).to(ratio), masks)
    return PolicyLoss(-masked_mean(gain, masks), low, high)


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: KL = "k3") -> Tensor:
    """Estimates of the divergence of the policy from a reference, for each drawn token.

    Args:
        logprobs: (…) log-probability of each drawn token under the policy.
        reference: (…) the same under the reference.
        kind: "k1" the difference, "k2" half its square, "k3" never negative and unbiased.

    Returns:
        (…), each within -10..10 as officially.
    """
    d = reference - logprobs
    values = {"k1": lambda: -d, "k2": lambda: d.square() / 2, "k3": lambda: d.exp() - 1.0 - d}
    return values[kind]().clamp(-10.0, 10.0)


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nat of the distributions (…, classes) -> (…); -inf forbids a class."""
    logprobs = logits.log_softmax(-1)
    return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(logprobs.dtype).min)).sum(-1)


def masked_mean(values: Tensor, masks: Tensor) -> Tensor:
    """Mean of the (B, S) values where `masks` is true: a scalar, 0 where it is nowhere."""
    return values.masked_fill(~masks, 0.0).sum() / masks.sum().clamp(min=1)


def clip_at(step: int, start: float, end: float, final_step: int) -> float:
    """A clip range that goes evenly from `start` to `end` in `final_step` steps, then stays."""
    return start + (end - start) * min(step / final_step, 1.0)


def temperature_at(step: int, start: float, final_step: int) -> float:
    """A sampling temperature that falls towards 1 (by half in 139 steps); 1 after `final_step`."""
    return 1.0 + (start - 1.0) * math.exp(-0.005 * step) if step <= final_step else 1.0


def warmup_rate(step: int, rate: float, warmup: int) -> float:
    """A learning rate that rises evenly for `warmup` steps, then falls as 1 / sqrt(step)."""
    count = step + 1
    return rate * min(count / warmup, math.sqrt(warmup / count))


def cosine_rate(step: int, rate: float, steps: int, lowest: float = 1e-5) -> float:
    """A learning rate that falls along half a cosine for `steps` steps, then stays `lowest`."""
    return lowest + (rate - lowest) * (1.0 + math.cos(math.pi * min(step / steps, 1.0))) / 2


def _values(values: float | Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _used(
    rewards: Mapping[str, object], weights: Mapping[str, float] | None
) -> list[tuple[str, float]]:
    """Names and weights of the rewards that count.

    Raises:
        BadInput: a weighted reward is missing.
    """
    if weights is None:
        return [(key, 1.0) for key in rewards]
    missing = [key for key, weight in weights.items() if weight and key not in rewards]
    if missing:
        raise BadInput(
            f"There is no reward {missing[0]!r} to give a weight to. Known here: "
            f"{', '.join(rewards)}."
        )
    return [(key, weights[key]) for key in rewards if key in weights]
