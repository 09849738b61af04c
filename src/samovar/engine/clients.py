"""Clients: scripts and commands of other processes, on connections of their own.

What a client starts goes on when the client goes away; others may attach to it, and whoever is attached is told. A
client is whoever may open the socket: it can do what the owner of the engine can, so replicas never see that socket.

Clients of other hosts come through a gate (``admit``). They share no folder with the engine, so their large values come
and go in parts, and what they say of paths means nothing here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from samovar.engine.links import Link
from samovar.engine.work import Called, Outcome, Run
from samovar.model import Environment, Failure, Phase, TaskSpec
from samovar.wire import frames
from samovar.wire.blobs import share
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

NOTHING_WRITTEN = "the service keeps no journal: what has ended is not known"


class Recalled:
    """What is written down of a run. ``task`` is "" when nothing is, ``outcome`` None when it has not ended here."""

    def __init__(self, task: str = "", outcome: Outcome | None = None, reason: str = "") -> None:
        self.task = task
        self.outcome = outcome
        self.reason = reason


class Archive(Protocol):
    """What is written down, for clients. It is read outside of the turn; answers are called in one, later."""

    def find(self, query: bytes, answer: Callable[[bytes, str], None]) -> None:
        """Answers a page, or why there is none."""
        ...

    def recall(self, run: str, answer: Callable[[Recalled], None]) -> None:
        """Answers how a run has ended."""
        ...


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
        self.archive: Archive | None = None
        self.driver = ""  # its name, for people
        self.gate = ""  # the endpoint for clients of other hosts
        self.web = self.web_for_others = ""  # the addresses of the dashboard, for this host and for other hosts
        self.started_at = time.time()
        self._refusing = False
        self._held: list[tuple[Link, Any]] | None = None  # what has to wait until runs are taken up
        self._code: Code | None = None
        self._engine = engine
        self._links: dict[Link, dict[int, RemoteStarter]] = {}  # → runs that have not ended, by call
        self._runs: dict[str, RemoteStarter] = {}  # the same, and those without a client, by name
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Declare: self._declared,
            frames.Start: self._start,
            frames.Attach: self._attach,
            frames.Prepare: self._prepare,
            frames.Abort: self._abort,
            frames.AbortRun: self._abort_run,
            frames.Ask: self._ask,
            frames.AskActions: self._ask_actions,
            frames.Find: self._find,
            frames.Control: self._control,
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
            if self._held is not None and handler in (self._start, self._attach, self._abort_run):
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
            starter.watchers = tuple(watcher for watcher in starter.watchers if watcher[0] is not link)
            starter.unheard.pop(link, None)
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

    @property
    def why_not_ready(self) -> str:
        """Why no run can be started now; "": it can."""
        if self._refusing:
            return "the service ends"
        return "what the service before has left is being taken up" if self._held is not None else ""

    def refuse(self) -> None:
        """Nothing new is started from here on, and the service ends soon."""
        self._refusing = True
        for link in self._links:
            self._engine.send(link, frames.Ending())

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
        web = self.web if link.incoming is None else self.web_for_others
        self._engine.send(link, frames.Joined(os.getpid(), blobs, self.driver, self.started_at, self.gate, web))
        if self._refusing:
            self._engine.send(link, frames.Ending())

    # runs

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
        starter = RemoteStarter(self, frame.name, task.name, (link, frame.call))
        run = Run(frame.name, frame.context, starter, frame.caching, frame.trace)
        run.client = link.turns
        if wait := self._wait(task, run, link):
            self._engine.send(link, frames.SlowDown(frame.call, wait))
            return
        blobs = frame.blobs if link.incoming is None else link.incoming.take(frame.blobs)
        self._links[link][frame.call] = starter
        self._runs[frame.name] = starter
        called = Called(task, frame.body, blobs, frame.cached)
        starter.action = self._engine.start(called, run, link.homes)

    def revive(self, started: RunStarted, parents: frozenset[str]) -> Run:
        """A run that another engine could not end goes on; nobody waits for it yet. ``parents``: ids of actions that
        had called something."""
        starter = self._runs[started.run] = RemoteStarter(self, started.run, started.task.name)
        run = Run(started.run, started.context, starter, started.caching)
        run.started = started.started
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
        pool = self._engine.pool_for(task, run, link.homes)
        wait = self._engine.admission(pool, run.client)
        self._engine.figures.of[pool].refused += wait > 0
        return wait

    def _why_not(self, name: str, task: TaskSpec | None) -> Failure | None:
        """Why a run can never be started."""
        if task is None:
            return UNKNOWN_TASK
        if self._refusing:
            return ENDING
        if name in self._runs:
            return Failure("user", "InitializationError", f"a run named {name!r} is on its way; choose another name")
        return None

    def _attach(self, link: Link, frame: frames.Attach) -> None:
        starter = self._runs.get(frame.name)
        if starter is not None:
            starter.watchers += ((link, frame.call),)
            self._links[link][frame.call] = starter
            is_running = self._engine.phase(starter.action) is Phase.RUNNING
            self._engine.send(link, frames.Attached(frame.call, starter.task, is_running))
        elif self.archive is not None:
            self.archive.recall(frame.name, partial(self._recalled, link, frame))
        else:
            self._engine.send(link, frames.Attached(frame.call))

    def _recalled(self, link: Link, frame: frames.Attach, known: Recalled) -> None:
        outcome = known.outcome
        if link not in self._links:
            self._engine.discard(outcome.blobs if outcome is not None else ())
        elif outcome is not None:
            self._engine.send(link, frames.Attached(frame.call, known.task, True))
            self._deliver(link, frame.call, outcome)
        elif frame.name in self._runs:  # it has been started meanwhile
            self._attach(link, frame)
        else:
            self._engine.send(link, frames.Attached(frame.call, reason=known.reason))

    def _abort(self, link: Link, frame: frames.Abort) -> None:
        starter = self._links[link].get(frame.call)
        if starter is not None:
            self._engine.abort(starter.action, frame.reason)

    def _abort_run(self, link: Link, frame: frames.AbortRun) -> None:
        if frame.number:
            found = self._engine.survey.abort(frame.name, frame.number, frame.reason)
        else:
            found = self.abort_run(frame.name, frame.reason)
        self._engine.send(link, frames.Aborting(frame.call, found))

    def running(self, starter: RemoteStarter) -> None:
        for link, call in starter.watchers:
            self._engine.send(link, frames.Running(call))

    def say_line(self, starter: RemoteStarter, link: Link, line: frames.Line) -> None:
        """To a client that reads what it is sent."""
        count = starter.unheard.pop(link, 0)
        if count:
            text = f"{count} texts that tasks of run {starter.name} wrote are left out: this client was behind"
            self._engine.send(link, frames.Note(text))
        self._engine.send(link, line)

    def ended(self, starter: RemoteStarter, outcome: Outcome) -> None:
        """The result goes to the first, and as files of their own to all others."""
        self._runs.pop(starter.name, None)
        if not starter.watchers:
            self._engine.discard(outcome.blobs)
        for place, (link, call) in enumerate(starter.watchers):
            self._links[link].pop(call, None)
            self._deliver(link, call, self._shared(outcome) if place else outcome)

    def _deliver(self, link: Link, call: int, outcome: Outcome) -> None:
        ended = frames.Ended(call, outcome.phase, outcome.body, outcome.blobs, outcome.failure)
        if link.incoming is not None and outcome.blobs:
            link.ship(Shipment(self._engine.blobs, outcome.blobs, ended, self._engine.discard))
        else:
            self._engine.send(link, ended)

    def _shared(self, outcome: Outcome) -> Outcome:
        """For one more client, as whoever reads the files of a result removes them."""
        try:
            files = tuple(share(self._engine.blobs, name) for name in outcome.blobs)
        except OSError as error:
            text = f"the run has ended, but its result could not be shared: {error.strerror or error}"
            return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", text))
        return Outcome(outcome.phase, outcome.body, files, outcome.failure)

    # what else is asked

    def _ask(self, link: Link, frame: frames.Ask) -> None:
        replicas = tuple(self._engine.survey.replicas()) if frame.replicas else ()
        self._engine.send(link, frames.Standing(frame.call, tuple(self._engine.stats()), replicas))

    def _ask_actions(self, link: Link, frame: frames.AskActions) -> None:
        self._engine.send(link, frames.Actions(frame.call, *self._engine.survey.underway(frame)))

    def _find(self, link: Link, frame: frames.Find) -> None:
        def found(page: bytes, problem: str) -> None:
            if link in self._links:
                self._engine.send(link, frames.Found(frame.call, page, problem))

        if self.archive is None:
            found(b"", NOTHING_WRITTEN)
        else:
            self.archive.find(frame.query, found)

    def _control(self, link: Link, frame: frames.Control) -> None:
        self._engine.send(link, frames.Controlled(frame.call, *self._engine.survey.control(frame)))

    def _shutdown(self, link: Link, frame: frames.Shutdown) -> None:
        if link.incoming is not None:
            self._engine.refuse(link, "a service is ended on its own host only, with `samovar stop`")
        elif self.on_shutdown is not None:
            self.on_shutdown(frame.grace)


Watcher = tuple[Link, int]
"""A client, and its name for the run."""


class RemoteStarter:
    """Tells clients of a run, as ``samovar.engine.work.Starter``, for as long as they are there."""

    __slots__ = ("_clients", "action", "name", "task", "unheard", "watchers")

    def __init__(self, clients: Clients, name: str, task: str, *watchers: Watcher) -> None:
        self.name = name
        self.task = task
        self.action = 0
        self.watchers: tuple[Watcher, ...] = watchers
        self.unheard: dict[Link, int] = {}  # texts that a client which does not keep up was spared
        self._clients = clients

    def running(self) -> None:
        self._clients.running(self)

    def logged(self, label: str, stream: str, text: str) -> None:
        for link, _ in self.watchers:
            if link.is_behind:
                self.unheard[link] = self.unheard.get(link, 0) + 1
            else:
                self._clients.say_line(self, link, frames.Line(label, stream, text))

    def ended(self, outcome: Outcome) -> None:
        self._clients.ended(self, outcome)


def _lost(link: Link, blobs: tuple[str, ...]) -> Failure | None:
    why = link.incoming.why_lost(blobs) if link.incoming is not None else ""
    return Failure("system", "RuntimeSystemError", f"a large input did not reach the service: {why}") if why else None


def _without_paths(environment: Environment) -> Environment:
    """A directory and an interpreter of another host mean nothing here."""
    bundle = msgspec.structs.replace(environment.bundle, cwd="", python="")
    return msgspec.structs.replace(environment, bundle=bundle)
