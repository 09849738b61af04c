"""Virtual time: what is to happen, in order. What falls on one moment happens in the order in which it was said."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    __slots__ = ("_count", "_heap", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, act, arguments))

    def at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, act, arguments))

    def step(self) -> None:
        """On to the next thing. There must be one."""
        self.now, _, act, arguments = heapq.heappop(self._heap)
        act(*arguments)
