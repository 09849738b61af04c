"""Replicas, the executions on them, and the index that finds the freest one in O(1).

    STARTING ──ready──▶ READY ──drain──▶ DRAINING ──▶ gone
        └──unfit / lost──┴──────lost────────┴──────▶ gone

An execution is ACTIVE (holds a slot), PARKED (waits for its children) or RESUMING (its children are done, and it
waits for a slot on its own replica, before anything new may have it).
"""

from __future__ import annotations

import enum
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from samovar.model import ReplicaStats

if TYPE_CHECKING:
    from samovar.core.actions import Action
    from samovar.core.pool import Pool


class Stage(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Hold(enum.Enum):
    ACTIVE = "active"
    PARKED = "parked"
    RESUMING = "resuming"


SHOWN = 20
"""Executions of a replica that its figures name."""

KEPT_TIMES = 64
"""Times at which an execution was parked and went on; a multiple of 4. Of more two stretches each become one."""

# Bound to names: in Python 3.11 the attribute of an enum costs as much as a call.
STARTING, READY, DRAINING = Stage
ACTIVE, PARKED, RESUMING = Hold


class Execution:
    """One attempt on one replica. It outlives its action while a cancelled attempt has not ended."""

    __slots__ = (
        "action",
        "attempt",
        "cold",
        "epoch",
        "ever_parked",
        "held",
        "hold",
        "parked",
        "replica",
        "started_at",
    )

    def __init__(self, epoch: int, action: Action, replica: Replica, now: float, cold: bool = False) -> None:
        self.epoch = epoch
        self.action = action
        self.attempt = action.attempts
        self.replica = replica
        self.cold = cold
        self.hold = ACTIVE
        self.started_at = now
        self.ever_parked = False
        self.parked: list[float] | None = None  # when it gave its slot back, and had one again, in turn
        self.held = 0  # the settled child whose delivery waits until this execution has a slot

    def park(self, now: float) -> None:
        """It gives its slot back."""
        self.hold = PARKED
        self.ever_parked = True
        if self.parked is None:
            self.parked = [now]
        else:
            self.parked.append(now)

    def go_on(self, now: float) -> None:
        """It has a slot again."""
        self.hold = ACTIVE
        parked = self.parked
        assert parked is not None
        parked.append(now)
        if len(parked) == KEPT_TIMES:
            self.parked = [time for at in range(0, KEPT_TIMES, 4) for time in (parked[at], parked[at + 3])]

    @property
    def is_current(self) -> bool:
        """False once the action was settled or given to another attempt: what this one says is ignored."""
        return self.action.execution is self


class Replica:
    __slots__ = (
        "active",
        "alone",
        "executions",
        "heard_at",
        "id",
        "idle_since",
        "innocent",
        "killed",
        "place",
        "pool",
        "ready_at",
        "resuming",
        "served",
        "stage",
        "started_at",
        "stopping",
    )

    def __init__(self, name: str, pool: Pool, now: float) -> None:
        self.id = name
        self.pool = pool
        self.stage = STARTING
        self.started_at = now
        self.ready_at = now
        self.heard_at = now
        self.idle_since = now
        self.active = 0
        self.served = 0
        self.executions: dict[int, Execution] = {}
        self.resuming: deque[Execution] = deque()
        self.place = -1  # index in its roster shelf; -1: not on offer
        self.alone = False  # it runs a suspect, which nobody may join
        self.innocent = False  # it is killed for a cancelled execution: nobody else on it is a suspect
        self.stopping = False  # StopReplica was said
        self.killed = False  # and with no grace

    def stats(self, now: float) -> ReplicaStats:
        """Counts, and some of what it runs; the same work however much that is."""
        shown = islice(self.executions.values(), SHOWN)
        return ReplicaStats(
            self.id,
            self.pool.name,
            self.stage.value,
            self.active,
            len(self.executions) - self.active,
            self.pool.settings.concurrency,
            self.served,
            now - self.started_at,
            now - self.heard_at,
            tuple(execution.action.id for execution in shown),
        )


class Roster:
    """The ready replicas on offer, on one shelf for each number of active executions.

    ``best`` is the one with the most free slots. Moves go to the neighbouring shelf, so ``_lowest`` moves by one:
    every operation is O(1), but for a removal, which may walk over at most ``concurrency`` empty shelves.
    """

    def __init__(self, concurrency: int) -> None:
        self._shelves: list[list[Replica]] = [[] for _ in range(concurrency + 1)]
        self._lowest = concurrency

    def best(self) -> Replica | None:
        """The replica with the most free slots; None when there is no free slot."""
        shelves = self._shelves
        full = len(shelves) - 1
        lowest = self._lowest
        while lowest < full and not shelves[lowest]:
            lowest += 1
        self._lowest = lowest
        return shelves[lowest][-1] if lowest < full else None

    def add(self, replica: Replica) -> None:
        shelf = self._shelves[replica.active]
        replica.place = len(shelf)
        shelf.append(replica)
        if replica.active < self._lowest:
            self._lowest = replica.active

    def shift(self, replica: Replica, by: int) -> None:
        """The replica on offer has one active execution more, or less."""
        shelves = self._shelves
        shelf = shelves[replica.active]
        last = shelf.pop()
        if last is not replica:
            shelf[replica.place] = last
            last.place = replica.place
        replica.active = active = replica.active + by
        shelf = shelves[active]
        replica.place = len(shelf)
        shelf.append(replica)
        if active < self._lowest:
            self._lowest = active

    def remove(self, replica: Replica) -> None:
        shelf = self._shelves[replica.active]
        last = shelf.pop()
        if last is not replica:
            shelf[replica.place] = last
            last.place = replica.place
        replica.place = -1
