"""Speech that ran away: loops and long silences in a stream of speech tokens, seen as they come."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Finish = Literal["stop", "length", "repetition", "silence"]
"""How a generation ended: by the end id, at its longest, in a loop, in a long silence."""


@dataclass(frozen=True)
class Guard:
    """When a stream of speech tokens counts as run away. Lengths are tokens, 25 a second.

    Attributes:
        same: Longest run of one token that is not silence.
        pattern: Longest stretch that only repeats the tokens one period earlier.
        periods: Longest period looked for.
        silence: Longest run of silence tokens.
    """

    same: int = 12
    pattern: int = 38
    periods: int = 40
    silence: int = 30


class RunawayGuard:
    """Watches tokens as they come; the caller holds one a stream."""

    def __init__(self, silence_ids: Sequence[int] = (), guard: Guard = Guard()) -> None:
        """`silence_ids` are the tokens that mean silence.

        Without them a run of any token may be a pause, and is allowed the length of one.
        """
        self.silence_ids = frozenset(silence_ids)
        self.guard = guard if silence_ids else replace(guard, same=max(guard.same, guard.silence))
        self.quiet = 0
        self.past: list[int] = []
        self.runs = [0] * guard.periods

    def push(self, token: int) -> Finish | None:
        """Take the next token; what is wrong with the stream, or None."""
        if token in self.silence_ids:  # a pause is no loop, however regular
            self.quiet += 1
            self.past.clear()
            self.runs = [0] * self.guard.periods
            return "silence" if self.quiet > self.guard.silence else None
        self.quiet = 0
        past = self.past
        for period in range(1, self.guard.periods + 1):
            same = period <= len(past) and past[-period] == token
            self.runs[period - 1] = self.runs[period - 1] + 1 if same else 0
        past.append(token)
        if self.runs[0] >= self.guard.same or max(self.runs) >= self.guard.pattern:
            return "repetition"
        return None

    def follow(self, other: "RunawayGuard") -> None:
        """Have seen what another guard has seen."""
        self.quiet, self.past, self.runs = other.quiet, list(other.past), list(other.runs)

    def tail(self) -> int:
        """Tokens at the end of the stream that are only the loop or the silence."""
        return self.quiet if self.quiet else max(self.runs)
