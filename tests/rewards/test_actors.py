"""The same promises with Ray: pytest -m slow (extra ray)."""

from functools import partial
from pathlib import Path

import pytest

from glmtts.errors import BadInput, MissingExtra
from glmtts.judges.base import Failed, Score
from glmtts.rewards.actors import RayPool
from tests.judging import Impossible, Letters, sample


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"\(ray\).*glmtts\[ray\]"):
        RayPool(Letters)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_actor_that_dies_loses_no_sample(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        make = partial(Letters, tmp_path / "once")
        with RayPool(make, workers=2, batch_size=2, timeout_s=30.0, retries=1) as pool:
            texts = ["a", "ab", "die once", "abc", "die", "fail", "abcd"]
            verdicts = pool([sample(text) for text in texts])
            found = [v.value if isinstance(v, Score) else None for v in verdicts]
            assert found == [1, 2, 8, 3, None, None, 4]
            assert isinstance(verdicts[4], Failed)
            assert "lost 2 times" in verdicts[4].reason
            assert isinstance(verdicts[5], Failed)
            assert "nothing to count" in verdicts[5].reason
            assert (pool.name, pool.lost) == ("letters", 3)
        with pytest.raises(BadInput, match="the weights are missing"):
            RayPool(Impossible, workers=1)  # type: ignore[arg-type]
    finally:
        ray.shutdown()
