"""Times at which an action or an execution is to be looked at.

Most are for something that ends long before, and are found dead when their time comes. So that a day's deadline does
not keep a million of them for a day, ``trim`` takes the dead out as soon as they may be the larger half, which costs
O(1) for each that was added.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

_FEW = 64  # not worth a look


class Timers:
    """``is_live``: whether the time of this action or execution, for this reason, still matters."""

    def __init__(self, is_live: Callable[[int, str], bool]) -> None:
        self._is_live = is_live
        self._heap: list[tuple[float, int, str]] = []  # (when, action or epoch, why)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, number: int, why: str) -> None:
        heapq.heappush(self._heap, (when, number, why))

    def due(self, now: float) -> Iterator[tuple[int, str]]:
        while self._heap and self._heap[0][0] <= now:
            _, number, why = heapq.heappop(self._heap)
            yield number, why

    def trim(self, live: int) -> None:
        """``live``: how many at most can matter."""
        if len(self._heap) > 2 * live + _FEW:
            self._heap = [timer for timer in self._heap if self._is_live(timer[1], timer[2])]
            heapq.heapify(self._heap)
