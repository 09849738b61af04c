"""Receipts: replicas are told which of their outcomes are written down, so that they need not keep them.

Once a tick, one small frame for each replica that has something coming: nothing is counted but how many outcomes a
connection has brought, and how many entries the scribe has written. Entries are committed in their order, so when all
that was written by some moment is committed, all that had come by that moment is settled for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.links import Link
    from samovar.engine.scribe import Scribe


class Receipts:
    def __init__(self, scribe: Scribe, send: Callable[[Link, Any], None]) -> None:
        self._scribe = scribe
        self._send = send
        self._marks: deque[tuple[int, list[tuple[Link, int]]]] = deque()
        """Entries that were written by a moment, and what had come by then since the moment before."""

    def issue(self, links: Iterable[Link]) -> None:
        came = []
        for link in links:
            taken_in = min(link.apart) - 1 if link.apart else link.outcomes
            if taken_in > link.receipted:
                came.append((link, taken_in - link.receipted))
                link.receipted = taken_in
        if came:
            self._marks.append((self._scribe.written, came))
        if not self._marks:
            return
        committed = self._scribe.committed
        while self._marks and self._marks[0][0] <= committed:
            for link, outcomes in self._marks.popleft()[1]:
                if link.is_open:
                    self._send(link, frames.Committed(outcomes))
