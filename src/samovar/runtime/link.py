"""The replica's end of the connection, and the controller through which tasks call tasks.

Any thread may send: frames of the loop's thread leave in one write when the loop waits (``loop``), other threads write
at once, under the same lock, so a sync task's result needs no hop through the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from samovar import family
from samovar.sdk.context import current
from samovar.sdk.controller import Execution, Recalled, Traced
from samovar.sdk.log import logger
from samovar.sdk.pending import Pending
from samovar.sdk.task import Task
from samovar.wire import frames, payload
from samovar.wire.blobs import Blobs
from samovar.wire.session import replica_session

_READ = 64 * 1024  # a larger buffer would be mapped and unmapped at each read


class Call(Pending):
    """A call of a task that was submitted. Cancelling it aborts the action."""

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, number: int) -> None:
        super().__init__(loop=loop)
        self._link = link
        self._number = number

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self._link.withdraw(self._number)
        return True


class _Waiter:
    """A blocking call of a sync task."""

    __slots__ = ("answer", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.answer: frames.Answer | None = None


class Link:
    """Made in the thread of the loop; ``loop`` is set before anything is sent that the socket may not take."""

    def __init__(self, sock: socket.socket, replica: str) -> None:
        self.blobs = Blobs("")  # of the engine, once it has said where
        self.replica = replica
        self.keeps_traces = False  # the engine writes traced calls down
        self.past: dict[int, dict[str, frames.Past]] = {}  # traced calls of earlier attempts, by epoch and key
        self.loop: asyncio.AbstractEventLoop | None = None
        self.handlers: dict[type[Any], Callable[[Any], None]] = {}  # by frame
        self._socket = sock
        self._thread = threading.get_ident()
        self._session = replica_session()
        self._lock = threading.Lock()
        self._outbox: deque[Any] = deque()
        self._unsent = bytearray()
        self._calls: dict[int, Call | _Waiter] = {}
        self._next_call = itertools.count(1)
        self._refs: dict[int, tuple[int, Any]] = {}  # id(spec) → (ref, the spec, kept alive)

    # bytes

    def read(self) -> list[Any]:
        """Frames that have arrived. Ends the process when the engine is gone."""
        try:
            data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            die()
        return self._session.receive(data)

    def handle(self) -> None:
        """Read what has arrived and hand each frame to its handler."""
        for frame in self.read():
            self.handlers[type(frame)](frame)

    def send(self, frame: Any) -> None:
        self._outbox.append(frame)
        if threading.get_ident() != self._thread:
            self.flush()

    def flush(self) -> None:
        if not self._outbox:
            return
        with self._lock:
            batch = []
            while self._outbox:
                batch.append(self._outbox.popleft())
            if not batch:
                return
            data = self._session.send(batch)
            if self._unsent:
                self._unsent += data
                return
            sent = self._write(data)
            if sent == len(data):
                return
            self._unsent += memoryview(data)[sent:]
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.loop.add_writer, self._socket, self._write_more)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            die()

    def _write_more(self) -> None:
        with self._lock:
            del self._unsent[: self._write(self._unsent)]
            if self._unsent:
                return
            assert self.loop is not None
            self.loop.remove_writer(self._socket)
        self.flush()

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
        self._calls[number] = waiting
        context = execution.custom_context if execution.adds_context else None
        self.send(frames.Submit(number, execution.epoch, known[0], body, blobs, group, cached, context))

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
        if waiting is None:
            return
        if isinstance(waiting, _Waiter):
            waiting.answer = answer
            waiting.lock.release()
        elif waiting.get_loop() is self.loop:
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

    def withdraw(self, call: int) -> None:
        if call in self._calls:  # its answer, should it cross this frame, finds a future that is done
            self.send(frames.Withdraw(call))


def die() -> NoReturn:
    """The engine is gone, and with it every reason to live: end this replica and all that it started."""
    if mark := os.environ.get(family.VARIABLE):
        family.kill(mark)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
