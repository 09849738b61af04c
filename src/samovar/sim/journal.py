"""What outlives a simulated engine: runs that were started, and how actions ended. Written in groups.

What is in no committed group when the engine is killed never was. An action that has failed may be called again by the
next attempt of its caller; then it is another record, so each has one outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.sim.scenario import Call

if TYPE_CHECKING:
    from samovar.sim.replica import Replica
    from samovar.sim.world import World


class Journal:
    """``started`` and ``outcomes`` are committed."""

    def __init__(self, world: World) -> None:
        self.started: dict[str, Call] = {}  # runs, by key
        self.outcomes: dict[str, bool] = {}  # by record
        self.cache: set[str] = set()  # results that are known
        self._world = world
        self._new_runs: dict[str, Call] = {}
        self._new: dict[str, bool] = {}
        self._told: list[tuple[Replica, int]] = []  # outcomes that replicas need not keep after the next group
        self._group = 0  # the one that is filled
        self._is_due = False

    def start(self, call: Call) -> None:
        if call.key not in self.started:
            self._new_runs[call.key] = call
            self._want_commit()

    def record(self, record: str, succeeded: bool) -> None:
        for watcher in self._world.watchers:
            watcher.recorded(record, succeeded)
        self._new[record] = succeeded
        self._want_commit()

    def told(self, replica: Replica, epoch: int) -> None:
        """What is written now says how this attempt of the replica ended."""
        self._told.append((replica, epoch))
        self._want_commit()

    def outcome(self, record: str) -> bool | None:
        """As the living engine knows it, committed or not."""
        found = self._new.get(record)
        return self.outcomes.get(record) if found is None else found

    def name(self, key: str) -> str:
        """Of the record that a call gets, or has if it has succeeded."""
        name, times = key, 0
        while self.outcome(name) is False:
            times += 1
            name = f"{key}~{times}"
        return name

    def unfinished(self) -> list[Call]:
        return [call for key, call in self.started.items() if key not in self.outcomes]

    @property
    def is_clean(self) -> bool:
        """Nothing waits to be committed."""
        return not self._is_due

    def tear(self) -> None:
        """The engine is killed: what is not committed is lost."""
        self._group += 1
        self._is_due = False
        self._new_runs, self._new, self._told = {}, {}, []

    def _want_commit(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._world.clock.after(self._world.scenario.habits.commit, self._commit, self._group)

    def _commit(self, group: int) -> None:
        if group != self._group:
            return
        for watcher in self._world.watchers:
            watcher.committed(self._new)
        self.started |= self._new_runs
        self.outcomes |= self._new
        for replica, epoch in self._told:
            replica.estate.pop(epoch, None)
        self.tear()
