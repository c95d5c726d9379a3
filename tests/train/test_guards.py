"""Quantities that drift beyond their margins are noticed, odd steps are not."""

from glmtts.train.guards import Guards, Limits


def fed(limits: Limits, **values: list[float]) -> tuple[Guards, list[str | None]]:
    guards = Guards(limits)
    steps = zip(*values.values(), strict=True)
    return guards, [guards.check(dict(zip(values, step, strict=True))) for step in steps]


LIMITS = Limits(
    length=0.2, entropy=0.5, mos=0.2, sim=0.05, kl=1.0, first=2, window=3, watch_window=3
)


def test_longer_and_longer_is_noticed():
    _, seen = fed(LIMITS, length=[2.0, 2.2, 2.1, 2.2, 2.5, 2.8, 3.0])
    assert seen[:5] == [None] * 5
    assert seen[6] == "length went from 2.1 to 2.77, the margin is 20% of it"


def test_shorter_is_noticed_too():
    _, seen = fed(LIMITS, length=[2.0, 2.0, 1.0, 1.0, 1.0])
    assert seen[-1]


def test_one_odd_step_is_no_drift():
    _, seen = fed(LIMITS, length=[2.0, 2.0, 2.0, 3.0, 2.0, 2.0, 1.0, 2.0])
    assert not any(seen)


def test_a_quality_may_rise_and_must_not_fall():
    _, seen = fed(LIMITS, watched_mos=[4.0, 4.0, 4.9, 4.9, 4.9])
    assert not any(seen)
    _, seen = fed(LIMITS, watched_mos=[4.0, 4.0, 3.7, 3.7, 3.7])
    assert seen[-1] == "mos went from 4 to 3.7, the margin is 0.2"
    _, seen = fed(LIMITS, watched_sim=[0.9, 0.9, 0.8, 0.8, 0.8])
    assert seen[-1]


def test_entropy_must_not_collapse_and_kl_not_grow():
    _, seen = fed(LIMITS, entropy=[2.0, 2.0, 5.0, 5.0, 5.0, 0.9, 0.9, 0.9])
    assert not any(seen[:7])
    assert seen[-1]
    _, seen = fed(LIMITS, kl=[0.0, 0.0, 0.9, 0.9, 0.9, 2.0, 2.0])
    assert not any(seen[:5])
    assert seen[-1]


def test_a_margin_of_nothing_is_no_margin():
    _, seen = fed(Limits(length=0.0, first=1, window=1), length=[1.0, 9.0, 9.0], loss=[1.0] * 3)
    assert not any(seen)


def test_steady_means_well_within():
    guards, _ = fed(LIMITS, length=[2.0, 2.0, 2.1, 2.1])
    assert guards.steady
    guards, _ = fed(LIMITS, length=[2.0, 2.0, 2.3, 2.3])
    assert not guards.steady
    guards.forget_recent()
    assert guards.steady


def test_what_was_seen_outlives_a_restart():
    values = [2.0, 2.0, 2.2, 2.4, 2.8]
    through, seen = fed(LIMITS, length=values)
    guards, _ = fed(LIMITS, length=values[:3])
    resumed = Guards(LIMITS)
    resumed.load_state_dict(guards.state_dict())
    assert [resumed.check({"length": v}) for v in values[3:]] == seen[3:]
    assert resumed.state_dict() == through.state_dict()
