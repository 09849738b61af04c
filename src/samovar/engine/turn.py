"""The turn: whoever holds it may touch the engine, and nobody else may.

Any thread takes it, also the main thread of a script, where Python runs the handlers of signals between any two
instructions. A handler that raised inside the engine would tear its state, so while the main thread has the turn
signals are kept, and handled when it ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_here = threading.get_ident
_KEPT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Turn:
    """A lock as a context manager; what is put into ``after`` meanwhile is called when it has been released."""

    def __init__(self) -> None:
        self.after: list[Callable[[], None]] = []
        lock = threading.Lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._main = threading.main_thread().ident
        self._keeping = False
        self._kept: list[tuple[Callable[[int, FrameType | None], Any], int, FrameType | None]] = []
        self._handlers: dict[int, _Keeper] = {}

    def __enter__(self) -> None:
        if _here() == self._main:
            self._keeping = True
        self._acquire()

    def __exit__(self, error: object, value: object, trace: object) -> None:
        after = self.after
        if after:
            self.after = []
        self._release()
        if self._keeping and _here() == self._main:
            self._keeping = False
            if self._kept:
                try:
                    self._handle_kept()
                finally:
                    for call in after:
                        call()
                return
        for call in after:
            call()

    def keep_signals(self) -> None:
        """Stand before the handlers that are installed now; for the main thread, others do nothing."""
        if threading.get_ident() != self._main:
            return
        for number in _KEPT:
            handler = signal.getsignal(number)
            if handler is not self._handlers.get(number) and callable(handler):
                keeper = self._handlers[number] = _Keeper(self, handler)
                signal.signal(number, keeper)

    def release_signals(self) -> None:
        """Give the handlers back, where nobody else has come between."""
        if threading.get_ident() != self._main:
            return
        for number, keeper in self._handlers.items():
            installed: object = signal.getsignal(number)
            if installed is keeper:
                signal.signal(number, keeper.handler)
        self._handlers.clear()

    def _handle_kept(self) -> None:
        kept, self._kept = self._kept, []
        for handler, number, frame in kept:
            handler(number, frame)


class _Keeper:
    """Stands before the handler of a signal."""

    def __init__(self, turn: Turn, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self._turn = turn

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._turn._keeping:
            self._turn._kept.append((self.handler, number, frame))
        else:
            self.handler(number, frame)
