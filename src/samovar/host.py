"""An engine inside this process: the composition root for scripts and for the command.

Callers pickle and unpickle in their own threads, outside of the engine's turn; what the engine gets is bytes. Whoever
waits for a result runs the engine meanwhile (``engine.helm``).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import gc
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from samovar import config, errors
from samovar.core.pool import PoolStats
from samovar.drivers.choice import open_driver
from samovar.engine.engine import Engine, OnLog
from samovar.engine.helm import Helm
from samovar.engine.keeper import Keeper
from samovar.engine.turn import Turn
from samovar.engine.work import Outcome, Run
from samovar.model import Phase
from samovar.ports import Report
from samovar.sdk import ctx
from samovar.sdk.pending import Pending
from samovar.sdk.task import Task
from samovar.wire import payload
from samovar.wire.blobs import Blobs

__all__ = ["EmbeddedHost", "Handle", "open_host"]

_STOP_GRACE = 0.5  # seconds that a replica without work has for a clean end
_CLOSE_LIMIT = 20.0  # seconds beyond the grace

Convert = Callable[[Any], Any]


class Handle:
    """One run, as ``samovar.sdk.controller.RunHandle``."""

    __slots__ = ("_decoded", "_host", "action", "arrived", "name", "outcome", "watchers")

    def __init__(self, host: EmbeddedHost, name: str) -> None:
        self.name = name
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

    def finish(self, outcome: Outcome) -> None:
        """Called in a turn."""
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


class EmbeddedHost:
    """``driver`` is a name that ``drivers.choice`` knows. InitializationError: it, or a setting, is wrong."""

    def __init__(self, report: Report, on_log: OnLog, driver: str = "") -> None:
        settings = config.load()
        self.folder, socket_lock = _own_folder(tempfile.gettempdir())
        folder, blobs_lock = _own_folder("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
        self._locks = (socket_lock, blobs_lock)
        self.blobs = Blobs(folder, spares=True)
        self.decoding = threading.RLock()  # a result is decoded once, whichever threads ask
        self.turn = Turn()
        self.helm = Helm(self.turn)
        try:
            opened = open_driver(driver or settings.driver, self.folder, folder)
        except errors.InitializationError:
            self._remove_folders()
            raise
        self._keeper = Keeper(opened, self.helm.loop, self.turn, report)
        self.engine = Engine(self._keeper, self.folder, folder, on_log, settings.lease)
        self._prefix = f"r{os.urandom(4).hex()}"
        self._numbers = itertools.count(1)
        self._closed = False
        self.turn.keep_signals()
        self.helm.start(self.engine)
        gc.freeze()  # what is imported by now stays; with a million live futures each full collection would cost
        gc.set_threshold(50_000, 50, 50)

    def start(
        self,
        task: Task[Any, Any],
        inputs: dict[str, Any],
        name: str = "",
        context: dict[str, str] | None = None,
    ) -> Handle:
        if self._closed:
            raise errors.InitializationError("InitializationError", "this process is ending: no run can start")
        spec = task.spec
        body, blobs = payload.encode(inputs, self.blobs, spec.max_inline_io_bytes, f"the inputs of task '{spec.name}'")
        handle = Handle(self, name or f"{self._prefix}{next(self._numbers):x}")
        run = Run(handle.name, context)
        if not self.helm.is_taken:
            self.turn.keep_signals()
        with self.turn:
            handle.action = self.engine.start(spec, body, blobs, run, handle.finish)
            self.helm.submitted()
        return handle

    def wait(self, handle: Handle, timeout: float | None) -> None:
        """Return when the outcome is there, or after ``timeout`` seconds."""
        if not self.helm.is_taken:
            self.turn.keep_signals()
        if self.helm.steer(handle, timeout):
            return
        with self.helm.following():
            with self.turn:
                if handle.outcome is not None:
                    return
                handle.arrived = handle.arrived or threading.Event()
            handle.arrived.wait(timeout)

    def watch(self, handle: Handle, pending: Pending, convert: Convert) -> bool:
        """Resolve ``pending`` when the outcome comes. False: it is there."""
        with self.turn:
            if handle.outcome is not None:
                return False
            handle.watchers += ((pending, convert),)
            self.helm.board(pending.get_loop())
            return True

    def finished(self, handle: Handle) -> None:
        """Called in a turn."""
        self.helm.arrived()
        if handle.arrived is not None:
            handle.arrived.set()
        if handle.watchers:
            self.turn.after.append(handle.tell_watchers)

    def abort(self, handle: Handle, reason: str) -> None:
        with self.turn:
            self.engine.abort(handle.action, reason)
            self.engine.flush()

    def stats(self) -> list[PoolStats]:
        with self.turn:
            return self.engine.stats()

    def close(self, grace: float = 2.0) -> None:
        """Abort what runs, stop every replica; returns when nothing is left. Safe to call twice: the second call, after
        the first was interrupted, ends the work of the first at once.
        """
        if self.helm.loop.is_closed():
            return
        self._closed = True
        with self.turn:
            self.engine.abort_all("the engine closes")
            self.engine.flush()
        end = time.monotonic() + grace
        while self.engine.is_busy and time.monotonic() < end:
            time.sleep(0.01)
        stopping = self._keeper.close(min(grace, _STOP_GRACE))
        asyncio.run_coroutine_threadsafe(stopping, self.helm.loop).result(grace + _CLOSE_LIMIT)
        self.helm.close()
        self.engine.hub.close()
        self.turn.release_signals()
        self._remove_folders()

    def _remove_folders(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.blobs.folder, ignore_errors=True)
        for lock in self._locks:
            lock.close()


def _own_folder(base: str) -> tuple[str, Any]:
    """A new folder, with a lock that shows it is in use; what dead engines have left beside it goes."""
    prefix = f"samovar-{os.getuid()}-"
    for name in os.listdir(base):
        if name.startswith(prefix):
            _sweep(os.path.join(base, name))
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    lock = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 - held as long as the engine lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _sweep(folder: str) -> None:
    try:
        if time.time() - os.stat(folder).st_mtime < 1:
            return  # just made, perhaps not locked yet
        with open(os.path.join(folder, "lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return


_host: EmbeddedHost | None = None
_host_lock = threading.Lock()


def _print_log(label: str, stream: str, text: str) -> None:
    for line in text.splitlines():
        print(f"[{label}] {line}", file=sys.stderr)


def open_host(*, report: Report | None = None, on_log: OnLog | None = None, driver: str = "") -> EmbeddedHost:
    """The one host of this process, made at the first call and closed at exit.

    ``report`` takes lines of progress and ``on_log`` what tasks print; both go to stderr unless told otherwise.
    ``driver``: "" as ``init(driver=…)`` and the settings say.
    """
    global _host
    with _host_lock:
        if _host is None:
            _host = EmbeddedHost(
                report or (lambda line: print(f"samovar: {line}", file=sys.stderr)),
                on_log or _print_log,
                driver or str(ctx.settings.get("driver") or ""),
            )
            atexit.register(_host.close)
        return _host
