"""The keeper: the life of each replica from start to end, on the event loop that drivers need.

The engine says start and stop, from any thread; what becomes of a replica is told to its watcher, the engine, in a
turn of the keeper's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from samovar import errors
from samovar.engine.register import Register
from samovar.engine.turn import Turn
from samovar.model import Environment, Exit
from samovar.ports import Driver, Report

T = TypeVar("T")


class Watcher(Protocol):
    """Who is told; called in a turn."""

    def unfit(self, replica: str, environment: Environment, error: errors.BaseRuntimeError) -> None: ...

    def ended(self, replica: str, environment: Environment, how: Exit) -> None: ...


class Keeper:
    """``register``: of an engine whose replicas may outlive it."""

    def __init__(
        self,
        driver: Driver,
        loop: asyncio.AbstractEventLoop,
        turn: Turn,
        report: Report,
        register: Register | None = None,
    ) -> None:
        self._driver = driver
        self._loop = loop
        self._turn = turn
        self._report = report
        self._register = register
        self._prepared: dict[str, asyncio.Future[None]] = {}  # by version
        self._kept: dict[str, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()

    def start(self, replica: str, environment: Environment, boot: dict[str, str], watcher: Watcher) -> None:
        self._loop.call_soon_threadsafe(self._start, replica, environment, boot, watcher)

    def adopt(self, replica: str, environment: Environment, watcher: Watcher) -> None:
        """Keep a replica that another keeper has started."""
        self._loop.call_soon_threadsafe(self._adopt, replica, environment, watcher)

    def stop(self, replica: str, grace: float) -> None:
        self._loop.call_soon_threadsafe(self._chore, lambda: self._driver.stop(replica, grace))

    def do(self, work: Callable[[], None]) -> None:
        """Do something that takes a while, soon and out of the way."""
        self._loop.call_soon_threadsafe(work)

    def say(self, line: str) -> None:
        """Report something for people, outside of the turn."""
        self._loop.call_soon_threadsafe(self._report, line)

    def prepare(self, environment: Environment) -> None:
        """Make ready what its replicas will start from. That it cannot be is no fault before somebody needs it."""
        self._loop.call_soon_threadsafe(self._chore, lambda: self._prepare_early(environment))

    def apart(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do ``work``, which must not raise, in a thread; then, in a turn, ``then`` with what it gave."""
        self._loop.call_soon_threadsafe(self._chore, lambda: self._apart(work, then))

    async def close(self, grace: float) -> None:
        """Stop every replica; what becomes of them is told to nobody any more."""
        for task in self._kept.values():
            task.cancel()
        await asyncio.gather(*(self._driver.stop(replica, grace) for replica in list(self._kept)))
        await self._driver.close()
        pending = [*self._kept.values(), *self._chores]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _start(self, replica: str, environment: Environment, boot: dict[str, str], watcher: Watcher) -> None:
        self._kept[replica] = self._loop.create_task(self._keep(replica, environment, boot, watcher))

    def _adopt(self, replica: str, environment: Environment, watcher: Watcher) -> None:
        self._kept[replica] = self._loop.create_task(self._see_out(replica, environment, watcher))

    async def _keep(self, replica: str, environment: Environment, boot: dict[str, str], watcher: Watcher) -> None:
        if self._register is not None:
            self._register.enter(replica, environment)
        try:
            await self._prepare(environment)
            await self._driver.start(replica, environment, boot)
        except errors.BaseRuntimeError as error:
            self._forget(replica)
            with self._turn:
                watcher.unfit(replica, environment, error)
            return
        await self._see_out(replica, environment, watcher)

    async def _see_out(self, replica: str, environment: Environment, watcher: Watcher) -> None:
        try:
            how = await self._driver.wait(replica)
        except LookupError:  # it has ended with the engine before, or soon after
            how = Exit()
        self._forget(replica)
        with self._turn:
            watcher.ended(replica, environment, how)

    def _forget(self, replica: str) -> None:
        del self._kept[replica]
        if self._register is not None:
            self._register.strike(replica)

    async def _prepare(self, environment: Environment) -> None:
        """Once a version, however many replicas ask; a failure is not remembered."""
        version = environment.version
        known = self._prepared.get(version)
        if known is None:
            known = self._prepared[version] = asyncio.ensure_future(self._driver.prepare(environment, self._report))
        try:
            await asyncio.shield(known)
        except errors.BaseRuntimeError:
            self._prepared.pop(version, None)
            raise

    async def _prepare_early(self, environment: Environment) -> None:
        try:
            await self._prepare(environment)
        except errors.BaseRuntimeError as error:
            self._report(f"environment '{environment.name}' is depended on and cannot be made yet: {error}")

    async def _apart(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        found = await asyncio.to_thread(work)
        with self._turn:
            then(found)

    def _chore(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(work())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
