"""A state machine on a test bench: events at a virtual time, invariants checked after each, commands kept."""

from __future__ import annotations

from samovar.core.actions import SUSPECT_AFTER
from samovar.core.invariants import validate
from samovar.core.messages import (
    Assign,
    Command,
    Event,
    Finished,
    OpenPool,
    ReplicaLost,
    ReplicaReady,
    Retried,
    Scaled,
    Settle,
    StartReplica,
    Submit,
    Tick,
)
from samovar.core.pools import BOUNDS, Bounds, Pools
from samovar.model import Failure, PoolSettings

BOOM = Failure("user", "ValueError", "boom")
FINAL = Failure("user", "ValueError", "boom", recoverable=False)
DEATH = Failure("system", "RuntimeSystemError", "replica p-1 exited with code 1")
OOM = Failure("user", "OOMError", "over its memory")


class Bench:
    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.pools = Pools(bounds)
        self.now = 100.0
        self.said: list[Command] = []
        self.told: list[Command] = []  # what is for the record only
        self._actions = 0

    def __call__(self, event: Event, after: float = 0.0) -> list[Command]:
        self.now += after
        commands = self.pools.handle(event, self.now)
        validate(self.pools)
        self.told += [command for command in commands if isinstance(command, Retried | Scaled)]
        done = [command for command in commands if not isinstance(command, Retried | Scaled)]
        self.said += done
        return done

    def pool(self, name: str = "p", ready: int = 0, **settings: object) -> None:
        """Open a pool; with ``ready``, of that many replicas which serve."""
        known: dict[str, object] = {"min_replicas": ready, "max_replicas": max(ready, 1), **settings}
        self(OpenPool(name, PoolSettings(**known)))  # type: ignore[arg-type]
        if ready:
            first = self.submit(name)
            for replica in self.started():
                self(ReplicaReady(replica))
            self(Finished(self.epoch(first)))
        self.said.clear()
        self.told.clear()

    def submit(self, pool: str = "p", parent: int = 0, **options: object) -> int:
        self._actions += 1
        self(Submit(self._actions, pool, parent, **options))  # type: ignore[arg-type]
        return self._actions

    def tick(self, after: float) -> list[Command]:
        return self(Tick(), after)

    def started(self) -> list[str]:
        return [c.replica for c in self.said if isinstance(c, StartReplica)]

    def assigned(self, action: int) -> list[Assign]:
        return [c for c in self.said if isinstance(c, Assign) and c.action == action]

    def epoch(self, action: int) -> int:
        """Of its latest attempt."""
        return self.assigned(action)[-1].epoch

    def replica(self, action: int) -> str:
        return self.assigned(action)[-1].replica

    def settled(self, action: int) -> Settle:
        (found,) = [c for c in self.said if isinstance(c, Settle) and c.action == action]
        return found

    def lost_before(self, *actions: int) -> None:
        """A replica has died under each of them already: at the next death they are suspects."""
        for action in actions:
            self.pools.actions[action].losses = SUSPECT_AFTER - 1

    def two_suspects(self) -> tuple[list[int], list[int]]:
        """Of two full replicas with two slots each one is lost: (its executions, those of the survivor)."""
        self.pool(ready=2, concurrency=2)
        first = [self.submit() for _ in range(4)]
        lost = self.replica(first[0])
        suspects = [action for action in first if self.replica(action) == lost]
        others = [action for action in first if action not in suspects]
        self.lost_before(*suspects)
        self(ReplicaLost(lost, DEATH))
        return suspects, others

    def open(self, action: int) -> bool:
        return action in self.pools.actions
