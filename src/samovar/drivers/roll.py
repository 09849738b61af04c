"""The roll of a driver: its replicas by name, each from its start until its end was waited for.

The half of the port that is the same whatever replicas are made of: every driver is a roll and adds how to start them.
"""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit


class Replica(Protocol):
    """One replica of a driver; ``ended`` gets its Exit once."""

    ended: asyncio.Future[Exit]

    async def stop(self, grace: float) -> None:
        """Return when it is gone, and nothing of it is left."""
        ...


R = TypeVar("R", bound=Replica)


class Roll(Generic[R]):
    def __init__(self) -> None:
        self.replicas: dict[str, R] = {}
        self._closed = False

    async def wait(self, replica: str) -> Exit:
        """LookupError: there is none of this name, or its end was waited for before."""
        found = self._found(replica)
        if found is None:
            raise LookupError(f"there is no replica {replica!r}")
        how = await asyncio.shield(found.ended)
        self.replicas.pop(replica, None)
        return how

    async def stop(self, replica: str, grace: float) -> None:
        """``grace`` 0: kill without asking."""
        found = self._found(replica)
        if found is not None:
            await found.stop(grace)

    def survivor(self, replica: str) -> R | None:
        """The replica of this name that an earlier driver has started and that runs; it is this one's from now on."""
        return None

    def check_free(self, replica: str, environment: Environment) -> None:
        """ReplicaStartError: the name is taken, or the driver is closed."""
        if self._closed:
            raise ReplicaStartError(f"environment {environment.name!r}: the driver is closed", replica)
        if replica in self.replicas:
            message = f"environment {environment.name!r}: there is a replica {replica!r} already"
            raise ReplicaStartError(message, replica)

    def _found(self, replica: str) -> R | None:
        found = self.replicas.get(replica)
        if found is None:
            found = self.survivor(replica)
            if found is not None:
                self.replicas[replica] = found
        return found
