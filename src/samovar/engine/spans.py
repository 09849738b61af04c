"""Spans: the way of each action, told to whoever traces (``samovar.host.tracing``).

    run of a task            the action: from the call until it is settled
      queue                  each attempt: in the queue; "start" while it waits for its replica to start
      run                    each attempt: on its replica. What it calls, and spans of its own code, are below it

An engine that is not traced pays nothing for this: what is seen of its commands stands before them only where
somebody observes. Called in turns. A run is a trace, or part of the trace that its script was in.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from samovar import traceparent
from samovar.core.actions import Action
from samovar.core.messages import Assign, Retried, Settle
from samovar.traceparent import Traceparent

if TYPE_CHECKING:
    from samovar.engine.work import Run, Work

Sees = dict[type[Any], Callable[[Any], None]]
"""By command: what is called before it is carried out."""

See = Callable[[Mapping[int, "Work"], Mapping[int, Action]], Sees]
"""Takes works and actions, by their numbers."""


def stand_before(carry_out: dict[type[Any], Callable[[Any], None]], sees: Sees) -> None:
    for command, see in sees.items():
        carry_out[command] = functools.partial(_both, see, carry_out[command])


def _both(see: Callable[[Any], None], carry_out: Callable[[Any], None], command: Any) -> None:
    see(command)
    carry_out(command)


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


class _Way:
    """An action that has been given to a replica."""

    __slots__ = ("action", "asked", "attempt", "began", "parent", "replica", "trace")

    def __init__(self, trace: int, parent: int, asked: float) -> None:
        self.trace = trace
        self.parent = parent
        self.action = _new_id()
        self.asked = asked
        self.attempt = 0  # the span of the one that runs
        self.began = 0.0
        self.replica = ""


class Tracer(Protocol):
    """Who takes spans; called in turns, and never waits."""

    def put(self, span: Span) -> None:
        """A span has ended."""
        ...

    def has_room(self) -> bool:
        """The spans of one more action can be taken. Of one that is not, none are made."""
        ...

    def is_sampled(self, trace: int) -> bool:
        """This trace is wanted."""
        ...


class Spans:
    def __init__(self, works: Mapping[int, Work], actions: Mapping[int, Action], tracer: Tracer) -> None:
        self._works = works
        self._actions = actions
        self._tracer = tracer
        self._put = tracer.put
        self._ways: dict[int, _Way] = {}  # by action
        self._wall = time.time() - time.monotonic()
        self.sees: Sees = {Assign: self._assigned, Retried: self._retried, Settle: self._settled}

    def _assigned(self, command: Assign) -> None:
        work, action = self._works[command.action], self._actions[command.action]
        top = self._top(work.run)
        if not top.is_sampled:
            return
        way = self._ways.get(command.action)
        if way is None and not self._tracer.has_room():
            work.trace = ""
            return
        if way is None:
            caller = self._ways.get(action.parent.id) if action.parent is not None else None
            parent = caller.attempt if caller is not None else top.span
            way = self._ways[command.action] = _Way(top.trace, parent, action.queued_at)
        way.attempt, way.began, way.replica = _new_id(), time.monotonic(), command.replica
        work.trace = str(Traceparent(way.trace, way.attempt))
        self._tell_wait(way, action, command)

    def _top(self, run: Run) -> Traceparent:
        """The span that the run is in, or, for want of one, a trace of its own."""
        if run.top is None:
            trace = random.getrandbits(128) or 1
            run.top = traceparent.parse(run.trace) or Traceparent(trace, 0, self._tracer.is_sampled(trace))
        return run.top

    def _tell_wait(self, way: _Way, action: Action, command: Assign) -> None:
        until = way.began
        if command.cold and action.execution is not None:
            replica = action.execution.replica
            began = max(action.queued_at, replica.started_at)
            self._tell(way, "start", (began, replica.ready_at), {"samovar.replica": command.replica})
            until = min(until, began)
        if until > action.queued_at or not command.cold:
            self._tell(way, "queue", (action.queued_at, until), {})

    def _retried(self, command: Retried) -> None:
        way = self._ways.get(command.action)
        if way is not None and way.attempt:
            self._tell_run(way, command.failure.message)

    def _settled(self, command: Settle) -> None:
        way = self._ways.pop(command.action, None)
        if way is None:
            return
        work = self._works[command.action]
        error = command.failure.message if command.failure is not None else ""
        if way.attempt:
            self._tell_run(way, error)
        attributes: dict[str, str | int | bool] = {
            "samovar.run": work.run.name,
            "samovar.action": work.id,
            "samovar.environment": work.task.environment.name,
            "samovar.phase": command.phase.value,
        }
        begun, ended = self._wall + way.asked, self._wall + time.monotonic()
        self._put(Span(way.trace, way.action, way.parent, work.task.name, begun, ended, attributes, error))

    def _tell_run(self, way: _Way, error: str) -> None:
        span, way.attempt = way.attempt, 0
        attributes: dict[str, str | int | bool] = {"samovar.replica": way.replica}
        times = self._wall + way.began, self._wall + time.monotonic()
        self._put(Span(way.trace, span, way.action, "run", *times, attributes, error))

    def _tell(self, way: _Way, name: str, times: tuple[float, float], attributes: dict[str, str | int | bool]) -> None:
        began, ended = (self._wall + at for at in times)
        self._put(Span(way.trace, _new_id(), way.action, name, began, ended, attributes))


def _new_id() -> int:
    return random.getrandbits(64) or 1
