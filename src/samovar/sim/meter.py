"""What a policy does to a workload: how long actions wait, how many of them meet a cold replica, and what it costs."""

from __future__ import annotations

import math
from typing import NamedTuple

from samovar.core.messages import (
    Assign,
    Command,
    Event,
    Finished,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    StartReplica,
    Submit,
)
from samovar.sim.watcher import Watcher

_BARS = " ▁▂▃▄▅▆▇█"
_COLUMNS = 60


class Figures(NamedTuple):
    """Seconds throughout. ``replica_seconds`` is what is paid for: from the start of each to its end."""

    actions: int
    wait_p50: float
    wait_p90: float
    wait_p99: float
    wait_most: float
    cold: int  # actions that had to wait for a replica to start
    starts: int
    most_replicas: int
    replica_seconds: float
    busy: float  # share of the slots of ready replicas in use
    seconds: float
    over_time: tuple[int, ...]  # the most replicas at once, in as many equal parts of the whole time


class Meter(Watcher):
    def __init__(self, slots: int) -> None:
        self._slots = slots  # of a replica
        self._queued: dict[int, float] = {}
        self._waits: list[float] = []
        self._cold = self._starts = 0
        self._began: dict[str, float] = {}
        self._ready: dict[str, float] = {}
        self._runs: dict[int, float] = {}
        self._paid = self._offered = self._used = 0.0
        self._counts: list[tuple[float, int]] = [(0.0, 0)]
        self._end = 0.0

    def decided(self, event: Event, commands: list[Command], now: float) -> None:
        if isinstance(event, Submit):
            self._queued[event.action] = now
        elif isinstance(event, ReplicaReady):
            self._ready[event.replica] = now
        elif isinstance(event, ReplicaLost | ReplicaUnfit):
            self._paid += now - self._began.pop(event.replica)
            self._offered += self._slots * (now - self._ready.pop(event.replica, now))
            self._count(now)
        elif isinstance(event, Finished):
            self._used += now - self._runs.pop(event.epoch)
        for command in commands:
            if isinstance(command, StartReplica):
                self._starts += 1
                self._began[command.replica] = now
                self._count(now)
            elif isinstance(command, Assign):
                self._waits.append(now - self._queued[command.action])
                self._cold += command.cold
                self._runs[command.epoch] = now

    def ended(self, is_over: bool, now: float) -> None:
        self._end = now

    def figures(self) -> Figures:
        waits = sorted(self._waits)
        return Figures(
            len(waits),
            _quantile(waits, 0.5),
            _quantile(waits, 0.9),
            _quantile(waits, 0.99),
            _quantile(waits, 1.0),
            self._cold,
            self._starts,
            max(count for _, count in self._counts),
            self._paid,
            self._used / self._offered if self._offered else 0.0,
            self._end,
            self._over_time(),
        )

    def _count(self, now: float) -> None:
        self._counts.append((now, len(self._began)))

    def _over_time(self) -> tuple[int, ...]:
        most = [0] * _COLUMNS
        for (since, count), (until, _) in zip(self._counts, [*self._counts[1:], (self._end, 0)], strict=True):
            first, last = (min(int(when / self._end * _COLUMNS), _COLUMNS - 1) for when in (since, until))
            for column in range(first, last + 1):
                most[column] = max(most[column], count)
        return tuple(most)


def _quantile(ordered: list[float], share: float) -> float:
    """0.0 where nothing was measured."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


def table(found: dict[str, Figures]) -> str:
    """For people: a row for each policy, and then its replicas over time."""
    head = ("policy", "actions", "p50", "p90", "p99", "longest", "cold", "starts", "most", "replica-s", "busy")
    rows = [head, *(_row(name, figures) for name, figures in found.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["seconds that actions wait, and what it takes", ""]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    lines += ["", "replicas over time"]
    for name, figures in found.items():
        bars = "".join(_BARS[math.ceil(count / figures.most_replicas * 8)] for count in figures.over_time)
        lines.append(
            f"{name.ljust(widths[0])}  |{bars}| at most {figures.most_replicas}, {figures.seconds:.0f} s in all"
        )
    return "\n".join(lines)


def _row(name: str, it: Figures) -> tuple[str, ...]:
    waits = (f"{wait:.3f}" for wait in (it.wait_p50, it.wait_p90, it.wait_p99, it.wait_most))
    cost = (f"{it.replica_seconds:.0f}", f"{it.busy:.0%}")
    return (name, str(it.actions), *waits, str(it.cold), str(it.starts), str(it.most_replicas), *cost)
