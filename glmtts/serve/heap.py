"""Free memory goes back to the system while texts are spoken.

Sentences differ in length, so tensors of ever other sizes come and go; the C library keeps what
lies free between those that stay, and a server that speaks for hours seems to grow. On glibc
`malloc_trim` gives free pages back (16 to 32 ms); elsewhere nothing is done.
"""

import ctypes
import threading
import time
from collections.abc import Callable

EVERY_S = 15.0
"""Between two clearings."""


class Heap:
    """Clears the heap now and then; any thread may ask for it."""

    def __init__(self, every_s: float = EVERY_S, trim: Callable[[int], int] | None = None) -> None:
        """Clear at most once in `every_s` seconds, by `trim` (default: the C library's)."""
        self._every_s, self._trim = every_s, trim or _trimmer()
        self._lock, self._last = threading.Lock(), time.monotonic()

    def tidy(self) -> None:
        """Clear, unless that was done a moment ago or another thread is at it."""
        if self._trim is None or time.monotonic() < self._last + self._every_s:
            return
        if self._lock.acquire(blocking=False):
            try:
                self._trim(0)
                self._last = time.monotonic()
            finally:
                self._lock.release()


def _trimmer() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; Windows has no CDLL(None)
        return None
