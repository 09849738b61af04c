"""A network that is cut ends no connection: nothing comes any more, and that is all. ``pump`` asks here how long ago.

The system answers for its programs, also for one that is stopped: what is sent is acknowledged, and where nothing is
sent it is asked for a sign of life. So from a host that is there something comes every few seconds, and what comes is
known to the system of this one. A program that is held up therefore takes nobody for gone.

TCP_USER_TIMEOUT would not do. It counts from what was sent first, so where something is sent late a cut is seen after
twice its time; and it gives up whoever takes nothing for a while, though their host says that it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

SECONDS = 8.0
"""Without a sign of life from the other host, after which it is gone.

Whoever takes nothing of what waits for it is asked more and more rarely, so there is more than this between two answers
after some 20 seconds: it is gone as well, and may come back.
"""

FIRST, NEXT, ASKED = 2, 2, 4
"""Seconds of silence until the system asks, and between two questions; after so many it ends the connection itself."""

_LATER = 0.05  # seconds; the system's clock has ticks

_PASSED = struct.Struct("=52x2I")
"""Of Linux's ``struct tcp_info``: milliseconds since data came, and since an acknowledgement did."""


def ask_for_life(sock: socket.socket) -> None:
    """Of a TCP connection, when it is made."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, FIRST)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, NEXT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASKED)


def lasting(sock: socket.socket) -> float:
    """For how many seconds nothing has come. OSError: it is closed."""
    passed: tuple[int, int] = _PASSED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _PASSED.size))
    return min(passed) / 1000


async def fallen(sock: socket.socket) -> None:
    """Return when the other host has been silent for too long, and never where the connection ends in another way."""
    with contextlib.suppress(OSError):
        while (left := SECONDS - lasting(sock)) > 0:
            await asyncio.sleep(left + _LATER)
        return
    await asyncio.get_running_loop().create_future()
