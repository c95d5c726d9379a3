"""Judging in worker processes: nothing is lost, whatever happens to them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from glmtts.errors import BadInput
from glmtts.judges.base import Failed, Score, Verdict
from glmtts.rewards.pool import WorkerLost, WorkerPool
from tests.judging import Dies, Impossible, Letters, sample


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    once = tmp_path_factory.mktemp("once") / "died"
    make = partial(Letters, once)
    with WorkerPool(make, workers=2, batch_size=3, timeout_s=3.0, retries=1) as made:
        yield made


def values(verdicts: list[Verdict]) -> list[float | None]:
    return [v.value if isinstance(v, Score) else None for v in verdicts]


def test_many_samples_are_judged_in_order_by_several_processes(pool: WorkerPool) -> None:
    texts = ["wait", "wait", *("x" * n for n in range(1, 12))]
    verdicts = pool([sample(text) for text in texts])
    assert values(verdicts) == [len(text) for text in texts]
    assert len({v.detail["process"] for v in verdicts if isinstance(v, Score)}) == 2
    assert (pool.name, pool.version, pool([])) == ("letters", "1", [])


def test_a_judge_that_fails_in_a_worker_says_why(pool: WorkerPool) -> None:
    verdicts = pool([sample("one"), sample("fail"), sample("three")])
    assert values(verdicts) == [3, None, 5]
    assert isinstance(verdicts[1], Failed)
    assert "nothing to count" in verdicts[1].reason


def test_a_worker_killed_mid_batch_loses_no_sample(pool: WorkerPool) -> None:
    killed = list[int]()

    def kill() -> None:
        time.sleep(0.7)
        killed.append(pool.processes[0])
        os.kill(killed[0], signal.SIGKILL)

    lost = pool.lost
    thread = threading.Thread(target=kill)
    thread.start()
    verdicts = pool([sample("wait") for _ in range(8)])
    thread.join()
    assert values(verdicts) == [4.0] * 8
    assert pool.lost == lost + 1
    assert killed[0] not in pool.processes


def test_a_sample_that_kills_its_worker_once_is_tried_again(pool: WorkerPool) -> None:
    verdicts = pool([sample("a"), sample("die once"), sample("abc")])
    assert values(verdicts) == [1, 8, 3]


def test_a_sample_that_always_kills_its_worker_fails_alone(pool: WorkerPool) -> None:
    verdicts = pool([sample("a"), sample("die"), sample("abc"), sample("abcd")])
    assert values(verdicts) == [1, None, 3, 4]
    assert isinstance(verdicts[1], Failed)
    assert "lost 2 times" in verdicts[1].reason
    assert "signal 9" in verdicts[1].reason


def test_a_worker_that_hangs_is_replaced(pool: WorkerPool) -> None:
    verdicts = pool([sample("hang"), sample("ab")])
    assert values(verdicts) == [None, 2]
    assert isinstance(verdicts[0], Failed)
    assert "more than 3 s" in verdicts[0].reason
    assert values(pool([sample("abc")])) == [3]


def test_a_judge_that_cannot_be_made_is_an_error_at_once() -> None:
    with pytest.raises(BadInput, match="the weights are missing"):
        WorkerPool(Impossible, workers=1)  # type: ignore[arg-type]
    with pytest.raises(WorkerLost, match="before they are ready"):
        WorkerPool(Dies, workers=1, retries=0)  # type: ignore[arg-type]
