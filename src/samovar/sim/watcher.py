"""Who looks at a simulated world: the checker, a history for people, a meter. They see all and change nothing."""

from __future__ import annotations

from collections.abc import Iterable

from samovar.core.messages import Command, Event
from samovar.core.pools import Pools
from samovar.sim.scenario import Call, Scenario


class Watcher:
    """Does nothing of itself; whoever wants to know something says what it does then."""

    def began(self, scenario: Scenario, pools: Pools, era: int, now: float) -> None:
        """An engine has started."""

    def killed(self, now: float) -> None:
        """It was killed, and what it has not committed is gone."""

    def decided(self, event: Event, commands: list[Command], now: float) -> None:
        """The core was told the one and said the other; the commands are not carried out yet."""

    def asked(self, pool: str, client: int, parent: int, wait: float) -> None:
        """Whether there is room for an action: ``wait`` seconds until it should be asked again, or 0.0."""

    def named(self, action: int, call: Call, record: str) -> None:
        """The number that an action has in this engine, said before its first event."""

    def busy(self, replica: str, active: int, now: float) -> None:
        """So many executions of the replica do work at once."""

    def recorded(self, record: str, succeeded: bool) -> None:
        """An outcome was given to the journal."""

    def committed(self, records: Iterable[str]) -> None:
        """These are safe."""

    def answered(self, key: str) -> None:
        """A client has the outcome of its run."""

    def noted(self, what: str, now: float) -> None:
        """Something happened out there, for people."""

    def ended(self, is_over: bool, now: float) -> None:
        """The world has come to its end, or is stuck before it."""
