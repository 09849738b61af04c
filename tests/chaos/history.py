"""What a run of ``program`` should have come to, and what has become of it: the model that chaos is held against."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from samovar.entries import Settled
from samovar.journal.choice import open_journal
from samovar.model import Phase
from samovar.wire import payload
from samovar.wire.blobs import Blobs

NODES = 40
RUN = "r"


def expected() -> dict[str, Phase]:
    """Every action of the run, by key, and how it ends."""
    found = {"main": Phase.SUCCEEDED}
    for number in range(NODES):
        fails = number % 11 == 5
        found[f"node {number}"] = Phase.FAILED if fails else Phase.SUCCEEDED
        if number % 5 == 0 and not fails:
            found |= {f"leaf {number}.{at}": Phase.SUCCEEDED for at in range(3)}
    return found


class Death(NamedTuple):
    """A service has died, and the next one has not started yet."""

    at: float
    settled: frozenset[str]  # what was written down by then


class Beginning(NamedTuple):
    """Of an attempt."""

    at: float
    replica: int
    key: str


class History:
    """Of one run in the home of a user."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._deaths: list[Death] = []
        self._dead_replicas: set[int] = set()

    def settled(self) -> list[Settled]:
        path = self._home / "state" / "samovar" / "journal.db"
        if not path.exists():
            return []
        journal = open_journal(str(path))
        try:
            return list(journal.settled(run=RUN))
        finally:
            journal.close(5)

    def service_died(self, at: float) -> None:
        self._deaths.append(Death(at, frozenset(map(key_of, self.settled()))))

    def replica_dies(self, process: int) -> None:
        self._dead_replicas.add(process)

    def check(self) -> None:
        """Nothing is lost but what may be, nothing is settled twice, and what was settled has not run again."""
        settled = self.settled()
        keys = Counter(map(key_of, settled))
        assert {key: count for key, count in keys.items() if count > 1} == {}
        phases = {key_of(entry): entry.phase for entry in settled}
        began = self._began()
        missing = expected().keys() - phases.keys() - self._untold(began)
        assert not missing, f"not written down: {sorted(missing)}"
        assert phases.items() <= expected().items(), f"otherwise: {sorted(phases.items() - expected().items())}"
        assert expected().keys() <= {beginning.key for beginning in began}
        for death in self._deaths:
            assert death.settled <= phases.keys(), f"written down, and gone: {sorted(death.settled - phases.keys())}"
            again = {beginning.key for beginning in began if beginning.at > death.at} & death.settled
            assert not again, f"settled before a service died, and run again: {sorted(again)}"

    def _untold(self, began: list[Beginning]) -> set[str]:
        """What a service that died may not have written down, and a replica that was killed as well could not tell the
        next one. Its callers have the results all the same (``docs/guarantees.md``); the first action has none."""
        last = {beginning.key: beginning for beginning in sorted(began) if beginning.key != "main"}
        end = max((death.at for death in self._deaths), default=0.0)
        return {key for key, (at, replica, _) in last.items() if at < end and replica in self._dead_replicas}

    def _began(self) -> list[Beginning]:
        lines = (self._home / "began").read_text().splitlines()
        cells = (line.split(" ", 2) for line in lines)
        return [Beginning(float(at), int(replica), key) for at, replica, key in cells]


def key_of(entry: Settled) -> str:
    """Which action of the program it is."""
    if entry.task.endswith(".main"):
        return "main"
    if entry.failure is not None:
        return entry.failure.message.removesuffix(" fails")
    return str(payload.decode(entry.result, (), Blobs(""), consume=False))
