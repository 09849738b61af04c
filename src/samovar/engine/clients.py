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
from samovar.model import Failure, Phase
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine

UNKNOWN_TASK = Failure("system", "RuntimeSystemError", "the client names a task that it has not declared")

ENDING = Failure("system", "InitializationError", "the service ends, and starts no run any more")


class Clients:
    def __init__(self, engine: Engine) -> None:
        self.on_shutdown: Callable[[float], None] | None = None  # takes the grace, in seconds
        self.driver = ""  # its name, for people
        self._refusing = False
        self._engine = engine
        self._started_at = time.time()
        self._links: dict[Link, dict[int, RemoteStarter]] = {}  # → runs that have not ended, by call
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Declare: self._declared,
            frames.Start: self._start,
            frames.Abort: self._abort,
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
            reason = f"protocol {frame.version} is spoken, this engine speaks {frames.VERSION}"
        if reason:
            self._engine.send(link, frames.Refuse(reason))
            link.close()
            return
        link.is_known = True
        self._links[link] = {}
        self._engine.send(link, frames.Joined(os.getpid(), self._engine.blobs, self.driver, self._started_at))

    def _declared(self, link: Link, frame: frames.Declare) -> None:
        link.tasks[frame.ref] = frame.task

    def _start(self, link: Link, frame: frames.Start) -> None:
        task = link.tasks.get(frame.ref)
        if task is None or self._refusing:
            failure = UNKNOWN_TASK if task is None else ENDING
            self._engine.send(link, frames.Ended(frame.call, Phase.FAILED, failure=failure))
            return
        starter = self._links[link][frame.call] = RemoteStarter(self, link, frame.call)
        run = Run(frame.name, frame.context, starter)
        starter.action = self._engine.start(task, frame.body, frame.blobs, run, link.homes)

    def _abort(self, link: Link, frame: frames.Abort) -> None:
        starter = self._links[link].get(frame.call)
        if starter is not None:
            self._engine.abort(starter.action, frame.reason)

    def _ask(self, link: Link, frame: frames.Ask) -> None:
        self._engine.send(link, frames.Standing(frame.call, tuple(self._engine.stats())))

    def _shutdown(self, link: Link, frame: frames.Shutdown) -> None:
        if self.on_shutdown is not None:
            self.on_shutdown(frame.grace)

    def tell(self, starter: RemoteStarter, frame: Any) -> None:
        if starter.link is not None:
            self._engine.send(starter.link, frame)

    def ended(self, starter: RemoteStarter, outcome: Outcome) -> None:
        if starter.link is None:
            self._engine.discard(outcome.blobs)
            return
        self.tell(starter, frames.Ended(starter.call, outcome.phase, outcome.body, outcome.blobs, outcome.failure))
        self._links[starter.link].pop(starter.call, None)


class RemoteStarter:
    """Tells a client of its run, as ``samovar.engine.work.Starter``, as long as it is there."""

    __slots__ = ("_clients", "action", "call", "link")

    def __init__(self, clients: Clients, link: Link, call: int) -> None:
        self.link: Link | None = link
        self.call = call
        self.action = 0
        self._clients = clients

    def running(self) -> None:
        self._clients.tell(self, frames.Running(self.call))

    def logged(self, label: str, stream: str, text: str) -> None:
        self._clients.tell(self, frames.Line(label, stream, text))

    def ended(self, outcome: Outcome) -> None:
        self._clients.ended(self, outcome)
