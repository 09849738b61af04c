"""What a person sees and does from outside: actions on their way, the pool that a name means, a change by hand.

Called in the engine's turn, so each call does a bounded amount of work however much is queued.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from samovar.core.actions import Action
from samovar.core.messages import Drain, Event, OpenPool, StopPool
from samovar.core.pools import Pools
from samovar.engine.scribe import ROOT
from samovar.engine.spans import Budget, Spans, Tracer
from samovar.engine.work import Run, Work
from samovar.entries import Change, RunSummary
from samovar.model import Phase, PoolSettings, PoolStats, ReplicaStats, Underway
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine

STEPS = 2_000
"""Actions that are looked at in one turn; among a million that is a few milliseconds."""

THIS_PROCESS = "this process"
"""In place of the name of an engine that writes nothing down."""

CHANGES = 50
"""Runs that have ended, and as many that are on their way, of which whoever watches hears at a time."""

LARGEST = 500
"""Actions of an answer at most."""


class Closeup(NamedTuple):
    """An action that is on its way, with what only whoever looks at it alone wants to know."""

    underway: Underway
    body: bytes  # of its inputs
    blobs: tuple[str, ...]
    retries: int  # of its own failures that it may have
    failures: int  # that it has had


class Survey:
    """``works``: of ``engine``, by action."""

    def __init__(self, engine: Engine, pools: Pools, works: dict[int, Work]) -> None:
        self._engine = engine
        self._pools = pools
        self._works = works
        self.ended: deque[tuple[Run, Phase, float]] = deque(maxlen=0)
        """Runs that have ended, with the time by the monotonic clock; while somebody watches."""
        self._told: dict[str, Phase] = {}  # of runs that are on their way: what whoever watches has heard last

    def watch(self, is_watched: bool) -> None:
        """From here on somebody wants to know which runs have changed, or nobody does."""
        self.ended = deque(self.ended, maxlen=CHANGES if is_watched else 0)

    def trace(self, tracer: Tracer, budget: Budget) -> Spans:
        """From here on somebody is told the way of actions."""
        self._engine.spans = spans = Spans(self._engine, self._works, tracer, budget)
        return spans

    def take_changes(self) -> list[RunSummary]:
        """Since the last call, what has ended first; of many the newest. No journal is asked: it may be behind."""
        live = [(root.run, root.phase, 0.0) for root in islice(reversed(self._engine.roots.values()), CHANGES)]
        changed = [*self.ended, *(one for one in reversed(live) if self._told.get(one[0].name) is not one[1])]
        self._told = {run.name: phase for run, phase, _ in live}
        self.ended.clear()
        scribe, wall = self._engine.scribe, time.time() - time.monotonic()
        engine = scribe.engine if scribe is not None else THIS_PROCESS
        summaries = []
        for run, phase, at in changed:
            actions = run.settled if scribe is not None else run.actions
            task = run.task.name if run.task is not None else ""
            ended = wall + at if at else None
            summaries.append(RunSummary(run.name, engine, ROOT, task, phase, run.started, ended, actions))
        return summaries

    def pools(self) -> list[PoolStats]:
        """Every pool; a note where something keeps it from its work."""
        return self._engine.crew.annotate(self._pools.stats(time.monotonic()))

    def replicas(self) -> list[ReplicaStats]:
        """Every replica, with some of what it runs."""
        return self._engine.crew.describe(self._pools.replica_stats(time.monotonic()), self._works)

    def running_on(self, replica: str) -> list[str]:
        """What holds a slot of the replica: if it dies, one of these has killed it."""
        return [self._works[action].label for action in self._pools.running_on(replica)]

    def underway(self, ask: frames.AskActions) -> tuple[tuple[Underway, ...], int]:
        """A part of the actions that are queued or run, and before which number to go on."""
        return underway(self._works, self._pools.actions, ask)

    def root(self, run: str) -> int:
        """The first action of a run that is on its way; 0: it is not."""
        work = self._engine.roots.get(run)
        return work.action if work is not None else 0

    def runs(self, limit: int) -> list[Underway]:
        """The first actions of the runs that are on their way, the newest first."""
        newest = islice(reversed(self._engine.roots.values()), limit)
        return [closeup.underway for work in newest if (closeup := self.closeup(work.action)) is not None]

    def closeup(self, number: int) -> Closeup | None:
        """One action from near; None: it is not on its way."""
        work, action = self._works.get(number), self._pools.actions.get(number)
        if work is None or action is None:
            return None
        seen = _described(work, action, self._works, time.time() - time.monotonic())
        return Closeup(seen, work.body, work.blobs, action.retry.count, action.failures)

    def children(self, number: int, before: int, limit: int) -> tuple[tuple[Underway, ...], int] | None:
        """As ``underway``, of what one action has called; None: there is too much of it to be looked at in one turn."""
        parent = self._pools.actions.get(number)
        children = (parent.children if parent is not None else None) or ()
        if len(children) > STEPS:
            return None
        room = max(1, min(limit, LARGEST))
        older = [child.id for child in children if not before or child.id < before]
        newest = heapq.nlargest(room + 1, older)
        seen = tuple(closeup.underway for child in newest[:room] if (closeup := self.closeup(child)) is not None)
        return seen, newest[room - 1] if len(newest) > room else 0

    def count(self, run: str, before: int) -> tuple[Counter[str], int]:
        """Of a run's actions by phase, as far as they are seen in one turn, and before which number to go on."""
        found: Counter[str] = Counter()
        steps, number = STEPS, 0
        for number, work in _newest_first(self._works, before, steps):
            steps -= 1
            action = self._pools.actions.get(number)
            if work is not None and action is not None and work.run.name == run:
                found[action.phase.value] += 1
            if not steps:
                return found, number if number > 1 else 0
        return found, 0

    def abort(self, run: str, action: int, reason: str) -> bool:
        """One action of a run, with everything below it. False: it is not on its way."""
        work = self._works.get(action)
        if work is None or work.run.name != run or work.phase.is_terminal:
            return False
        self._engine.abort(action, reason)
        return True

    def control(self, order: frames.Control) -> tuple[str, str]:
        """Change a pool by hand. Gives its name, and why nothing was changed.

        What a script says of its pool is kept beside it: a script that says the same again changes nothing.
        """
        pool, problem = pool_named(self._engine.environments, order.pool)
        if problem:
            return "", problem
        try:
            event = event_of(order, pool, self._pools.pools[pool].settings)
        except ValueError as error:
            return pool, str(error)
        self._engine.note(pool, Change.SCALED, "", f"{order.verb} by hand")
        self._engine.handle(event)
        return pool, ""


def underway(
    works: dict[int, Work], actions: Mapping[int, Action], ask: frames.AskActions, steps: int = STEPS
) -> tuple[tuple[Underway, ...], int]:
    """The next actions that are wanted, the newest first, and before which number to go on; 0: there are no more."""
    found: list[Underway] = []
    wall, now = time.time(), time.monotonic()
    room = max(1, min(ask.limit, LARGEST))
    number = 0
    for number, work in _newest_first(works, ask.before, steps):
        steps -= 1
        action = actions.get(number)
        if work is not None and action is not None and _is_wanted(work, action, works, ask):
            found.append(_described(work, action, works, wall - now))
        if len(found) == room or not steps:
            return tuple(found), number if number > 1 else 0
    return tuple(found), 0


def _newest_first(works: dict[int, Work], before: int, steps: int) -> Iterator[tuple[int, Work | None]]:
    """Numbers only grow, and so do the places of actions in ``works``."""
    newest = next(reversed(works), 0)
    first = min(before or newest + 1, newest + 1)
    if len(works) > steps:
        for number in range(first - 1, 0, -1):
            yield number, works.get(number)
        return
    for number in reversed(works):
        if number < first:
            yield number, works[number]


def _is_wanted(work: Work, action: Action, works: dict[int, Work], ask: frames.AskActions) -> bool:
    return (
        ask.run in ("", work.run.name)
        and ask.task in ("", work.task.name)
        and ask.action in ("", work.id, str(work.number))
        and ask.phase in ("", action.phase.value)
        and work.pool.startswith(ask.pool)
        and (ask.parent is None or ask.parent == _parent(work, action, works))
        and (not ask.replica or _replica(action).startswith(ask.replica))
    )


def _replica(action: Action) -> str:
    return action.execution.replica.id if action.execution is not None else ""


def _parent(work: Work, action: Action, works: dict[int, Work]) -> str:
    """Its id; "": it has none."""
    if work.record is not None:
        return work.record.parent.id if work.record.parent is not None else ""
    caller = works.get(action.parent.id) if action.parent is not None else None
    return caller.id if caller is not None else ""


def _described(work: Work, action: Action, works: dict[int, Work], wall: float) -> Underway:
    """``wall``: what the wall clock shows at the zero of the other one."""
    record, execution = work.record, action.execution
    return Underway(
        action.id,
        work.run.name,
        work.id,
        _parent(work, action, works),
        work.task.name,
        action.phase,
        work.pool,
        action.attempts,
        record.queued if record is not None else wall + action.queued_at,
        wall + execution.started_at if execution is not None else None,
        _replica(action),
        record is not None and record.cold and execution is not None,
        work.number,
        bool(action.children),
    )


def pool_named(pools: Collection[str], given: str) -> tuple[str, str]:
    """The pool that is meant, and why none is: a whole name, an environment's name, or the beginning of a name."""
    if given in pools:
        return given, ""
    meant = sorted(pool for pool in pools if pool.partition("@")[0] == given)
    meant = meant or sorted(pool for pool in pools if pool.startswith(given))
    if len(meant) == 1:
        return meant[0], ""
    if meant:
        return "", f"{given!r} may be any of {_some(meant)}; give more of its name"
    return "", f"there is no pool {given!r}; " + (f"there are {_some(sorted(pools))}" if pools else "there are none")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def event_of(order: frames.Control, pool: str, settings: PoolSettings) -> Event:
    """What a change by hand is to the core; ``settings``: of the pool. ValueError: it is none that a pool can have."""
    if order.verb == "drain":
        return Drain(pool)
    if order.verb == "stop":
        return StopPool(pool)
    low, high = order.min_replicas, order.max_replicas
    if not (0 <= low <= high and high >= 1):
        raise ValueError(f"{low} to {high} replicas: MAX must be 1 or more, and MIN from 0 to MAX")
    return OpenPool(pool, msgspec.structs.replace(settings, min_replicas=low, max_replicas=high))
