"""What the engine asks of the world around it: a driver that keeps replicas.

An implementation is passed to the engine by the composition root (``samovar.host``); each one passes
``tests/conformance/driver``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from samovar.model import Environment, Exit

Report = Callable[[str], None]
"""Takes one line of progress, for people."""


class Driver(Protocol):
    """Keeps replicas: processes, containers or pods. Every method may be called for many replicas at once."""

    async def prepare(self, environment: Environment, report: Report) -> None:
        """Make ready what replicas of this environment start from (a venv, an image); a no-op when it is there.

        Raises ImageBuildError, which names the environment and has the end of the output of whatever makes it.
        """
        ...

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        """Start one replica; ``boot`` is added to its environment variables (where the engine is, its token).

        Returns when it is started, which is before it is ready. Raises ReplicaStartError, which names the environment.
        """
        ...

    async def wait(self, replica: str) -> Exit:
        """Return when the replica has ended, and say how. One caller a replica."""
        ...

    async def stop(self, replica: str, grace: float) -> None:
        """End the replica and everything it started: ask, wait at most ``grace`` seconds, then kill.

        Returns when it is gone; does nothing for one that is gone or unknown.
        """
        ...

    async def close(self) -> None:
        """Kill every replica that is left and give back what the driver holds."""
        ...
