"""How sure a mean is."""

import math

import numpy as np
import pytest

from glmtts.eval.stats import interval, paired


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        errors = rng.exponential(0.1, size=60)  # skewed, as error rates are
        found = interval(errors.tolist(), seed=trial)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.1 <= found.high
    # Of 60 intervals at 95 %, 50 or fewer cover with a chance below 0.001.
    assert covered > 50


def test_more_cases_make_it_narrower_and_a_seed_makes_it_the_same() -> None:
    rng = np.random.default_rng(1)
    few, many = interval(rng.normal(size=20).tolist()), interval(rng.normal(size=500).tolist())

    def width(found: object) -> float:
        return found.high - found.low  # type: ignore[attr-defined]

    assert width(many) < width(few) / 2
    assert interval([1, 2, 4, 8]) == interval([1, 2, 4, 8])


def test_too_little_to_say_how_sure() -> None:
    assert interval([0.5]).low is None
    assert (interval([0.5, 0.5]).low, interval([0.5, 0.5]).high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_pairs_tell_a_small_difference_that_means_alone_would_hide() -> None:
    rng = np.random.default_rng(2)
    hard = rng.uniform(0, 1, size=80)  # cases differ far more than the runs do
    better = hard - 0.02 + rng.normal(0, 0.01, size=80)
    found = paired(hard.tolist(), better.tolist())
    assert found.difference.high is not None
    assert found.difference.high < 0
    assert found.p < 1e-6
    alone = interval(better.tolist())
    assert alone.high is not None
    assert alone.high > hard.mean()


def test_equal_runs_do_not_differ() -> None:
    found = paired([0.1, 0.2, 0.0], [0.1, 0.2, 0.0])
    assert (found.difference.mean, found.p, found.relative) == (0.0, 1.0, 0.0)
    assert paired([0.0, 0.0], [0.1, 0.1]).relative is None
    assert math.isclose(paired([1.0, 1.0, 2.0], [0.5, 0.5, 1.0]).relative or 0, -0.5)
