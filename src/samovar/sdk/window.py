"""Many calls with a bound on how many are under way: the engine room of ``map`` and ``map_task``.

A call ends in an ``Outcome``. Calls are made as slots of the window get free, in the order of the inputs, and the
outcomes are handed on in that order too, however the calls end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from typing import Any, NamedTuple

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
AHEAD = 10_000  # calls at a time where the user sets no bound: an endless iterable must not fill the memory


class Outcome(NamedTuple):
    """How one call ended; ``error`` is None where it returned."""

    value: Any
    error: Exception | None


class Window:
    """Keeps ``limit`` calls under way on the running loop; ``outcomes`` gives them in order."""

    def __init__(self, start: Callable[[Inputs], Awaitable[Any]], calls: Iterator[Inputs], limit: int) -> None:
        self._start = start
        self._calls: Iterator[Inputs] | None = calls
        self._limit = limit
        self._active = 0
        self._filling = False
        self._ordered: deque[asyncio.Future[Any]] = deque()
        self._broken: BaseException | None = None  # what the iterable of inputs raised

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        try:
            self._fill()
            while self._ordered:
                future = self._ordered[0]
                if not future.done():
                    await _end_of(future)
                self._ordered.popleft()
                yield _outcome(future)
                self._fill()
            if self._broken is not None:
                raise self._broken
        finally:
            self._cancel()

    def _fill(self) -> None:
        if self._filling:
            return
        self._filling = True
        try:
            while self._calls is not None and self._active < self._limit:
                try:
                    call = next(self._calls, None)
                except Exception as error:
                    self._broken, call = error, None
                if call is None:
                    self._calls = None
                    return
                self._active += 1
                future = self._begin(call)
                self._ordered.append(future)
                future.add_done_callback(self._ended)
        finally:
            self._filling = False

    def _begin(self, call: Inputs) -> asyncio.Future[Any]:
        try:
            return asyncio.ensure_future(self._start(call))
        except Exception as error:  # a call that does not fit the task fails like one that ran
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._active -= 1
        if not future.cancelled():
            future.exception()  # it counts as seen: the consumer may have left
        self._fill()

    def _cancel(self) -> None:
        self._calls = None
        for future in self._ordered:
            future.cancel()
        self._ordered.clear()


async def _end_of(future: asyncio.Future[Any]) -> None:
    """As ``asyncio.wait``, which refuses what is a coroutine too, as calls of tasks are."""
    ended = asyncio.Event()
    future.add_done_callback(lambda _: ended.set())
    await ended.wait()


def _outcome(future: asyncio.Future[Any]) -> Outcome:
    if future.cancelled():
        raise asyncio.CancelledError
    error = future.exception()
    if error is None:
        return Outcome(future.result(), None)
    if isinstance(error, Exception):
        return Outcome(None, error)
    raise error


def in_own_loop(
    start: Callable[[Inputs], Awaitable[Any]], calls: Iterator[Inputs], limit: int
) -> Generator[Outcome, None, None]:
    """The same for sync code: an event loop in this thread, which turns while an outcome is waited for."""
    loop = asyncio.new_event_loop()
    outcomes = Window(start, calls, limit).outcomes()
    try:
        while True:
            try:
                outcome = loop.run_until_complete(anext(outcomes))
            except StopAsyncIteration:
                return
            yield outcome
    finally:
        loop.run_until_complete(outcomes.aclose())
        loop.run_until_complete(_settle())
        loop.close()


async def _settle() -> None:
    """Let the calls that were cancelled end."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


def one_by_one(call: Callable[[Inputs], Any], calls: Iterator[Inputs]) -> Generator[Outcome, None, None]:
    """Each call when its outcome is asked for."""
    for inputs in calls:
        yield attempt(call, inputs)


def attempt(call: Callable[[Inputs], Any], inputs: Inputs) -> Outcome:
    try:
        return Outcome(call(inputs), None)
    except Exception as error:
        return Outcome(None, error)
