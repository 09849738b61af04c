"""Any order of events: no action lost or settled twice, and every invariant after each step."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from samovar.core.invariants import validate
from samovar.core.messages import (
    Abort,
    Adopt,
    Answered,
    Assign,
    Cancel,
    Claim,
    ClosePool,
    Deliver,
    Drain,
    Enqueue,
    Event,
    Finished,
    Held,
    OpenPool,
    ReplicaHeard,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    Settle,
    StartReplica,
    StopPool,
    StopReplica,
    Submit,
    Supersede,
    Tick,
)
from samovar.core.pools import Bounds, Pools
from samovar.model import PoolSettings, Retry, Timeouts

from .bench import BOOM, DEATH, OOM

POOLS = {
    "a": PoolSettings(min_replicas=1, max_replicas=1, concurrency=1, idle_ttl=5.0, scaledown_ttl=1.0),
    "b": PoolSettings(min_replicas=0, max_replicas=3, concurrency=2, idle_ttl=5.0, scaledown_ttl=1.0),
    "c": PoolSettings(min_replicas=1, max_replicas=2, concurrency=3, idle_ttl=5.0, scaledown_ttl=1.0),
    "f": PoolSettings(min_replicas=0, max_replicas=2, concurrency=1, idle_ttl=5.0, scaledown_ttl=1.0, max_tasks=1),
}
timeouts = st.sampled_from(
    [Timeouts(), Timeouts(), Timeouts(max_runtime=2.0), Timeouts(max_queued_time=1.0), Timeouts(deadline=4.0)]
)
retries = st.sampled_from([Retry(), Retry(1), Retry(2, base=0.5)])


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pools = Pools(Bounds(lease=10.0))
        self.now = 0.0
        self.submitted: set[int] = set()
        self.settled: set[int] = set()
        self.delivered: set[int] = set()
        self.waiting: list[int] = []  # submitted, and neither queued nor answered
        self.starting: list[str] = []
        self.ready: list[str] = []
        self.stopping: dict[str, float] = {}  # replica → the grace that it has
        self.running: dict[int, tuple[str, int]] = {}  # epoch → (replica, action)
        self.cancelled: set[int] = set()
        self.waits_for: dict[int, set[int]] = {}  # epoch → its children that are not delivered
        self.unclaimed: list[int] = []  # actions that an adopted replica brought
        self.parked: set[int] = set()  # epochs that were, when they were adopted
        self.adopted = 0
        self.pool_settings = dict(POOLS)
        for name, pool in POOLS.items():
            self.tell(OpenPool(name, pool))

    def tell(self, event: Event) -> None:
        for command in self.pools.handle(event, self.now):
            if isinstance(command, StartReplica):
                self.starting.append(command.replica)
                self.count_replicas(command.pool)
            elif isinstance(command, StopReplica):
                before = self.stopping.get(command.replica)
                assert before is None or before > command.grace == 0, "it is told to stop twice"
                self.stopping[command.replica] = command.grace
            elif isinstance(command, Assign):
                assert command.replica in self.ready, "work for a replica that is not ready"
                assert command.replica not in self.stopping, "work for a replica that drains"
                assert command.epoch not in self.running
                self.running[command.epoch] = (command.replica, command.action)
            elif isinstance(command, ClosePool):
                left = [r for r in (*self.starting, *self.ready) if r.startswith(f"{command.pool}-")]
                assert not left, "a pool with replicas is forgotten"
                self.tell(OpenPool(command.pool, self.pool_settings[command.pool]))
            elif isinstance(command, Cancel):
                self.cancelled.add(command.epoch)
            elif isinstance(command, Settle):
                assert command.action not in self.settled, "settled twice"
                self.settled.add(command.action)
            elif isinstance(command, Deliver):
                assert command.action in self.settled, "delivered before it was settled"
                assert command.action not in self.delivered, "delivered twice"
                self.delivered.add(command.action)
                for children in self.waits_for.values():
                    children.discard(command.action)

    def count_replicas(self, pool: str) -> None:
        """Whenever one starts: all that have not ended count, but those that retire and only wait for children."""
        live = {r for r in (*self.starting, *self.ready) if r.startswith(f"{pool}-")}
        idle = {self.running[e][0] for e, children in self.waits_for.items() if e in self.running and children}
        idle |= {self.running[e][0] for e in self.cancelled | self.parked if e in self.running}
        live -= idle & {replica.id for replica in self.pools.pools[pool].dormant}
        assert len(live) <= self.pool_settings[pool].max_replicas, "more replicas than max"

    @rule(
        pool=st.sampled_from(sorted(POOLS)),
        data=st.data(),
        timeouts=timeouts,
        retry=retries,
        waits=st.booleans(),
        run=st.integers(1, 3),
    )
    def submit(self, pool: str, data: st.DataObject, timeouts: Timeouts, retry: Retry, waits: bool, run: int) -> None:
        epoch = data.draw(st.sampled_from([0, *self.running]))
        parent = self.running[epoch][1] if epoch else 0
        number = len(self.submitted) + 1
        self.submitted.add(number)
        if parent:
            self.waits_for.setdefault(self.current(parent), set()).add(number)
        if waits:
            self.waiting.append(number)
        self.tell(Submit(number, pool, parent, retry, timeouts, waits, run))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), answered=st.booleans())
    def decide(self, data: st.DataObject, answered: bool) -> None:
        action = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(action)
        self.tell(Answered(action) if answered else Enqueue(action))

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), how=st.sampled_from(["ready", "ready", "ready", "unfit", "never", "lost"]))
    def start(self, data: st.DataObject, how: str) -> None:
        replica = data.draw(st.sampled_from(self.starting))
        self.starting.remove(replica)
        if how == "ready":
            self.ready.append(replica)
            self.tell(ReplicaReady(replica))
            return
        self.stopping.pop(replica, None)
        if how == "lost":
            self.tell(ReplicaLost(replica, DEATH))
        else:
            self.tell(ReplicaUnfit(replica, BOOM, permanent=how == "never"))
            if how == "never":
                self.tell(ReplicaLost(replica, DEATH))

    @precondition(lambda self: self.ready)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self.tell(ReplicaHeard(data.draw(st.sampled_from(self.ready))))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failure=st.sampled_from([None, None, BOOM]))
    def finish(self, data: st.DataObject, failure: object) -> None:
        epoch = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[epoch]
        self.tell(Finished(epoch, failure))  # type: ignore[arg-type]

    @precondition(lambda self: self.ready)
    @rule(data=st.data(), failure=st.sampled_from([DEATH, OOM]))
    def lose(self, data: st.DataObject, failure: object) -> None:
        self.end(data.draw(st.sampled_from(self.ready)), failure)

    def end(self, replica: str, failure: object = DEATH) -> None:
        if replica in self.starting:
            self.starting.remove(replica)
        else:
            self.ready.remove(replica)
        self.stopping.pop(replica, None)
        self.running = {e: where for e, where in self.running.items() if where[0] != replica}
        self.tell(ReplicaLost(replica, failure))  # type: ignore[arg-type]

    @rule(pool=st.sampled_from(sorted(POOLS)), is_ready=st.booleans(), data=st.data())
    def adopt(self, pool: str, is_ready: bool, data: st.DataObject) -> None:
        self.adopted += 1
        replica = f"{pool}-old.{self.adopted}"
        count = data.draw(st.integers(0, POOLS[pool].concurrency)) if is_ready else 0
        waits = [*([False] * count), *(data.draw(st.lists(st.just(True), max_size=2)) if is_ready else [])]
        executions = []
        for at, is_parked in enumerate(waits):
            action, epoch = len(self.submitted) + 1, -10 * self.adopted - at
            executions.append(Held(action, epoch, 1, is_parked))
            self.submitted.add(action)
            self.unclaimed.append(action)
            self.running[epoch] = (replica, action)
            if is_parked:
                self.parked.add(epoch)
        (self.ready if is_ready else self.starting).append(replica)
        self.tell(Adopt(pool, replica, is_ready, tuple(executions)))

    @precondition(lambda self: self.unclaimed)
    @rule(data=st.data(), timeouts=timeouts, retry=retries)
    def claim(self, data: st.DataObject, timeouts: Timeouts, retry: Retry) -> None:
        action = data.draw(st.sampled_from(self.unclaimed))
        self.unclaimed.remove(action)
        callers = [e for e, (_, of) in self.running.items() if of not in self.unclaimed and of < action]
        epoch = data.draw(st.sampled_from([0, *callers]))
        parent = self.running[epoch][1] if epoch else 0
        if parent and action not in self.settled:
            self.waits_for.setdefault(self.current(parent), set()).add(action)
        self.tell(Claim(action, parent, retry, timeouts, 0.5, 0.5))

    def current(self, action: int) -> int:
        """The latest epoch of an action; those of adopted replicas are negative, and come before all others."""
        return max(e for e, (_, of) in self.running.items() if of == action)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        action = data.draw(st.sampled_from(sorted(self.submitted)))
        self.tell(Abort(action, superseded=action in self.unclaimed))

    @rule(pool=st.sampled_from(sorted(POOLS)))
    def drain(self, pool: str) -> None:
        self.tell(Drain(pool))

    @rule(pool=st.sampled_from(sorted(POOLS)))
    def stop(self, pool: str) -> None:
        self.tell(StopPool(pool))

    @rule(pool=st.sampled_from(sorted(POOLS)))
    def supersede(self, pool: str) -> None:
        self.tell(Supersede(pool))

    @rule(low=st.integers(0, 2), more=st.integers(1, 2))
    def configure(self, low: int, more: int) -> None:
        self.pool_settings["b"] = PoolSettings(low, low + more, 2, 5.0, 1.0)
        self.tell(OpenPool("b", self.pool_settings["b"]))

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick())

    @invariant()
    def holds(self) -> None:
        validate(self.pools)
        assert self.settled | set(self.pools.actions) == self.submitted, "an action is lost"
        slots = Counter(
            replica
            for epoch, (replica, _) in self.running.items()
            if epoch not in self.cancelled | self.parked and not self.waits_for.get(epoch)
        )
        for replica, taken in slots.items():
            assert taken <= POOLS[replica.partition("-")[0]].concurrency, "slots are overdrawn"

    def teardown(self) -> None:
        """Let everything come to an end: all is settled and delivered, and then all replicas stop."""
        for _ in range(2000):
            self.now += 0.5
            for replica in self.ready:
                self.tell(ReplicaHeard(replica))
            self.tell(Tick())
            while self.waiting:
                self.tell(Enqueue(self.waiting.pop()))
            for replica in list(self.stopping):
                self.end(replica)
            for replica in list(self.starting):
                self.starting.remove(replica)
                self.ready.append(replica)
                self.tell(ReplicaReady(replica))
            for epoch in sorted(self.running, reverse=True):
                if epoch in self.running:
                    del self.running[epoch]
                    self.tell(Finished(epoch))
            validate(self.pools)
            if self.delivered == self.submitted and not self.ready and not self.starting:
                return
        raise AssertionError(f"not settled: {self.submitted - self.settled}; not stopped: {self.ready}")


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestAnyOrder = AnyOrder.TestCase
