"""A service in place of an engine: the connection behind a ``RemoteHost``.

``RemoteEngine`` has the part of ``samovar.engine.engine.Engine`` that a host uses. When the service goes without a word
it waits for it to come back, and attaches to its runs again: none is lost by it, and a service that has never heard of
a run is told of it once more. A service on another host is reached through a tunnel, and large values come and go in
parts; nothing else is different.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from samovar.endpoint import Remote
from samovar.engine.engine import OnLog
from samovar.engine.hub import Hub
from samovar.engine.links import Link
from samovar.engine.work import Called, Outcome, Run
from samovar.host.absence import PATIENCE, Absence, Way, reach
from samovar.model import Environment, Failure, Phase, TaskSpec
from samovar.ports import Report
from samovar.wire import frames
from samovar.wire.backlog import Backlog
from samovar.wire.parts import Incoming, Shipment

GONE = frames.Refuse("the connection was closed")
"""What a question is answered that the service cannot answer any more."""

_US = 0  # all starts of this process are one's

_LOST = ("lost",)
"""In place of the names of large inputs that are not here any more."""


class Question:
    """Something that was asked; ``outcome`` is the answer, None until it comes."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.answered = threading.Event()  # for a thread that does not run the engine itself


class RemoteEngine:
    """``folder`` takes large values of a service that shares none; "": ``where`` is a Unix socket of this host.

    OSError: nobody listens there. InitializationError: why another host cannot be reached.
    """

    def __init__(
        self,
        where: str | Remote,
        folder: str,
        report: Report,
        on_log: OnLog,
        arrived: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        self.address = str(where)
        self.hub = Hub(self)
        self.greeting = Question()
        self.on_return: Callable[[frames.Joined], None] = lambda joined: None  # called in a turn
        self.is_joined = False  # the service has greeted
        self._where = where
        self._report = report
        self._on_log = on_log
        self._arrived = arrived
        self._patience = patience
        self._calls = 0
        self._runs: dict[int, Run] = {}  # that have not ended
        self._starts: dict[int, Called] = {}  # of those that were started here, for a service that has forgotten them
        self._backlog: Backlog[int] = Backlog()  # calls of the starts that the service had no room for
        self._waiting: set[int] = set()  # the same, without those that were aborted
        self._running: set[int] = set()
        self._in_doubt: set[int] = set()  # whether a service that has come back knows of them
        self._aborted: dict[int, str] = {}  # call → reason, until the end is known
        self._questions: dict[int, Question] = {}
        self._refs: dict[int, tuple[int, TaskSpec]] = {}  # id of a spec → (ref, the spec, kept alive)
        self._shipments: dict[int, Shipment] = {}  # starts on their way, by call
        self._folder = folder
        self._shared = ""  # where a service of this host has its large values
        self._absence: Absence | None = None
        self._is_ending = False  # the service has said so
        self._farewell = ""  # why the service has ended the connection
        try:
            self._take(reach(where))
        except BaseException:
            self.hub.close()
            raise

    # as an engine

    def prepare(self, environments: tuple[Environment, ...]) -> None:
        if self.is_joined:
            self._send(frames.Prepare(environments))

    def start(self, called: Called, run: Run) -> int:
        self._calls = call = self._calls + 1
        if not self.is_expected():
            run.starter.ended(self._lost())
            return call
        self._runs[call] = run
        self._starts[call] = called
        if self.is_joined:
            self._say_start(call)
        else:
            self._in_doubt.add(call)
        return call

    def abort(self, action: int, reason: str) -> None:
        if action not in self._runs:
            return
        shipment = self._shipments.get(action)
        if shipment is not None and not shipment.is_over:
            shipment.cancel()
            self._end(action, _aborted(reason))
        elif action in self._waiting:
            self._withdraw(action, reason)
        else:
            self._aborted[action] = reason
            if self.is_joined:
                self._send(frames.Abort(action, reason))

    def phase(self, action: int) -> Phase | None:
        if action not in self._runs:
            return None
        return Phase.RUNNING if action in self._running else Phase.QUEUED

    def flush(self) -> None:
        if self.link.outbox and self.link.is_open:
            self.link.flush()

    def tick(self) -> None:
        """Say again what the service had no room for, and look whether one that was gone is back."""
        if self.is_joined:
            self._say_again(self._backlog.due(time.monotonic()))
        if self._absence is None:
            return
        if self._absence.is_over:
            self._end_absence()
            self._give_up(self._lost())
        elif not self.link.is_open and (way := self._absence.look()) is not None:
            self._take(way)

    @property
    def is_crowded(self) -> bool:
        return bool(self._waiting)

    # as a client

    def is_expected(self) -> bool:
        """The service is there, or soon, as far as one can know."""
        return self.is_coming or self._return()

    @property
    def is_coming(self) -> bool:
        """The service is there, or is waited for."""
        return self.link.is_open or self._absence is not None

    def attach(self, run: Run) -> tuple[int, Question]:
        """Be told of a run of anybody. The answer is an ``Attached``, of the next service if this one is killed."""
        self._calls = call = self._calls + 1
        question = Question()
        if not self.is_expected():
            self._answer(question, GONE)
            return call, question
        self._questions[call] = question
        self._runs[call] = run
        if self.is_joined:
            self._send(frames.Attach(call, run.name))
        return call, question

    def ask(self, frame: Any) -> Question:
        """The call is numbered here. The answer is the frame that comes back, or GONE."""
        self._calls += 1
        question = Question()
        if self.is_joined:
            self._questions[self._calls] = question
            self._send(msgspec.structs.replace(frame, call=self._calls))
        else:
            self._answer(question, GONE)
        return question

    def shut_down(self, grace: float) -> None:
        self._send(frames.Shutdown(grace))

    @property
    def is_connected(self) -> bool:
        return self.link.is_open

    def is_taken(self, action: int) -> bool:
        """The service has room for it, and was not killed before it could write it down."""
        return self.is_joined and action not in self._waiting and action not in self._in_doubt

    def close(self) -> None:
        """What has been sent still arrives."""
        self._end_absence()
        self.hub.close()
        self._way.close()

    # what comes

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            kind = type(frame)
            if kind is frames.Ended:
                self._ended(frame)
            elif kind is frames.Running:
                self._began(frame.call)
            elif kind is frames.SlowDown:
                self._slow_down(frame)
            elif kind is frames.Line:
                self._on_log(frame.label, frame.stream, frame.text)
            elif kind is frames.Note:
                self._report(frame.text)
            elif kind is frames.Attached:
                self._attached(frame)
            elif kind is frames.Ending:
                self._is_ending = True
            elif kind is frames.Joined:
                self._joined(frame)
            elif kind is frames.Refuse:
                self._refused(frame)
            elif kind is frames.Part and link.incoming is not None:
                link.incoming.add(frame)
            elif kind is frames.Scrap and link.incoming is not None:
                self._unlink(link.incoming.drop(frame.blobs))
            else:
                self._answer(self._questions.pop(frame.call, None), frame)

    def disconnected(self, link: Link) -> None:
        """The service is gone; whoever waits for an answer is told, and whoever waits for a run waits for it."""
        self.is_joined = False
        self._shipments.clear()
        self._in_doubt = self._runs.keys() - self._waiting
        if link.incoming is not None:
            self._unlink(link.incoming.drop_all())
        self._answer(self.greeting, GONE)
        for call in self._questions.keys() - self._runs.keys():
            self._answer(self._questions.pop(call), GONE)
        if self._is_final:
            self._end_absence()
            self._give_up(self._lost())
        elif self._runs:
            self._await_return()

    def _joined(self, frame: frames.Joined) -> None:
        was_gone = self._absence is not None
        is_first = self.greeting.outcome is None
        self.is_joined = True
        self._end_absence()
        self._refs.clear()
        is_same, self._shared = frame.blobs == self._shared, frame.blobs
        if is_first:
            self._answer(self.greeting, frame)
            return
        if was_gone:
            self._report(f"the service at {self.address} is back")
        self.on_return(frame)
        for call, start in self._starts.items():
            if start.blobs and not (is_same and self._has(start.blobs)):
                self._starts[call] = start._replace(blobs=_LOST)
        for call, run in self._runs.items():
            if call not in self._waiting:  # the service that is gone did not take these
                self._send(frames.Attach(call, run.name))

    def _attached(self, frame: frames.Attached) -> None:
        call = frame.call
        question = self._questions.pop(call, None)
        self._in_doubt.discard(call)
        if frame.task:
            if frame.is_running:
                self._began(call)
            reason = self._aborted.get(call)
            if reason is not None:
                self._send(frames.Abort(call, reason))
        elif question is not None:
            self._runs.pop(call, None)
        elif frame.reason or call not in self._starts:
            self._end(call, _failed(frame.reason or "the service has never heard of this run"))
        elif call in self._aborted:
            self._end(call, _aborted(self._aborted[call]))
        else:
            self._running.discard(call)
            self._say_start(call)
        self._answer(question, frame)

    def _refused(self, frame: frames.Refuse) -> None:
        self._farewell = frame.reason
        self._answer(self.greeting, frame)

    def _began(self, call: int) -> None:
        """The run has left the queue: the service has its inputs."""
        self._running.add(call)
        self._shipments.pop(call, None)
        start = self._starts.get(call)
        if start is not None and start.blobs and self._folder:
            self._unlink(start.blobs)
            self._starts[call] = start._replace(blobs=_LOST)

    def _ended(self, frame: frames.Ended) -> None:
        self._end(frame.call, self._outcome(frame))
        self._say_again(self._backlog.answered(_US))

    def _slow_down(self, frame: frames.SlowDown) -> None:
        call = frame.call
        if call in self._aborted:  # the service knows of no such run
            self._withdraw(call, self._aborted[call])
        elif call in self._starts:
            self._waiting.add(call)
            self._backlog.refused(_US, call, frame.retry_after, time.monotonic())

    def _say_again(self, calls: list[int]) -> None:
        for call in calls:
            if call in self._waiting:
                self._waiting.discard(call)
                self._say_start(call)

    def _withdraw(self, call: int, reason: str) -> None:
        """A start that the service had no room for."""
        if self._starts[call].blobs and self.is_joined:
            self._send(frames.Scrap(self._starts[call].blobs))
        self._end(call, _aborted(reason))

    def _outcome(self, frame: frames.Ended) -> Outcome:
        incoming, blobs = self.link.incoming, frame.blobs
        if incoming is not None:
            if why := incoming.why_lost(blobs):
                self._unlink(incoming.drop(blobs))
                return _failed(f"a large part of the result is not here: {why}")
            blobs = incoming.take(blobs)
        return Outcome(frame.phase, frame.body, blobs, frame.failure)

    def _end(self, call: int, outcome: Outcome) -> None:
        run = self._runs.pop(call, None)
        start = self._starts.pop(call, None)
        if start is not None and start.blobs and self._folder:
            self._unlink(start.blobs)
        self._shipments.pop(call, None)
        self._aborted.pop(call, None)
        self._waiting.discard(call)
        self._running.discard(call)
        self._in_doubt.discard(call)
        self._answer(self._questions.pop(call, None), GONE)
        if run is not None:
            run.starter.ended(outcome)

    def _give_up(self, outcome: Outcome) -> None:
        for call in list(self._runs):
            self._end(call, outcome)

    # the connection

    @property
    def _is_final(self) -> bool:
        """The service has ended the connection on purpose, or nobody here waits for it."""
        return self._is_ending or bool(self._farewell) or self._patience <= 0

    def _take(self, way: Way) -> None:
        self._way = way
        self.link = self.hub.add(way.socket, "engine")
        if self._folder:
            self.link.incoming = Incoming(self._folder)
        self._is_ending, self._farewell = False, ""
        self._send(frames.Join(frames.VERSION, os.getpid()))
        self.link.flush()

    def _return(self) -> bool:
        """Something is to be started and the connection is closed. False: the service has ended for good."""
        is_final = self._is_final
        if is_final or not self._folder:
            try:
                self._take(reach(self._where))
            except OSError:
                if is_final:
                    return False
            else:
                return True
        self._await_return()
        return True

    def _await_return(self) -> None:
        if self._absence is None:
            self._absence = Absence(self._where, self._patience, time.monotonic)
            self._report(f"the service at {self.address} is gone; waiting for it, for up to {self._patience:g} s")

    def _end_absence(self) -> None:
        if self._absence is not None:
            self._absence.end()
            self._absence = None

    def _say_start(self, call: int) -> None:
        """What has been sent of large inputs over this connection is not sent again."""
        called = self._starts[call]
        if called.blobs is _LOST:
            self._end(call, _failed("the service was started again before it knew of this run, whose inputs are large"))
            return
        start = self._start_of(call)
        if called.blobs and self._folder and call not in self._shipments:
            shipment = self._shipments[call] = Shipment(self._folder, called.blobs, start, lambda _: None)
            self.link.ship(shipment)
        else:
            self._send(start)

    def _start_of(self, call: int) -> frames.Start:
        """Its task is declared by now."""
        called, run = self._starts[call], self._runs[call]
        known = self._refs.get(id(called.task))
        if known is None:
            known = self._refs[id(called.task)] = (len(self._refs) + 1, called.task)
            self._send(frames.Declare(known[0], called.task))
        return frames.Start(
            call,
            known[0],
            run.name,
            called.body,
            called.blobs,
            run.context,
            called.cached,
            run.caching,
            run.trace,
        )

    def _has(self, blobs: tuple[str, ...]) -> bool:
        folder = self._folder or self._shared
        return all(os.path.exists(os.path.join(folder, name)) for name in blobs)

    def _unlink(self, blobs: tuple[str, ...]) -> None:
        for name in blobs:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, name))

    def _answer(self, question: Question | None, answer: Any) -> None:
        if question is not None and question.outcome is None:
            question.outcome = answer
            question.answered.set()
            self._arrived()

    def _lost(self) -> Outcome:
        gone = f"has ended the connection: {self._farewell}" if self._farewell else "is gone"
        return _failed(f"the service at {self.address} {gone}, and what became of the run is not known here")

    def _send(self, frame: Any) -> None:
        self.link.outbox.append(frame)


def _failed(text: str) -> Outcome:
    return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", text))


def _aborted(reason: str) -> Outcome:
    return Outcome(Phase.ABORTED, b"", (), Failure("user", "ActionAbortedError", reason))
