"""What a simulated world is made of: pools, calls and what comes of them, clients, and what goes wrong. Data only.

``chance`` makes one from a seed, ``workload`` from a file; ``world`` lets it happen.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from samovar.model import PoolSettings, Retry, Timeouts


class Fate(enum.Enum):
    """What an execution comes to."""

    RETURNS = "returns"
    RAISES = "raises"
    DIES = "dies"  # and its replica
    OVERFLOWS = "overflows"  # its replica goes over its memory
    FREEZES = "freezes"  # its replica gives no sign of life for a while, and goes on then
    CLINGS = "clings"  # it takes no notice when it is cancelled


class Step(NamedTuple):
    """A stretch of work, and then the calls that are made at once and waited for."""

    seconds: float
    calls: tuple[Call, ...] = ()
    patience: float | None = None  # seconds after which the calls are withdrawn


class Call(NamedTuple):
    """One task as its user wrote it. ``key`` is its place in the tree, the same whenever its caller runs again."""

    key: str
    pool: str
    client: int
    steps: tuple[Step, ...]
    fates: tuple[Fate, ...] = (Fate.RETURNS,)  # of its executions, one after the other; the last holds for all others
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    cache: str = ""  # calls with the same one have the same result
    is_hasty: bool = False  # raises at the first failure of a call, with the others unfinished
    is_tolerant: bool = False  # goes on although calls have failed

    def fate(self, execution: int) -> Fate:
        """Of the ``execution``-th, from 0."""
        return self.fates[min(execution, len(self.fates) - 1)]


class Arrival(NamedTuple):
    when: float
    call: Call


class Deed(enum.Enum):
    """What an operator does to a pool, or whoever started a run to it."""

    ABORT = "abort"
    CONFIGURE = "configure"
    DRAIN = "drain"
    STOP = "stop"
    SUPERSEDE = "supersede"
    LOSE = "lose"  # a replica is killed from outside
    FREEZE = "freeze"  # a replica is stopped, and goes on later


class Order(NamedTuple):
    when: float
    deed: Deed
    subject: str  # a pool, or the key of a run
    settings: PoolSettings = PoolSettings()


class Outage(NamedTuple):
    """The engine is killed, and the next one begins ``seconds`` later."""

    when: float
    seconds: float


class Starts(NamedTuple):
    """How replicas start: the range of seconds, and how often not at all."""

    shortest: float = 1.0
    longest: float = 1.0
    failing: float = 0.0  # share of starts that fail
    permanent: float = 0.0  # share of those where trying again would not help


class Habits(NamedTuple):
    """How the world around the core behaves. Seconds throughout."""

    tick: float = 0.05
    latency: float = 0.0005  # of one message
    beat: float = 1.0
    lease: float = 9.0
    max_queued: int = 1_000_000
    commit: float = 0.05  # between two groups of the journal
    frozen: float = 0.0  # for how long a replica is that freezes
    survival: float = 1.0  # share of replicas that the next engine can adopt
    claim: float = 60.0  # for how long an execution that nobody asks for runs on


class Scenario(NamedTuple):
    seed: int
    pools: dict[str, PoolSettings]
    arrivals: tuple[Arrival, ...]
    starts: Starts = Starts()
    habits: Habits = Habits()
    orders: tuple[Order, ...] = ()
    outages: tuple[Outage, ...] = ()
