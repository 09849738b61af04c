"""The tasks that are measured: on two replicas, each of a hundred executions at a time, and on a fresh one each."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import samovar

env = samovar.TaskEnvironment(
    "bench", reusable=samovar.ReusePolicy(replicas=2, concurrency=100, idle_ttl=600, scaledown_ttl=600)
)
fresh = samovar.TaskEnvironment("bench-fresh")


@env.task
async def tiny(x: int) -> int:
    return x


@env.task
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@env.task
async def same(value: Any) -> Any:
    return value


@env.task
async def ping_pong(count: int) -> list[float]:
    """Seconds of each of ``count`` calls, one after the other, from inside a task."""
    taken = []
    for number in range(count):
        started = time.perf_counter()
        await tiny(number)
        taken.append(time.perf_counter() - started)
    return taken


@env.task
async def fan(count: int) -> float:
    """Seconds that ``count`` calls take, gathered inside a task."""
    started = time.perf_counter()
    results = await asyncio.gather(*[tiny(number) for number in range(count)])
    taken = time.perf_counter() - started
    assert results == list(range(count))
    return taken


@fresh.task
async def once(x: int) -> int:
    return x
