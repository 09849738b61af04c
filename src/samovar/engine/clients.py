"""Clients: scripts and commands of other processes, on connections of their own.

What a client starts goes on when the client goes away; what becomes of it is then told to nobody. A client is whoever
may open the socket: it can do what the owner of the engine can, so replicas never get to see that socket.

Clients of other hosts come through a gate (``admit``). They share no folder with the engine, so their large values come
and go in parts, and what they say of paths means nothing here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from samovar.engine.links import Link
from samovar.engine.work import Called, Outcome, Run
from samovar.model import Environment, Failure, Phase, TaskSpec
from samovar.wire import frames
from samovar.wire.parts import Incoming, Shipment

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.entries import RunStarted

UNKNOWN_TASK = Failure(
    "system", "RuntimeSystemError", "the client names a task that it has not declared, or whose code is not kept here"
)

JOURNAL_SECONDS = 0.2
"""After which a run is to be started again that the journal had no room for."""

ENDING = Failure("system", "InitializationError", "the service ends, and starts no run any more")


class Code(Protocol):
    """Keeps the code that clients send; called in a turn."""

    def offered(self, link: Link, frame: frames.Offer) -> None: ...

    def delivered(self, link: Link, frame: frames.Parcel) -> None: ...

    def left(self, link: Link) -> None:
        """What it has begun to send will not be completed."""
        ...

    def unpacked(self, task: TaskSpec) -> TaskSpec | None:
        """The task with its code where it is kept. None: it is not."""
        ...


class Clients:
    def __init__(self, engine: Engine) -> None:
        self.on_shutdown: Callable[[float], None] | None = None  # takes the grace, in seconds
        self.driver = ""  # its name, for people
        self.gate = ""  # the endpoint for clients of other hosts
        self._refusing = False
        self._code: Code | None = None
        self._held: list[tuple[Link, Any]] | None = None  # what has to wait until runs are taken up
        self._engine = engine
        self._started_at = time.time()
        self._links: dict[Link, dict[int, RemoteStarter]] = {}  # → runs that have not ended, by call
        self._runs: dict[str, RemoteStarter] = {}  # the same, and those without a client, by name
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Declare: self._declared,
            frames.Start: self._start,
            frames.Prepare: self._prepare,
            frames.Abort: self._abort,
            frames.AbortRun: self._abort_run,
            frames.Ask: self._ask,
            frames.Shutdown: self._shutdown,
            frames.Part: self._part,
            frames.Scrap: self._scrap,
        }

    def admit(self, sock: socket.socket) -> Link:
        """Take in a client of another host, whom the gate has let in."""
        link = self._engine.hub.add(sock, "client")
        link.incoming = Incoming(self._engine.blobs)
        return link

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            if not link.is_open:
                return
            if not link.is_known:
                self._join(link, frame)
                continue
            handler = self._on_frame.get(type(frame))
            if handler is None:
                link.close()
                return
            if self._held is not None and handler in (self._start, self._abort_run):
                self._held.append((link, frame))
            else:
                handler(link, frame)

    def keep_code(self, code: Code) -> None:
        """From here on clients may send code."""
        self._code = code
        self._on_frame[frames.Offer] = code.offered
        self._on_frame[frames.Parcel] = code.delivered

    def digests(self) -> set[str]:
        """Of the code of all tasks that clients which are there have declared."""
        return {task.environment.bundle.digest for link in self._links for task in link.tasks.values()}

    def left(self, link: Link) -> None:
        if self._code is not None:
            self._code.left(link)
        for starter in self._links.pop(link, {}).values():
            starter.link = None
        if link.incoming is not None:
            self._engine.discard(link.incoming.drop_all())

    def hold(self) -> None:
        """Runs of an engine before are about to be taken up: who asks for a run has to wait, until ``release``."""
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for link, frame in held:
            if link in self._links:
                self._on_frame[type(frame)](link, frame)

    def refuse(self) -> None:
        """Nothing new is started from here on."""
        self._refusing = True

    def note(self, text: str) -> None:
        """A line of progress, to all."""
        for link in self._links:
            if not link.is_behind:
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
        blobs = self._engine.blobs if link.incoming is None else ""
        self._engine.send(link, frames.Joined(os.getpid(), blobs, self.driver, self._started_at, self.gate))

    def _declared(self, link: Link, frame: frames.Declare) -> None:
        declared = frame.task
        if link.incoming is not None:
            declared = msgspec.structs.replace(declared, environment=_without_paths(declared.environment))
        task: TaskSpec | None = declared
        if declared.environment.bundle.is_packed:
            task = self._code.unpacked(declared) if self._code is not None else None
        if task is not None:
            link.tasks[frame.ref] = task

    def _prepare(self, link: Link, frame: frames.Prepare) -> None:
        if link.incoming is not None:
            frame = frames.Prepare(tuple(map(_without_paths, frame.environments)))
        self._engine.prepare(frame.environments)

    def _part(self, link: Link, frame: frames.Part) -> None:
        if link.incoming is None:
            self._engine.refuse(link, "large values of a client on this host are files")
        else:
            link.incoming.add(frame)

    def _scrap(self, link: Link, frame: frames.Scrap) -> None:
        self._engine.discard(frame.blobs if link.incoming is None else link.incoming.drop(frame.blobs))

    def _start(self, link: Link, frame: frames.Start) -> None:
        task = link.tasks.get(frame.ref)
        failure = self._why_not(frame.name, task) or _lost(link, frame.blobs)
        if task is None or failure is not None:
            self._scrap(link, frames.Scrap(frame.blobs))
            self._engine.send(link, frames.Ended(frame.call, Phase.FAILED, failure=failure))
            return
        starter = RemoteStarter(self, frame.name, link, frame.call)
        run = Run(frame.name, frame.context, starter, frame.caching)
        run.client = link.turns
        if wait := self._wait(task, run, link):
            self._engine.send(link, frames.SlowDown(frame, wait))
            return
        blobs = frame.blobs if link.incoming is None else link.incoming.take(frame.blobs)
        self._links[link][frame.call] = starter
        self._runs[frame.name] = starter
        called = Called(task, frame.body, blobs, frame.cached)
        starter.action = self._engine.start(called, run, link.homes)

    def revive(self, started: RunStarted, parents: frozenset[str]) -> Run:
        """A run that another engine could not end goes on; nobody waits for it yet. ``parents``: ids of actions that
        had called something."""
        starter = self._runs[started.run] = RemoteStarter(self, started.run)
        run = Run(started.run, started.context, starter, started.caching)
        run.is_resumed = True
        run.parents = parents
        return run

    def began(self, name: str, action: int) -> None:
        """This is the first action of a run that was revived."""
        if name in self._runs:
            self._runs[name].action = action

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
        return self._engine.admission(self._engine.pool_for(task, run, link.homes), run.client)

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
        if link.incoming is not None:
            self._engine.refuse(link, "a service is ended on its own host only, with `samovar stop`")
        elif self.on_shutdown is not None:
            self.on_shutdown(frame.grace)

    def tell(self, starter: RemoteStarter, frame: Any) -> None:
        if starter.link is not None:
            self._engine.send(starter.link, frame)

    def ended(self, starter: RemoteStarter, outcome: Outcome) -> None:
        self._runs.pop(starter.name, None)
        if starter.link is None:
            self._engine.discard(outcome.blobs)
            return
        self._links[starter.link].pop(starter.call, None)
        self._deliver(
            starter.link, frames.Ended(starter.call, outcome.phase, outcome.body, outcome.blobs, outcome.failure)
        )

    def _deliver(self, link: Link, ended: frames.Ended) -> None:
        if link.incoming is not None and ended.blobs:
            link.ship(Shipment(self._engine.blobs, ended.blobs, ended, self._engine.discard))
        else:
            self._engine.send(link, ended)


class RemoteStarter:
    """Tells a client of its run, as ``samovar.engine.work.Starter``, as long as it is there."""

    __slots__ = ("_clients", "_unheard", "action", "call", "link", "name")

    def __init__(self, clients: Clients, name: str, link: Link | None = None, call: int = 0) -> None:
        self.name = name
        self.link = link
        self.call = call
        self.action = 0
        self._clients = clients
        self._unheard = 0  # texts that the client was spared

    def running(self) -> None:
        self._clients.tell(self, frames.Running(self.call))

    def logged(self, label: str, stream: str, text: str) -> None:
        if self.link is not None and self.link.is_behind:
            self._unheard += 1
            return
        if self._unheard:
            left_out = f"{self._unheard} texts that tasks of run {self.name} wrote are left out: this client was behind"
            self._clients.tell(self, frames.Note(left_out))
            self._unheard = 0
        self._clients.tell(self, frames.Line(label, stream, text))

    def ended(self, outcome: Outcome) -> None:
        self._clients.ended(self, outcome)


def _lost(link: Link, blobs: tuple[str, ...]) -> Failure | None:
    why = link.incoming.why_lost(blobs) if link.incoming is not None else ""
    return Failure("system", "RuntimeSystemError", f"a large input did not reach the service: {why}") if why else None


def _without_paths(environment: Environment) -> Environment:
    """A directory and an interpreter of another host mean nothing here."""
    bundle = msgspec.structs.replace(environment.bundle, cwd="", python="")
    return msgspec.structs.replace(environment, bundle=bundle)
