"""What one decision costs: a call and its end, by the number of replicas and by the length of the queue.

    python benchmarks/core_cost.py [--quick]

Prints microseconds for a submit and a finish, and their ratio to the first row. Late binding over shelves promises
that the ratio stays near one: O(1) at 1,000 replicas and at 1,000,000 queued actions. The rows of a
table take turns and the best round of each counts, as the others measure the neighbours of this process.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator

from samovar.core.messages import Assign, Finished, OpenPool, ReplicaLost, ReplicaReady, StartReplica, Submit
from samovar.core.pools import Pools
from samovar.model import Failure, PoolSettings

REPLICAS = (1, 10, 100, 1_000)
QUEUED = (1, 100, 10_000, 1_000_000)
BUSY = 100
GONE = Failure("system", "RuntimeSystemError", "exited")


class Load:
    """A pool with so many more actions than slots."""

    def __init__(self, replicas: int, surplus: int, max_tasks: int | None = None) -> None:
        self.pools = Pools()
        self.epochs: list[int] = []  # running, oldest first
        self.homes: dict[int, str] = {}
        self.calls = 0
        self.fresh = max_tasks is not None
        settings = PoolSettings(replicas, replicas, concurrency=1, max_tasks=max_tasks)
        self._tell(OpenPool("p", settings))
        for _ in range(replicas + surplus):
            self.submit()

    def submit(self) -> None:
        self.calls += 1
        self._tell(Submit(self.calls, "p"))

    def finish(self, at: int) -> None:
        epoch = self.epochs[at]
        self.epochs[at] = self.epochs[-1]
        self.epochs.pop()
        self._tell(Finished(epoch))
        home = self.homes.pop(epoch)
        if self.fresh:
            self._tell(ReplicaLost(home, GONE))

    def _tell(self, event: object) -> None:
        for command in self.pools.handle(event, 0.0):  # type: ignore[arg-type]
            if type(command) is Assign:
                self.epochs.append(command.epoch)
                self.homes[command.epoch] = command.replica
            elif type(command) is StartReplica:
                self._tell(ReplicaReady(command.replica))

    def round(self, decisions: int) -> float:
        """Microseconds for a submit and a finish."""
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        for n in range(decisions):
            self.submit()
            self.finish(n * 7919 % len(self.epochs))
        taken = time.perf_counter() - start
        gc.enable()
        return taken / decisions * 1e6


def rows(quick: bool) -> Iterator[tuple[str, list[tuple[str, Load]]]]:
    replicas = REPLICAS[:3] if quick else REPLICAS
    queued = QUEUED[:3] if quick else QUEUED
    yield "replicas, all busy", [(f"{n:,}", Load(n, 0)) for n in replicas]
    yield "replicas, half of their slots free", [(f"{n:,}", Load(n, -n // 2)) for n in replicas]
    yield "replicas of one execution each, all busy", [(f"{n:,}", Load(n, 0, max_tasks=1)) for n in replicas]
    yield f"queued before {BUSY} replicas", [(f"{n:,}", Load(BUSY, n)) for n in queued]
    yield (
        f"queued before {BUSY} replicas of one execution each",
        [(f"{n:,}", Load(BUSY, n, max_tasks=1)) for n in queued],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    quick = parser.parse_args().quick
    decisions, rounds = (500, 3) if quick else (5_000, 7)
    for title, loads in rows(quick):
        print(f"\n{title:<55} {'µs':>8} {'ratio':>7}")
        costs = [[load.round(decisions) for _, load in loads] for _ in range(rounds)]
        best = [min(of_one) for of_one in zip(*costs, strict=True)]
        for (label, _), cost in zip(loads, best, strict=True):
            print(f"{label:>55} {cost:8.2f} {cost / best[0]:7.2f}")


if __name__ == "__main__":
    main()
