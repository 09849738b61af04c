"""The tasks that the benchmarks time."""

from __future__ import annotations

import asyncio
import time

import numpy as np

import samovar as flyte

many = flyte.TaskEnvironment(name="many", reusable=flyte.ReusePolicy(replicas=2, concurrency=100))


@many.task
async def tiny(x: int) -> int:
    return x


@many.task
async def echo(value: np.ndarray) -> np.ndarray:
    return value


@many.task
async def nap() -> None:
    await asyncio.sleep(0.1)


@many.task
async def naps(n: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*[nap() for _ in range(n)])
    return time.perf_counter() - began


@many.task
async def fan(n: int) -> float:
    """Seconds that ``n`` calls gathered inside a task take."""
    began = time.perf_counter()
    await asyncio.gather(*[tiny(i) for i in range(n)])
    return time.perf_counter() - began


@many.task
async def round_trips(n: int) -> list[float]:
    """Seconds of each of ``n`` calls one after the other: task → engine → task and back."""
    took = []
    for i in range(n):
        began = time.perf_counter()
        await tiny(i)
        took.append(time.perf_counter() - began)
    return took
