"""The end of a service: who asks for it, and until when it is over.

What runs has the grace. All that comes then has ``REST`` seconds together, whatever hangs: a database that is away, a
replica that does not die. Each step is given a share of what is left; what does not end within it is given up, which is
said. A signal after the first one leaves ``HURRY`` seconds of all this.

Signals wake whoever waits here through a socket: one that comes in the moment before a thread waits for a lock is not
seen by it until somebody opens the lock.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

GRACE = 10.0
"""Seconds that what runs has to end after SIGTERM."""

REST = 20.0
"""Seconds after the grace within which a service has ended."""

HURRY = 2.0
"""Seconds within which it has ended after a second signal."""

_LOOK = 0.02  # seconds
_MOMENT = 0.5  # seconds in which a step that was given up by itself can say why


class Ending:
    """Of this process; made in the main thread, which waits here."""

    def __init__(self, say: Callable[[str], None], rest: float = REST) -> None:
        self.gave_up = False
        self._say = say
        self._rest = rest
        self._grace = GRACE
        self._end = math.inf  # by the monotonic clock, once it has begun
        self._listens = False
        self._is_asked = False
        self._hurries = False
        self._error: BaseException | None = None
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def listen(self) -> None:
        """To signals, from here on."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._listens = True
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def ask(self, grace: float) -> None:
        """By a client. In any thread."""
        self._grace = grace
        self._is_asked = True
        self._wake()

    def wait(self) -> float:
        """Return when somebody has asked: the grace, in seconds."""
        while not self._is_asked:
            self._sleep(None)
        return self._grace

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Return when that is so or the time is over, or at a second signal."""
        end = time.monotonic() + seconds
        while not done() and not self._hurries and (left := end - time.monotonic()) > 0:
            self._sleep(min(_LOOK, left))

    def step(self, what: str, work: Callable[[float], None], share: float = 1.0) -> None:
        """Do ``work``, in a thread: it is given its ``share`` of the seconds that are left, and is not waited for any
        longer. Its error is raised by ``finish``."""
        now = time.monotonic()
        if self._end is math.inf:
            self._end = now + self._rest
        seconds = max(0.0, self._end - now) * share
        thread = threading.Thread(target=self._carry_out, args=(work, seconds), name=f"samovar-end {what}", daemon=True)
        thread.start()
        end = now + seconds
        while thread.is_alive() and time.monotonic() < min(end, self._end) + _MOMENT:
            self._sleep(_LOOK)
        if thread.is_alive():
            self.gave_up = True
            self._say(f"{what}: not done after {time.monotonic() - now:.1f} s, and given up")

    def finish(self) -> None:
        """Every step was taken. A thread that hangs would keep the process: with one, it ends here."""
        if self._error is not None:
            raise self._error
        self._say("ended")
        hanging = [thread for thread in threading.enumerate() if not thread.daemon]
        if self.gave_up or hanging != [threading.main_thread()]:
            sys.stderr.flush()
            os._exit(1 if self.gave_up else 0)
        self.close()

    def close(self) -> None:
        """Nobody waits here any more, and signals are as if they had not come."""
        if self._listens:
            signal.set_wakeup_fd(-1)
        self._waker.close()
        self._woken.close()

    def _carry_out(self, work: Callable[[float], None], seconds: float) -> None:
        try:
            work(seconds)
        except BaseException as error:
            self._error = self._error or error
        self._wake()

    def _sleep(self, seconds: float | None) -> None:
        """At most so long, or until something has happened."""
        if select.select([self._woken], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full, which wakes as well, or closed
            self._waker.send(b"\0")

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked:
            self._hurries = True
            self._end = min(self._end, time.monotonic() + HURRY)
        self._is_asked = True
