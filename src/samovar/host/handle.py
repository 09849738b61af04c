"""One run, as whoever started it in this process holds it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from samovar.engine.work import Called, Outcome, Run
from samovar.model import Phase
from samovar.sdk.pending import Pending
from samovar.wire import payload

if TYPE_CHECKING:
    from samovar.host.host import Host

Convert = Callable[[Any], Any]


class Handle:
    """Implements ``samovar.sdk.controller.RunHandle``, and ``samovar.engine.work.Starter``."""

    __slots__ = ("_decoded", "_host", "action", "arrived", "name", "outcome", "task", "watchers")

    def __init__(self, host: Host, name: str) -> None:
        self.name = name
        self.task = ""  # its name, where it was not this process that started it
        self.action = 0
        self.outcome: Outcome | None = None
        self.arrived: threading.Event | None = None  # made for threads that do not run the engine themselves
        self._host = host
        self._decoded: tuple[Any, BaseException | None] | None = None
        self.watchers: tuple[tuple[Pending, Convert], ...] = ()

    @property
    def phase(self) -> Phase:
        if self.outcome is not None:
            return self.outcome.phase
        return self._host.engine.phase(self.action) or Phase.QUEUED

    @property
    def url(self) -> str:
        """Of the run's page; "": there is no dashboard."""
        return f"{self._host.web}/#/runs/{quote(self.name, safe='')}" if self._host.web else ""

    def wait(self, timeout: float | None = None) -> Any:
        """The result. Raises the run's error, or TimeoutError after ``timeout`` seconds."""
        if self.outcome is None:
            self._host.wait(self, timeout)
            if self.outcome is None:
                raise TimeoutError(f"run {self.name} has not ended within {timeout} s")
        return self._result()

    def future(self, convert: Convert) -> Pending:
        """A future on the running loop, of what ``convert`` makes of the result."""
        pending = Pending(loop=asyncio.get_running_loop())
        if self.outcome is not None or not self._host.watch(self, pending, convert):
            self._settle(pending, convert)
        return pending

    def abort(self, reason: str = "") -> None:
        self._host.abort(self, reason)

    def begin(self, called: Called, run: Run) -> None:
        """Called in a turn, soon after the run was submitted."""
        self._host.began(self)
        self.action = self._host.engine.start(called, run)

    def running(self) -> None:
        """The engine knows."""

    def logged(self, label: str, stream: str, text: str) -> None:
        self._host.on_log(label, stream, text)

    def ended(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._host.finished(self)

    def _result(self) -> Any:
        if self._decoded is None:
            with self._host.decoding:
                if self._decoded is None:
                    try:
                        self._decoded = (self._decode(), None)
                    except BaseException as error:
                        self._decoded = (None, error)
        value, failure = self._decoded
        if failure is not None:
            raise failure
        return value

    def _decode(self) -> Any:
        outcome = self.outcome
        assert outcome is not None
        if outcome.failure is not None:
            raise payload.exception_of(outcome.failure)
        return payload.decode(outcome.body, outcome.blobs, self._host.blobs, consume=True)

    def tell_watchers(self) -> None:
        """Called after the turn in which the outcome came: each future is resolved on its own loop."""
        watchers, self.watchers = self.watchers, ()
        here = asyncio._get_running_loop()
        for pending, convert in watchers:
            loop = pending.get_loop()
            if loop is here:
                self._resolve(pending, convert)
            else:
                with contextlib.suppress(RuntimeError):  # it has been closed: nobody waits any more
                    loop.call_soon_threadsafe(self._resolve, pending, convert)

    def _resolve(self, pending: Pending, convert: Convert) -> None:
        self._host.helm.served(pending.get_loop())
        if not pending.done():
            self._settle(pending, convert)

    def _settle(self, pending: Pending, convert: Convert) -> None:
        try:
            pending.set_result(convert(self._result()))
        except BaseException as error:
            pending.set_exception(error)
