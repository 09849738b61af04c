"""Clients: scripts and commands of other processes, on connections of their own.

What a client starts goes on when the client goes away; what becomes of it is then told to nobody. A client is whoever
may open the socket: it can do what the owner of the engine can, so replicas never get to see that socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from samovar.engine.links import Link
from samovar.engine.work import Outcome, Run
from samovar.model import Failure, Phase, TaskSpec
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.entries import RunStarted, Settled

UNKNOWN_TASK = Failure("system", "RuntimeSystemError", "the client names a task that it has not declared")

JOURNAL_SECONDS = 0.2
"""After which a run is to be started again that the journal had no room for."""

ENDING = Failure("system", "InitializationError", "the service ends, and starts no run any more")


class Clients:
    def __init__(self, engine: Engine) -> None:
        self.on_shutdown: Callable[[float], None] | None = None  # takes the grace, in seconds
        self.driver = ""  # its name, for people
        self._refusing = False
        self._engine = engine
        self._started_at = time.time()
        self._links: dict[Link, dict[int, RemoteStarter]] = {}  # → runs that have not ended, by call
        self._runs: dict[str, RemoteStarter] = {}  # the same, and those without a client, by name
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Declare: self._declared,
            frames.Start: self._start,
            frames.Abort: self._abort,
            frames.AbortRun: self._abort_run,
            frames.Ask: self._ask,
            frames.Shutdown: self._shutdown,
        }

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            if not link.is_known:
                self._join(link, frame)
                continue
            handler = self._on_frame.get(type(frame))
            if handler is None:
                link.close()
                return
            handler(link, frame)

    def left(self, link: Link) -> None:
        for starter in self._links.pop(link, {}).values():
            starter.link = None

    def refuse(self) -> None:
        """Nothing new is started from here on."""
        self._refusing = True

    def note(self, text: str) -> None:
        """A line of progress, to all."""
        for link in self._links:
            self._engine.send(link, frames.Note(text))

    def _join(self, link: Link, frame: Any) -> None:
        reason = ""
        if not isinstance(frame, frames.Join):
            reason = "the first frame must be a join"
        elif frame.version != frames.VERSION:
            reason = frames.other_version(frame.version)
        if reason:
            self._engine.refuse(link, reason)
            return
        link.is_known = True
        link.turns = self._engine.turns()
        self._links[link] = {}
        self._engine.send(link, frames.Joined(os.getpid(), self._engine.blobs, self.driver, self._started_at))

    def _declared(self, link: Link, frame: frames.Declare) -> None:
        link.tasks[frame.ref] = frame.task

    def _start(self, link: Link, frame: frames.Start) -> None:
        task = link.tasks.get(frame.ref)
        failure = self._why_not(frame.name, task)
        if task is None or failure is not None:
            self._engine.discard(frame.blobs)
            self._engine.send(link, frames.Ended(frame.call, Phase.FAILED, failure=failure))
            return
        starter = RemoteStarter(self, frame.name, link, frame.call)
        run = Run(frame.name, frame.context, starter)
        run.client = link.turns
        if wait := self._wait(task, run, link):
            self._engine.send(link, frames.SlowDown(frame, wait))
            return
        self._links[link][frame.call] = starter
        self._runs[frame.name] = starter
        starter.action = self._engine.start(task, frame.body, frame.blobs, run, link.homes)

    def resume(self, started: RunStarted, recalled: dict[str, Settled]) -> None:
        """Start a run again that another engine could not end; nobody waits for it."""
        starter = self._runs[started.run] = RemoteStarter(self, started.run)
        run = Run(started.run, started.context, starter)
        run.recalled = recalled
        starter.action = self._engine.start(started.task, started.inputs, (), run)

    def abort_run(self, name: str, reason: str) -> bool:
        """False: no run of this name is on its way."""
        starter = self._runs.get(name)
        if starter is not None:
            self._engine.abort(starter.action, reason)
        return starter is not None

    def _wait(self, task: TaskSpec, run: Run, link: Link) -> float:
        """0.0: the run can be started now. Otherwise the seconds after which to try again."""
        if self._engine.is_slow:
            return JOURNAL_SECONDS
        return self._engine.admission(self._engine.pool(task, run, link.homes), run.client)

    def _why_not(self, name: str, task: TaskSpec | None) -> Failure | None:
        """Why a run can never be started."""
        if task is None:
            return UNKNOWN_TASK
        if self._refusing:
            return ENDING
        if name in self._runs:
            return Failure("user", "InitializationError", f"a run named {name!r} is on its way; choose another name")
        return None

    def _abort(self, link: Link, frame: frames.Abort) -> None:
        starter = self._links[link].get(frame.call)
        if starter is not None:
            self._engine.abort(starter.action, frame.reason)

    def _abort_run(self, link: Link, frame: frames.AbortRun) -> None:
        self._engine.send(link, frames.Aborting(frame.call, self.abort_run(frame.name, frame.reason)))

    def _ask(self, link: Link, frame: frames.Ask) -> None:
        self._engine.send(link, frames.Standing(frame.call, tuple(self._engine.stats())))

    def _shutdown(self, link: Link, frame: frames.Shutdown) -> None:
        if self.on_shutdown is not None:
            self.on_shutdown(frame.grace)

    def tell(self, starter: RemoteStarter, frame: Any) -> None:
        if starter.link is not None:
            self._engine.send(starter.link, frame)

    def ended(self, starter: RemoteStarter, outcome: Outcome) -> None:
        self._runs.pop(starter.name, None)
        if starter.link is None:
            self._engine.discard(outcome.blobs)
            return
        self.tell(starter, frames.Ended(starter.call, outcome.phase, outcome.body, outcome.blobs, outcome.failure))
        self._links[starter.link].pop(starter.call, None)


class RemoteStarter:
    """Tells a client of its run, as ``samovar.engine.work.Starter``, as long as it is there."""

    __slots__ = ("_clients", "action", "call", "link", "name")

    def __init__(self, clients: Clients, name: str, link: Link | None = None, call: int = 0) -> None:
        self.name = name
        self.link = link
        self.call = call
        self.action = 0
        self._clients = clients

    def running(self) -> None:
        self._clients.tell(self, frames.Running(self.call))

    def logged(self, label: str, stream: str, text: str) -> None:
        self._clients.tell(self, frames.Line(label, stream, text))

    def ended(self, outcome: Outcome) -> None:
        self._clients.ended(self, outcome)
