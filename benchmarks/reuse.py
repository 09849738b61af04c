"""What reuse gains, on processes and on containers: ``python -m benchmarks.reuse [--rounds N]``.

Prints medians of both drivers side by side, measured in turns in the same run, and at last the ratio of a task on a
fresh replica to one on a replica that is reused: the same task function, in an environment without ``reusable`` and in
one with it. It needs Podman; the engine and the image are those of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import tasks
from samovar.sdk.controller import Host
from samovar.sdk.task import Task

DRIVERS = ("process", "container")
CALLS, MANY, FRESH = 500, 2_000, 5  # of each round
WARM = "round trip on a warm replica, p50"
BATCH = f"{MANY:,} tiny tasks"
COLD = "the same on a fresh replica for each, p50"
GAIN = "fresh against reused"
ROWS = (WARM, BATCH, COLD, GAIN)

Figures = dict[str, dict[str, list[float]]]
"""Seconds by row and driver, one a round."""


def measure(rounds: int) -> Figures:
    """One round more than is counted: the first starts the pools and warms the caches of all."""
    from samovar.host.embedded import EmbeddedHost  # here, since replicas import this script and have no engine

    figures: Figures = {row: {driver: [] for driver in DRIVERS} for row in ROWS[:-1]}
    with contextlib.ExitStack() as stack:
        hosts = {driver: EmbeddedHost(_say, _hear, driver) for driver in DRIVERS}
        for host in hosts.values():
            stack.callback(host.close)
        for number in range(rounds + 1):
            for driver, host in hosts.items():
                for row, seconds in zip(ROWS, _round(host), strict=False):
                    if number:
                        figures[row][driver].append(seconds)
    return figures


def _round(host: Host) -> tuple[float, float, float]:
    def call(task: Task[..., Any]) -> None:
        assert host.start(task, {"x": 1}, "", None).wait() == 1

    def batch() -> None:
        runs = [host.start(tasks.tiny, {"x": number}, "", None) for number in range(MANY)]
        assert [run.wait() for run in runs] == list(range(MANY))

    warm = statistics.median(_seconds(lambda: call(tasks.tiny)) for _ in range(CALLS))
    many = _seconds(batch)
    return warm, many, statistics.median(_seconds(lambda: call(tasks.once)) for _ in range(FRESH))


def report(figures: Figures) -> str:
    lines = [f"{'measure':<44}{'process':>14}{'container':>14}{'ratio':>8}"]
    middle = {row: [statistics.median(figures[row][driver]) for driver in DRIVERS] for row in figures}
    gain = [cold / warm for cold, warm in zip(middle[COLD], middle[WARM], strict=True)]
    shown: dict[str, Callable[[float], str]] = {
        WARM: lambda taken: f"{taken * 1e6:.0f} µs",
        BATCH: lambda taken: f"{MANY / taken:,.0f}/s",
        COLD: lambda taken: f"{taken * 1e3:.0f} ms",
        GAIN: lambda ratio: f"{ratio:,.0f} x",
    }
    for row in ROWS:
        process, container = gain if row == GAIN else middle[row]
        show = shown[row]
        lines.append(f"{row:<44}{show(process):>14}{show(container):>14}{container / process:>8.2f}")
    return "\n".join(lines)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _say(line: str) -> None:
    print(f"measuring: {line}", file=sys.stderr)


def _hear(label: str, stream: str, text: str) -> None:
    _say(f"{label}: {text}")


def main() -> None:
    from tests.real.containers import engine as engines  # here, for the same reason

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if reason := engines.missing("podman"):
        sys.exit(f"there is {reason}")
    with engines.running("podman") as engine:
        os.environ["SAMOVAR_CONTAINER_SOCKET"] = str(engine.socket)
        engine.base()
        print(report(measure(rounds)))


if __name__ == "__main__":
    main()
