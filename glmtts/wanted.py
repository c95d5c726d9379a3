"""Whether work in progress is still wanted, known wherever the work happens.

A caller says `with until(wanted): ...`; long loops far below ask `check_wanted()` at each step, so
that cancelling frees a processor within one step, and no layer between has to pass anything on.
What is asked belongs to the context (`contextvars`): a thread started in a copy of it obeys too.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from glmtts.errors import Cancelled


def _always() -> bool:
    return True


_wanted: ContextVar[Callable[[], bool]] = ContextVar("glmtts_wanted", default=_always)


@contextmanager
def until(wanted: Callable[[], bool]) -> Generator[None]:
    """Within the block, work goes on while `wanted()` (and what was asked outside) is true."""
    outer = _wanted.get()
    token = _wanted.set(lambda: wanted() and outer())
    try:
        yield
    finally:
        _wanted.reset(token)


def is_wanted() -> bool:
    """Whether somebody still waits for the work of this context."""
    return _wanted.get()()


def check_wanted() -> None:
    """Go on only if somebody waits.

    Raises:
        Cancelled: nobody does.
    """
    if not is_wanted():
        raise Cancelled("Nobody waits for this speech any more.")
