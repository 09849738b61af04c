"""What runs of this process need, wherever their engine is.

Callers pickle and unpickle in their own threads, outside of the engine's turn; what the engine gets is bytes. Whoever
waits for a result runs the engine meanwhile, or what stands for it here (``engine.helm``).
"""

from __future__ import annotations

import abc
import asyncio
import functools
import threading
import weakref
from typing import Any, Protocol

from samovar import collector, errors, traceparent
from samovar.engine.engine import OnLog
from samovar.engine.helm import Awaited, Driven, Helm
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Run
from samovar.host.handle import Convert, Handle
from samovar.model import Caching, Environment, Phase, PoolStats, TaskSpec
from samovar.runname import Names
from samovar.sdk.pending import Pending
from samovar.sdk.task import Task
from samovar.wire import payload
from samovar.wire.blobs import Blobs

_LOOK = 0.2  # seconds between two looks at whether there is room


class Runs(Driven, Protocol):
    """An engine, or what stands for it; to be touched in a turn."""

    def start(self, called: Called, run: Run) -> int: ...

    def prepare(self, environments: tuple[Environment, ...]) -> None: ...

    def abort(self, action: int, reason: str) -> None: ...

    def phase(self, action: int) -> Phase | None: ...

    @property
    def is_crowded(self) -> bool:
        """Runs that were started here wait for room in a queue."""
        ...


class _Room:
    """Awaited by whoever starts more than there is room for."""

    arrived: threading.Event | None = None

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @property
    def outcome(self) -> object:
        return None if self._runs.is_crowded else self


class _Awaited(Awaited, Protocol):
    arrived: threading.Event | None


class Host(abc.ABC):
    """Implements ``samovar.sdk.controller.Host``; the base of ``EmbeddedHost`` and ``RemoteHost``."""

    def __init__(self, engine: Runs, turn: Turn, helm: Helm, blobs: Blobs, on_log: OnLog) -> None:
        self.engine = engine
        self.turn = turn
        self.helm = helm
        self.blobs = blobs
        self.on_log = on_log
        self.decoding = threading.RLock()  # a result is decoded once, whichever threads ask
        self.closed = False
        self._going: set[Handle] = set()  # what was started here and has not ended; touched in turns
        self.web = ""  # the address of the dashboard; "": there is none
        self._prepared: weakref.WeakSet[Task[Any, Any]] = weakref.WeakSet()  # the images that they need are asked for
        self._names = Names()
        collector.spare_what_is_there()

    def start(
        self,
        task: Task[Any, Any],
        inputs: dict[str, Any],
        name: str = "",
        context: dict[str, str] | None = None,
        caching: Caching = "",
        copy_style: str = "",
    ) -> Handle:
        if self.closed:
            raise errors.InitializationError("InitializationError", "this process is ending: no run can start")
        spec = self.described(task.spec, copy_style)
        cached = task.cache.call(inputs) if task.cache is not None else None
        body, blobs = payload.encode(inputs, self.blobs, spec.max_inline_io_bytes, f"the inputs of task '{spec.name}'")
        handle = Handle(self, name or self._names.next())
        run = Run(handle.name, context, handle, caching, traceparent.current())
        if task.environment.depends_on and task not in self._prepared:
            self._prepared.add(task)
            self.helm.submit(functools.partial(self.engine.prepare, task.environment.needs()))
        self.helm.submit(functools.partial(handle.begin, Called(spec, body, blobs, cached), run))
        if self.engine.is_crowded and asyncio._get_running_loop() is None:
            self._wait_for_room()
        return handle

    def _wait_for_room(self) -> None:
        """A script that starts more than fits takes longer, and no more memory. An event loop is never held up."""
        room = _Room(self.engine)
        while room.outcome is None and not self.closed:
            self.wait(room, _LOOK)

    def described(self, spec: TaskSpec, copy_style: str) -> TaskSpec:
        """The task as the engine gets to see it."""
        return spec

    def wait(self, awaited: _Awaited, timeout: float | None) -> None:
        """Return when the outcome is there, or after ``timeout`` seconds."""
        if self.helm.steer(awaited, timeout):
            return
        with self.helm.following():
            with self.turn:
                if awaited.outcome is not None:
                    return
                awaited.arrived = awaited.arrived or threading.Event()
            awaited.arrived.wait(timeout)

    def watch(self, handle: Handle, pending: Pending, convert: Convert) -> bool:
        """Resolve ``pending`` when the outcome comes. False: it is there."""
        with self.turn:
            if handle.outcome is not None:
                return False
            handle.watchers += ((pending, convert),)
            self.helm.board(pending.get_loop())
            return True

    @property
    def is_at_work(self) -> bool:
        """Runs that were started here have not ended."""
        return bool(self._going)

    def began(self, handle: Handle) -> None:
        """Called in a turn."""
        self._going.add(handle)

    def finished(self, handle: Handle) -> None:
        """Called in a turn."""
        self._going.discard(handle)
        self.helm.arrived()
        if handle.arrived is not None:
            handle.arrived.set()
        if handle.watchers:
            self.turn.after.append(handle.tell_watchers)

    def abort(self, handle: Handle, reason: str) -> None:
        with self.turn:
            self.helm.flush()  # it may not have begun
            self.engine.abort(handle.action, reason)
            self.engine.flush()

    @abc.abstractmethod
    def attach(self, name: str) -> Handle:
        """A run that another process has started. InitializationError: there is none."""

    @abc.abstractmethod
    def stats(self) -> list[PoolStats]:
        """The figures of every pool."""

    @abc.abstractmethod
    def close(self, grace: float = 2.0) -> None:
        """Let go of the engine; an engine of this process ends, with what it runs."""
