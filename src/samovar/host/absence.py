"""A service that is gone without a word: how long its clients wait for it, and how they look for it.

Looking at a Unix socket takes no time. Another host may not answer for seconds, so there a thread looks.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from samovar.endpoint import Remote
from samovar.errors import InitializationError

PATIENCE = 60.0
"""Seconds within which a service that was killed is started again, as a rule."""

LOOK = 0.2  # seconds


class Way(Protocol):
    """A connection to a service."""

    socket: socket.socket

    def close(self) -> None:
        """When ``socket`` is closed: let what was written there go out."""
        ...


class _Path:
    """A Unix socket of this host."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        return None


def reach(where: str | Remote) -> Way:
    """OSError: nobody listens at the Unix socket. InitializationError: why another host cannot be reached."""
    if not isinstance(where, Remote):
        return _Path(where)
    from samovar.host.tunnel import Tunnel  # only here: on one host there is no TLS

    return Tunnel(where)


class Absence:
    def __init__(self, where: str | Remote, patience: float, clock: Callable[[], float]) -> None:
        self._where = where
        self._clock = clock
        self._end = clock() + patience
        self._next = 0.0
        self._looking: Future[Way] | None = None

    @property
    def is_over(self) -> bool:
        """It has lasted for too long."""
        return self._clock() >= self._end

    def look(self) -> Way | None:
        """A way to the service that is back; None: not yet."""
        with contextlib.suppress(OSError, InitializationError):
            if self._looking is not None:
                return self._seen(self._looking)
            now = self._clock()
            if now >= self._next:
                self._next = now + LOOK
                if not isinstance(self._where, Remote):
                    return reach(self._where)
                self._looking = Future()
                threading.Thread(target=self._dial, args=(self._looking,), name="samovar-dial", daemon=True).start()
        return None

    def end(self) -> None:
        """Nobody looks any more."""
        if self._looking is not None:
            self._looking.add_done_callback(_hang_up)

    def _seen(self, looking: Future[Way]) -> Way | None:
        if not looking.done():
            return None
        self._looking = None
        return looking.result()

    def _dial(self, found: Future[Way]) -> None:
        try:
            found.set_result(reach(self._where))
        except BaseException as error:
            found.set_exception(error)


def _hang_up(found: Future[Way]) -> None:
    if found.exception() is None:
        found.result().socket.close()
