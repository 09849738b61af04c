"""A service in place of an engine: this process is its client.

``RemoteEngine`` has the part of ``samovar.engine.engine.Engine`` that a host uses, and a connection behind it. What it
starts goes on when this process ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from samovar import errors
from samovar.engine.engine import OnLog
from samovar.engine.helm import Helm
from samovar.engine.hub import Hub
from samovar.engine.links import Link
from samovar.engine.turn import Turn
from samovar.engine.work import Outcome, Run
from samovar.host.host import Host
from samovar.model import Failure, Phase, PoolStats, TaskSpec
from samovar.ports import Report
from samovar.wire import frames
from samovar.wire.backlog import Backlog
from samovar.wire.blobs import Blobs

_US = 0  # all starts of this process are one's

SECONDS = 5.0
"""How long a service may take to answer what it can answer at once."""


class Question:
    """Something that was asked; ``outcome`` is the answer, None until it comes."""

    def __init__(self) -> None:
        self.outcome: Any = None


class RemoteEngine:
    """OSError: nobody listens at the Unix socket ``address``."""

    def __init__(self, address: str, report: Report, on_log: OnLog, arrived: Callable[[], None]) -> None:
        self.address = address
        self.hub = Hub(self)
        self.greeting = Question()
        self._report = report
        self._on_log = on_log
        self._arrived = arrived
        self._calls = 0
        self._runs: dict[int, Run] = {}  # that have not ended
        self._backlog: Backlog[frames.Start] = Backlog()  # starts that the service had no room for
        self._refused: set[int] = set()  # the calls of these
        self._aborting: dict[int, str] = {}  # call → why
        self._running: set[int] = set()
        self._questions: dict[int, Question] = {}
        self._refs: dict[int, tuple[int, TaskSpec]] = {}  # id of a spec → (ref, the spec, kept alive)
        self._link = self.hub.connect(address)
        self._send(frames.Join(frames.VERSION, os.getpid()))

    # as an engine

    def start(self, task: TaskSpec, body: bytes, blobs: tuple[str, ...], run: Run) -> int:
        self._calls = call = self._calls + 1
        if not self._link.is_open:
            run.starter.ended(self._lost())
            return call
        known = self._refs.get(id(task))
        if known is None:
            known = self._refs[id(task)] = (len(self._refs) + 1, task)
            self._send(frames.Declare(known[0], task))
        self._runs[call] = run
        self._send(frames.Start(call, known[0], run.name, body, blobs, run.context))
        return call

    def abort(self, action: int, reason: str) -> None:
        if action in self._runs:
            if action in self._refused:
                self._give_up(action, reason)
            else:
                self._aborting[action] = reason
                self._send(frames.Abort(action, reason))

    def phase(self, action: int) -> Phase | None:
        if action not in self._runs:
            return None
        return Phase.RUNNING if action in self._running else Phase.QUEUED

    def flush(self) -> None:
        if self._link.outbox and self._link.is_open:
            self._link.flush()

    def tick(self) -> None:
        """Say again what the service had no room for."""
        self._say_again(self._backlog.due(time.monotonic()))

    @property
    def is_crowded(self) -> bool:
        return bool(self._refused)

    # as a client

    def ask(self) -> Question:
        """The figures of all pools."""
        self._calls += 1
        question = self._questions[self._calls] = Question()
        self._send(frames.Ask(self._calls))
        return question

    def abort_run(self, name: str, reason: str) -> Question:
        """Of anybody. The answer is whether there is such a run."""
        self._calls += 1
        question = self._questions[self._calls] = Question()
        self._send(frames.AbortRun(self._calls, name, reason))
        return question

    def shut_down(self, grace: float) -> None:
        self._send(frames.Shutdown(grace))

    @property
    def is_connected(self) -> bool:
        return self._link.is_open

    # what comes

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            kind = type(frame)
            if kind is frames.Ended:
                self._ended(frame)
            elif kind is frames.Running:
                self._running.add(frame.call)
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
            else:
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
        self._end(frame.call, Outcome(frame.phase, frame.body, frame.blobs, frame.failure))
        self._say_again(self._backlog.answered(_US))

    def _slow_down(self, frame: frames.SlowDown) -> None:
        start = frame.said
        assert isinstance(start, frames.Start)
        self._refused.add(start.call)
        self._backlog.refused(_US, start, frame.retry_after, time.monotonic())
        if start.call in self._aborting:
            self._give_up(start.call, self._aborting[start.call])

    def _say_again(self, starts: list[frames.Start]) -> None:
        for start in starts:
            if start.call in self._refused:  # nobody has aborted it meanwhile
                self._refused.remove(start.call)
                self._send(start)

    def _give_up(self, call: int, reason: str) -> None:
        self._end(call, Outcome(Phase.ABORTED, b"", (), Failure("user", "ActionAbortedError", reason)))

    def _end(self, call: int, outcome: Outcome) -> None:
        run = self._runs.pop(call, None)
        self._refused.discard(call)
        self._aborting.pop(call, None)
        self._running.discard(call)
        if run is not None:
            run.starter.ended(outcome)

    def _answer(self, question: Question | None, answer: Any) -> None:
        if question is not None and question.outcome is None:
            question.outcome = answer
            self._arrived()

    def _lost(self) -> Outcome:
        text = f"the service at {self.address} is gone, and what became of the run is not known here"
        return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", text))

    def _send(self, frame: Any) -> None:
        self._link.outbox.append(frame)


class RemoteHost(Host):
    """OSError: nobody listens at ``address``. InitializationError: who does is no service that this process can use."""

    engine: RemoteEngine

    def __init__(self, address: str, report: Report, on_log: OnLog) -> None:
        turn = Turn()
        helm = Helm(turn)
        try:
            engine = RemoteEngine(address, report, on_log, helm.arrived)
        except BaseException:
            helm.loop.close()
            raise
        helm.start(engine)
        helm.steer(engine.greeting, SECONDS)
        service = engine.greeting.outcome
        super().__init__(engine, turn, helm, Blobs(getattr(service, "blobs", "")), on_log)
        if not isinstance(service, frames.Joined):
            reason = service.reason if isinstance(service, frames.Refuse) else f"no answer for {SECONDS:g} s"
            self.close()
            raise errors.InitializationError(
                "InitializationError", f"the service at {address} cannot be used: {reason}; stop it with `samovar stop`"
            )
        self.service = service

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

    def _answer(self, question: Question) -> Any:
        self.helm.steer(question, SECONDS)
        if question.outcome is None:
            raise TimeoutError(f"the service at {self.engine.address} has not answered for {SECONDS:g} s")
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
        """Leave the service; what was started goes on."""
        if self.helm.loop.is_closed():
            return
        self.closed = True
        with self.turn:
            self.helm.flush()
        self.helm.close()
        self.engine.hub.close()
        self.turn.release_signals()
