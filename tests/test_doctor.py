"""The doctor's own instruments."""

import time
from collections.abc import Iterator

import pytest

from glmtts.doctor import Clock, Report, installed


class Worker:
    def work(self) -> int:
        time.sleep(0.02)
        return 7

    def count(self) -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    def both(self) -> int:
        time.sleep(0.02)
        return self.work()

    def open(self) -> "Worker":
        return Worker()

    def push(self) -> int:
        return self.work()


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda w: w.work() == 7, 0.02),
        (lambda w: list(w.count()) == [0, 1, 2], 0.06),
        (lambda w: w.both() == 7, 0.04),
        (lambda w: w.open().push() == 7, 0.02),
    ],
)
def test_a_clock_counts_work_once_and_changes_no_result(use, expected: float) -> None:
    worker, clock = Worker(), Clock()
    for method in ("work", "count", "both", "open", "no such method"):
        clock.watch(worker, method)
    assert use(worker)
    assert expected <= clock.seconds < expected + 0.5


def test_time_between_the_items_of_a_stream_is_not_work() -> None:
    worker, clock = Worker(), Clock()
    clock.watch(worker, "count")
    numbers = worker.count()
    next(numbers)
    time.sleep(0.3)
    assert clock.seconds < 0.3


def test_a_timed_iterator_keeps_its_other_attributes() -> None:
    class Countdown(Iterator[int]):
        finish_reason = "stop"

        def __next__(self) -> int:
            raise StopIteration

    worker, clock = Worker(), Clock()
    worker.work = Countdown  # type: ignore[method-assign, assignment]
    clock.watch(worker, "work")
    countdown = worker.work()
    assert list(countdown) == []  # type: ignore[call-overload]
    assert countdown.finish_reason == "stop"  # type: ignore[attr-defined]


def test_installed_knows_dependencies_and_extras() -> None:
    versions, extras = installed()
    assert versions["glmtts"] is not None
    assert versions["torch"] is not None
    assert "pytest" not in extras["dev"]
    assert {"play", "serve", "train", "eval"} <= extras.keys()


def test_the_page_says_what_to_install() -> None:
    report = Report(
        {"python": "3.11", "torch": None}, {"play": ["sounddevice"], "train": []},
        "cpu", "float32", 2, 1.0, {"text": 0.1}, 0.5, 2.0, None,
    )  # fmt: skip
    page = report.to_text()
    assert "torch            not installed" in page
    assert "pip install 'glmtts[play]'" in page
    assert "0.25 s per second" in page
    assert report.to_dict()["real_time_factor"] == 0.25
