"""What must hold after every event. Tests call ``validate`` after each step; nothing else does."""

from __future__ import annotations

from collections import Counter

from samovar.core.pool import Pool
from samovar.core.pools import Pools
from samovar.core.replicas import ACTIVE, DRAINING, PARKED, READY, RESUMING, STARTING
from samovar.model import QUEUED, RUNNING, WAITING


def validate(pools: Pools) -> None:
    """Raises AssertionError that names what does not hold."""
    for pool in pools.pools.values():
        _counts(pool)
        _replicas(pool)
        _progress(pool)
    suspended = Counter(action.pool for action in pools.actions.values() if action.phase is WAITING)
    for pool in pools.pools.values():
        assert pool.suspended == suspended.pop(pool, 0), "what neither waits in the queue nor runs is counted wrong"
    assert not suspended, "an action waits for a pool that is forgotten"
    for action in pools.actions.values():
        assert not action.phase.is_terminal, f"{action.id} is settled and still known"
        assert action.execution is None or action.execution.action is action
        assert (action.phase is QUEUED) == (action.lane is not None)
        assert (action.phase is RUNNING) == (action.execution is not None)
        for child in action.children or ():
            assert child.id in pools.actions, f"{child.id} is settled and still a child of {action.id}"
    for execution in pools.executions.values():
        if execution.is_current:
            waits = bool(execution.action.children)
            assert waits == (execution.hold is PARKED), "it is parked exactly while children are unfinished"


def _counts(pool: Pool) -> None:
    replicas = list(pool.replicas.values())
    assert pool.starting == sum(r.stage is STARTING for r in replicas)
    assert pool.ready == sum(r.stage is READY for r in replicas)
    assert pool.active == sum(r.active for r in replicas if r.stage is READY)
    assert pool.executions == sum(len(r.executions) for r in replicas)
    for lane in (*pool.queue.lanes, pool.suspects):
        waiting = list(lane)
        assert len(waiting) == lane.length, "a lane is counted wrong"
        assert all(a.lane is lane and a.phase is QUEUED and a.pool is pool for a in waiting), "a lane keeps what left"
    assert all(lane.length for lane in pool.queue.lanes), "an empty lane is kept"
    assert pool.queue.length == sum(lane.length for lane in pool.queue.lanes), "the queue is counted wrong"
    retired = {r for r in replicas if r.stage is DRAINING}
    assert pool.dormant == {r for r in retired if r.executions and not r.active and not r.killed}


def _replicas(pool: Pool) -> None:
    if pool.settings.max_tasks is None:
        assert pool.ready + pool.starting <= pool.settings.max_replicas, "too many replicas"
    for replica in pool.replicas.values():
        holds = [x.hold for x in replica.executions.values()]
        assert replica.active == holds.count(ACTIVE) <= pool.settings.concurrency, "slots are overdrawn"
        assert (replica.place >= 0) == (replica.stage is READY and replica is not pool.reserved)
        assert not (replica.alone and replica.active > 1), "a suspect has company"
        assert holds.count(RESUMING) == len(replica.resuming)
        if replica.resuming:
            assert not pool.has_slot(replica), "an execution could resume and does not"
        assert replica.stopping or replica.stage is not DRAINING or replica.executions, "a drained replica lives on"


def _progress(pool: Pool) -> None:
    assert not (pool.queue.length and pool.roster.best()), "work waits beside a free slot"
    if pool.queued and not pool.ready and not pool.starting and pool.settings.max_tasks is None:
        assert pool.awake, "work waits in a pool that sleeps"
