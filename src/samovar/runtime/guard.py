"""The guard: a thread that sees the end of the engine, also while a task blocks the event loop.

A replica ends with its engine, and all that it has started. Where the engine has said that another may follow it, the
replica looks for that one first, at the same address, and tells it what it holds (``estate``).
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from typing import Any

from samovar.errors import ProtocolError
from samovar.runtime.link import Link, die
from samovar.wire import frames
from samovar.wire.session import replica_session

_PAUSE = 0.05  # seconds between two looks for the next engine
_ANSWER = 10.0  # seconds in which it says welcome
_READ = 64 * 1024


def watch(link: Link, address: str) -> None:
    """``address``: where engines listen, one after another."""
    while True:
        poll = select.poll()
        poll.register(link.socket, select.POLLHUP | select.POLLERR)
        poll.poll()
        if not link.outlive:
            die()
        link.part()
        _find_next(link, address)


def _find_next(link: Link, address: str) -> None:
    end = time.monotonic() + link.outlive
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ProtocolError):
            if _join(link, address):
                return
        time.sleep(_PAUSE)
    die()


def _join(link: Link, address: str) -> bool:
    """False, or OSError: not now."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_ANSWER)
        sock.connect(address)
        session = replica_session()
        sock.sendall(session.send(link.estate_told()))
        batch: list[Any] = []
        while not batch:
            data = sock.recv(_READ)
            if not data:
                sock.close()
                return False
            batch = session.receive(data)
    except BaseException:
        sock.close()
        raise
    if isinstance(batch[0], frames.Refuse):
        print(f"samovar: the next engine refused this replica: {batch[0].reason}", file=sys.__stderr__, flush=True)
        die()
    sock.setblocking(False)
    link.take(sock, session, batch)
    return True
