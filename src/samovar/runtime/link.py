"""The replica's end of the connection, and the controller through which tasks call tasks.

Any thread may send: frames of the loop's thread leave in one write when the loop waits (``loop``), other threads write
at once, under the same lock, so a sync task's result needs no hop through the loop.

Where the engine may have a successor (``outlive``) the link also keeps what that one must be told (``estate``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from samovar import family
from samovar.errors import ProtocolError
from samovar.runtime.estate import Estate
from samovar.sdk.context import current
from samovar.sdk.controller import Execution, Recalled, Traced
from samovar.sdk.log import logger
from samovar.sdk.pending import Pending
from samovar.sdk.task import Task
from samovar.wire import frames, payload
from samovar.wire.backlog import Backlog
from samovar.wire.blobs import Blobs
from samovar.wire.session import Session, replica_session

_READ = 64 * 1024  # a larger buffer would be mapped and unmapped at each read
_WAITING = 10_000  # frames that wait while there is no engine, from which on what tasks print is dropped
_KEPT = (frames.Log, frames.Traced, frames.Unfit)  # of what waits: all else is told in another way


class Call(Pending):
    """A call of a task that was submitted. Cancelling it aborts the action."""

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, number: int) -> None:
        super().__init__(loop=loop)
        self.caller = 0
        self._link = link
        self._number = number

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self._link.withdraw(self._number)
        return True


class _Waiter:
    """A blocking call of a sync task."""

    __slots__ = ("answer", "caller", "lock")

    def __init__(self) -> None:
        self.caller = 0
        self.lock = threading.Lock()
        self.lock.acquire()
        self.answer: frames.Answer | None = None


class Link:
    """Made in the thread of the loop; ``loop`` is set before anything is sent that the socket may not take."""

    def __init__(self, sock: socket.socket, replica: str, token: str) -> None:
        self.socket = sock
        self.blobs = Blobs("")  # of the engine, once it has said where
        self.replica = replica
        self.keeps_traces = False  # the engine writes traced calls down
        self.past: dict[int, dict[str, frames.Past]] = {}  # traced calls of earlier attempts, by epoch and key
        self.loop: asyncio.AbstractEventLoop | None = None
        self.handlers: dict[type[Any], Callable[[Any], None]] = {}  # by frame
        self.attach: Callable[[int], None] = lambda fd: None  # let the loop read this descriptor
        self.detach: Callable[[], None] = lambda: None  # let it read none
        self.outlive = 0.0  # seconds in which a next engine may come
        self.patience = 1.0  # seconds that a turn of the loop may take
        self.estate: Estate | None = None  # where one may
        self.is_away = False  # there is no engine: what is sent waits
        self._token = token
        self._thread = threading.get_ident()
        self._session = replica_session()
        self._reading = threading.Lock()  # held until what has been read is handled
        self._lock = threading.Lock()
        self._outbox: deque[Any] = deque()
        self._unsent = bytearray()
        self._is_ready = False
        self._calls: dict[int, Call | _Waiter] = {}
        self._backlog: Backlog[frames.Submit] | None = None  # calls that are to be made again
        self._is_due = False  # and a timer is set for that
        self._next_call = itertools.count(1)
        self._refs: dict[int, tuple[int, Any]] = {}  # id(spec) → (ref, the spec, kept alive)

    def hello(self, is_back: bool = False) -> frames.Hello:
        return frames.Hello(frames.VERSION, self.replica, self._token, os.getpid(), is_back)

    def welcomed(self, welcome: frames.Welcome) -> None:
        self.blobs = Blobs(welcome.blobs)
        self.keeps_traces = welcome.keeps_traces
        self.outlive = welcome.outlive
        self.patience = welcome.patience
        if self.outlive and self.estate is None:
            self.estate = Estate()

    def ready(self, imported: float) -> None:
        with self._lock:
            self._is_ready = True
            self._outbox.append(frames.Ready(imported))
        self.flush()

    # bytes

    def read(self) -> list[Any]:
        """Frames that have arrived. Ends the process when the engine is gone and none may follow it."""
        try:
            data = self.socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            if not self.outlive:
                die()
            self.detach()  # the guard does what is to be done
            return []
        return self._session.receive(data)

    def handle(self) -> None:
        """Read what has arrived and hand each frame to its handler."""
        with self._reading:
            for frame in self.read():
                self.handlers[type(frame)](frame)

    def send(self, frame: Any) -> None:
        self._outbox.append(frame)
        if threading.get_ident() != self._thread:
            self.flush()

    def flush(self) -> None:
        if not self._outbox or self.is_away:
            return
        with self._lock:
            if self.is_away:
                return
            batch = []
            while self._outbox:
                batch.append(self._outbox.popleft())
            if not batch:
                return
            if self.estate is not None:
                self.estate.keep(batch)
            data = self._session.send(batch)
            if self._unsent:
                self._unsent += data
                return
            sent = self._write(data)
            if sent == len(data):
                return
            self._unsent += memoryview(data)[sent:]
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._await_room, self.socket)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            if not self.outlive:
                die()
            return len(data)  # what matters of it is in the estate

    def _await_room(self, sock: socket.socket) -> None:
        assert self.loop is not None
        if sock is self.socket:
            self.loop.add_writer(sock, self._write_more, sock)

    def _write_more(self, sock: socket.socket) -> None:
        with self._lock:
            if sock is self.socket:
                del self._unsent[: self._write(self._unsent)]
                if self._unsent:
                    return
            assert self.loop is not None
            self.loop.remove_writer(sock)
        self.flush()

    # between two engines, called by the guard

    @property
    def is_full(self) -> bool:
        """Nobody listens, and what waits to be said is enough."""
        return self.is_away and len(self._outbox) > _WAITING

    def part(self) -> None:
        """The engine is gone. What it has still said is taken in; what is said from here on waits."""
        with self._reading:
            with contextlib.suppress(OSError, ProtocolError):
                while data := self.socket.recv(_READ, socket.MSG_DONTWAIT):
                    self._hand_over(self._session.receive(data))
            with self._lock:
                self.is_away = True
                self._unsent.clear()
            self.detach()

    def estate_told(self) -> list[Any]:
        """All that the next engine has to know, as frames, the first of which is a hello."""
        assert self.estate is not None
        with self._lock:
            waiting = [self._outbox.popleft() for _ in range(len(self._outbox))]
            self.estate.keep(waiting)
            self._outbox.extendleft(frame for frame in reversed(waiting) if type(frame) in _KEPT)
            return [
                self.hello(is_back=True),
                *self.estate.tell(),
                *(frames.Declare(*known) for known in self._refs.values()),
                *self.estate.calls.copy().values(),
                frames.Told(self._is_ready),
            ]

    def take(self, sock: socket.socket, session: Session[Any], batch: list[Any]) -> None:
        """This is the connection to the next engine; ``batch`` is what it has said, a welcome first."""
        assert self.loop is not None
        with self._reading:
            self._hand_over(batch[1:])
            with self._lock:
                parted, self.socket, self._session = self.socket, sock, session
                self.welcomed(batch[0])
                self.is_away = False
            self.attach(sock.fileno())
            self.loop.call_soon_threadsafe(self._forget, parted)
        self.flush()

    def _forget(self, parted: socket.socket) -> None:
        """Only now: a descriptor that the loop watches must not become another's."""
        assert self.loop is not None
        self.loop.remove_writer(parted)
        parted.close()

    def _hand_over(self, batch: list[Any]) -> None:
        """Handle frames in another thread than the loop's, which may be busy for long."""
        assert self.loop is not None
        for frame in batch:
            if isinstance(frame, frames.Answer):
                self.answered(frame)
            elif isinstance(frame, frames.Committed):
                self.committed(frame)
            else:
                if isinstance(frame, frames.Run) and self.estate is not None:
                    self.estate.runs[frame.epoch] = frame
                self.loop.call_soon_threadsafe(self._dispatch, frame)

    def _dispatch(self, frame: Any) -> None:
        self.handlers[type(frame)](frame)

    def committed(self, frame: frames.Committed) -> None:
        if self.estate is not None:
            with self._lock:
                self.estate.committed(frame)

    # calls of tasks, as samovar.sdk.controller.Controller

    def call(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Call:
        number = next(self._next_call)
        call = Call(asyncio.get_running_loop(), self, number)
        self._submit(number, task, inputs, group, call)
        return call

    def call_blocking(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Any:
        number = next(self._next_call)
        waiter = _Waiter()
        self._submit(number, task, inputs, group, waiter)
        waiter.lock.acquire()
        assert waiter.answer is not None
        return self._result(waiter.answer)

    def _submit(
        self,
        number: int,
        task: Task[Any, Any],
        inputs: dict[str, Any],
        group: str,
        waiting: Call | _Waiter,
    ) -> None:
        execution = current.get()
        assert execution is not None
        spec = task.spec
        cached = task.cache.call(inputs) if task.cache is not None else None
        body, blobs = payload.encode(inputs, self.blobs, spec.max_inline_io_bytes, f"the inputs of task '{spec.name}'")
        known = self._refs.get(id(spec))
        if known is None:
            with self._lock:
                known = self._refs[id(spec)] = (len(self._refs) + 1, spec)
                self._outbox.append(frames.Declare(known[0], spec))
        waiting.caller = execution.epoch
        self._calls[number] = waiting
        context = execution.custom_context if execution.adds_context else None
        if self.estate is None:
            self.send(frames.Submit(number, execution.epoch, known[0], body, blobs, group, 1, cached, context))
            return
        with self._lock:  # the next engine is told of it once
            ordinal = self.estate.count(execution, spec.name, body)
            submit = frames.Submit(number, execution.epoch, known[0], body, blobs, group, ordinal, cached, context)
            self.estate.calls[number] = submit
            self._outbox.append(submit)
        if threading.get_ident() != self._thread:
            self.flush()

    # traced calls

    def recall(self, execution: Execution, key: str) -> Recalled | None:
        past = self.past.get(execution.epoch, {}).get(key)
        if past is None:
            return None
        if past.failure is not None:
            error: BaseException = payload.exception_of(past.failure)
            return Recalled(None, error.__cause__ or error)
        return Recalled(payload.decode(past.body, past.blobs, self.blobs, consume=False))

    def record(self, execution: Execution, traced: Traced) -> None:
        """What does not pickle is not kept."""
        value, error = traced.outcome
        empty: tuple[str, ...] = ()
        body, blobs, failure = b"", empty, None
        if error is not None:
            failure = payload.failure_of(error, "", self.replica)
        else:
            try:
                body, blobs = payload.encode(value, self.blobs)
            except Exception as why:
                logger.warning("what the traced function %r returns is not kept: %s", traced.name, why)
                return
        self.send(frames.Traced(execution.epoch, traced.key, traced.name, traced.started, body, blobs, failure))
        self.flush()  # now: whatever comes next may end this process

    def answered(self, answer: frames.Answer) -> None:
        waiting = self._calls.pop(answer.call, None)
        if self.estate is not None:
            self.estate.calls.pop(answer.call, None)
        if waiting is None:
            return
        if self._backlog is not None:
            self._say_again(self._backlog.answered(waiting.caller))
        if isinstance(waiting, _Waiter):
            waiting.answer = answer
            waiting.lock.release()
        elif waiting.get_loop() is self.loop and threading.get_ident() == self._thread:
            self._resolve(waiting, answer)
        else:
            waiting.get_loop().call_soon_threadsafe(self._resolve, waiting, answer)

    def _resolve(self, call: Call, answer: frames.Answer) -> None:
        if call.done():
            return
        try:
            call.set_result(self._result(answer))
        except BaseException as error:
            call.set_exception(error)

    def _result(self, answer: frames.Answer) -> Any:
        if answer.failure is not None:
            raise payload.exception_of(answer.failure)
        return payload.decode(answer.body, answer.blobs, self.blobs, consume=True)

    # calls that the engine had no room for; in the loop's thread

    def slow_down(self, frame: frames.SlowDown) -> None:
        assert frame.said is not None
        if self._backlog is None:
            self._backlog = Backlog()
        self._backlog.refused(frame.said.parent, frame.said, frame.retry_after, time.monotonic())
        self._await_due(self._backlog)

    def _await_due(self, backlog: Backlog[frames.Submit]) -> None:
        if not self._is_due and len(backlog):
            assert self.loop is not None
            self._is_due = True
            self.loop.call_later(backlog.seconds(time.monotonic()), self._due)

    def _due(self) -> None:
        self._is_due = False
        assert self._backlog is not None
        self._say_again(self._backlog.due(time.monotonic()))
        self._await_due(self._backlog)

    def _say_again(self, calls: list[frames.Submit]) -> None:
        for submit in calls:
            waiting = self._calls.get(submit.call)
            if isinstance(waiting, Call) and waiting.done():  # it was cancelled meanwhile
                del self._calls[submit.call]
                self.blobs.remove(submit.blobs)
            else:
                self.send(submit)

    def callers(self) -> set[int]:
        """Epochs of executions that wait for what they have called."""
        return {waiting.caller for waiting in self._calls.copy().values()}

    def withdraw(self, call: int) -> None:
        if call in self._calls:  # its answer, should it cross this frame, finds a future that is done
            if self.estate is not None:
                self.estate.calls.pop(call, None)
            self.send(frames.Withdraw(call))


def die() -> NoReturn:
    """The engine is gone, and with it every reason to live: end this replica and all that it started."""
    if mark := os.environ.get(family.VARIABLE):
        family.kill(mark)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
