"""Spans: the way of each action, told to whoever traces (``samovar.host.tracing``).

    run of a task            the action: from the call until it is settled
      queue                  each attempt: in the queue; "start" while it waits for its replica to start
      run                    each attempt: on its replica. What it calls, and spans of its own code, are below it

Called by the engine, in turns; ``Way.spans`` alone is for any thread. A run is a trace, or part of the trace that its
script was in. An engine that nobody traces pays a comparison for this.

There is a budget of traced actions, as each costs more than a tiny task itself. What an action calls is traced only
where that action is, so a run that does not begin to be traced is not traced. While the budget is being spent large
runs are cut first, then no run begins, so that small ones which have begun become whole trees. What fails is told
nevertheless, from its last attempt on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from samovar import traceparent
from samovar.core.actions import Action
from samovar.core.messages import Assign, Settle
from samovar.model import Failure, Phase
from samovar.traceparent import Traceparent

if TYPE_CHECKING:
    from samovar.engine.work import Run, Work


class Now(Protocol):
    """An engine, of which only the time of its last event is looked at, by the monotonic clock."""

    now: float


SMALL = 64
"""Actions of a run that is likely to be whole in a trace."""


_UNWANTED = Traceparent(0, 0, is_sampled=False)
"""What is above a run that nobody wants traced."""


class Budget:
    """How many actions are traced: ``rate`` a second, and at once those of ``SECONDS``. 0: all."""

    SECONDS = 3.0

    __slots__ = ("_each", "whole_at")

    def __init__(self, rate: float) -> None:
        self._each = 1 / rate if rate else 0.0
        self.whole_at = 0.0  # so many seconds from now on are spent already

    def spend(self, now: float) -> None:
        self.whole_at = max(self.whole_at, now) + self._each


_GO_ON, _BEGIN, _LARGE = Budget.SECONDS, 0.75 * Budget.SECONDS, 0.5 * Budget.SECONDS
"""How much may be spent when another action of a small run is to be traced, when a run begins, and when another action
of a large one is."""


class Span(NamedTuple):
    """Times are seconds since 1970; ``parent`` 0: it has none."""

    trace: int
    id: int
    parent: int
    name: str
    began: float
    ended: float
    attributes: dict[str, str | int | bool]
    error: str = ""


class _Attempt:
    __slots__ = ("began", "ended", "error", "queued", "replica", "span", "start")

    def __init__(self, replica: str, began: float, queued: float | None = None) -> None:
        self.span = _new_id()
        self.replica = replica
        self.queued = queued  # None: nobody knows
        self.began = began
        self.start: tuple[float, float] | None = None  # of its replica, where it had to wait for that
        self.ended = 0.0
        self.error = ""

    def end(self, now: float, error: str) -> None:
        if not self.ended:
            self.ended, self.error = now, error

    def spans(self, trace: int, action: int, wall: float) -> Iterator[Span]:
        queued, until, start = self.queued, self.began, self.start
        where: dict[str, str | int | bool] = {"samovar.replica": self.replica} if self.replica else {}
        if queued is not None and start is not None:
            until = min(until, max(queued, start[0]))
            yield Span(trace, _new_id(), action, "start", wall + max(queued, start[0]), wall + start[1], where)
        if queued is not None and (until > queued or start is None):
            yield Span(trace, _new_id(), action, "queue", wall + queued, wall + until, {})
        yield Span(trace, self.span, action, "run", wall + self.began, wall + self.ended, where, self.error)


class Way:
    """An action that has been given to a replica. Times are by the monotonic clock."""

    __slots__ = (
        "action",
        "asked",
        "attempts",
        "ended",
        "environment",
        "error",
        "name",
        "parent",
        "phase",
        "run",
        "trace",
    )

    def __init__(self, trace: int, parent: int, work: Work, asked: float) -> None:
        self.trace = trace
        self.parent = parent
        self.run = work.run.name
        self.action = work.id
        self.name = work.task.name
        self.environment = work.task.environment.name
        self.asked = asked
        self.attempts: list[_Attempt] = []
        self.ended = 0.0
        self.phase = ""
        self.error = ""

    def end(self, now: float, phase: Phase, failure: Failure | None) -> None:
        self.ended, self.phase = now, phase.value
        self.error = failure.message if failure is not None else ""
        self.attempts[-1].end(now, self.error)

    def spans(self, wall: float) -> Iterator[Span]:
        """When it has ended. ``wall``: seconds since 1970 when the monotonic clock began."""
        action = _new_id()
        for attempt in self.attempts:
            yield from attempt.spans(self.trace, action, wall)
        attributes: dict[str, str | int | bool] = {
            "samovar.run": self.run,
            "samovar.action": self.action,
            "samovar.environment": self.environment,
            "samovar.phase": self.phase,
        }
        times = wall + self.asked, wall + self.ended
        yield Span(self.trace, action, self.parent, self.name, *times, attributes, self.error)


class Tracer(Protocol):
    """Who takes ways; called in turns, and never waits."""

    def put(self, way: Way) -> None:
        """An action has ended."""
        ...

    def has_room(self) -> bool:
        """One more action can be taken."""
        ...

    def is_sampled(self, trace: int) -> bool:
        """This trace is wanted."""
        ...


class Spans:
    def __init__(self, engine: Now, works: Mapping[int, Work], tracer: Tracer, budget: Budget) -> None:
        self._engine = engine
        self._works = works
        self._tracer = tracer
        self._budget = budget
        self.begins_at = 0.0
        """When a run may begin to be traced again. Until then whoever counts ``untraced`` itself need not ask for runs
        without a ``top``, as are most where there are very many."""
        self.untraced = 0  # attempts for which there was no budget, or no room

    def assigned(self, command: Assign, work: Work, action: Action) -> str:
        """The span of the attempt, for what is below it; "": there is none."""
        way = work.way
        if way is None:
            top = work.run.top
            if top is _UNWANTED:
                return ""
            left = self._budget.whole_at - self._engine.now
            if left > (_BEGIN if top is None else _GO_ON if work.number <= SMALL else _LARGE):
                self.untraced += 1
                return ""
            way = self._begin(work, action)
            if way is None:
                self.untraced += work.run.top is not _UNWANTED
                return ""
        attempt = _Attempt(command.replica, self._engine.now, action.queued_at)
        if command.cold and action.execution is not None:
            replica = action.execution.replica
            attempt.start = replica.started_at, replica.ready_at
        way.attempts.append(attempt)
        return str(Traceparent(way.trace, attempt.span))

    def _begin(self, work: Work, action: Action) -> Way | None:
        """None: it is not traced."""
        caller = self._works[action.parent.id] if action.parent is not None else None
        is_below_untraced = caller is not None and caller.way is None and caller.since
        if is_below_untraced or not self._tracer.has_room():
            return None
        top = self._top(work.run)
        above = caller.way.attempts[-1].span if caller is not None and caller.way is not None else top.span
        return self._open(work, top, above, action.queued_at)

    def _top(self, run: Run) -> Traceparent:
        """The span that the run is in, or, for want of one, a trace of its own."""
        if run.top is None:
            trace = random.getrandbits(128) or 1
            top = traceparent.parse(run.trace) or Traceparent(trace, 0, self._tracer.is_sampled(trace))
            run.top = top if top.is_sampled else _UNWANTED
        return run.top

    def _open(self, work: Work, top: Traceparent, above: int, asked: float) -> Way | None:
        if top is _UNWANTED:
            return None
        self._budget.spend(self._engine.now)
        self.begins_at = self._budget.whole_at - _BEGIN
        work.way = way = Way(top.trace, above, work, asked)
        return way

    def failed(self, failure: Failure, work: Work) -> None:
        """An attempt has. Of an action that was not traced this is what can be told, and what follows."""
        now, way = self._engine.now, work.way
        if way is None and self._budget.whole_at - now <= _GO_ON and self._tracer.has_room():
            top = self._top(work.run)
            way = self._open(work, top, top.span, work.since or now)
            if way is not None:
                way.attempts.append(_Attempt(failure.worker, way.asked))
        if way is not None:
            way.attempts[-1].end(now, failure.message)

    def settled(self, command: Settle, work: Work) -> None:
        """It is traced, or has failed."""
        failure = command.failure
        if failure is not None and command.epoch:
            self.failed(failure, work)
        way = work.way
        if way is not None:
            way.end(self._engine.now, command.phase, failure)
            self._tracer.put(way)


def _new_id() -> int:
    return random.getrandbits(64) or 1
