"""A workload as data: what comes and how long it takes, and the policies to try on it. Read from a TOML file.

docs/simulator.md describes the file, and the names of a policy are those of ``ReusePolicy``. Each policy makes a
scenario of its own; the arrivals are the same in all.
"""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path

import msgspec

from samovar.errors import WorkloadError
from samovar.model import PoolSettings
from samovar.sim.scenario import Arrival, Call, Scenario, Starts, Step

Span = float | tuple[float, float]
"""So many seconds, or from so many to so many."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    replicas: int | tuple[int, int] = 2
    concurrency: int = 1
    idle_ttl: float = 30.0
    scaledown_ttl: float = 30.0

    def settings(self) -> PoolSettings:
        low, high = (self.replicas, self.replicas) if isinstance(self.replicas, int) else self.replicas
        if not 0 <= low <= high or high < 1:
            raise WorkloadError(f"replicas must be a number from 1, or [min, max], and not {self.replicas!r}")
        if self.concurrency < 1 or self.idle_ttl <= 0 or self.scaledown_ttl <= 0:
            raise WorkloadError("concurrency must be at least 1, and idle_ttl and scaledown_ttl more than 0")
        return PoolSettings(low, high, self.concurrency, self.idle_ttl, self.scaledown_ttl)


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"begins": "from"}):
    """Where actions come from: listed in ``at``, told in a ``recorded`` file, or made, one ``every`` so often."""

    name: str = ""
    at: tuple[tuple[float, float], ...] = ()  # when, and for how long it works
    recorded: str = ""
    task: str = ""  # of what is recorded, only this one
    begins: float = 0.0
    until: float = 0.0
    every: float = 0.0  # seconds, on average
    seconds: Span = 1.0  # of work


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    arrivals: tuple[Source, ...]
    policies: dict[str, Policy]
    start: Span = 1.0  # seconds that a replica takes to start
    seed: int = 1


class _Recorded(msgspec.Struct, frozen=True):
    """An action as ``samovar get actions -o json`` prints it."""

    run: str
    action: str
    parent: str
    task: str
    queued: float
    started: float | None
    ended: float | None


def read(path: Path) -> list[Scenario]:
    """One scenario for each policy; its pool has the policy's name."""
    try:
        workload = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Workload)
        return _scenarios(workload, path.parent)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError, WorkloadError) as error:
        raise WorkloadError(f"{path} describes no workload: {error}") from error


def _scenarios(workload: Workload, folder: Path) -> list[Scenario]:
    if not workload.policies:
        raise WorkloadError("it has no policy to try; add a table [policies.NAME]")
    chance = random.Random(workload.seed)
    times: list[tuple[float, float, int]] = []  # when, for how long, and for whom
    for client, source in enumerate(workload.arrivals, 1):
        times += [(when, seconds, client) for when, seconds in _times(source, chance, folder)]
    times.sort()
    if not times:
        raise WorkloadError("nothing arrives in it")
    if times[0][0] < 0 or min(seconds for _, seconds, _ in times) < 0:
        raise WorkloadError("times must not be negative")
    shortest, longest = _span(workload.start)
    found = []
    for name, policy in workload.policies.items():
        arrivals = tuple(
            Arrival(when, Call(f"{at}", name, client, (Step(seconds),)))
            for at, (when, seconds, client) in enumerate(times)
        )
        found.append(Scenario(workload.seed, {name: policy.settings()}, arrivals, Starts(shortest, longest)))
    return found


def _times(source: Source, chance: random.Random, folder: Path) -> list[tuple[float, float]]:
    kinds = bool(source.at) + bool(source.recorded) + bool(source.every)
    if kinds != 1:
        raise WorkloadError(f"arrivals {source.name!r} need one of at, recorded and every, and have {kinds}")
    if source.recorded:
        return _recorded(folder / source.recorded, source.task)
    if source.at:
        return list(source.at)
    if source.every < 0 or source.until <= source.begins:
        raise WorkloadError(f"arrivals {source.name!r} need an `every` above 0, and an `until` after `from`")
    shortest, longest = _span(source.seconds)
    found, when = [], source.begins + chance.expovariate(1 / source.every)
    while when < source.until:
        found.append((when, chance.uniform(shortest, longest)))
        when += chance.expovariate(1 / source.every)
    return found


def _recorded(path: Path, task: str) -> list[tuple[float, float]]:
    """What has called others is left out: it holds no slot while it waits for them. So is what has not run."""
    try:
        actions = msgspec.convert(json.loads(path.read_text(encoding="utf-8")), list[_Recorded])
    except ValueError as error:
        raise WorkloadError(f"{path} is no output of `samovar get actions -o json`: {error}") from error
    parents = {(action.run, action.parent) for action in actions}
    ran = [
        (action.queued, action.ended - action.started)
        for action in actions
        if action.started is not None
        and action.ended is not None
        and (action.run, action.action) not in parents
        and task in ("", action.task)
    ]
    first = min((queued for queued, _ in ran), default=0.0)
    return [(queued - first, max(0.0, seconds)) for queued, seconds in ran]


def _span(span: Span) -> tuple[float, float]:
    shortest, longest = span if isinstance(span, tuple) else (span, span)
    if not 0 <= shortest <= longest:
        raise WorkloadError(f"seconds must be a number from 0, or [least, most], and not {span!r}")
    return shortest, longest
