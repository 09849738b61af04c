"""The checker: what must be true of a history, whatever happens in it. It counts for itself and trusts no figure of
the core.

Nothing is lost and nothing settled twice; what an attempt says that does not count any more changes nothing; slots,
ranges of replicas and bounds hold; and nobody is passed over. What is not so is raised as ``Violation`` at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from samovar.core.admission import LATEST, SOONEST
from samovar.core.invariants import validate
from samovar.core.messages import (
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
    StartReplica,
    StopReplica,
    Submit,
    Tick,
)
from samovar.core.pools import Pools
from samovar.model import Failure, Phase
from samovar.sim.model import Action, Attempt, Pool, Replica
from samovar.sim.records import Records
from samovar.sim.scenario import Call, Scenario
from samovar.sim.watcher import Watcher

VALIDATED = 30
"""Events between two looks at the core's own invariants."""

_BACKOFF = 30.0  # seconds at most for which starts back off
_FEW_TIMERS = 64  # so many dead ones are not worth a look
_EARLY = 1e-6  # seconds; what floating point may make of one moment


class Violation(Exception):
    """A rule does not hold in a history."""


class Checker(Watcher):
    def __init__(self) -> None:
        self.steps = 0
        self._records = Records(self._must)
        self._epochs: set[int] = set()  # that were ever given
        self._event: Event = Tick()
        self._now = 0.0
        self._on_event: dict[type[Any], Callable[[Any], None]] = {
            OpenPool: self._opens,
            Submit: self._submitted,
            Adopt: self._adopted,
            Claim: self._claimed,
            ReplicaReady: self._ready,
            ReplicaHeard: self._heard,
            ReplicaUnfit: self._unfit,
            ReplicaLost: self._lost,
            Drain: self._drained,
        }
        self._on_command: dict[type[Any], Callable[[Any], None]] = {
            StartReplica: self._starts,
            StopReplica: self._stops,
            Assign: self._assigns,
            Cancel: self._cancels,
            Settle: self._settles,
            Deliver: self._delivers,
            Retried: self._retries,
            ClosePool: self._closes,
        }

    def _must(self, holds: bool, what: str) -> None:
        if not holds:
            raise Violation(f"at {self._now:.3f} s, after {type(self._event).__name__}: {what}")

    # what it is shown

    def began(self, scenario: Scenario, pools: Pools, era: int, now: float) -> None:
        self._scenario, self._core = scenario, pools
        self._pools: dict[str, Pool] = {}
        self._replicas: dict[str, Replica] = {}
        self._actions: dict[int, Action] = {}
        self._attempts: dict[int, Attempt] = {}
        self._lost_now: dict[int, Attempt] = {}  # those that the event has ended
        self._names: dict[int, str] = {}  # records, by action
        self._late = scenario.habits.tick + _EARLY

    def killed(self, now: float) -> None:
        self._records.tear()

    def named(self, action: int, call: Call, record: str) -> None:
        self._names[action] = record

    def recorded(self, record: str, succeeded: bool) -> None:
        self._records.add(record)

    def committed(self, records: Iterable[str]) -> None:
        self._records.commit(records)

    def busy(self, replica: str, active: int, now: float) -> None:
        slots = self._scenario.pools[replica.rpartition("-")[0]].concurrency
        self._must(active <= slots, f"{replica} does work for {active} executions and has slots for {slots}")

    def asked(self, pool: str, client: int, parent: int, wait: float) -> None:
        if wait:
            self._must(SOONEST <= wait <= LATEST, f"whoever is refused is to come again after {wait} s")
            return
        waiting, bound = self._pools[pool].waiting, self._scenario.habits.max_queued
        if waiting[client] and sum(waiting.values()) >= 2 * bound:
            asker = self._attempts.get(self._actions[parent].epoch) if parent else None
            is_first = parent and not (asker and asker.unsettled)
            self._must(bool(is_first), f"the queue of {pool} takes more than twice its bound of {bound}")

    def decided(self, event: Event, commands: list[Command], now: float) -> None:
        self._event, self._now = event, now
        self._lost_now = {}
        if handler := self._on_event.get(type(event)):
            handler(event)
        for command in commands:
            if act := self._on_command.get(type(command)):
                act(command)
        self._then(event)
        self.steps += 1
        if self.steps % VALIDATED == 0:
            self._validate()

    def ended(self, is_over: bool, now: float) -> None:
        self._now = now
        self._validate()
        unsettled = [self._names[n] for n, action in self._actions.items() if not action.is_settled]
        self._must(not unsettled, f"never settled: {', '.join(unsettled[:5])}")
        undelivered = [self._names[n] for n, action in self._actions.items() if not action.is_delivered]
        self._must(not undelivered, f"never delivered: {', '.join(undelivered[:5])}")
        self._must(not self._replicas, f"never stopped: {', '.join(self._replicas)}")
        self._must(is_over, "the world never came to its end")
        core = self._core
        self._must(not core.actions and not core.executions, "the core keeps what is over")
        self._must(len(core.timers) <= _FEW_TIMERS, f"the core keeps {len(core.timers)} timers of what is over")
        for pool in core.pools.values():
            self._must(not pool.replicas and not pool.queued, f"the core keeps what pool {pool.name} had")
            self._must(not (pool.executions or pool.active or pool.suspended), f"pool {pool.name} counts what is over")
        self._records.check_end(arrival.call.key for arrival in self._scenario.arrivals)

    def answered(self, key: str) -> None:
        self._records.answer(key)

    def _validate(self) -> None:
        try:
            validate(self._core)
        except AssertionError as error:
            raise Violation(f"at {self._now:.3f} s: an invariant of the core does not hold: {error}") from error

    # events, before their commands

    def _opens(self, event: OpenPool) -> None:
        pool = self._pools.setdefault(event.pool, Pool(event.settings))
        pool.settings, pool.idle_from = event.settings, self._now
        for replica in pool.replicas.values():
            replica.may_retire = True

    def _submitted(self, event: Submit) -> None:
        action = self._actions[event.action] = Action(event.action, event.pool, self._now)
        action.said, action.run = event, event.run
        self._pools[event.pool].unsettled += 1
        if event.parent:
            self._nest(action, event.parent)

    def _adopted(self, event: Adopt) -> None:
        self._replicas[event.replica] = self._pools[event.pool].replicas[event.replica] = replica = Replica(
            event.replica, event.pool, event.is_ready, self._now
        )
        replica.may_retire = True
        self._pools[event.pool].unsettled += len(event.executions)
        self._pools[event.pool].idle_from = self._now
        for held in event.executions:
            action = self._actions[held.action] = Action(held.action, event.pool, self._now)
            action.epoch, action.attempts = held.epoch, held.attempt
            replica.epochs.add(held.epoch)
            self._attempts[held.epoch] = Attempt(action, event.replica, self._now)

    def _claimed(self, event: Claim) -> None:
        action = self._actions[event.action]
        action.said, action.run, action.failures = event, event.run, event.failures
        action.asked_at, action.claimed_at = self._now - event.age, self._now
        if action.epoch in self._attempts:
            self._attempts[action.epoch].began = self._now - event.ran
        if event.parent:
            self._nest(action, event.parent)

    def _nest(self, action: Action, parent: int) -> None:
        epoch = self._actions[parent].epoch
        if epoch:
            action.asker = epoch
            self._attempts[epoch].waits += 1
            self._attempts[epoch].unsettled += 1

    def _ready(self, event: ReplicaReady) -> None:
        replica = self._replicas.get(event.replica)
        if replica is not None:
            replica.is_ready = True
            replica.heard_at = self._now
            if not replica.is_stopped:
                self._pools[replica.pool].calm_from = self._now

    def _heard(self, event: ReplicaHeard) -> None:
        if event.replica in self._replicas:
            self._replicas[event.replica].heard_at = self._now

    def _unfit(self, event: ReplicaUnfit) -> None:
        self._gone(event.replica)

    def _lost(self, event: ReplicaLost) -> None:
        self._gone(event.replica)

    def _gone(self, name: str) -> None:
        replica = self._replicas.pop(name, None)
        if replica is None:
            return
        pool = self._pools[replica.pool]
        del pool.replicas[name]
        if not replica.is_ready:
            pool.calm_from = self._now + _BACKOFF
        pool.idle_from = self._now
        self._lost_now = {epoch: self._attempts.pop(epoch) for epoch in replica.epochs}
        for epoch, attempt in self._lost_now.items():
            if attempt.action.epoch == epoch:
                attempt.action.losses += 1

    def _drained(self, event: Drain) -> None:
        for replica in self._pools[event.pool].replicas.values():
            replica.may_retire = True

    # commands

    def _starts(self, command: StartReplica) -> None:
        self._must(command.replica not in self._replicas, f"{command.replica} is started twice")
        pool = self._pools[command.pool]
        replica = self._replicas[command.replica] = Replica(command.replica, command.pool, False, self._now)
        pool.replicas[command.replica] = replica
        counted = sum(not self._may_wait_for_children(it) for it in pool.replicas.values())
        most = pool.settings.max_replicas
        self._must(counted <= most, f"{command.pool} has {counted} replicas, of {most} at most")

    def _may_wait_for_children(self, replica: Replica) -> bool:
        """One that retires and does nothing else is not counted."""
        is_fresh = self._pools[replica.pool].settings.max_tasks is not None
        if replica.is_killed or not (is_fresh or replica.may_retire):
            return False
        attempts = [self._attempts[epoch] for epoch in replica.epochs]
        return any(one.waits or one.is_cancelled or one.action.said is None for one in attempts)

    def _stops(self, command: StopReplica) -> None:
        replica = self._replicas.get(command.replica)
        self._must(replica is not None, f"{command.replica} is stopped, and there is none")
        assert replica is not None
        is_again = replica.is_killed or (replica.is_stopped and command.grace > 0)
        self._must(not is_again, f"{command.replica} is stopped twice")
        replica.is_stopped = True
        replica.is_killed = command.grace == 0

    def _assigns(self, command: Assign) -> None:
        name = self._names[command.action]
        action, replica = self._actions.get(command.action), self._replicas.get(command.replica)
        self._must(action is not None and not action.is_settled, f"{name} is settled and given to a replica")
        self._must(replica is not None and replica.is_ready, f"{name} is given to {command.replica}: it is not ready")
        assert action is not None
        assert replica is not None
        self._must(not replica.is_stopped, f"{name} is given to {command.replica}, which was told to stop")
        self._must(replica.pool == action.pool, f"{name} is given to a replica of another pool")
        self._must(not action.epoch, f"{name} is given to {command.replica}, and has another attempt")
        self._must(command.epoch not in self._epochs, f"epoch {command.epoch} is given twice")
        self._must(command.attempt == action.attempts + 1, f"{name} has attempt {command.attempt} next")
        self._must(not self._records.is_safe(name), f"{name} has an outcome that is written down, and runs again")
        bound = action.said.timeouts.max_queued_time if action.said is not None else None
        if bound is not None and not action.attempts:
            self._must(self._now <= action.asked_at + bound + self._late, f"{name} has waited longer than its bound")
        self._epochs.add(command.epoch)
        action.attempts, action.epoch = command.attempt, command.epoch
        replica.epochs.add(command.epoch)
        self._attempts[command.epoch] = Attempt(action, command.replica, self._now)
        passed = self._pools[action.pool].give(action)
        self._must(passed is None, f"run {action.run} has two turns in {action.pool} while run {passed} waits for one")

    def _cancels(self, command: Cancel) -> None:
        attempt = self._attempts.get(command.epoch)
        self._must(attempt is not None and not attempt.is_cancelled, f"epoch {command.epoch} cannot be cancelled")
        assert attempt is not None
        attempt.is_cancelled = True
        if attempt.action.epoch == command.epoch:
            attempt.action.epoch = 0

    def _settles(self, command: Settle) -> None:
        name, action = self._names[command.action], self._actions.get(command.action)
        self._must(action is not None and not action.is_settled, f"{name} is settled twice")
        assert action is not None
        if command.phase is Phase.SUCCEEDED:
            self._must(self._is_told(action, command.epoch), f"{name} has succeeded, and nobody has said so")
        if command.phase is Phase.FAILED:
            self._fails(action, name, command.failure)
        deadline = action.said.timeouts.deadline if action.said is not None else None
        if deadline is not None:
            due = max(action.asked_at + deadline, action.claimed_at)
            self._must(self._now <= due + self._late, f"{name} is settled after its deadline")
        action.is_settled = True
        action.epoch = 0
        asker = self._attempts.get(action.asker)
        if asker is not None:
            asker.unsettled -= 1
        pool = self._pools[action.pool]
        pool.leave(action)
        pool.unsettled -= 1
        pool.idle_from = self._now

    def _is_told(self, action: Action, epoch: int) -> bool:
        """By the attempt that counts, or as its result was known."""
        event = self._event
        if isinstance(event, Answered):
            return event.action == action.number and not action.attempts
        return isinstance(event, Finished) and event.failure is None and event.epoch == epoch == action.epoch

    def _fails(self, action: Action, name: str, failure: Failure | None) -> None:
        event = self._event
        if isinstance(event, Finished):
            self._must(event.epoch == action.epoch, f"{name} fails by an attempt that does not count any more")
            retries = action.said.retry.count if action.said is not None else 0
            is_last = action.failures + 1 > retries or (failure is not None and not failure.recoverable)
            self._must(is_last, f"{name} is given up after {action.failures + 1} failures, with {retries} retries")
        else:
            self._must(isinstance(event, ReplicaLost | ReplicaUnfit), f"{name} fails for no reason")

    def _delivers(self, command: Deliver) -> None:
        name, action = self._names[command.action], self._actions[command.action]
        self._must(action.is_settled, f"{name} is delivered and not settled")
        self._must(not action.is_delivered, f"{name} is delivered twice")
        action.is_delivered = True
        asker = self._attempts.get(action.asker)
        if asker is not None:
            asker.waits -= 1

    def _retries(self, command: Retried) -> None:
        name, action = self._names[command.action], self._actions[command.action]
        self._must(not action.is_settled, f"{name} is settled and tried again")
        attempt = self._attempts.get(command.epoch) or self._lost_now.get(command.epoch)
        is_its = attempt is not None and attempt.action is action and action.epoch in (command.epoch, 0)
        self._must(is_its, f"{name} is tried again for epoch {command.epoch}, which does not count any more")
        may_be_its_own = not isinstance(self._event, ReplicaLost) or command.failure.code == "OOMError"
        action.failures += may_be_its_own
        action.epoch = 0

    def _closes(self, command: ClosePool) -> None:
        pool = self._pools.pop(command.pool)
        self._must(not pool.replicas, f"pool {command.pool} is forgotten with replicas")
        is_left = any(a.pool == command.pool and not a.is_settled for a in self._actions.values())
        self._must(not is_left, f"pool {command.pool} is forgotten with work")

    # events, after their commands

    def _then(self, event: Event) -> None:
        if isinstance(event, Submit | Enqueue):
            action = self._actions[event.action]
            waits = isinstance(event, Submit) and event.waits
            if not (waits or action.is_settled or action.attempts or action.pool not in self._pools):
                self._pools[action.pool].join(action)
        elif isinstance(event, Finished):
            self._ended(event.epoch)
        elif isinstance(event, ReplicaLost):
            for attempt in self._lost_now.values():
                action = attempt.action
                if not (action.is_settled or action.epoch or attempt.is_cancelled or action.said is None):
                    self._requeued(action)
        elif isinstance(event, Tick):
            self._looks_round()

    def _requeued(self, action: Action) -> None:
        """It was lost: it waits in its queue now, unless it counts as a failure of its own, with a back-off."""
        if action.said is not None and not action.said.retry.base:
            self._pools[action.pool].join(action)

    def _ended(self, epoch: int) -> None:
        attempt = self._attempts.pop(epoch, None)
        if attempt is None:
            return
        replica = self._replicas[attempt.replica]
        replica.epochs.discard(epoch)
        self._pools[replica.pool].idle_from = self._now
        action = attempt.action
        self._must(action.epoch != epoch, f"{self._names[action.number]} has ended, and nothing comes of it")
        bound = action.said.timeouts.max_runtime if action.said is not None else None
        if bound is not None and not attempt.is_cancelled:
            due = max(attempt.began + bound, action.claimed_at)
            self._must(self._now <= due + self._late, "an attempt runs longer than max_runtime")

    def _looks_round(self) -> None:
        """What time alone must bring about."""
        lease = self._scenario.habits.lease
        for replica in self._replicas.values():
            is_silent = replica.is_ready and self._now - replica.heard_at > lease + _EARLY
            self._must(replica.is_killed or not is_silent, f"{replica.name} is silent, and nobody cares")
        for name, pool in self._pools.items():
            if not pool.waiting:
                is_late = self._now > pool.idle_from + pool.settings.idle_ttl + self._late and not pool.has_work
                stays = is_late and any(not replica.is_stopped for replica in pool.replicas.values())
                self._must(not stays, f"{name} has had no work for longer than its idle_ttl, and has replicas")
                continue
            is_free = any(it.is_ready and not it.is_stopped and not it.epochs for it in pool.replicas.values())
            self._must(not is_free, f"work waits in {name} beside a replica that has none")
            fewest = min(pool.settings.min_replicas, pool.settings.max_replicas)
            has_them = self._now < pool.calm_from or len(pool.replicas) >= max(fewest, 1)
            self._must(has_them, f"work waits in {name}, which has {len(pool.replicas)} replicas")
