"""What changes from second to second: a sample of every pool and replica, kept for two minutes, and told to whoever
listens.

One look a second costs the engine one short turn. For listeners nothing is made while there are none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from itertools import pairwise
from typing import NamedTuple

from samovar.engine.pulse import ticks_used
from samovar.entries import RunSummary
from samovar.host.station import Station
from samovar.model import PoolStats, ReplicaStats

KEPT = 120
"""Samples of a pool or a replica."""

EVERY = 1.0  # seconds between two of them
WINDOW = 10.0  # seconds over which the throughput is told

QUIET = 15.0
"""Seconds after which a stream says that it is still there."""

_TICKS = os.sysconf("SC_CLK_TCK")

_END = "", b""
"""In place of an event: nothing follows."""


class PoolSample(NamedTuple):
    at: float
    queued: int
    active: int
    done: int


class ReplicaSample(NamedTuple):
    at: float
    rss: int
    lag: float
    cpu: float | None
    active: int


class Standing(NamedTuple):
    """Pools and replicas at one moment."""

    at: float
    pools: list[PoolStats]
    replicas: list[ReplicaStats]


class Feed:
    """``closing``: streams end when it is done."""

    def __init__(self, station: Station, closing: Future[None]) -> None:
        self._station = station
        self.closing = closing
        self._lock = threading.Lock()
        self._pools: dict[str, deque[PoolSample]] = {}
        self._replicas: dict[str, deque[ReplicaSample]] = {}
        self._used: dict[str, tuple[float, int]] = {}  # by replica: when, and what it had used of the processor
        self._listeners: set[asyncio.Queue[tuple[str, bytes]]] = set()
        self._trouble = ""
        self.compose: Callable[[Standing, list[RunSummary]], list[tuple[str, bytes]]] = lambda standing, runs: []
        """Makes the events of a sample: their names and data. ``runs``: those that have changed."""

    def standing(self) -> Standing:
        with self._station.turn:
            survey = self._station.engine.survey
            return Standing(time.time(), survey.pools(), survey.replicas())

    def pool_samples(self, pool: str) -> list[PoolSample]:
        with self._lock:
            return list(self._pools.get(pool, ()))

    def replica_samples(self, replica: str) -> list[ReplicaSample]:
        with self._lock:
            return list(self._replicas.get(replica, ()))

    def cpu(self, replica: str) -> float | None:
        samples = self._replicas.get(replica)
        return samples[-1].cpu if samples else None

    async def run(self) -> None:
        """Sample until the service ends."""
        closing = asyncio.wrap_future(self.closing)
        while not closing.done():
            began = time.monotonic()
            events = await asyncio.to_thread(self._sampled)
            for listener in self._listeners:
                _offer(listener, events)
            await asyncio.wait([closing], timeout=max(0.0, EVERY - (time.monotonic() - began)))
        for listener in self._listeners:
            _offer(listener, [_END])

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events, until nobody reads them or the service ends."""
        queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(maxsize=8)
        self._listeners.add(queue)
        self._watch()
        try:
            yield b": samovar\n\n"
            while not self.closing.done():
                try:
                    one = await asyncio.wait_for(queue.get(), QUIET)
                except TimeoutError:
                    yield b": keep-alive\n\n"
                    continue
                if one is _END:
                    return
                yield event(*one)
        finally:
            self._listeners.discard(queue)
            self._watch()

    def _watch(self) -> None:
        with self._station.turn:
            self._station.engine.survey.watch(bool(self._listeners))

    def _sampled(self) -> list[tuple[str, bytes]]:
        """What goes wrong is logged once, and the next second is another one."""
        try:
            return self._sample()
        except Exception as error:
            if self._trouble != repr(error):
                self._trouble = repr(error)
                logging.getLogger("uvicorn.error").exception("what changes cannot be told")
            return []

    def _sample(self) -> list[tuple[str, bytes]]:
        standing = self.standing()
        with self._lock:
            self._keep(standing)
        if not self._listeners:
            return []
        with self._station.turn:
            runs = self._station.engine.survey.take_changes()
        return self.compose(standing, runs)

    def _keep(self, standing: Standing) -> None:
        at = standing.at
        pools, replicas, used = self._pools, self._replicas, self._used
        self._pools = {pool.name: pools.get(pool.name) or deque(maxlen=KEPT) for pool in standing.pools}
        self._replicas = {it.name: replicas.get(it.name) or deque(maxlen=KEPT) for it in standing.replicas}
        self._used = {}
        for pool in standing.pools:
            self._pools[pool.name].append(PoolSample(at, pool.queued, pool.active, pool.done + pool.failed))
        for it in standing.replicas:
            cpu = self._cpu(it, at, used.get(it.name))
            self._replicas[it.name].append(ReplicaSample(at, it.rss, it.lag, cpu, it.active))

    def _cpu(self, replica: ReplicaStats, at: float, before: tuple[float, int] | None) -> float | None:
        """The part of one core that it has used since the last sample; None: that cannot be told."""
        ticks = ticks_used(replica.process) if replica.process else 0
        if not ticks:
            return None
        self._used[replica.name] = (at, ticks)
        if before is None or at <= before[0]:
            return None
        return max(0.0, (ticks - before[1]) / _TICKS / (at - before[0]))


def event(name: str, data: bytes, cursor: str = "") -> bytes:
    """One server-sent event; ``data`` is one line."""
    marked = f"id: {cursor}\n" if cursor else ""
    return f"event: {name}\n{marked}data: ".encode() + data + b"\n\n"


def rates(samples: list[PoolSample]) -> list[float]:
    """What a pool has done in a second, for each sample."""
    if not samples:
        return []
    return [0.0, *(max(0.0, (b.done - a.done) / max(1e-3, b.at - a.at)) for a, b in pairwise(samples))]


def throughput(samples: list[PoolSample]) -> float:
    """Actions a second, of the last seconds."""
    recent = [sample for sample in samples if sample.at >= samples[-1].at - WINDOW]
    if len(recent) < 2:
        return 0.0
    return max(0.0, (recent[-1].done - recent[0].done) / max(1e-3, recent[-1].at - recent[0].at))


def _offer(listener: asyncio.Queue[tuple[str, bytes]], events: list[tuple[str, bytes]]) -> None:
    """Who does not keep up misses the oldest."""
    for one in events:
        if listener.full():
            listener.get_nowait()
        listener.put_nowait(one)
