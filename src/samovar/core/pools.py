"""All pools of one engine, and the tree of actions that runs on them: the state machine that decides.

``handle(event, now)`` returns the commands. Rules that concern one pool stand in ``pool``; here stand those that
cross pools: parents and children, attempts, retries, timeouts, blame.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from samovar.core import adoption
from samovar.core.actions import ABORTED, Action, callers
from samovar.core.admission import MAX_QUEUED
from samovar.core.messages import (
    Abort,
    Adopt,
    Answered,
    Assign,
    Cancel,
    Claim,
    ClosePool,
    Command,
    Deliver,
    Drain,
    Enqueue,
    Event,
    Finished,
    OpenPool,
    ReplicaHeard,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    Retried,
    Settle,
    StopPool,
    Submit,
    Supersede,
    Tick,
)
from samovar.core.pool import Pool
from samovar.core.replicas import ACTIVE, PARKED, READY, RESUMING, STARTING, Execution, Replica
from samovar.core.scaling import START_ATTEMPTS
from samovar.core.timers import Timers
from samovar.model import QUEUED, RUNNING, SUCCEEDED, WAITING, Failure, Phase, PoolStats, ReplicaStats

LEASE = 9.0
"""Seconds without a sign of life after which a replica is given up: it is stopped, hung or frozen. Code that holds the
interpreter lock gives one as well (``engine.pulse``), and a process or a connection that ends is seen at once."""


class Bounds(NamedTuple):
    """What a user may set."""

    lease: float = LEASE  # seconds
    max_queued: int = MAX_QUEUED  # actions that may wait in one pool


BOUNDS = Bounds()

EPOCHS = 1 << 40
"""Epochs that one engine may give."""

CANCEL_GRACE = 5.0
"""Seconds a cancelled execution has before it costs its replica."""

_TIMEOUTS = {
    "run": "MaxRuntimeExceededError",
    "queue": "MaxQueuedTimeExceededError",
    "deadline": "DeadlineExceededError",
}
_TIMEOUT_TEXT = {
    "run": "the attempt ran longer than max_runtime",
    "queue": "the action waited longer than max_queued_time",
    "deadline": "the action took longer than its deadline",
}
_number = attrgetter("id")  # the order of a set is another in each process


class Pools:
    """``era``: the how manieth engine of its line this is; none gives the name or the epoch of another one."""

    def __init__(self, bounds: Bounds = BOUNDS, era: int = 0) -> None:
        self.pools: dict[str, Pool] = {}
        self.actions: dict[int, Action] = {}  # unsettled ones
        self.executions: dict[int, Execution] = {}
        self._out: list[Command] = []
        self._epoch = era * EPOCHS
        self._prefix = f"{era}." if era else ""  # of the names of replicas
        self._lease, self._max_queued = bounds
        self.timers = Timers(self._is_pending)
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            OpenPool: self._open_pool,
            Submit: self._submit,
            Adopt: lambda event, now: adoption.adopt(self, event, now),
            Claim: lambda event, now: adoption.claim(self, event, now),
            Enqueue: self._enqueue,
            Answered: self._answered,
            ReplicaReady: self._replica_ready,
            ReplicaHeard: self._replica_heard,
            ReplicaUnfit: self._replica_unfit,
            ReplicaLost: self._replica_lost,
            Finished: self._finished,
            Abort: self._abort,
            Drain: self._drain,
            StopPool: self._stop_pool,
            Supersede: self._supersede,
            Tick: self._tick,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Decide. The commands are to be carried out in order."""
        self._handlers[type(event)](event, now)
        out = self._out.copy()
        self._out.clear()
        return out

    def admission(self, pool: str, run: int, parent: int) -> float:
        """Asked before each Submit. 0.0: say it; otherwise the seconds after which to ask again.

        The first child of an execution always may come, for it parks its parent and so costs no slot.
        """
        found = self.pools[pool]
        if found.queued < self._max_queued:
            return 0.0
        caller = self.actions.get(parent)
        if caller is not None and not caller.children:
            return 0.0
        return found.admission(run, self._max_queued)

    def stats(self, now: float) -> list[PoolStats]:
        return [pool.stats(now) for pool in self.pools.values()]

    def replica_stats(self, now: float) -> list[ReplicaStats]:
        """Every replica, with some of what it runs."""
        return [replica.stats(now) for pool in self.pools.values() for replica in pool.replicas.values()]

    def running_on(self, replica: str) -> list[int]:
        """The actions that hold a slot of the replica: if it dies, one of these has killed it."""
        found = self._find(replica)
        executions = found.executions.values() if found is not None else ()
        return [x.action.id for x in executions if x.hold is ACTIVE and x.is_current]

    # events

    def _open_pool(self, event: OpenPool, now: float) -> None:
        pool = self.pools.get(event.pool)
        if pool is None:
            self.pools[event.pool] = Pool(event.pool, event.settings, self._out, self._assign, self._prefix)
        else:
            pool.drained = pool.superseded = False
            pool.configure(event.settings, now)

    def _submit(self, event: Submit, now: float) -> None:
        pool = self.pools[event.pool]
        parent = self.actions.get(event.parent) if event.parent else None
        if event.parent and (parent is None or parent.execution is None):
            self._out += (Settle(event.action, Phase.ABORTED, failure=ABORTED), Deliver(event.action))
            return
        if parent is None:
            pool.drained = False  # somebody wants it again
        action = self.actions[event.action] = Action(event, pool)
        if parent is not None:
            self.nest(action, parent, now)
        if event.timeouts.max_queued_time is not None:
            self.timers.add(now + event.timeouts.max_queued_time, event.action, "queue")
        if event.timeouts.deadline is not None:
            self.timers.add(now + event.timeouts.deadline, event.action, "deadline")
        if event.waits:
            pool.suspend(action)
        else:
            pool.submit(action, now)

    def _enqueue(self, event: Enqueue, now: float) -> None:
        action = self.actions.get(event.action)
        if action is not None:
            action.pool.submit(action, now)

    def _answered(self, event: Answered, now: float) -> None:
        action = self.actions.get(event.action)
        if action is not None:
            self._settle(action, SUCCEEDED, now)

    def _replica_ready(self, event: ReplicaReady, now: float) -> None:
        replica = self._find(event.replica)
        if replica is not None and replica.stage is STARTING:
            replica.pool.became_ready(replica, now)
            replica.pool.dispatch(now)

    def _replica_heard(self, event: ReplicaHeard, now: float) -> None:
        replica = self._find(event.replica)
        if replica is not None:
            replica.heard_at = now

    def _replica_unfit(self, event: ReplicaUnfit, now: float) -> None:
        replica = self._find(event.replica)
        if replica is None or replica.stage is READY:
            return
        if replica.stage is STARTING:
            self._start_failed(replica, event.failure, event.permanent, now)
        else:  # it was to end before it had begun
            replica.pool.forget(replica)
            replica.pool.dispatch(now)

    def _replica_lost(self, event: ReplicaLost, now: float) -> None:
        replica = self._find(event.replica)
        if replica is None:
            return
        pool = replica.pool
        if replica.stage is STARTING:
            self._start_failed(replica, event.failure, False, now)
            return
        pool.forget(replica)
        lost = list(replica.executions.values())
        alone = sum(1 for x in lost if x.hold is ACTIVE) == 1
        orphans = [x for x in lost if x.is_current]
        for execution in lost:
            self._drop(execution)
        active = [x.action for x in orphans if x.hold is ACTIVE and not replica.innocent]
        blamed = dict.fromkeys(active, alone)
        blamed |= dict.fromkeys(callers(active), alone and event.failure.code == "OOMError")
        for execution in orphans:
            execution.action.execution = None
        for execution in sorted(orphans, key=lambda x: x.hold is ACTIVE):  # parents first: they abort their children
            if execution.action.id in self.actions:
                self._retry_lost(execution, event.failure, blamed.get(execution.action), now)
        pool.dispatch(now)

    def _retry_lost(self, execution: Execution, failure: Failure, alone: bool | None, now: float) -> None:
        """Its replica died under it. ``alone``: what may have killed it had no company; None: it is innocent."""
        action = execution.action
        self._abort_children(action, now, superseded=True)
        verdict = action.lose(failure, alone) if alone is not None else None
        if verdict is None:
            self._out.append(Retried(action.id, execution.epoch, failure))
            may_kill = alone is not None and execution.hold is ACTIVE
            action.pool.requeue(action, now, may_kill and action.is_suspect)
        elif verdict.code == "OOMError":
            self._attempt_failed(action, verdict, Phase.FAILED, execution.epoch, now)
        else:
            self._settle(action, Phase.FAILED, now, execution.epoch, verdict)

    def _finished(self, event: Finished, now: float) -> None:
        execution = self.executions.get(event.epoch)
        if execution is None:
            return
        replica, pool, action = execution.replica, execution.replica.pool, execution.action
        self._drop(execution)
        if execution.hold is ACTIVE:
            pool.release(replica, now)
        if execution.is_current:
            action.execution = None
            if not execution.ever_parked:
                pool.run_seconds.add(now - execution.started_at)
            if event.failure is None:
                self._settle(action, SUCCEEDED, now, event.epoch)
            else:
                self._attempt_failed(action, event.failure, Phase.FAILED, event.epoch, now)
        if replica.resuming:
            self.resume(replica, now)
        pool.freed(replica)
        pool.dispatch(now)

    def _abort(self, event: Abort, now: float) -> None:
        action = self.actions.get(event.action)
        if action is not None:
            failure = Failure("user", ABORTED.code, event.reason, recoverable=False) if event.reason else ABORTED
            self._settle(action, Phase.ABORTED, now, 0, failure, event.superseded)

    def _drain(self, event: Drain, now: float) -> None:
        pool = self.pools[event.pool]
        pool.drained = True
        pool.fall_asleep("the pool is drained")
        pool.awake = bool(pool.queued or pool.executions)
        pool.dispatch(now)

    def _stop_pool(self, event: StopPool, now: float) -> None:
        pool = self.pools[event.pool]
        pool.awake = bool(pool.queued or pool.executions)
        for replica in list(pool.replicas.values()):
            replica.innocent = True
            pool.kill(replica)
        pool.dispatch(now)

    def _supersede(self, event: Supersede, now: float) -> None:
        pool = self.pools[event.pool]
        pool.drained = pool.superseded = True
        pool.rest(now)

    def _tick(self, event: Tick, now: float) -> None:
        for number, kind in self.timers.due(now):
            if kind == "kill":
                self._kill(number)
            elif kind == "retry":
                self._retry_now(number, now)
            else:
                self._timed_out(number, kind, now)
        self.timers.trim(2 * (len(self.actions) + len(self.executions)))
        for pool in list(self.pools.values()):
            pool.kill_silent(now, self._lease)
            pool.tick(now)
            if pool.is_over(now):
                del self.pools[pool.name]
                self._out.append(ClosePool(pool.name))

    # attempts

    def _assign(self, action: Action, replica: Replica, cold: bool, now: float) -> None:
        self._epoch += 1
        action.attempts += 1
        execution = self.executions[self._epoch] = Execution(self._epoch, action, replica, now, cold)
        replica.pool.add_execution(execution)
        action.execution = execution
        action.phase = RUNNING
        if action.timeouts.max_runtime is not None:
            self.timers.add(now + action.timeouts.max_runtime, self._epoch, "run")
        self._out.append(Assign(replica.id, action.id, self._epoch, action.attempts, cold, action.failures))

    def _attempt_failed(self, action: Action, failure: Failure, phase: Phase, epoch: int, now: float) -> None:
        action.failures += 1
        if not failure.recoverable or action.failures > action.retry.count:
            self._settle(action, phase, now, epoch, failure)
            return
        self._out.append(Retried(action.id, epoch, failure))
        self._abort_children(action, now, superseded=True)
        delay = action.retry.delay(action.failures)
        if delay > 0:
            action.pool.suspend(action)
            self.timers.add(now + delay, action.id, "retry")
        else:
            action.pool.requeue(action, now, False)

    def _retry_now(self, number: int, now: float) -> None:
        action = self.actions.get(number)
        if action is not None:
            action.pool.requeue(action, now, False)

    def _timed_out(self, number: int, kind: str, now: float) -> None:
        if kind == "run":
            execution = self.executions.get(number)
            if execution is not None and execution.is_current:
                action = execution.action
                self._cancel(execution, now)
                self._attempt_failed(action, self._timeout(action, kind), Phase.TIMED_OUT, number, now)
            return
        waiting = self.actions.get(number)
        if waiting is not None and not (kind == "queue" and waiting.attempts):
            self._settle(waiting, Phase.TIMED_OUT, now, 0, self._timeout(waiting, kind))

    def _timeout(self, action: Action, kind: str) -> Failure:
        return Failure("user", _TIMEOUTS[kind], f"{_TIMEOUT_TEXT[kind]} ({self._bound(action, kind):g} s)")

    @staticmethod
    def _bound(action: Action, kind: str) -> float:
        bounds = action.timeouts
        return {"run": bounds.max_runtime, "queue": bounds.max_queued_time, "deadline": bounds.deadline}[kind] or 0.0

    def _cancel(self, execution: Execution, now: float) -> None:
        """The execution is no longer wanted; it keeps its slot until it has ended."""
        execution.action.execution = None
        self._out.append(Cancel(execution.replica.id, execution.epoch))
        self._hand_over(execution)  # behind the word that it is not to go on
        self.timers.add(now + CANCEL_GRACE, execution.epoch, "kill")

    def _kill(self, epoch: int) -> None:
        execution = self.executions.get(epoch)
        if execution is not None:
            execution.replica.innocent = True
            execution.replica.pool.kill(execution.replica)

    # parents and children

    def nest(self, action: Action, parent: Action, now: float) -> None:
        """The action is a child of one that runs."""
        assert parent.execution is not None
        action.parent = parent
        if parent.children is None:
            parent.children = set()
        parent.children.add(action)
        self._park(parent.execution, now)

    def _park(self, execution: Execution, now: float) -> None:
        """It has an unfinished child: its slot is free for others."""
        if execution.hold is ACTIVE:
            execution.park(now)
            replica = execution.replica
            replica.pool.release(replica, now)
            self.resume(replica, now)
            replica.pool.freed(replica)
            replica.pool.dispatch(now)
        elif execution.hold is RESUMING:
            execution.hold = PARKED
            execution.replica.resuming.remove(execution)
            self._hand_over(execution)

    def resume(self, replica: Replica, now: float) -> None:
        """Executions whose children are done come before anything new."""
        while replica.resuming and replica.pool.has_slot(replica):
            execution = replica.resuming.popleft()
            execution.go_on(now)
            replica.pool.occupy(replica)
            self._hand_over(execution)

    def _hand_over(self, execution: Execution) -> None:
        """Deliver what was held back until this execution had a slot."""
        if execution.held:
            self._out.append(Deliver(execution.held))
            execution.held = 0

    def abort(self, action: Action, now: float) -> None:
        self._settle(action, Phase.ABORTED, now, 0, ABORTED)

    def _settle(
        self,
        action: Action,
        phase: Phase,
        now: float,
        epoch: int = 0,
        failure: Failure | None = None,
        superseded: bool = False,
    ) -> None:
        """``superseded``: what is below may be asked for again."""
        self._leave(action, phase, now, failure)
        self._out.append(Settle(action.id, phase, epoch, failure))
        if action.children:
            self._abort_children(action, now, superseded)
        parent = action.parent
        if parent is None:
            self._out.append(Deliver(action.id))
            return
        siblings = parent.children
        assert siblings is not None
        siblings.discard(action)
        execution = parent.execution
        if execution is None or siblings:
            self._out.append(Deliver(action.id))
            return
        execution.hold = RESUMING
        execution.held = action.id
        execution.replica.resuming.append(execution)
        self.resume(execution.replica, now)

    def _leave(self, action: Action, phase: Phase, now: float, failure: Failure | None) -> None:
        del self.actions[action.id]
        if action.phase is QUEUED:
            action.pool.leave(action)
        elif action.phase is WAITING:
            action.pool.suspended -= 1
        action.phase = phase
        if failure is None:
            action.pool.done += 1
        else:
            action.pool.failed += 1
        if action.execution is not None:
            self._cancel(action.execution, now)

    def _abort_children(self, action: Action, now: float, superseded: bool = False) -> None:
        """Everything below; without recursion, as trees may be deep. ``superseded``: the action itself goes on."""
        stack = sorted(action.children or (), key=_number)
        action.children = None
        while stack:
            child = stack.pop()
            self._leave(child, Phase.ABORTED, now, ABORTED)
            self._out += (Settle(child.id, Phase.ABORTED, 0, ABORTED, superseded), Deliver(child.id))
            stack += sorted(child.children or (), key=_number)
            child.children = None

    # replicas

    def _find(self, name: str) -> Replica | None:
        pool = self.pools.get(name.rpartition("-")[0])
        return pool.replicas.get(name) if pool is not None else None

    def _start_failed(self, replica: Replica, failure: Failure, permanent: bool, now: float) -> None:
        pool = replica.pool
        pool.forget(replica)
        pool.start_failed(now)
        if pool.ready == 0 and (permanent or pool.failed_starts >= START_ATTEMPTS):
            while (action := pool.first_waiting()) is not None:
                self._settle(action, Phase.FAILED, now, 0, failure)
            pool.give_up()

    def _drop(self, execution: Execution) -> None:
        del self.executions[execution.epoch]
        execution.replica.pool.remove_execution(execution)
        if execution.hold is RESUMING:
            execution.replica.resuming.remove(execution)
            self._hand_over(execution)

    def _is_pending(self, number: int, kind: str) -> bool:
        """Does this timer matter? An action has two that do, at most, and so has an execution."""
        if kind in ("run", "kill"):
            execution = self.executions.get(number)
            return execution is not None and (kind == "kill" or execution.is_current)
        action = self.actions.get(number)
        return action is not None and not (kind == "queue" and action.attempts)
