"""The replica's end of the connection, and the controller through which tasks call tasks.

Any thread may send: the loop thread coalesces its frames to one write a turn, other threads write at once, under the
same lock, so a sync task's result needs no hop through the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Awaitable
from typing import Any, NoReturn

from samovar.sdk.context import current
from samovar.sdk.task import Task
from samovar.wire import frames, payload
from samovar.wire.session import replica_session

_READ = 256 * 1024


class Pending(asyncio.Future[Any]):
    """A call that was submitted. As a plain future it needs no asyncio.Task under ``gather``; ``task_factory`` lets
    ``create_task`` and ``TaskGroup`` take it too. Cancelling it aborts the action.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, call: int) -> None:
        super().__init__(loop=loop)
        self._link = link
        self._call = call

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self._link.withdraw(self._call)
        return True


async def _await(pending: Pending) -> Any:
    return await pending


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """For the replica's loop: a call of a task stands where asyncio asks for a coroutine."""
    return asyncio.Task(_await(coro) if isinstance(coro, Pending) else coro, loop=loop, **options)


class _Waiter:
    """A blocking call of a sync task."""

    __slots__ = ("answer", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.answer: frames.Answer | None = None


class Link:
    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.blobs = ""
        self.replica = ""
        self._socket = sock
        self._loop = loop
        self._thread = threading.get_ident()
        self._session = replica_session()
        self._lock = threading.Lock()
        self._outbox: deque[Any] = deque()
        self._unsent = bytearray()
        self._flushing = False
        self._calls: dict[int, Pending | _Waiter] = {}
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

    def send(self, frame: Any) -> None:
        self._outbox.append(frame)
        if threading.get_ident() != self._thread:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_turn)

    def _flush_turn(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
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
        self._loop.call_soon_threadsafe(self._loop.add_writer, self._socket, self._write_more)

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
            self._loop.remove_writer(self._socket)
        self.flush()

    # calls of tasks, as samovar.sdk.controller.Controller

    def call(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Awaitable[Any]:
        number = next(self._next_call)
        loop = asyncio.get_running_loop()
        pending = Pending(loop, self, number)
        self._submit(number, task, inputs, group, pending)
        return pending if loop is self._loop else _await(pending)  # a loop of the task's own has no task_factory

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
        waiting: Pending | _Waiter,
    ) -> None:
        execution = current.get()
        assert execution is not None
        spec = task.spec
        body, blobs = payload.encode(inputs, self.blobs, spec.max_inline_io_bytes, f"the inputs of task '{spec.name}'")
        known = self._refs.get(id(spec))
        if known is None:
            with self._lock:
                known = self._refs[id(spec)] = (len(self._refs) + 1, spec)
                self._outbox.append(frames.Declare(known[0], spec))
        self._calls[number] = waiting
        self.send(frames.Submit(number, execution.epoch, known[0], body, blobs, group))

    def answered(self, answer: frames.Answer) -> None:
        waiting = self._calls.pop(answer.call, None)
        if waiting is None:
            return
        if isinstance(waiting, _Waiter):
            waiting.answer = answer
            waiting.lock.release()
        elif waiting.get_loop() is self._loop:
            self._resolve(waiting, answer)
        else:
            waiting.get_loop().call_soon_threadsafe(self._resolve, waiting, answer)

    def _resolve(self, pending: Pending, answer: frames.Answer) -> None:
        if pending.done():
            return
        try:
            pending.set_result(self._result(answer))
        except BaseException as error:
            pending.set_exception(error)

    def _result(self, answer: frames.Answer) -> Any:
        if answer.failure is not None:
            raise payload.exception_of(answer.failure)
        return payload.decode(answer.body, answer.blobs, self.blobs, consume=True)

    def withdraw(self, call: int) -> None:
        if call in self._calls:  # its answer, should it cross this frame, finds a future that is done
            self.send(frames.Withdraw(call))


def die() -> NoReturn:
    """The engine is gone, and with it every reason to live: end this replica and all that it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
