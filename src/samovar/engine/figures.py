"""What an engine counts, for whoever watches it over time (``samovar.web.metrics``).

What there is at a moment is not counted here: ``survey`` sees it when asked. Here stands what has happened, by the
name of a task environment, never by run, action or replica, so that a service that lives long does not grow.

Touched in turns alone. On the way of an action a figure is one append to a list; lists are sorted into the buckets of
their histogram by the tick, and before they are read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from samovar.model import Failure

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)
"""Upper bounds of the buckets of every histogram."""

ENVIRONMENTS = 200
"""Environments that have figures of their own. Who makes names for them at run time gets ``OTHERS`` for the rest."""

OTHERS = "(others)"

Loss = Literal["crashed", "out of memory", "silent"]
"""How a replica was lost: it ended without being asked to, for its memory, or was killed since it was at fault."""


class Distribution(NamedTuple):
    """A histogram at a moment; the last of ``counts`` is of what is above every bound."""

    counts: tuple[int, ...]
    total: float  # seconds


class Histogram:
    """``add`` takes seconds."""

    __slots__ = ("_counts", "_fresh", "_total", "add")

    def __init__(self) -> None:
        self._fresh: list[float] = []
        self._counts = [0] * (len(SECONDS) + 1)
        self._total = 0.0
        self.add = self._fresh.append

    def sort_in(self) -> None:
        """Sorting all of them once is several times cheaper than to find the bucket of each."""
        fresh = self._fresh
        if not fresh:
            return
        fresh.sort()
        below = 0
        for place, bound in enumerate(SECONDS):
            up_to = bisect_right(fresh, bound, below)
            self._counts[place] += up_to - below
            below = up_to
            if below == len(fresh):
                break
        self._counts[-1] += len(fresh) - below
        self._total += sum(fresh)
        fresh.clear()

    def read(self) -> Distribution:
        self.sort_in()
        return Distribution(tuple(self._counts), self._total)


class Reading(NamedTuple):
    """The figures of one environment at a moment."""

    waits: Distribution
    dispatches: Distribution
    runs: Distribution
    starts: Distribution
    cold: int
    warm: int
    settled: dict[str, int]  # by phase
    retries: int
    attempts_lost: int
    losses: dict[str, int]  # by ``Loss``
    failed_starts: int
    out_of_memory: int
    refused: int
    blockages: int

    @property
    def starts_met(self) -> dict[str, int]:
        return {"cold": self.cold, "warm": self.warm}


class Figures:
    """Of one environment. Attributes are counted up by whoever sees it happen."""

    __slots__ = (
        "attempts_lost",
        "blockages",
        "cold",
        "dispatched",
        "dispatches",
        "failed_starts",
        "losses",
        "out_of_memory",
        "ran",
        "refused",
        "retries",
        "runs",
        "settled",
        "starts",
        "succeeded",
        "waited",
        "waits",
    )

    def __init__(self) -> None:
        self.waits = Histogram()  # in the queue, for each attempt
        self.dispatches = Histogram()  # of an attempt, what is neither the queue nor the task: on the way, both ways
        self.runs = Histogram()  # of the task itself, its wait for what it calls included
        self.starts = Histogram()  # of replicas, from the command until they are ready
        self.waited, self.dispatched, self.ran = self.waits.add, self.dispatches.add, self.runs.add
        self.cold = 0  # attempts; all others are warm
        self.succeeded = 0  # actions
        self.settled: Counter[str] = Counter()  # actions that did not succeed, by phase
        self.retries = 0  # after failures of their own
        self.attempts_lost = 0  # with their replicas
        self.losses: Counter[Loss] = Counter()  # replicas
        self.failed_starts = 0  # replicas
        self.out_of_memory = 0  # replicas that were killed, and allocations that were refused
        self.refused = 0  # submits for which the queue had no room: they come again
        self.blockages = 0  # of event loops, by tasks

    def retried(self, failure: Failure) -> None:
        """An attempt has ended, and another one follows."""
        if failure.kind == "system":
            self.attempts_lost += 1
        else:
            self.retries += 1

    def sort_in(self) -> None:
        for histogram in (self.waits, self.dispatches, self.runs, self.starts):
            histogram.sort_in()

    def read(self) -> Reading:
        waits = self.waits.read()
        return Reading(
            waits,
            self.dispatches.read(),
            self.runs.read(),
            self.starts.read(),
            self.cold,
            sum(waits.counts) - self.cold,
            {"succeeded": self.succeeded, **self.settled},
            self.retries,
            self.attempts_lost,
            {str(kind): count for kind, count in self.losses.items()},
            self.failed_starts,
            self.out_of_memory,
            self.refused,
            self.blockages,
        )


class Ledgers:
    """The figures of all environments, and of the engine itself."""

    def __init__(self) -> None:
        self.of: dict[str, Figures] = {}
        """By pool, as long as there is one. Versions of an environment share their figures."""
        self.turn_waits = Histogram()  # of the tick for its turn: so long do turns of others take
        self.ticks = Histogram()
        self._by_environment: dict[str, Figures] = {}

    def open(self, pool: str, environment: str) -> None:
        if environment not in self._by_environment and len(self._by_environment) >= ENVIRONMENTS:
            environment = OTHERS
        self.of[pool] = self._by_environment.setdefault(environment, Figures())

    def close(self, pool: str) -> None:
        self.of.pop(pool, None)

    def ticked(self, waited: float, took: float) -> None:
        """A tick is over: a sample of how long a turn takes, many times a second."""
        self.turn_waits.add(waited)
        self.ticks.add(took)
        self._sort_in([self.turn_waits, self.ticks, *self._by_environment.values()])

    def read(self) -> dict[str, Reading]:
        """By environment."""
        return {name: figures.read() for name, figures in self._by_environment.items()}

    @staticmethod
    def _sort_in(kept: Iterable[Histogram | Figures]) -> None:
        for one in kept:
            one.sort_in()
