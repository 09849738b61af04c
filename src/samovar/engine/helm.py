"""The helm: which thread runs the engine.

A hop between threads costs more than a task, so whoever waits for results runs the engine itself: a thread that
blocks on one (``steer``), or an event loop that awaits some (``board``). When nobody does, the helm's own thread runs
it; that thread also carries the event loop of drivers, and time.

A gate stands between the hub and the own thread. Whoever else takes the helm shuts it, and it stays shut between two
short waits; the own thread looks every few milliseconds whether the helm is still in use, and opens it when not. The
gate and what is counted here change in a turn only.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from samovar.engine.hub import Hub
from samovar.engine.turn import Turn

TICK = 0.05  # seconds

_LOOK = 0.002  # seconds between two looks at whether the helm is in use
_LONG = 0.001  # seconds of a wait after which the gate is opened at once
_BATCHES = (8, 128)  # submissions that are carried out together: the first, and at most


Submission = Callable[[], object]
"""Submits something to the engine; called in a turn."""


class Awaited(Protocol):
    """What a thread waits for."""

    @property
    def outcome(self) -> Any:
        """None until it is there."""
        ...


class Driven(Protocol):
    """An engine, or what stands for it in this process; ``flush`` and ``tick`` are called in a turn."""

    hub: Hub

    def flush(self) -> None: ...

    def tick(self) -> None: ...


class Helm:
    def __init__(self, turn: Turn) -> None:
        self.loop = asyncio.new_event_loop()  # of drivers
        self._turn = turn
        turn.on_raise = self._rise
        self._gate = select.epoll()
        self.is_taken = False  # others than the own thread run the engine, or did a moment ago: the gate is shut
        self._moves = 0  # of others than the own thread
        self._seen = 0  # moves at the last look
        self._seated = 0  # the one thread that steers
        self._news = False  # for it: an outcome came in another thread's turn
        self._followers = 0  # threads that wait beside it
        self._aboard: dict[asyncio.AbstractEventLoop, int] = {}  # loop → futures that it awaits
        self._inbox: deque[Submission] = deque()  # what no turn has been taken for yet
        self._batch = _BATCHES[0]
        self.on_tick: Callable[[float, float], None] = lambda waited, took: None
        """In the turn of each tick, at its end: the seconds that it has waited for that turn, and taken."""
        self._thread = threading.Thread(target=self._run, name="samovar-engine", daemon=True)

    def start(self, engine: Driven) -> None:
        self._engine = engine
        self._hub = engine.hub
        self._gate.register(engine.hub.fileno(), select.EPOLLIN)
        self._thread.start()

    def close(self) -> None:
        """The engine stands still from here on."""
        for loop in list(self._aboard):
            self._tell(loop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        self._gate.close()

    # its own thread

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.add_reader(self._gate.fileno(), self._pump)
        self.loop.call_soon(self._tick)
        self.loop.run_forever()

    def _tick(self) -> None:
        asked = time.monotonic()
        try:
            with self._turn:
                began = time.monotonic()
                self._engine.tick()
                self.flush()
                self.on_tick(began - asked, time.monotonic() - began)
        finally:  # the loop says what went wrong, and time goes on
            self.loop.call_later(TICK, self._tick)

    def _pump(self) -> None:
        with self._turn:
            self._hub.handle(self._hub.poll(0))
            self.flush()

    def _look(self) -> None:
        with self._turn:
            if not self.is_taken:
                return
            in_use, self._seen = self._moves != self._seen, self._moves
            if not in_use:
                if self._seated:
                    return  # a thread waits for long: it sees whatever comes, and opens the gate when it leaves
                self._open()
                self.flush()
        if in_use:
            self.loop.call_later(_LOOK, self._look)
        else:
            for loop, futures in list(self._aboard.items()):
                if not futures:
                    self._tell(loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._leave, loop)
        except RuntimeError:  # it is closed
            self._aboard.pop(loop, None)

    # in a turn

    def _take(self) -> None:
        self._moves += 1
        if not self.is_taken:
            self.is_taken = True
            self._gate.modify(self._hub.fileno(), 0)
            self.loop.call_soon_threadsafe(self._look)

    def _open(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self._gate.modify(self._hub.fileno(), select.EPOLLIN)

    def flush(self) -> None:
        """Carry out what was submitted, and write what that and all before it has given to write."""
        inbox = self._inbox
        while inbox:
            inbox.popleft()()
        self._engine.flush()

    def arrived(self) -> None:
        """An outcome is there, and the thread that steers may be waiting for it, in a poll that ends for bytes only."""
        if self._seated and not self._news and self._seated != threading.get_ident():
            self._news = True
            self._hub.wake()

    # of threads that submit

    def submit(self, submission: Submission) -> None:
        """Carry it out soon, in a turn: of many in a row a batch in one turn, which is short at first and then grows.

        What is left over waits for the script to wait, or for the own thread to look.
        """
        self._inbox.append(submission)
        if len(self._inbox) >= self._batch or not self.is_taken or self._seated:  # who is seated looks for bytes alone
            with self._turn:
                self._take()
                self._batch = min(2 * self._batch, _BATCHES[1])
                self.flush()
                self._hub.handle(self._hub.poll(0))
                self.flush()

    # threads that wait

    def steer(self, awaited: Awaited, timeout: float | None) -> bool:
        """Run the engine until the outcome is there, at most ``timeout`` seconds. False: another thread steers."""
        began = time.monotonic()
        seated = False
        try:
            with self._turn:
                if not self._seated:
                    self._seated, seated = threading.get_ident(), True
                    self._batch = _BATCHES[0]
                    self._take()
                    self.flush()
            if seated:
                self._steer(awaited, None if timeout is None else began + timeout)
        finally:
            if seated:
                self._rise(time.monotonic() - began > _LONG)
        return seated

    def _rise(self, was_long: bool = True) -> None:
        """This thread steers no more, if it did."""
        if self._seated == threading.get_ident():
            with self._turn:
                self._heard()
                self._seated = 0
                if was_long or self._followers:
                    self._open()

    def _steer(self, awaited: Awaited, end: float | None) -> None:
        left = -1.0
        while awaited.outcome is None:
            if end is not None and (left := end - time.monotonic()) <= 0:
                return
            ready = self._hub.poll(left)
            if ready:
                with self._turn:
                    self._moves += 1
                    self._heard()
                    self._hub.handle(ready)
                    self.flush()

    def _heard(self) -> None:
        """Whoever steers looks for its outcome next."""
        if self._news:
            self._news = False
            self._hub.woken()

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Around the wait of a thread that found the seat taken."""
        with self._turn:
            self._followers += 1
            self.flush()
        try:
            yield
        finally:
            with self._turn:
                self._followers -= 1

    # event loops that await

    def board(self, loop: asyncio.AbstractEventLoop) -> None:
        """The running ``loop`` awaits one more future, and so runs the engine."""
        if loop not in self._aboard:
            self._aboard[loop] = 0
            with contextlib.suppress(NotImplementedError):
                loop.add_reader(self._hub.fileno(), self._pump_aboard)
        self._aboard[loop] += 1
        if self._inbox:
            self._batch = _BATCHES[0]
            loop.call_soon(self._pump_aboard)

    def served(self, loop: asyncio.AbstractEventLoop) -> None:
        """One of its futures is resolved."""
        if loop in self._aboard:
            self._aboard[loop] -= 1

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._aboard.get(loop, 1):
            del self._aboard[loop]
            with contextlib.suppress(NotImplementedError):
                loop.remove_reader(self._hub.fileno())

    def _pump_aboard(self) -> None:
        with self._turn:
            self._take()
            self._hub.handle(self._hub.poll(0))
            self.flush()
