"""A service in place of an engine: this process is its client.

``RemoteEngine`` has the part of ``samovar.engine.engine.Engine`` that a host uses, and a connection behind it. What it
starts goes on when this process ends. When the service goes without a word it waits for it to come back, and attaches
to its runs again: none is lost by it, and a service that has never heard of a run is told of it once more.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from samovar import errors
from samovar.engine.engine import OnLog
from samovar.engine.helm import Helm
from samovar.engine.hub import Hub
from samovar.engine.links import Link
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Outcome, Run
from samovar.host.absence import PATIENCE, Absence
from samovar.host.handle import Handle
from samovar.host.host import Host
from samovar.host.shipping import SECONDS as CODE_SECONDS
from samovar.host.shipping import Shipping
from samovar.model import Environment, Failure, Phase, PoolStats, ReplicaStats, TaskSpec, Underway
from samovar.ports import Report
from samovar.wire import frames
from samovar.wire.blobs import Blobs

RETRY_SECONDS = 0.2
"""After which a start is said again that the service had no room for."""

SECONDS = 5.0
"""How long a service may take to answer what it can answer at once."""

FIND_SECONDS = 30.0
"""How long it may look for what is written down."""

GONE = frames.Refuse("the connection was closed")
"""What a question is answered that the service cannot answer any more."""


class Question:
    """Something that was asked; ``outcome`` is the answer, None until it comes."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.answered = threading.Event()  # for a thread that does not run the engine itself


class RemoteEngine:
    """OSError: nobody listens at the Unix socket ``address``."""

    def __init__(
        self,
        address: str,
        report: Report,
        on_log: OnLog,
        arrived: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        self.address = address
        self.hub = Hub(self)
        self.greeting = Question()
        self.on_return: Callable[[frames.Joined], None] = lambda joined: None  # called in a turn
        self._report = report
        self._on_log = on_log
        self._arrived = arrived
        self._patience = patience
        self._calls = 0
        self._runs: dict[int, Run] = {}  # that have not ended
        self._starts: dict[int, Called] = {}  # of those that were started here
        self._delayed: list[tuple[float, int]] = []  # (when, call): starts that are to be said again
        self._running: set[int] = set()
        self._aborted: dict[int, str] = {}  # while the service was gone: call → reason
        self._questions: dict[int, Question] = {}
        self._refs: dict[int, tuple[int, TaskSpec]] = {}  # id of a spec → (ref, the spec, kept alive)
        self._folder = ""  # where the service has its large values
        self._absence: Absence | None = None
        self.is_joined = False  # the service has greeted
        self._is_ending = False  # the service has said so
        self._connect()

    # as an engine

    def prepare(self, environments: tuple[Environment, ...]) -> None:
        if self._link.is_open:
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
        return call

    def abort(self, action: int, reason: str) -> None:
        if action not in self._runs:
            return
        if any(call == action for _, call in self._delayed):
            self._end(action, Outcome(Phase.ABORTED, b"", (), Failure("user", "ActionAbortedError", reason)))
        elif self.is_joined:
            self._send(frames.Abort(action, reason))
        else:
            self._aborted[action] = reason

    def phase(self, action: int) -> Phase | None:
        if action not in self._runs:
            return None
        return Phase.RUNNING if action in self._running else Phase.QUEUED

    def flush(self) -> None:
        if self._link.outbox and self._link.is_open:
            self._link.flush()

    def tick(self) -> None:
        """Say again what the service had no room for, and look whether one that was gone is back."""
        now = time.monotonic()
        while self.is_joined and self._delayed and self._delayed[0][0] <= now:
            _, call = heapq.heappop(self._delayed)
            if call in self._starts:
                self._say_start(call)
        if self._absence is None:
            return
        if self._absence.is_over:
            self._absence = None
            self._give_up(self._lost())
        elif not self._link.is_open and self._absence.is_time_to_look():
            try:
                self._connect()
            except OSError:
                return

    # as a client

    def is_expected(self) -> bool:
        """The service is there, or soon, as far as one can know."""
        return self._link.is_open or self._absence is not None or self._return()

    def attach(self, run: Run) -> tuple[int, Question]:
        """Be told of a run of anybody. The answer is a frame ``Attached``."""
        question = self.ask(frames.Attach(0, run.name))
        if question.outcome is None:
            self._runs[self._calls] = run
        return self._calls, question

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
        return self._link.is_open

    def is_delayed(self, action: int) -> bool:
        """The service had no room for it yet."""
        return any(call == action for _, call in self._delayed)

    # what comes

    def received(self, link: Link, batch: list[Any]) -> None:
        for frame in batch:
            kind = type(frame)
            if kind is frames.Ended:
                self._ended(frame)
            elif kind is frames.Running:
                self._running.add(frame.call)
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
            else:
                self._answer(self._questions.pop(frame.call, None), frame)

    def disconnected(self, link: Link) -> None:
        """The service is gone; whoever waits for an answer is told, and whoever waits for a run waits for it."""
        self.is_joined = False
        self._answer(self.greeting, GONE)
        questions, self._questions = self._questions, {}
        for question in questions.values():
            self._answer(question, GONE)
        if self._is_ending or self._patience <= 0:
            self._absence = None
            self._give_up(self._lost())
        elif self._runs:
            self._await_return()

    def _connect(self) -> None:
        self._link = self.hub.connect(self.address)
        self._is_ending = False
        self._send(frames.Join(frames.VERSION, os.getpid()))
        self._link.flush()

    def _joined(self, frame: frames.Joined) -> None:
        was_gone = self._absence is not None
        is_first = self.greeting.outcome is None
        self.is_joined = True
        self._absence = None
        self._refs.clear()
        kept, self._folder = frame.blobs == self._folder, frame.blobs
        if is_first:
            self._answer(self.greeting, frame)
            return
        if was_gone:
            self._report(f"the service at {self.address} is back")
        self.on_return(frame)
        for call, run in list(self._runs.items()):
            start = self._starts.get(call)
            if start is not None and start.blobs and not kept:
                self._starts[call] = start._replace(blobs=_LOST)
            self._send(frames.Attach(call, run.name))

    def _attached(self, frame: frames.Attached) -> None:
        call = frame.call
        question = self._questions.pop(call, None)
        if frame.task:
            if frame.is_running:
                self._running.add(call)
            reason = self._aborted.pop(call, None)
            if reason is not None:
                self._send(frames.Abort(call, reason))
        elif question is not None:
            self._runs.pop(call, None)
        elif frame.reason or call not in self._starts:
            self._end(call, _failed(frame.reason or "the service has never heard of this run"))
        elif call in self._aborted:
            self._end(call, Outcome(Phase.ABORTED, b"", (), Failure("user", "ActionAbortedError", self._aborted[call])))
        elif self._starts[call].blobs is _LOST:
            self._end(call, _failed("the service was started again before it knew of this run, whose inputs are large"))
        else:
            self._running.discard(call)
            self._say_start(call)
        self._answer(question, frame)

    def _refused(self, frame: frames.Refuse) -> None:
        self._absence = None
        if self.greeting.outcome is None:
            self._answer(self.greeting, frame)
        else:
            self._give_up(_failed(f"the service at {self.address} is another one now: {frame.reason}"))

    def _ended(self, frame: frames.Ended) -> None:
        is_refused = frame.failure is not None and frame.failure.code == "SlowDownError"
        if is_refused and frame.call in self._starts and frame.call not in self._running:
            heapq.heappush(self._delayed, (time.monotonic() + RETRY_SECONDS, frame.call))
            return
        self._end(frame.call, Outcome(frame.phase, frame.body, frame.blobs, frame.failure))

    def _end(self, call: int, outcome: Outcome) -> None:
        run = self._runs.pop(call, None)
        self._starts.pop(call, None)
        self._aborted.pop(call, None)
        self._running.discard(call)
        if run is not None:
            run.starter.ended(outcome)

    def _give_up(self, outcome: Outcome) -> None:
        for call in list(self._runs):
            self._end(call, outcome)

    def _return(self) -> bool:
        """Something is to be started and the connection is closed. False: the service has ended for good."""
        try:
            self._connect()
        except OSError:
            if self._is_ending or self._patience <= 0:
                return False
            self._await_return()
        return True

    def _await_return(self) -> None:
        if self._absence is None:
            self._absence = Absence(self._patience, time.monotonic)
            self._report(f"the service at {self.address} is gone; waiting for it, for up to {self._patience:g} s")

    def _say_start(self, call: int) -> None:
        called, run = self._starts[call], self._runs[call]
        task = called.task
        known = self._refs.get(id(task))
        if known is None:
            known = self._refs[id(task)] = (len(self._refs) + 1, task)
            self._send(frames.Declare(known[0], task))
        start = frames.Start(
            call, known[0], run.name, called.body, called.blobs, run.context, called.cached, run.caching
        )
        self._send(start)

    def _answer(self, question: Question | None, answer: Any) -> None:
        if question is not None and question.outcome is None:
            question.outcome = answer
            question.answered.set()
            self._arrived()

    def _lost(self) -> Outcome:
        return _failed(f"the service at {self.address} is gone, and what became of the run is not known here")

    def _send(self, frame: Any) -> None:
        self._link.outbox.append(frame)


_LOST = ("lost",)
"""In place of the names of large inputs that have gone with their service."""


def _failed(text: str) -> Outcome:
    return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", text))


class _Return:
    """``outcome`` comes when the service has greeted, or is given up."""

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    @property
    def outcome(self) -> Any:
        return True if self._engine.is_joined or not self._engine.is_expected() else None


def no_answer(address: str, error: OSError) -> errors.InitializationError:
    return errors.InitializationError(
        "InitializationError",
        f"no service answers at {address}: {error.strerror or error}; start one with `samovar start`",
    )


class RemoteHost(Host):
    """OSError: nobody listens at ``address``. InitializationError: who does is no service that this process can use."""

    engine: RemoteEngine

    def __init__(self, address: str, report: Report, on_log: OnLog, patience: float = PATIENCE) -> None:
        turn = Turn()
        helm = Helm(turn)
        try:
            engine = RemoteEngine(address, report, on_log, helm.arrived, patience)
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
        engine.on_return = self._returned
        self._shipping = Shipping(self, is_here=True)

    def described(self, spec: TaskSpec, copy_style: str) -> TaskSpec:
        """With code that the service has. InitializationError: it cannot have it."""
        return self._shipping.described(spec, copy_style or "loaded_modules")

    def bring(self, frame: frames.Offer | frames.Parcel) -> Any:
        """Code. The answer is a ``Kept``, or nothing where the service is gone. TimeoutError: it does not answer."""
        with self.turn:
            is_expected = self.engine.is_expected()
        if is_expected:
            self.helm.steer(_Return(self.engine), PATIENCE)
        answer = self._ask(frame, CODE_SECONDS)
        return None if answer is GONE else answer

    # TimeoutError, from each of these: the service does not answer. RuntimeSystemError: it is gone.

    def stats(self) -> list[PoolStats]:
        """Nothing while the service is gone."""
        answer = self._ask(frames.Ask(0))
        return [] if answer is GONE else list(answer.pools)

    def standing(self) -> tuple[list[PoolStats], list[ReplicaStats]]:
        """Every pool, and every replica."""
        answer = self._asked(frames.Ask(0, replicas=True))
        return list(answer.pools), list(answer.replicas)

    def underway(self, ask: frames.AskActions) -> Iterator[Underway]:
        """The actions that are queued or run, the newest first; the service is asked for them part by part."""
        while True:
            answer = self._asked(ask)
            yield from answer.actions
            if not answer.next:
                return
            ask = msgspec.structs.replace(ask, before=answer.next)

    def attach(self, name: str) -> Handle:
        """InitializationError: the service knows no such run, or cannot tell of it."""
        handle = Handle(self, name)
        with self.turn:
            handle.action, question = self.engine.attach(Run(name, None, handle))
        answer = self._there(self._outcome(question, FIND_SECONDS))
        if not answer.task:
            reason = answer.reason or f"there is no run named {name!r}; `samovar get runs` lists them"
            raise errors.InitializationError("InitializationError", reason)
        handle.task = answer.task
        return handle

    def is_taken(self, handle: Handle) -> bool:
        """Whether the service has taken a run; what it said before this question has come."""
        self._asked(frames.Ask(0))
        with self.turn:
            return not self.engine.is_delayed(handle.action)

    def find(self, query: bytes) -> bytes:
        """A page of what is written down (``host.archive``). JournalError: there is none, and why."""
        answer = self._asked(frames.Find(0, query), FIND_SECONDS)
        if answer.problem:
            raise errors.JournalError(answer.problem)
        return bytes(answer.page)

    def control(self, pool: str, verb: frames.Verb, low: int = 0, high: int = 0) -> str:
        """Change a pool by hand; gives its name. InitializationError: there is none, or it cannot be so."""
        answer = self._asked(frames.Control(0, pool, verb, low, high))
        if answer.problem:
            raise errors.InitializationError("InitializationError", answer.problem)
        return str(answer.pool)

    def abort_run(self, name: str, reason: str, number: int = 0) -> bool:
        """Abort a run of anybody, or one action of it. False: it is not on its way."""
        return bool(self._asked(frames.AbortRun(0, name, reason, number)).found)

    def _ask(self, frame: Any, seconds: float = SECONDS) -> Any:
        with self.turn:
            question = self.engine.ask(frame)
        return self._outcome(question, seconds)

    def _asked(self, frame: Any, seconds: float = SECONDS) -> Any:
        return self._there(self._ask(frame, seconds))

    def _there(self, answer: Any) -> Any:
        if answer is GONE:
            raise errors.RuntimeSystemError("RuntimeSystemError", f"the service at {self.engine.address} is gone")
        return answer

    def _outcome(self, question: Question, seconds: float) -> Any:
        if not self.helm.steer(question, seconds):
            with self.helm.following():
                question.answered.wait(seconds)
        if question.outcome is None:
            raise TimeoutError(f"the service at {self.engine.address} has not answered for {seconds:g} s")
        return question.outcome

    def _returned(self, joined: frames.Joined) -> None:
        """Called in a turn."""
        self.service = joined
        self.blobs.folder = joined.blobs

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
