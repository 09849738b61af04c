"""Scenarios from seeds: small worlds, each with some of what can go wrong; many of them have met every pair of it.

A world that has everything at once shows little, as most of it is noise; so each draws how much of what it gets.
"""

from __future__ import annotations

import random

from samovar.model import PoolSettings, Retry, Timeouts
from samovar.sim.scenario import Arrival, Call, Deed, Fate, Habits, Order, Outage, Scenario, Starts, Step

_TROUBLE = (Fate.RAISES, Fate.DIES, Fate.OVERFLOWS, Fate.FREEZES, Fate.CLINGS)
_NO_TIMEOUTS = Timeouts()
_NO_RETRY = Retry()


def scenario(seed: int) -> Scenario:
    return _Maker(seed).scenario()


class _Maker:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(f"scenario {seed}")
        self.pools = {name: self._settings() for name in "abc"[: self.random.choice((1, 1, 2, 3))]}
        self.trouble = self._some(0.4, 0.05, 0.15, 0.4)  # share of calls that something befalls
        self.troubles = self.random.sample(_TROUBLE, self.random.randint(1, 3))
        self.is_bounded = self.random.random() < 0.4  # calls have timeouts
        self.is_cached = self.random.random() < 0.3
        self.depth = self.random.choice((0, 0, 1, 1, 2))
        self.arrivals: list[Arrival] = []

    def scenario(self) -> Scenario:
        for client in range(1, self.random.randint(1, 4) + 1):
            self._client(client)
        seconds = max(arrival.when for arrival in self.arrivals) + 3.0
        outages = self._outages(seconds)
        return Scenario(
            self.seed,
            self.pools,
            tuple(self.arrivals),
            self._starts(),
            self._habits(),
            tuple(self._order(seconds) for _ in range(self._count(0.5, 5))),
            outages,
        )

    def _client(self, client: int) -> None:
        """One that asks now and then, or one that floods a pool."""
        random = self.random
        if random.random() < 0.3:
            count, begins, every = random.randint(6, 12), random.random(), 0.0
        else:
            count, begins, every = random.randint(1, 3), random.random() * 2, random.choice((0.0, 0.2, 1.0, 3.0))
        depth = self.depth if count <= 3 else min(self.depth, 1)
        for at in range(count):
            call = self._call(f"{client}.{at}", client, depth)
            self.arrivals.append(Arrival(begins + at * every * random.random(), call))

    def _call(self, key: str, client: int, depth: int) -> Call:
        random = self.random
        steps = [self._step(f"{key}/{at}", client, depth) for at in range(random.choice((1, 1, 1, 2)))]
        if steps[-1].calls:
            steps.append(Step(self._seconds()))
        fates: tuple[Fate, ...] = (Fate.RETURNS,)
        if random.random() < self.trouble:
            times = random.choice((1, 1, 1, 2, 3, 12))
            fates = (random.choice(self.troubles),) * times
            fates += (Fate.RETURNS,) if times < 12 else ()
        return Call(
            key,
            random.choice(list(self.pools)),
            client,
            tuple(steps),
            fates,
            random.choice((_NO_RETRY, _NO_RETRY, Retry(1), Retry(3, base=0.2))),
            self._timeouts() if self.is_bounded and random.random() < 0.4 else _NO_TIMEOUTS,
            random.choice(("", "", "x", "y", f"{client}")) if self.is_cached and not depth else "",
            random.random() < 0.3,
            random.random() < 0.3,
        )

    def _step(self, key: str, client: int, depth: int) -> Step:
        random = self.random
        if not depth or random.random() < 0.3:
            return Step(self._seconds())
        calls = [self._call(f"{key}.{at}", client, depth - 1) for at in range(random.choice((1, 2, 2, 3)))]
        return Step(self._seconds(), tuple(calls), random.random() * 2 if random.random() < 0.05 else None)

    def _seconds(self) -> float:
        return self.random.choice((0.0, 0.01, 0.05, 0.2, 1.0)) * self.random.random()

    def _timeouts(self) -> Timeouts:
        random = self.random
        return random.choice(
            (
                Timeouts(max_runtime=random.uniform(0.05, 1.0)),
                Timeouts(max_queued_time=random.uniform(0.05, 2.0)),
                Timeouts(deadline=random.uniform(0.2, 3.0)),
            )
        )

    def _settings(self) -> PoolSettings:
        random = self.random
        low = random.choice((0, 0, 0, 1, 2))
        is_fresh = random.random() < 0.2
        return PoolSettings(
            low,
            max(1, low + random.choice((0, 0, 1, 3))),
            1 if is_fresh else random.choice((1, 1, 2, 4)),
            random.choice((0.5, 1.0, 3.0)),
            random.choice((0.3, 1.0, 2.0)),
            random.choice((1, 1, 3)) if is_fresh else None,
        )

    def _starts(self) -> Starts:
        random = self.random
        shortest = random.choice((0.01, 0.1, 0.5))
        return Starts(shortest, shortest * random.choice((1, 2, 5)), self._some(0.3, 0.1, 0.5), self._some(0.5, 0.3))

    def _habits(self) -> Habits:
        random = self.random
        lease = random.choice((2.0, 3.0))
        return Habits(
            tick=random.choice((0.1, 0.2, 0.3, 0.3)),
            latency=random.choice((0.0, 0.001, 0.02)),
            beat=0.8,
            lease=lease,
            max_queued=random.choice((1, 3, 8, *[1000] * 9)),
            commit=random.choice((0.01, 0.1, 0.5)),
            frozen=lease * random.choice((0.7, 2.0)),
            survival=random.choice((1.0, 1.0, 0.7, 0.0)),
            claim=random.choice((0.5, 2.0, 5.0)),
        )

    def _order(self, seconds: float) -> Order:
        random = self.random
        deed = random.choice(list(Deed))
        if deed is Deed.ABORT:
            return Order(random.random() * seconds, deed, random.choice(self.arrivals).call.key)
        pool = random.choice(list(self.pools))
        settings = self.pools[pool]
        if deed is Deed.CONFIGURE:  # what does not belong to the version
            low = random.choice((0, 1))
            high = low + random.randint(1, 3)
            settings = PoolSettings(low, high, settings.concurrency, 1.0, 0.5, settings.max_tasks)
        return Order(random.random() * seconds, deed, pool, settings)

    def _outages(self, seconds: float) -> tuple[Outage, ...]:
        random, found, when = self.random, [], 0.0
        for _ in range(self._count(0.6, 3)):
            when += random.random() * seconds / 2
            found.append(Outage(when, random.choice((0.01, 0.2, 1.0))))
            when += found[-1].seconds + 0.1
        return tuple(found)

    def _some(self, none: float, *amounts: float) -> float:
        """Nothing, with that probability, or one of these."""
        return 0.0 if self.random.random() < none else self.random.choice(amounts)

    def _count(self, none: float, most: int) -> int:
        return 0 if self.random.random() < none else self.random.randint(1, most)
