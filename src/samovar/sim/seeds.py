"""Many seeds, on all processors: each makes a world, and the checker looks at its history."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from samovar.sim import chance
from samovar.sim.checker import Checker, Violation
from samovar.sim.history import History
from samovar.sim.world import World

_PART = 50  # seeds that a process takes at once


class Found(NamedTuple):
    """``broken``: seeds that break a rule, and which."""

    seeds: int = 0
    steps: int = 0
    seconds: float = 0.0  # of virtual time
    broken: tuple[tuple[int, str], ...] = ()

    def plus(self, other: Found) -> Found:
        seeds, steps, seconds = self.seeds + other.seeds, self.steps + other.steps, self.seconds + other.seconds
        return Found(seeds, steps, seconds, (*self.broken, *other.broken))


def run(seeds: range) -> Found:
    """In this process, one after the other."""
    found = Found()
    for seed in seeds:
        checker = Checker()
        world = World(chance.scenario(seed), (checker,))
        broken: tuple[tuple[int, str], ...] = ()
        try:
            world.run()
        except Violation as violation:
            broken = ((seed, str(violation)),)
        except Exception as error:  # the core, or this room, is at a loss: no history should bring it there
            broken = ((seed, f"{type(error).__name__}: {error}"),)
        found = found.plus(Found(1, checker.steps, world.clock.now, broken))
    return found


def run_all(seeds: range, processes: int = 0) -> Iterator[Found]:
    """Over several processes (0: one a processor); what each part has found, as it comes."""
    parts = [seeds[at : at + _PART] for at in range(0, len(seeds), _PART)]
    count = min(processes or len(os.sched_getaffinity(0)), len(parts))
    if count <= 1:
        yield from map(run, parts)
        return
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for part in as_completed([pool.submit(run, part) for part in parts]):
            yield part.result()


def replay(seed: int, say: Callable[[str], None]) -> str:
    """Tells the history of a seed. Gives the rule that it breaks, or nothing."""
    try:
        World(chance.scenario(seed), (History(say), Checker())).run()
    except Violation as violation:
        return str(violation)
    return ""
