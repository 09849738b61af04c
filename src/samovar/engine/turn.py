"""The turn: whoever holds it may touch the engine, and nobody else may.

Any thread takes it, also the main thread of a script, where Python runs the handlers of signals between any two
instructions. A handler that raised inside the engine would tear its state, so while the main thread has the turn
signals are kept, and handled when it ends. Scripts and libraries change handlers at any time, so each turn looks
which there are.
"""

from __future__ import annotations

import signal
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # what signal has makes an enum of it, for 1 to 5 µs
from collections.abc import Callable
from types import FrameType
from typing import Any

_here = threading.get_ident
_KEPT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_INT, _TERM, _HUP, _ALRM = _KEPT


class Turn:
    """A lock as a context manager; what is put into ``after`` meanwhile is called when it has been released."""

    def __init__(self) -> None:
        self.after: list[Callable[[], None]] = []
        self.on_raise: Callable[[], None] = lambda: None
        """In the main thread and outside of a turn, before what a handler has raised goes through whatever that thread
        is about: not even its ``finally`` is sure to be carried out, as another signal may come at its beginning."""
        lock = threading.Lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._main = threading.main_thread().ident
        self._keeping = False
        self._kept: list[tuple[_Keeper, int, FrameType | None]] = []
        self._handlers: tuple[object, ...] = ()  # that each turn of the main thread expects, in the order of _KEPT

    def __enter__(self) -> None:
        if _here() == self._main:
            if (getsignal(_INT), getsignal(_TERM), getsignal(_HUP), getsignal(_ALRM)) != self._handlers:
                self._stand_before()
            self._keeping = True
        self._acquire()

    def __exit__(self, error: object, value: object, trace: object) -> None:
        after = self.after
        if after:
            self.after = []
        self._release()
        try:
            for call in after:
                call()
        finally:
            if self._keeping and _here() == self._main:
                self._keeping = False
                while self._kept:  # whatever one raises, the others are handled after the next turn
                    keeper, number, frame = self._kept.pop(0)
                    keeper(number, frame)

    def _stand_before(self) -> None:
        """The handlers that are installed now."""
        for number in _KEPT:
            handler = getsignal(number)
            if callable(handler) and not _is_kept(handler, self):
                signal.signal(number, _Keeper(self, handler))
        self._handlers = tuple(map(getsignal, _KEPT))

    def release_signals(self) -> None:
        """Give the handlers back, where nobody else has come between. Other threads do nothing."""
        if _here() != self._main:
            return
        for number in _KEPT:
            installed = getsignal(number)
            if isinstance(installed, _Keeper) and installed.turn is self:
                signal.signal(number, installed.handler)


class _Keeper:
    """Stands before the handler of a signal."""

    def __init__(self, turn: Turn, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self.turn = turn

    def __call__(self, number: int, frame: FrameType | None) -> None:
        turn = self.turn
        if turn._keeping:
            turn._kept.append((self, number, frame))
            return
        try:
            self.handler(number, frame)
        except BaseException:
            turn.on_raise()
            raise


def _is_kept(handler: object, turn: Turn) -> bool:
    """Perhaps behind the keepers of other turns."""
    while isinstance(handler, _Keeper):
        if handler.turn is turn:
            return True
        handler = handler.handler
    return False
