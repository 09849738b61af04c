"""A service in place of an engine: this process is its client.

``RemoteEngine`` has the part of ``samovar.engine.engine.Engine`` that a host uses, and a connection behind it. What it
starts goes on when this process ends. A service on another host is reached through a tunnel, and large values come and
go in parts; nothing else is different.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from samovar import errors
from samovar.endpoint import Remote
from samovar.engine.engine import OnLog
from samovar.engine.helm import Helm
from samovar.engine.hub import Hub
from samovar.engine.links import Link
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Outcome, Run
from samovar.host.folders import own_folder, shared_memory
from samovar.host.host import Host
from samovar.host.shipping import SECONDS as CODE_SECONDS
from samovar.host.shipping import Shipping
from samovar.model import Environment, Failure, Phase, PoolStats, TaskSpec
from samovar.ports import Report
from samovar.wire import frames
from samovar.wire.backlog import Backlog
from samovar.wire.blobs import Blobs
from samovar.wire.parts import Incoming, Shipment

if TYPE_CHECKING:
    from samovar.host.tunnel import Tunnel

_US = 0  # all starts of this process are one's

SECONDS = 5.0
"""How long a service may take to answer what it can answer at once."""

SENDING_SECONDS = 30.0
"""How long a process that ends goes on sending what it has started."""


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
        self, where: str | Remote, folder: str, report: Report, on_log: OnLog, arrived: Callable[[], None]
    ) -> None:
        self.address = str(where)
        self.hub = Hub(self)
        self.greeting = Question()
        self._report = report
        self._on_log = on_log
        self._arrived = arrived
        self._calls = 0
        self._runs: dict[int, Run] = {}  # that have not ended
        self._backlog: Backlog[frames.Start] = Backlog()  # starts that the service had no room for
        self._refused: dict[int, frames.Start] = {}  # the same by call, without those that were aborted
        self._aborting: dict[int, str] = {}  # call → why
        self._running: set[int] = set()
        self._questions: dict[int, Question] = {}
        self._refs: dict[int, tuple[int, TaskSpec]] = {}  # id of a spec → (ref, the spec, kept alive)
        self._shipments: dict[int, Shipment] = {}  # starts on their way, by call
        self._folder = folder
        self._farewell = ""  # why the service has ended the connection
        self._tunnel: Tunnel | None = None
        try:
            self.link = self._connect(where)
        except BaseException:
            self.hub.close()
            raise
        if folder:
            self.link.incoming = Incoming(folder)
        self._send(frames.Join(frames.VERSION, os.getpid()))

    def _connect(self, where: str | Remote) -> Link:
        if not isinstance(where, Remote):
            return self.hub.connect(where)
        from samovar.host.tunnel import Tunnel  # only here: on one host there is no TLS

        self._tunnel = Tunnel(where)
        return self.hub.add(self._tunnel.socket, "engine")

    # as an engine

    def prepare(self, environments: tuple[Environment, ...]) -> None:
        if self.link.is_open:
            self._send(frames.Prepare(environments))

    def start(self, called: Called, run: Run) -> int:
        task = called.task
        self._calls = call = self._calls + 1
        if not self.link.is_open:
            run.starter.ended(self._lost())
            return call
        known = self._refs.get(id(task))
        if known is None:
            known = self._refs[id(task)] = (len(self._refs) + 1, task)
            self._send(frames.Declare(known[0], task))
        self._runs[call] = run
        start = frames.Start(
            call, known[0], run.name, called.body, called.blobs, run.context, called.cached, run.caching
        )
        if called.blobs and self._folder:
            shipment = self._shipments[call] = Shipment(self._folder, called.blobs, start, self._unlink)
            self.link.ship(shipment)
        else:
            self._send(start)
        return call

    def abort(self, action: int, reason: str) -> None:
        if action not in self._runs:
            return
        shipment = self._shipments.get(action)
        if shipment is not None and not shipment.is_over:
            shipment.cancel()
            self._end(action, _aborted(reason))
        elif action in self._refused:
            self._give_up(self._refused[action], reason)
        else:
            self._aborting[action] = reason
            self._send(frames.Abort(action, reason))

    def phase(self, action: int) -> Phase | None:
        if action not in self._runs:
            return None
        return Phase.RUNNING if action in self._running else Phase.QUEUED

    def flush(self) -> None:
        if self.link.outbox and self.link.is_open:
            self.link.flush()

    def tick(self) -> None:
        """Say again what the service had no room for."""
        self._say_again(self._backlog.due(time.monotonic()))

    @property
    def is_crowded(self) -> bool:
        return bool(self._refused)

    # as a client

    def ask(self) -> Question:
        """The figures of all pools."""
        return self._question(frames.Ask(0))

    def abort_run(self, name: str, reason: str) -> Question:
        """Of anybody. The answer is whether there is such a run."""
        return self._question(frames.AbortRun(0, name, reason))

    def bring(self, frame: frames.Offer | frames.Parcel) -> Question:
        """Code. The answer is a ``Kept``, or nothing where the service is gone."""
        return self._question(frame)

    def shut_down(self, grace: float) -> None:
        self._send(frames.Shutdown(grace))

    @property
    def is_connected(self) -> bool:
        return self.link.is_open

    # what comes

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            kind = type(frame)
            if kind is frames.Ended:
                self._ended(frame)
            elif kind is frames.Running:
                self._running.add(frame.call)
                self._shipments.pop(frame.call, None)
            elif kind is frames.SlowDown:
                self._slow_down(frame)
            elif kind is frames.Line:
                self._on_log(frame.label, frame.stream, frame.text)
            elif kind is frames.Note:
                self._report(frame.text)
            elif kind is frames.Standing:
                self._answer(self._questions.pop(frame.call, None), list(frame.pools))
            elif kind is frames.Aborting:
                self._answer(self._questions.pop(frame.call, None), frame.found)
            elif kind is frames.Part and link.incoming is not None:
                link.incoming.add(frame)
            elif kind is frames.Scrap and link.incoming is not None:
                self._unlink(link.incoming.drop(frame.blobs))
            elif kind is frames.Kept:
                self._answer(self._questions.pop(frame.call, None), frame)
            else:
                self._farewell = frame.reason if kind is frames.Refuse else ""
                self._answer(self.greeting, frame)

    def disconnected(self, link: Link) -> None:
        """The service is gone; whoever waits for it is told."""
        self._answer(self.greeting, frames.Refuse("the connection was closed"))
        for question in self._questions.values():
            self._answer(question, [])
        self._questions.clear()
        for call in list(self._runs):
            self._end(call, self._lost())

    def _ended(self, frame: frames.Ended) -> None:
        self._end(frame.call, self._outcome(frame))
        self._say_again(self._backlog.answered(_US))

    def _slow_down(self, frame: frames.SlowDown) -> None:
        start = frame.said
        assert isinstance(start, frames.Start)
        if start.call in self._aborting:  # the service knows of no such run
            self._give_up(start, self._aborting[start.call])
        else:
            self._refused[start.call] = start
            self._backlog.refused(_US, start, frame.retry_after, time.monotonic())

    def _say_again(self, starts: list[frames.Start]) -> None:
        for start in starts:
            if self._refused.pop(start.call, None) is not None:  # nobody has aborted it meanwhile
                self._send(start)

    def _give_up(self, start: frames.Start, reason: str) -> None:
        if start.blobs:
            self._send(frames.Scrap(start.blobs))
        self._end(start.call, _aborted(reason))

    def _outcome(self, frame: frames.Ended) -> Outcome:
        incoming, blobs = self.link.incoming, frame.blobs
        if incoming is not None:
            if why := incoming.why_lost(blobs):
                self._unlink(incoming.drop(blobs))
                failure = Failure("system", "RuntimeSystemError", f"a large part of the result is not here: {why}")
                return Outcome(Phase.FAILED, b"", (), failure)
            blobs = incoming.take(blobs)
        return Outcome(frame.phase, frame.body, blobs, frame.failure)

    def _unlink(self, blobs: tuple[str, ...]) -> None:
        for name in blobs:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, name))

    def _end(self, call: int, outcome: Outcome) -> None:
        run = self._runs.pop(call, None)
        self._refused.pop(call, None)
        self._aborting.pop(call, None)
        self._shipments.pop(call, None)
        self._running.discard(call)
        if run is not None:
            run.starter.ended(outcome)

    def _question(self, frame: Any) -> Question:
        """Ask; the call is numbered here."""
        self._calls += 1
        question = Question()
        if self.link.is_open:
            self._questions[self._calls] = question
            self._send(msgspec.structs.replace(frame, call=self._calls))
        else:
            self._answer(question, [])
        return question

    def _answer(self, question: Question | None, answer: Any) -> None:
        if question is not None and question.outcome is None:
            question.outcome = answer
            question.answered.set()
            self._arrived()

    def _lost(self) -> Outcome:
        gone = f"has ended the connection: {self._farewell}" if self._farewell else "is gone"
        text = f"the service at {self.address} {gone}, and what became of the run is not known here"
        return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", text))

    def close(self) -> None:
        """What has been sent still arrives."""
        self.hub.close()
        if self._tunnel is not None:
            self._tunnel.close()

    def _send(self, frame: Any) -> None:
        self.link.outbox.append(frame)


class _Sent:
    """``outcome`` comes when all has been sent, or nobody is there to take it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def outcome(self) -> Any:
        return True if not (self._link.is_open and self._link.is_sending) else None


def _aborted(reason: str) -> Outcome:
    return Outcome(Phase.ABORTED, b"", (), Failure("user", "ActionAbortedError", reason))


class RemoteHost(Host):
    """OSError: nobody listens at the Unix socket ``where``. InitializationError: another host cannot be reached, or who
    listens is no service that this process can use.
    """

    engine: RemoteEngine

    def __init__(self, where: str | Remote, report: Report, on_log: OnLog) -> None:
        turn = Turn()
        helm = Helm(turn)
        self._folder, self._lock = "", None
        if isinstance(where, Remote):
            self._folder, self._lock = own_folder(shared_memory())
        try:
            engine = RemoteEngine(where, self._folder, report, on_log, helm.arrived)
        except BaseException:
            helm.loop.close()
            self._remove_folder()
            raise
        helm.start(engine)
        helm.steer(engine.greeting, SECONDS)
        service = engine.greeting.outcome
        super().__init__(engine, turn, helm, Blobs(self._folder or getattr(service, "blobs", "")), on_log)
        if not isinstance(service, frames.Joined):
            reason = service.reason if isinstance(service, frames.Refuse) else f"no answer for {SECONDS:g} s"
            self.close()
            hint = "install the same version on both hosts" if self._folder else "stop it with `samovar stop`"
            raise errors.InitializationError(
                "InitializationError", f"the service at {engine.address} cannot be used: {reason}; {hint}"
            )
        self.service = service
        self._shipping = Shipping(self, is_here=not self._folder)

    def described(self, spec: TaskSpec, copy_style: str) -> TaskSpec:
        """With code that the service has. InitializationError: it cannot have it."""
        return self._shipping.described(spec, copy_style or "loaded_modules")

    def bring(self, frame: frames.Offer | frames.Parcel) -> Any:
        """Code. The answer is a ``Kept``, or nothing where the service is gone. TimeoutError: it does not answer."""
        with self.turn:
            question = self.engine.bring(frame)
        return self._answer(question, CODE_SECONDS)

    def stats(self) -> list[PoolStats]:
        """TimeoutError: the service does not answer."""
        with self.turn:
            question = self.engine.ask()
        return list(self._answer(question))

    def abort_run(self, name: str, reason: str) -> bool:
        """Abort a run of anybody. False: none of this name is on its way. TimeoutError: the service does not answer."""
        with self.turn:
            question = self.engine.abort_run(name, reason)
        return bool(self._answer(question))

    def _answer(self, question: Question, seconds: float = SECONDS) -> Any:
        if not self.helm.steer(question, seconds):
            with self.helm.following():
                question.answered.wait(seconds)
        if question.outcome is None:
            raise TimeoutError(f"the service at {self.engine.address} has not answered for {seconds:g} s")
        return question.outcome

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended."""
        return not self.engine.is_connected

    def shut_down(self, grace: float) -> None:
        """Ask the service to end."""
        with self.turn:
            self.engine.shut_down(grace)
            self.engine.flush()

    def close(self, grace: float = 0.0) -> None:
        """Leave the service; what was started goes on, and what it needs is sent first. A second call, after the first
        was interrupted, sends no more.
        """
        if self.helm.loop.is_closed():
            return
        if not self.closed:
            self.closed = True
            with self.turn:
                self.helm.flush()
            self.helm.steer(_Sent(self.engine.link), SENDING_SECONDS)
        self.helm.close()
        self.engine.close()
        self._remove_folder()
        self.turn.release_signals()

    def _remove_folder(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()
