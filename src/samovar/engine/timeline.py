"""What replicas have run, and when: a bar for each execution, newest kept, for whoever looks at a pool later.

An engine has one only where somebody may look. A bar is made when an execution ends, of what the core knew of it, and
costs the hot path one tuple; those that still run are read from the core. Times are of the engine's clock.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.core.replicas import READY, Execution
from samovar.entries import Change
from samovar.model import RUNNING, SUCCEEDED, Phase

if TYPE_CHECKING:
    from samovar.core.pool import Pool
    from samovar.core.pools import Pools
    from samovar.core.replicas import Replica
    from samovar.engine.links import Link
    from samovar.engine.work import Work

POOL_BARS = 100_000
"""Executions of a pool that are kept."""

ALL_BARS = 400_000
"""Of all pools together: up to 80 MB."""

EVENTS = 2_000
"""Of a pool."""

ENDED_REPLICAS = 2_000
"""Of a pool."""

SHOWN = 4_000
"""Executions that still run and are read in one turn."""

OWN_BARS = 20
"""Of a pool in a tick, 400 a second. Of more the short ones share bars: to keep an object costs the hot path more
than to count one, as those that go again leave the processor's caches to the next."""

SHORT = 0.05
"""Seconds, as long as a tick. What takes longer has a bar of its own; what has run for less is not shown as running."""

RUNS, DONE, FAILED, ABORTED, AGAIN = range(5)
"""How a bar stands. Again: the action was tried again, or its replica was lost."""


class Bar(NamedTuple):
    """One execution; or a crowd of short ones, of one task on one replica in one tick, that succeeded. ``run``,
    ``number``, ``action``, ``attempt`` and ``cold`` are those of its first one, which has not been parked.

    ``parked``: when it gave its slot back and had one again, in turn. ``members``: how many executions it is.
    ``busy``: their seconds, added up.
    """

    replica: str
    start: float
    end: float | None
    task: str
    phase: int
    cold: bool
    attempt: int
    run: str
    number: int  # of the action within its run
    action: str  # its id
    parked: tuple[float, ...]
    members: int = 1
    busy: float = 0.0

    def moved(self, by: float) -> Bar:
        """By another clock."""
        end = None if self.end is None else self.end + by
        return self._replace(start=self.start + by, end=end, parked=tuple(at + by for at in self.parked))


_END, _RUN, _NUMBER, _ACTION, _MEMBERS, _BUSY = map(
    Bar._fields.index, ("end", "run", "number", "action", "members", "busy")
)


class Life(NamedTuple):
    """A replica from its start to its end, as far as that has come."""

    name: str
    starting: float
    ready: float | None = None
    ended: float | None = None
    reason: str = ""  # of its end

    def moved(self, by: float) -> Life:
        """By another clock."""
        ready = None if self.ready is None else self.ready + by
        return self._replace(
            starting=self.starting + by, ready=ready, ended=None if self.ended is None else self.ended + by
        )


class Happened(NamedTuple):
    at: float
    change: Change
    replica: str  # "": the pool as a whole
    replicas: int
    reason: str


class Strip(NamedTuple):
    """What is known of a pool. ``zero``: what the wall clock showed at the zero of the engine's."""

    bars: list[Bar]
    lives: list[Life]
    events: list[Happened]
    dropped: int  # executions that were older and are not here
    now: float
    zero: float


class Glance(NamedTuple):
    """What one turn has copied of a pool. It belongs to whoever has it, who makes of it outside of the turn what takes
    longer than a copy."""

    rows: list[tuple[Any, ...]]  # of what has ended, in that order, each as the fields of a ``Bar``
    running: list[Bar]
    lives: list[Life]
    events: list[Happened]
    dropped: int
    now: float
    zero: float  # as that of a ``Strip``

    def strip(self, since: float | None, limit: int) -> Strip:
        """With the newest ``limit`` bars that ended at ``since`` (by the wall clock) or later, and what still runs."""
        rows, running = self.rows, self.running[:limit]
        begin = 0 if since is None else bisect_left(rows, since - self.zero, key=itemgetter(_END))
        begin = max(begin, len(rows) - limit + len(running))
        bars = [*map(Bar._make, rows[begin:]), *running]
        more = sum(row[_MEMBERS] for row in rows[:begin]) if since is None else 0
        return Strip(bars, self.lives, self.events, self.dropped + more, self.now, self.zero)

    def bars_of(self, run: str, action: str) -> list[Bar]:
        """The executions of one action, by the wall clock."""
        found = (row for row in self._all() if row[_ACTION] == action and row[_RUN] == run)
        return [Bar._make(row).moved(self.zero) for row in found]

    def id_of(self, run: str, number: int) -> str:
        """Of the action with this number in its run; "": it is not among these."""
        found = (row[_ACTION] for row in self._all() if row[_NUMBER] == number and row[_RUN] == run)
        return str(next(found, ""))

    def _all(self) -> Iterable[tuple[Any, ...]]:
        return chain(self.rows, self.running)


class Crowd:
    """A bar that grows until the tick ends. The link of its replica has the one that was added to last. ``add`` takes
    the seconds of an execution that succeeded; its end is the crowd's then."""

    __slots__ = ("_first", "_took", "add", "end", "link", "task")

    def __init__(self, link: Link, first: tuple[Any, ...], task: str) -> None:
        self.task = task
        self.end: float = first[_END]
        self.link = link
        self._first = first
        self._took: list[float] = [first[_BUSY]]
        self.add = self._took.append

    def close(self) -> tuple[Any, ...]:
        """Nothing is added any more. Gives the fields of its bar."""
        self.link.crowd = None
        before, after = self._first[:_END], self._first[_END + 1 : _MEMBERS]
        return (*before, self.end, *after, len(self._took), sum(self._took))


class _Kept:
    """Of one pool."""

    def __init__(self) -> None:
        self.bars: deque[tuple[Any, ...]] = deque()  # by end; plain tuples, which the garbage collector need not walk
        self.own = OWN_BARS  # that there may be in this tick
        self.crowds: dict[tuple[str, str], Crowd] = {}  # of this tick, by replica and task
        self.dropped = 0
        self.events: deque[Happened] = deque(maxlen=EVENTS)
        self.living: dict[str, Life] = {}
        self.ended: deque[Life] = deque(maxlen=ENDED_REPLICAS)

    def disperse(self) -> None:
        """The crowds that there are become bars."""
        if self.crowds:
            self.bars.extend(sorted((crowd.close() for crowd in self.crowds.values()), key=itemgetter(_END)))
            self.crowds.clear()

    def drop(self, count: int) -> None:
        for _ in range(count):
            self.dropped += self.bars.popleft()[_MEMBERS]


class Timeline:
    def __init__(self, pools: Pools, works: dict[int, Work]) -> None:
        self._pools = pools
        self._works = works
        self._kept: dict[str, _Kept] = {}
        self.execution = pools.executions.get

    # called by the engine

    def ended(self, link: Link, execution: Execution, work: Work, now: float) -> None:
        """Called when the core has heard of its end, so that the phase of the work says what became of it; not for
        what has joined a crowd."""
        kept = self._kept.get(work.pool) or self._begun(work.pool)
        took = now - execution.started_at
        if kept.own or took >= SHORT or execution.parked or work.phase is not SUCCEEDED:
            kept.own -= kept.own > 0
            kept.disperse()
            kept.bars.append(_ended_row(execution, work, now))
            return
        whose = execution.replica.id, work.task.name
        crowd = kept.crowds.get(whose)
        if crowd is None:
            crowd = kept.crowds[whose] = Crowd(link, _ended_row(execution, work, now), work.task.name)
        else:
            crowd.link = link
            crowd.add(took)
            crowd.end = now
        link.crowd = crowd

    def on(self, link: Link) -> list[tuple[Execution, Work]]:
        """What a replica runs that is lost."""
        found = ((self.execution(epoch), work) for epoch, work in link.running.items())
        return [(execution, work) for execution, work in found if execution is not None]

    def happened(self, pool: str, change: Change, replica: str, reason: str, replicas: int) -> None:
        now = time.monotonic()
        if change is Change.CLOSED:
            self._kept.pop(pool, None)
            return
        kept = self._kept.get(pool) or self._begun(pool)
        kept.events.append(Happened(now, change, replica, replicas, reason))
        if change is Change.STARTING:
            kept.living[replica] = Life(replica, now)
        elif change is Change.READY:
            kept.living[replica] = kept.living.get(replica, Life(replica, now))._replace(ready=now)
        elif change is Change.STOPPING and reason and replica in kept.living:
            kept.living[replica] = kept.living[replica]._replace(reason=reason)
        elif change is Change.LOST:
            life = kept.living.pop(replica, Life(replica, now))
            kept.ended.append(life._replace(ended=now, reason=life.reason or reason))

    def trim(self) -> None:
        """Called with every tick."""
        total = 0
        for kept in self._kept.values():
            kept.own = OWN_BARS
            kept.disperse()
            if len(kept.bars) > POOL_BARS:
                kept.drop(len(kept.bars) - POOL_BARS)
            total += len(kept.bars)
        if total > ALL_BARS:
            largest = max(self._kept.values(), key=lambda kept: len(kept.bars))
            largest.drop(min(total - ALL_BARS, len(largest.bars)))

    # called by whoever looks, in a turn

    def glance(self, pool: str) -> Glance | None:
        """None: there is no such pool."""
        found = self._pools.pools.get(pool)
        if found is None:
            return None
        now = time.monotonic()
        kept = self._kept.get(pool) or _Kept()
        kept.disperse()
        known = {**{life.name: life for life in kept.ended}, **kept.living}
        lives = [*known.values(), *(_life(replica) for name, replica in found.replicas.items() if name not in known)]
        running = self._running(found, now - SHORT)
        return Glance(list(kept.bars), running, lives, list(kept.events), kept.dropped, now, time.time() - now)

    def _running(self, pool: Pool, before: float) -> list[Bar]:
        executions = (execution for replica in pool.replicas.values() for execution in replica.executions.values())
        found = ((one, self._works.get(one.action.id)) for one in islice(executions, SHOWN) if one.started_at <= before)
        return [Bar._make(_row(execution, work, None, RUNS)) for execution, work in found if work is not None]

    def _begun(self, pool: str) -> _Kept:
        kept = self._kept[pool] = _Kept()
        return kept


def _ended_row(execution: Execution, work: Work, end: float) -> tuple[Any, ...]:
    return _row(execution, work, end, DONE if work.phase is SUCCEEDED else _ended_as(work.phase))


def _row(execution: Execution, work: Work, end: float | None, phase: int) -> tuple[Any, ...]:
    """The fields of a bar; ``end`` None: it still runs."""
    start = execution.started_at
    return (
        execution.replica.id,
        start,
        end,
        work.task.name,
        phase,
        execution.cold,
        execution.attempt,
        work.run.name,
        work.number,
        work.id,
        tuple(execution.parked or ()),
        1,
        0.0 if end is None else end - start,
    )


def _life(replica: Replica) -> Life:
    """Of one that another engine has started."""
    return Life(replica.id, replica.started_at, replica.ready_at if replica.stage is READY else None)


def _ended_as(phase: Phase) -> int:
    if phase is RUNNING or not phase.is_terminal:
        return AGAIN
    return ABORTED if phase is Phase.ABORTED else FAILED
