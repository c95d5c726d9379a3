"""How many threads a piece of work is worth."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

WORTH_SPLITTING = 1_024
"""Width of a decoder from which its steps are divided among threads. A step of nano (320) takes
the same time on one thread and on two, and ten times as long on two when another program runs."""


@contextmanager
def at_most(threads: int) -> Generator[None]:
    """Let torch use at most so many threads for what this thread of Python does inside."""
    before = torch.get_num_threads()
    if before <= threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def steady() -> AbstractContextManager[None]:
    """One thread for products of torch's own while speaking; training takes what it is given.

    On some processors their sums round by how many threads share them. A listener would hear
    nothing, but the same text would not be the same samples. Packed layers (`nn.packed`) have given
    the same bits on one thread and on two.
    """
    return nullcontext() if torch.is_grad_enabled() else at_most(1)


def for_decoder(width: int) -> int:
    """Threads for the steps of a decoder of this width."""
    return torch.get_num_threads() if width >= WORTH_SPLITTING else 1
