"""An engine inside this process: the composition root for scripts and for the command.

The engine runs on a loop in a thread of its own. Callers pickle and unpickle in their own threads; what crosses is
bytes, in batches: many calls in a row wake the engine once, and many results wake an asyncio loop once a turn.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import gc
import itertools
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import uvloop

from samovar import errors
from samovar.drivers.process import ProcessDriver
from samovar.engine.engine import Engine, OnLog, PoolStats
from samovar.engine.work import Outcome, Run
from samovar.model import Phase
from samovar.ports import Report
from samovar.sdk.task import Task
from samovar.wire import payload

__all__ = ["EmbeddedHost", "Handle", "PoolStats", "open_host"]


class Handle:
    """One run, as ``samovar.sdk.controller.RunHandle``."""

    __slots__ = ("_decoded", "_done", "_host", "_outcome", "_watchers", "action", "name")

    def __init__(self, host: EmbeddedHost, name: str) -> None:
        self.name = name
        self.action = 0
        self._host = host
        self._outcome: Outcome | None = None
        self._decoded: tuple[Any, BaseException | None] | None = None
        self._done = threading.Lock()
        self._done.acquire()
        self._watchers: list[asyncio.Future[Any]] = []

    @property
    def phase(self) -> Phase:
        if self._outcome is not None:
            return self._outcome.phase
        return self._host.engine.phase(self.action) or Phase.QUEUED

    def wait(self, timeout: float | None = None) -> Any:
        """The result. Raises the run's error, or TimeoutError after ``timeout`` seconds."""
        if self._outcome is None:
            if not self._done.acquire(timeout=-1 if timeout is None else timeout):
                raise TimeoutError(f"run {self.name} has not ended within {timeout} s")
            self._done.release()
        return self._result()

    def future(self) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._watchers.append(future)
        if self._outcome is not None:
            self.resolve()
        return future

    def abort(self, reason: str = "") -> None:
        self._host.call(lambda: self._host.engine.abort(self.action, reason))

    def finish(self, outcome: Outcome) -> None:
        """Called on the engine's loop."""
        self._outcome = outcome
        self._done.release()
        if self._watchers:
            self._host.wake(self)

    def _result(self) -> Any:
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
        outcome = self._outcome
        assert outcome is not None
        if outcome.failure is not None:
            raise payload.exception_of(outcome.failure)
        return payload.decode(outcome.body, outcome.blobs, self._host.blobs, consume=True)

    def resolve(self) -> None:
        """Called on the watchers' loop."""
        watchers, self._watchers = self._watchers, []
        for future in watchers:
            if future.done():
                continue
            try:
                future.set_result(self._result())
            except BaseException as error:
                future.set_exception(error)


class EmbeddedHost:
    def __init__(self, report: Report, on_log: OnLog) -> None:
        self.folder = tempfile.mkdtemp(prefix="samovar-")
        self.blobs, self._blobs_lock = _blob_folder()
        self._inbox: deque[Callable[[], Any]] = deque()
        self._awake = False
        self._prefix = f"r{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._wakes: dict[asyncio.AbstractEventLoop, list[Handle]] = {}
        self._loop = uvloop.new_event_loop()
        self.engine = Engine(ProcessDriver(), self.folder, self.blobs, report, on_log)
        self._loop.run_until_complete(self.engine.open())
        self._thread = threading.Thread(target=self._loop.run_forever, name="samovar-engine", daemon=True)
        self._thread.start()
        self._closed = False
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

        def start() -> None:
            handle.action = self.engine.start(spec, body, blobs, run, handle.finish)

        self.call(start)
        return handle

    def call(self, function: Callable[[], Any]) -> None:
        """Run ``function`` on the engine's loop, soon; calls in a row wake it once."""
        self._inbox.append(function)
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._awake = False
        inbox = self._inbox
        for _ in range(min(len(inbox), 1024)):
            inbox.popleft()()
        self.engine.flush()
        if inbox and not self._awake:
            self._awake = True
            self._loop.call_soon(self._drain)

    def wake(self, handle: Handle) -> None:
        """Resolve a handle's futures on their loop; one wake-up a loop, however many handles."""
        for future in handle._watchers:
            loop = future.get_loop()
            waiting = self._wakes.setdefault(loop, [])
            waiting.append(handle)
            if len(waiting) == 1:
                with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                    loop.call_soon_threadsafe(self._resolve, loop)

    def _resolve(self, loop: asyncio.AbstractEventLoop) -> None:
        for handle in self._wakes.pop(loop, ()):
            handle.resolve()

    def stats(self) -> list[PoolStats]:
        done = asyncio.run_coroutine_threadsafe(self._stats(), self._loop)
        return done.result(5)

    async def _stats(self) -> list[PoolStats]:
        return self.engine.stats()

    def close(self, grace: float = 2.0) -> None:
        """Abort what runs, stop every replica; returns when nothing is left. Safe to call twice: the second call, after
        the first was interrupted, ends the work of the first at once.
        """
        if self._thread.ident is None or self._loop.is_closed():
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self.engine.close(grace), self._loop).result(grace + 20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.blobs, ignore_errors=True)
        self._blobs_lock.close()


def _blob_folder() -> tuple[str, Any]:
    """A folder on a tmpfs where there is one, with a lock that shows it is in use; folders of dead engines go."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
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


def open_host(*, report: Report | None = None, on_log: OnLog | None = None) -> EmbeddedHost:
    """The one host of this process, made at the first call and closed at exit.

    ``report`` takes lines of progress and ``on_log`` what tasks print; both go to stderr unless told otherwise.
    """
    global _host
    with _host_lock:
        if _host is None:
            _host = EmbeddedHost(
                report or (lambda line: print(f"samovar: {line}", file=sys.stderr)), on_log or _print_log
            )
            atexit.register(_host.close)
        return _host
