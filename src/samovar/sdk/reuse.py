"""How the replicas of an environment are reused: how many, how busy, how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from samovar.model import PoolSettings


@dataclass
class ReusePolicy:
    """Reuse of containers; once made, ``replicas`` is (min, max) and the TTLs are ``timedelta``.

    replicas: exactly so many, or (min, max); min may be 0.
    idle_ttl: seconds without any work until every replica stops.
    concurrency: executions that one replica runs at a time; more than 1 needs async tasks.
    scaledown_ttl: seconds without work until one replica above min stops.
    scope: "global" shares the replicas between runs; "run" gives every run its own.
    """

    replicas: int | tuple[int, int] = 2
    idle_ttl: float | timedelta | None = 30
    concurrency: int = 1
    scaledown_ttl: float | timedelta | None = 30
    scope: Literal["global", "run"] = "global"

    def __post_init__(self) -> None:
        self.replicas = _replica_range(self.replicas)
        self.idle_ttl = _ttl("idle_ttl", self.idle_ttl)
        self.scaledown_ttl = _ttl("scaledown_ttl", self.scaledown_ttl)
        if not _is_int(self.concurrency) or self.concurrency < 1:
            raise ValueError(f"ReusePolicy: concurrency must be an int of at least 1, not {self.concurrency!r}")
        if self.scope not in ("global", "run"):
            raise ValueError(f"ReusePolicy: scope must be 'global' or 'run', not {self.scope!r}")

    @property
    def min_replicas(self) -> int:
        return _replica_range(self.replicas)[0]

    @property
    def max_replicas(self) -> int:
        return _replica_range(self.replicas)[1]

    def settings(self) -> PoolSettings:
        """The same as the engine knows it."""
        return PoolSettings(
            min_replicas=self.min_replicas,
            max_replicas=self.max_replicas,
            concurrency=self.concurrency,
            idle_ttl=_ttl("idle_ttl", self.idle_ttl).total_seconds(),
            scaledown_ttl=_ttl("scaledown_ttl", self.scaledown_ttl).total_seconds(),
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _replica_range(replicas: object) -> tuple[int, int]:
    pair = (replicas, replicas) if _is_int(replicas) else replicas
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(_is_int(count) for count in pair):
        raise ValueError(f"ReusePolicy: replicas must be an int or a pair (min, max) of ints, not {replicas!r}")
    low, high = pair
    if low < 0 or high < 1:
        raise ValueError(f"ReusePolicy: replicas must allow at least one and not be negative, not {replicas!r}")
    if low > high:
        raise ValueError(f"ReusePolicy: replicas has a minimum of {low} above its maximum of {high}")
    return low, high


def _ttl(name: str, value: float | timedelta | None) -> timedelta:
    if value is None:
        return timedelta(seconds=30)
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise ValueError(f"ReusePolicy: {name} must be seconds or a timedelta, not {value!r}")
    ttl = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if ttl <= timedelta(0):
        raise ValueError(f"ReusePolicy: {name} must be positive, not {value!r}")
    return ttl
