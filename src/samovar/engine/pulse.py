"""The pulse: a sign of life of replicas that do not beat, but work.

A replica beats from a thread of its own. C code that holds the interpreter lock keeps that thread from running, for
minutes if need be, and uses the processor meanwhile; a process that is stopped, hung or frozen uses none. So the lease
can be short: whoever computes is alive, and how long that may take is for the timeouts of tasks to say. A replica and
its engine are always on one machine, where a connection cannot be cut without an end that both see.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samovar.engine.links import Link

LOOK = 0.25  # seconds between two looks
SILENT = 1.25  # seconds without a beat after which it is looked at

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class Pulse:
    """``heard`` is told of each replica that works, ``used`` gives what a process has used of the processor."""

    def __init__(
        self,
        heard: Callable[[Link], None],
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[int], int] | None = None,
    ) -> None:
        self._heard = heard
        self._clock = clock
        self._used = used or ticks_used
        self._next = 0.0

    def take(self, links: Iterable[Link]) -> None:
        """Called with every tick."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + LOOK
        for link in links:
            if now - link.heard_at < SILENT:
                link.used = -1
                continue
            before, link.used = link.used, self._used(process_of(link.socket))
            if 0 <= before < link.used:
                self._heard(link)


def process_of(sock: socket.socket) -> int:
    """Who has connected, by the number that it has here, also from within a container; 0: that cannot be seen."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return 0
    pid: int = _CREDENTIALS.unpack(data)[0]
    return pid


def ticks_used(pid: int) -> int:
    """Of the processor's time, by all threads; 0 where that cannot be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
