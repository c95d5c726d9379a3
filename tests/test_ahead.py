"""Work ahead in a thread: the same items, errors in their place, and an end when it is closed."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from glmtts.ahead import Ahead


def counting(
    upto: int, fail_at: int | None = None
) -> Callable[[Callable[[], bool]], Iterator[int]]:
    def make(_: Callable[[], bool]) -> Iterator[int]:
        for number in range(upto):
            if number == fail_at:
                raise ValueError("no more numbers")
            yield number

    return make


def test_items_come_in_order_and_the_thread_ends() -> None:
    with Ahead(counting(100), depth=3) as ahead:
        assert list(ahead) == list(range(100))
    assert not ahead.working


def test_an_error_is_raised_where_the_item_would_have_come() -> None:
    with Ahead(counting(9, fail_at=4), depth=1) as ahead:
        items = iter(ahead)
        assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="no more"):
            next(items)


def test_an_error_that_was_told_holds_nothing() -> None:
    class Heavy:
        pass

    held: list[weakref.ref[Heavy]] = []

    def make(_: Callable[[], bool]) -> Iterator[int]:
        heavy = Heavy()
        held.append(weakref.ref(heavy))
        yield 1
        raise ValueError(f"no more of {heavy}")

    def read() -> str:
        try:
            with Ahead(make, depth=1) as ahead:
                for _ in ahead:
                    pass
        except ValueError as error:
            return str(error)
        return ""

    gc.disable()
    try:
        assert "no more of" in read()
        assert held[0]() is None
    finally:
        gc.enable()


def test_items_are_made_before_they_are_asked_for_but_not_without_bound() -> None:
    made: list[int] = []

    def make(_: Callable[[], bool]) -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with Ahead(make, depth=2) as ahead:
        deadline = time.monotonic() + 5.0
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert made == [0, 1, 2]  # two wait in the queue, the third for room
        assert next(iter(ahead)) == 0


def test_closing_stops_work_that_looks_whether_it_is_wanted() -> None:
    ended = threading.Event()

    def make(wanted: Callable[[], bool]) -> Iterator[int]:
        try:
            yield 0
            while wanted():
                time.sleep(0.001)
        finally:
            ended.set()

    with Ahead(make, depth=1) as ahead:
        assert next(iter(ahead)) == 0
    assert ended.wait(1.0)
    assert not ahead.working
