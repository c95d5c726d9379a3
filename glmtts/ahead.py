"""An iterator that works ahead in a thread of its own, a bounded number of items."""

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

from glmtts.wanted import is_wanted, until

T = TypeVar("T")

POLL_SECONDS = 0.05
"""How soon a closed iterator's thread notices that nobody waits any more."""


class _Failure:
    """What the thread ended with: an exception, or None at the end."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterate over what `make` yields, made in the background.

    Used as a context manager: leaving it stops the thread at its next question whether the work is
    wanted (`glmtts.wanted` knows too), and waits for it. What the thread raises is raised here, in
    place of the item that is missing. The thread runs in a copy of the context it is made in.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], bool]], Iterator[T]],
        depth: int,
        *,
        patient: bool = True,
    ) -> None:
        """Start.

        Args:
            make: Given a function that tells whether the work is still wanted (False: stop),
                returns the iterator. It runs in the thread, all of it.
            depth: Items made before they are asked for.
            patient: Leaving waits for the thread. False for an iterator that may block for ever
                (such as text that somebody types); its thread ends when it next yields.
        """
        self._queue: Queue[T | _Failure] = Queue(depth)
        self._stopped = threading.Event()
        self._patient = patient
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, make), daemon=True
        )
        self._thread.start()

    def _run(self, make: Callable[[Callable[[], bool]], Iterator[T]]) -> None:
        error: BaseException | None = None
        try:
            with until(lambda: not self._stopped.is_set()):
                for item in make(is_wanted):
                    if not self._put(item):
                        return
        except BaseException as raised:
            error = raised
        try:
            self._put(_Failure(error))
        finally:
            del error  # it holds this frame, which would hold it until a garbage collection

    def _put(self, item: "T | _Failure") -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        """The items in their order."""
        return self.until(None)

    def until(self, wanted: Callable[[], bool] | None) -> Iterator[T]:
        """The items in their order; the end also comes when `wanted()` has become false."""
        while True:
            try:
                item = self._queue.get(timeout=POLL_SECONDS if wanted else None)
            except Empty:
                if wanted and not wanted():
                    return
                continue
            if not isinstance(item, _Failure):
                yield item
            elif item.error is not None:
                try:
                    raise item.error
                finally:
                    del item  # as in `_run`
            else:
                return

    @property
    def working(self) -> bool:
        """Whether the thread still makes items."""
        return self._thread.is_alive()

    def __enter__(self) -> "Ahead[T]":
        """Nothing but self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and wait for it."""
        self._stopped.set()
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            pass
        if self._patient:
            self._thread.join()
