"""A simulated engine: the real core, with a shell that carries its commands out in a world that is made up.

What it must do as the real one does: number actions, fence attempts by their epochs, write outcomes down before they
can be lost, and answer calls from what is written. ``succession`` has what it does first where another one was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from samovar.core.messages import (
    Abort,
    Answered,
    Assign,
    Cancel,
    Claim,
    ClosePool,
    Command,
    Deliver,
    Enqueue,
    Event,
    Finished,
    OpenPool,
    ReplicaHeard,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    Retried,
    Scaled,
    Settle,
    StartReplica,
    StopReplica,
    Submit,
    Tick,
)
from samovar.core.pools import Bounds, Pools
from samovar.model import Failure, Phase
from samovar.sim.replica import Execution, Replica
from samovar.sim.scenario import Call

if TYPE_CHECKING:
    from samovar.sim.world import World

_LOOK = 0.02  # seconds at most to look for a result in the cache


class Work:
    """An action of this engine. ``caller`` is None for a run, and for what nobody has asked for yet."""

    __slots__ = ("call", "caller", "epoch", "is_unrecorded", "number", "record", "replica", "succeeded")

    def __init__(self, number: int, call: Call, record: str, caller: tuple[Replica, Execution] | None) -> None:
        self.number = number
        self.call = call
        self.record = record
        self.caller = caller
        self.replica: Replica | None = None
        self.epoch = 0
        self.is_unrecorded = False  # its outcome is written down already, or is nobody's
        self.succeeded = False


class Engine:
    def __init__(self, world: World, era: int) -> None:
        habits = world.scenario.habits
        self.era = era
        self.pools = Pools(Bounds(habits.lease, habits.max_queued), era)
        self.works: dict[int, Work] = {}  # unsettled, or not delivered
        self.roots: dict[str, Work] = {}  # by key
        self.crew: dict[str, Replica] = {}
        self.running: dict[int, Work] = {}  # by epoch
        self.wards: dict[str, Work] = {}  # what survivors run and nobody has asked for, by record
        self.found: dict[str, tuple[Replica, int]] = {}  # what has succeeded on survivors, by record
        self.forget_wards_at = 0.0
        self.is_alive = True
        self._world = world
        self._clock = world.clock
        self._journal = world.journal
        self._numbers = 0
        self._carry_out: dict[type[Any], Callable[[Any], None]] = {
            StartReplica: self._start,
            StopReplica: self._stop,
            Assign: self._assign,
            Cancel: self._cancel,
            Settle: self._settle,
            Deliver: self._deliver,
            Retried: self._ignore,
            Scaled: self._ignore,
            ClosePool: self._ignore,
        }

    def handle(self, event: Event) -> None:
        now = self._clock.now
        commands = self.pools.handle(event, now)
        for watcher in self._world.watchers:
            watcher.decided(event, commands, now)
        for command in commands:
            self._carry_out[type(command)](command)

    def tick(self) -> None:
        if not self.is_alive:
            return
        if self.wards and self._clock.now >= self.forget_wards_at:
            for ward in list(self.wards.values()):
                self.forsake(ward)
        self.handle(Tick())
        self._world.look(self)
        self._clock.after(self._world.scenario.habits.tick, self.tick)

    @property
    def is_idle(self) -> bool:
        return not self.works and not self.crew

    # what clients and operators say

    def start(self, call: Call) -> float:
        """0.0 when it has been started; otherwise the seconds after which to come again."""
        if call.key in self.roots:
            return 0.0
        wait = self._admission(call, 0)
        if not wait:
            self._journal.start(call)
            self.begin(call)
        return wait

    def begin(self, call: Call) -> None:
        self.open(call.pool)
        self.roots[call.key] = self._ask(call, None, 0)

    def abort(self, key: str, reason: str) -> None:
        if key in self.roots:
            self.handle(Abort(self.roots[key].number, reason))

    def open(self, pool: str) -> None:
        if pool not in self.pools.pools:
            self.handle(OpenPool(pool, self._world.settings[pool]))

    # what replicas say

    def ready(self, replica: Replica) -> None:
        if replica.name in self.crew:
            self.handle(ReplicaReady(replica.name))

    def heard(self, replica: Replica) -> None:
        if replica.name in self.crew:
            self.handle(ReplicaHeard(replica.name))

    def unfit(self, replica: Replica, failure: Failure, permanent: bool) -> None:
        if replica.name in self.crew:
            self.handle(ReplicaUnfit(replica.name, failure, permanent))
            if not permanent:
                del self.crew[replica.name]

    def lost(self, replica: Replica, failure: Failure) -> None:
        if replica.name not in self.crew:
            return
        for ward in [ward for ward in self.wards.values() if ward.replica is replica]:
            self.forsake(ward)
        for epoch in [epoch for epoch, work in self.running.items() if work.replica is replica]:
            del self.running[epoch]
        del self.crew[replica.name]
        self.handle(ReplicaLost(replica.name, failure))

    def called(self, replica: Replica, execution: Execution, call: Call) -> None:
        parent = self.running.get(execution.epoch)
        if parent is None or parent.epoch != execution.epoch:
            self._reply(replica, replica.refuse, execution)
            return
        wait = self._admission(call, parent.number)
        if wait:
            self._clock.after(wait, self._reply, replica, replica.call_again, execution, call)
        else:
            self._ask(call, (replica, execution), parent.number)

    def withdrawn(self, execution: Execution, key: str) -> None:
        for work in self.works.values():
            if work.call.key == key and work.caller is not None and work.caller[1] is execution:
                return self.handle(Abort(work.number, "its caller was cancelled"))

    def finished(self, replica: Replica, epoch: int, failure: Failure | None) -> None:
        work = self.running.pop(epoch, None)
        self._journal.told(replica, epoch)
        if work is None or self.wards.get(work.record) is not work:
            self.handle(Finished(epoch, failure))
            return
        self.forsake(work)  # nobody has asked for it
        self.handle(Finished(epoch, failure))
        if failure is None:
            self._journal.record(work.record, True)

    def finished_late(self, epoch: int) -> None:
        """A result of a replica that has been lost."""
        self.handle(Finished(epoch))

    # calls

    def _admission(self, call: Call, parent: int) -> float:
        self.open(call.pool)
        wait = self.pools.admission(call.pool, call.client, parent)
        for watcher in self._world.watchers:
            watcher.asked(call.pool, call.client, parent, wait)
        return wait

    def _ask(self, call: Call, caller: tuple[Replica, Execution] | None, parent: int) -> Work:
        """Somebody wants the outcome of a call: it is written down, a survivor has it or runs it, or it has to run."""
        record = self._journal.name(call.key)
        found = self.found.pop(record, None)
        ward = self.wards.pop(record, None) if found is None else None
        if ward is not None and ward.replica is not None:
            ward.caller = caller
            execution = ward.replica.executions.get(ward.epoch)
            ran = self._clock.now - execution.began if execution is not None else 0.0
            self.handle(Claim(ward.number, parent, call.retry, call.timeouts, ran, ran, 0, call.client))
            return ward
        work = self.enter(call, record, caller)
        work.is_unrecorded = is_known = self._journal.outcome(record) is True
        waits = is_known or found is not None or bool(call.cache)
        self.handle(Submit(work.number, call.pool, parent, call.retry, call.timeouts, waits, call.client))
        if is_known or found is not None:
            if found is not None:
                self._journal.told(*found)
            self.handle(Answered(work.number))
        elif waits:
            self._clock.after(self._world.random.random() * _LOOK, self._looked_up, work)
        return work

    def _looked_up(self, work: Work) -> None:
        if self.is_alive:
            is_there = work.call.cache in self._journal.cache
            self.handle(Answered(work.number) if is_there else Enqueue(work.number))

    def enter(self, call: Call, record: str, caller: tuple[Replica, Execution] | None) -> Work:
        self._numbers += 1
        work = self.works[self._numbers] = Work(self._numbers, call, record, caller)
        for watcher in self._world.watchers:
            watcher.named(work.number, call, record)
        return work

    def forsake(self, ward: Work) -> None:
        """Nobody wants an execution of a survivor."""
        if self.wards.get(ward.record) is ward:
            del self.wards[ward.record]
        ward.is_unrecorded = True
        self.handle(Abort(ward.number, superseded=True))

    # commands

    def _start(self, command: StartReplica) -> None:
        replica = Replica(self._world, command.pool, command.replica)
        self.crew[command.replica] = self._world.replicas[command.replica] = replica
        replica.start()

    def _stop(self, command: StopReplica) -> None:
        self.crew[command.replica].stop(command.grace)

    def _assign(self, command: Assign) -> None:
        work = self.works[command.action]
        replica = self.crew[command.replica]
        work.replica, work.epoch = replica, command.epoch
        self.running[command.epoch] = work
        fate = self._world.fate(work.call)
        execution = Execution(work.call, work.record, command.epoch, command.attempt, fate, self._clock.now)
        self._reply(replica, replica.run, execution)

    def _cancel(self, command: Cancel) -> None:
        replica = self.crew[command.replica]
        self._reply(replica, replica.cancel, command.epoch)

    def _settle(self, command: Settle) -> None:
        work = self.works[command.action]
        work.epoch = 0
        work.succeeded = command.phase is Phase.SUCCEEDED
        if not command.superseded and not work.is_unrecorded:
            self._journal.record(work.record, work.succeeded)
            if work.succeeded and work.call.cache:
                self._journal.cache.add(work.call.cache)

    def _deliver(self, command: Deliver) -> None:
        work = self.works.pop(command.action)
        if work.caller is not None:
            replica, execution = work.caller
            self._reply(replica, replica.answer, execution, work.call.key, work.succeeded)
            return
        key = work.call.key
        if self.roots.get(key) is work:
            del self.roots[key]
            for ward in [ward for ward in self.wards.values() if ward.call.key.startswith(f"{key}/")]:
                self.forsake(ward)
            self._world.reply(self, self._world.clients.ended, key)

    def _reply(self, replica: Replica, what: Callable[..., None], *arguments: Any) -> None:
        self._world.reply(self, replica.act, what, *arguments)

    def _ignore(self, command: Command) -> None:
        """It is for the record only."""
