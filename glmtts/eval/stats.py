"""Means that say how sure they are, and paired comparisons. Read `interval` first."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glmtts.judges.needs import needed

RESAMPLES = 9_999
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval; no bounds for fewer than two values."""

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean and its bias-corrected and accelerated bootstrap interval (Efron 1987, scipy).

    Args:
        values: One for each independent case.
        seed: Of the resampling; the same values give the same bounds.

    Raises:
        ValueError: there are no values.
        MissingExtra: scipy is not installed.
    """
    if not len(values):
        raise ValueError("no values to average")
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None, len(x))
    if np.ptp(x) == 0.0:
        return Interval(mean, mean, mean, len(x))
    low, high = _bounds(x, "BCa", seed)
    if not np.isfinite([low, high]).all():
        low, high = _bounds(x, "percentile", seed)
    return Interval(mean, low, high, len(x))


def _bounds(x: np.ndarray, method: str, seed: int) -> tuple[float, float]:
    stats: Any = needed("scipy.stats", "Confidence intervals")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate resamples, answered above
        found = stats.bootstrap(
            (x,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method=method,
            random_state=np.random.default_rng(seed), batch=max(1, 2_000_000 // len(x)),
        ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Paired:
    """How B differs from A on the same cases.

    Attributes:
        a: Mean of A.
        b: Mean of B.
        difference: B - A with its bootstrap interval over the pairs.
        relative: (B - A) / A; None where A is 0.
        p: Of Wilcoxon's signed-rank test, two-sided.
    """

    a: float
    b: float
    difference: Interval
    relative: float | None
    p: float


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Paired:
    """Compare two runs case by case.

    Args:
        a: A value for each case.
        b: A value for each of the same cases, in the same order.
        seed: Of the resampling.

    Raises:
        ValueError: there are no pairs.
    """
    stats: Any = needed("scipy.stats", "Paired tests")
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    difference = right - left
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties, small samples: the approximation is said to be one
        p = 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)
    mean_a, mean_b = float(left.mean()), float(right.mean())
    relative = (mean_b - mean_a) / mean_a if mean_a else None
    return Paired(mean_a, mean_b, interval(difference.tolist(), seed), relative, p)
