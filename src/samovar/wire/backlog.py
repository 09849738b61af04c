"""What the engine had no room for (``frames.SlowDown``), until it is said again: kept by whoever said it.

A replica keeps calls of its executions, a client its starts. An answer to somebody makes room for one more of theirs,
so that work goes on at the pace at which it is done. When time is due a few are tried that nobody's answer calls for:
one at first, and twice as many each time, until one is refused. So a million of them never knock at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """``who``: a number of whoever said it. Times are seconds by any clock that does not go back."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, deque[T]] = OrderedDict()  # by who; who has its turn next comes first
        self._length = 0
        self._due = 0.0
        self._seconds = 0.0
        self._at_once = 1

    def __len__(self) -> int:
        return self._length

    def refused(self, who: int, said: T, retry_after: float, now: float) -> None:
        self._waiting.setdefault(who, deque()).append(said)
        self._length += 1
        self._seconds = retry_after
        self._due = now + retry_after
        self._at_once = 1

    def seconds(self, now: float) -> float:
        """Until some are due."""
        return max(0.0, self._due - now)

    def due(self, now: float) -> list[T]:
        """What is to be said again at this time; everybody has a turn."""
        if now < self._due or not self._length:
            return []
        count = min(self._at_once, self._length)
        self._at_once = 2 * count
        self._due = now + self._seconds
        taken: list[T] = []
        for _ in range(count):
            who = next(iter(self._waiting))
            self._waiting.move_to_end(who)
            taken += self.answered(who)
        return taken

    def answered(self, who: int) -> list[T]:
        """The next of what ``who`` said, if there is any: something else of theirs has been answered."""
        waiting = self._waiting.get(who)
        if waiting is None:
            return []
        said = waiting.popleft()
        if not waiting:
            del self._waiting[who]
        self._length -= 1
        return [said]
