"""Replicas that have outlived the engine that started them: how they, and what they run, become part of this one.

A part of ``Pools``. An execution is adopted before anybody has asked this engine for its action: it holds a slot and
has no parent. Whoever asks for the same action again claims it, and from then on it is like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.core.actions import Action
from samovar.core.messages import Adopt, Claim, Held, Submit
from samovar.core.replicas import RESUMING, Execution, Replica
from samovar.model import RUNNING

if TYPE_CHECKING:
    from samovar.core.pools import Pools


def adopt(pools: Pools, event: Adopt, now: float) -> None:
    pool = pools.pools[event.pool]
    replica = pool.adopt(event.replica, event.is_ready, now)
    for held in sorted(event.executions, key=lambda held: held.waits):  # those that are active have their slots
        _hold(pools, replica, held, now)
    replica.served = len(replica.executions)
    if pool.settings.max_tasks is None:
        replica.served = max(replica.served, pool.settings.concurrency)  # it is warm
    elif replica.served >= pool.settings.max_tasks:
        pool.drain(replica)
    pool.shrink()
    pool.dispatch(now)


def _hold(pools: Pools, replica: Replica, held: Held, now: float) -> None:
    action = pools.actions[held.action] = Action(Submit(held.action, replica.pool.name), replica.pool)
    action.attempts = held.attempt
    execution = pools.executions[held.epoch] = Execution(held.epoch, action, replica, now)
    execution.ever_parked = True  # when it has begun is not known here
    action.execution = execution
    action.phase = RUNNING
    replica.pool.add_execution(execution)
    if not held.waits and replica.pool.has_slot(replica):
        replica.pool.occupy(replica)
        return
    execution.park(now)
    execution.hold = RESUMING
    replica.resuming.append(execution)
    pools.resume(replica, now)


def claim(pools: Pools, event: Claim, now: float) -> None:
    action = pools.actions.get(event.action)
    if action is None or action.execution is None:
        return
    action.retry, action.timeouts, action.failures = event.retry, event.timeouts, event.failures
    action.run = event.run
    if event.parent:
        parent = pools.actions.get(event.parent)
        if parent is None or parent.execution is None:
            pools.abort(action, now)
            return
        pools.nest(action, parent, now)
    if event.timeouts.deadline is not None:
        pools.timers.add(now + event.timeouts.deadline - event.age, action.id, "deadline")
    if event.timeouts.max_runtime is not None:
        pools.timers.add(now + event.timeouts.max_runtime - event.ran, action.execution.epoch, "run")
