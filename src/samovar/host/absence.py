"""A service that is gone without a word: how long its clients wait for it, and when they look for it."""

from __future__ import annotations

from collections.abc import Callable

PATIENCE = 60.0
"""Seconds within which a service that was killed is started again, as a rule."""

LOOK = 0.2  # seconds


class Absence:
    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + patience
        self._next = 0.0

    @property
    def is_over(self) -> bool:
        """It has lasted for too long."""
        return self._clock() >= self._end

    def is_time_to_look(self) -> bool:
        """True once in a while."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + LOOK
        return True
