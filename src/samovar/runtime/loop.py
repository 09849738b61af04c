"""The event loop of a replica: asyncio's own, with the engine's socket read where the loop waits.

A frame is handled inside ``select``, so the task that it starts runs in the same turn of the loop; and what a turn
writes leaves in one write just before the loop waits again. An execution costs one turn instead of three.
"""

from __future__ import annotations

import contextlib
import select
import selectors
from collections.abc import Callable
from time import monotonic

Events = list[tuple[selectors.SelectorKey, int]]


class LinkSelector(selectors.EpollSelector):
    """``readable`` is called when the socket can be read, ``before_wait`` ahead of every wait."""

    def __init__(self, fd: int, readable: Callable[[], None], before_wait: Callable[[], None]) -> None:
        super().__init__()
        self._link = fd
        self._readable = readable
        self._before_wait = before_wait
        self.turn_began = 0.0
        """Since when the loop has not waited, by the monotonic clock; 0.0 while it does. Another thread may read it."""
        self._both = select.epoll()  # the socket, and all that the loop itself waits for
        self._both.register(fd, select.EPOLLIN)
        self._both.register(self.fileno(), select.EPOLLIN)

    def attach(self, fd: int) -> None:
        """From here on this is the socket. Any thread may say so, also while the loop waits."""
        self._link = fd
        self._both.register(fd, select.EPOLLIN)

    def detach(self) -> None:
        """From here on there is none: one that has ended would wake the loop for ever."""
        with contextlib.suppress(OSError):  # it was done before
            self._both.unregister(self._link)

    def select(self, timeout: float | None = None) -> Events:
        self._before_wait()
        events: Events = []
        self.turn_began = 0.0
        ready = self._both.poll(-1 if timeout is None else max(timeout, 0), 2)
        self.turn_began = monotonic()
        for fd, _ in ready:
            if fd == self._link:
                self._readable()
            else:
                events = super().select(0)
        return events

    def close(self) -> None:
        self._both.close()
        super().close()
