"""Ten thousand worlds, each with a history in which every rule holds; and one seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import get_args

import pytest

from samovar.core.messages import Command, Event
from samovar.core.pools import Pools
from samovar.sim import chance, seeds
from samovar.sim.scenario import Deed, Fate, Scenario
from samovar.sim.watcher import Watcher
from samovar.sim.world import World

PART = 1000
DIGEST = """
import hashlib
from samovar.sim.seeds import replay
digest = hashlib.sha256()
for seed in range(40):
    replay(seed, lambda line: digest.update(line.encode()))
print(digest.hexdigest())
"""


@pytest.mark.parametrize("first", range(0, 10_000, PART))
def test_no_seed_breaks_a_rule(first: int) -> None:
    found = seeds.Found()
    for part in seeds.run_all(range(first, first + PART)):
        found = found.plus(part)
    assert not found.broken, "\n".join(
        f"seed {seed}: {rule}; replay it: python -m samovar.sim --seed {seed} --trace" for seed, rule in found.broken
    )
    assert found.seeds == PART


def test_a_seed_has_one_history_in_every_process() -> None:
    digests = set()
    for hashes in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


class Seen(Watcher):
    """What has happened in some world."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.deeds: set[Deed] = set()
        self.fates: set[Fate] = set()
        self.eras = 0
        self.refused = self.claimed_with_callers = self.lost = 0

    def began(self, scenario: Scenario, pools: Pools, era: int, now: float) -> None:
        self.eras = max(self.eras, era)
        self.deeds |= {order.deed for order in scenario.orders}
        self.fates |= {fate for arrival in scenario.arrivals for fate in arrival.call.fates}
        self._recorded: set[str] = set()

    def decided(self, event: Event, commands: list[Command], now: float) -> None:
        self.kinds.add(type(event))
        self.kinds |= {type(command) for command in commands}
        self.claimed_with_callers += bool(getattr(event, "parent", 0)) and type(event).__name__ == "Claim"

    def asked(self, pool: str, client: int, parent: int, wait: float) -> None:
        self.refused += wait > 0

    def recorded(self, record: str, succeeded: bool) -> None:
        self._recorded.add(record)

    def committed(self, records: Iterable[str]) -> None:
        self._recorded -= set(records)

    def killed(self, now: float) -> None:
        self.lost += len(self._recorded)


def test_the_worlds_have_met_everything_that_they_are_for() -> None:
    seen = Seen()
    for seed in range(300):
        World(chance.scenario(seed), (seen,)).run()
    assert seen.kinds == {*get_args(Event), *get_args(Command)}
    assert seen.deeds == set(Deed)
    assert seen.fates == set(Fate)
    assert seen.eras >= 2
    assert seen.refused > 100
    assert seen.claimed_with_callers > 10
    assert seen.lost > 10, "outcomes that were in no committed group when the engine was killed"
