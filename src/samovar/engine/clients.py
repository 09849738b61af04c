"""Clients: scripts and commands of other processes, on connections of their own.

What a client starts goes on when the client goes away; others may attach to it, and whoever is attached is told. A
client is whoever may open the socket: it can do what the owner of the engine can, so replicas never see that socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from samovar.engine.links import Link
from samovar.engine.work import Called, Outcome, Run
from samovar.model import Failure, Phase, TaskSpec
from samovar.wire import frames
from samovar.wire.blobs import share

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.entries import RunStarted

UNKNOWN_TASK = Failure(
    "system", "RuntimeSystemError", "the client names a task that it has not declared, or whose code is not kept here"
)

SLOW_DOWN = Failure("system", "SlowDownError", "the journal does not keep up; try again in a moment")
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
        self._refusing = False
        self._held: list[tuple[Link, Any]] | None = None  # what has to wait until runs are taken up
        self._code: Code | None = None
        self._engine = engine
        self._started_at = time.time()
        self._links: dict[Link, dict[int, RemoteStarter]] = {}  # → runs that have not ended, by call
        self._runs: dict[str, RemoteStarter] = {}  # the same, and those without a client, by name
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Declare: self._declared,
            frames.Start: self._start,
            frames.Attach: self._attach,
            frames.Prepare: lambda _, frame: self._engine.prepare(frame.environments),
            frames.Abort: self._abort,
            frames.AbortRun: self._abort_run,
            frames.Ask: self._ask,
            frames.AskActions: self._ask_actions,
            frames.Find: self._find,
            frames.Control: self._control,
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

    def hold(self) -> None:
        """Runs of an engine before are about to be taken up: who asks for a run has to wait, until ``release``."""
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for link, frame in held:
            if link in self._links:
                self._on_frame[type(frame)](link, frame)

    def refuse(self) -> None:
        """Nothing new is started from here on, and the service ends soon."""
        self._refusing = True
        for link in self._links:
            self._engine.send(link, frames.Ending())

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
        self._links[link] = {}
        self._engine.send(link, frames.Joined(os.getpid(), self._engine.blobs, self.driver, self._started_at))
        if self._refusing:
            self._engine.send(link, frames.Ending())

    # runs

    def _declared(self, link: Link, frame: frames.Declare) -> None:
        task: TaskSpec | None = frame.task
        if frame.task.environment.bundle.is_packed:
            task = self._code.unpacked(frame.task) if self._code is not None else None
        if task is not None:
            link.tasks[frame.ref] = task

    def _start(self, link: Link, frame: frames.Start) -> None:
        task = link.tasks.get(frame.ref)
        failure = self._why_not(frame.name, task)
        if task is None or failure is not None:
            if failure is not SLOW_DOWN:  # the client will come again
                self._engine.discard(frame.blobs)
            self._engine.send(link, frames.Ended(frame.call, Phase.FAILED, failure=failure))
            return
        starter = self._links[link][frame.call] = RemoteStarter(self, frame.name, task.name, (link, frame.call))
        run = Run(frame.name, frame.context, starter, frame.caching)
        self._runs[frame.name] = starter
        called = Called(task, frame.body, frame.blobs, frame.cached)
        starter.action = self._engine.start(called, run, link.homes)

    def resume(self, started: RunStarted, inputs: tuple[str, ...], parents: frozenset[str]) -> None:
        """Start a run again that another engine could not end; nobody waits for it yet.

        ``inputs``: its large ones, for this engine; ``parents``: ids of actions that had called something.
        """
        starter = self._runs[started.run] = RemoteStarter(self, started.run, started.task.name)
        run = Run(started.run, started.context, starter, started.caching)
        run.is_resumed = True
        run.parents = parents
        starter.action = self._engine.start(Called(started.task, started.inputs, inputs), run)

    def abort_run(self, name: str, reason: str) -> bool:
        """False: no run of this name is on its way."""
        starter = self._runs.get(name)
        if starter is not None:
            self._engine.abort(starter.action, reason)
        return starter is not None

    def _why_not(self, name: str, task: TaskSpec | None) -> Failure | None:
        """Why a run cannot be started."""
        if task is None:
            return UNKNOWN_TASK
        if self._refusing:
            return ENDING
        if name in self._runs:
            return Failure("user", "InitializationError", f"a run named {name!r} is on its way; choose another name")
        return SLOW_DOWN if self._engine.is_slow else None

    def _attach(self, link: Link, frame: frames.Attach) -> None:
        starter = self._runs.get(frame.name)
        if starter is not None:
            starter.watchers += ((link, frame.call),)
            self._links[link][frame.call] = starter
            self._engine.send(link, frames.Attached(frame.call, starter.task, starter.is_running))
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
            self._engine.send(link, _ended(frame.call, outcome))
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
            found = self._engine.abort_one(frame.name, frame.number, frame.reason)
        else:
            found = self.abort_run(frame.name, frame.reason)
        self._engine.send(link, frames.Aborting(frame.call, found))

    def tell(self, starter: RemoteStarter, frame_of: Callable[[int], Any]) -> None:
        for link, call in starter.watchers:
            self._engine.send(link, frame_of(call))

    def ended(self, starter: RemoteStarter, outcome: Outcome) -> None:
        """The result goes to the first, and as files of their own to all others."""
        self._runs.pop(starter.name, None)
        if not starter.watchers:
            self._engine.discard(outcome.blobs)
        for place, (link, call) in enumerate(starter.watchers):
            self._engine.send(link, _ended(call, self._shared(outcome) if place else outcome))
            self._links[link].pop(call, None)

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
        replicas = tuple(self._engine.replicas()) if frame.replicas else ()
        self._engine.send(link, frames.Standing(frame.call, tuple(self._engine.stats()), replicas))

    def _ask_actions(self, link: Link, frame: frames.AskActions) -> None:
        self._engine.send(link, frames.Actions(frame.call, *self._engine.underway(frame)))

    def _find(self, link: Link, frame: frames.Find) -> None:
        def found(page: bytes, problem: str) -> None:
            if link in self._links:
                self._engine.send(link, frames.Found(frame.call, page, problem))

        if self.archive is None:
            found(b"", NOTHING_WRITTEN)
        else:
            self.archive.find(frame.query, found)

    def _control(self, link: Link, frame: frames.Control) -> None:
        self._engine.send(link, frames.Controlled(frame.call, *self._engine.control(frame)))

    def _shutdown(self, link: Link, frame: frames.Shutdown) -> None:
        if self.on_shutdown is not None:
            self.on_shutdown(frame.grace)


def _ended(call: int, outcome: Outcome) -> frames.Ended:
    return frames.Ended(call, outcome.phase, outcome.body, outcome.blobs, outcome.failure)


Watcher = tuple[Link, int]
"""A client, and its name for the run."""


class RemoteStarter:
    """Tells clients of a run, as ``samovar.engine.work.Starter``, for as long as they are there."""

    __slots__ = ("_clients", "action", "is_running", "name", "task", "watchers")

    def __init__(self, clients: Clients, name: str, task: str, *watchers: Watcher) -> None:
        self.name = name
        self.task = task
        self.action = 0
        self.is_running = False
        self.watchers: tuple[Watcher, ...] = watchers
        self._clients = clients

    def running(self) -> None:
        self.is_running = True
        self._clients.tell(self, frames.Running)

    def logged(self, label: str, stream: str, text: str) -> None:
        line = frames.Line(label, stream, text)
        self._clients.tell(self, lambda _: line)

    def ended(self, outcome: Outcome) -> None:
        self._clients.ended(self, outcome)
