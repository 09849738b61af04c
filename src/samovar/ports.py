"""What the engine asks of the world around it: a driver that keeps replicas, a journal that remembers.

An implementation is passed to the engine by the composition root (``samovar.host``); each one passes
``tests/conformance/driver`` or ``tests/conformance/journal``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, overload

from samovar.entries import (
    ActionQuery,
    ActionSummary,
    AttemptEnded,
    AttemptQuery,
    Entry,
    EventQuery,
    Health,
    Keep,
    Page,
    PoolEvent,
    RunQuery,
    RunStarted,
    RunSummary,
    Settled,
    StartQuery,
)
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


class Journal(Protocol):
    """Writes down what happens, and answers for it after a crash. Every method may be called in any thread.

    ``record`` and ``health`` do no I/O and never wait; the others read or write a database, so the engine's turn is no
    place for them. Whatever reads sees what is committed: ``flush`` comes first where more is wanted. Where the
    database cannot be reached a reader raises JournalAwayError, and recorded entries wait in memory until it is back.
    """

    def record(self, *entries: Entry) -> None:
        """Queue entries; they are committed in their order, in groups, and each exactly once.

        One that contradicts what is written already (an action that is settled twice, a run that is unknown) is
        refused: what was written first stays, and the journal's ``on_refused`` is told. Raises SlowDownError, and takes
        nothing, when the backlog has no room; JournalError when the journal is closed.
        """
        ...

    def flush(self, timeout: float) -> None:
        """Return when all that was recorded before this call is committed, and what is refused of it has been told.

        JournalError after ``timeout`` seconds.
        """
        ...

    def health(self) -> Health:
        """Whether it keeps up, and what is wrong if it does not."""
        ...

    def unfinished(self, engine: str) -> list[RunStarted]:
        """The runs of this engine that have not ended, the oldest first."""
        ...

    def settled(
        self, run: str = "", action: str = "", cache_key: str = "", parent: str | None = None
    ) -> Iterator[Settled]:
        """Outcomes, whole: of a run, of one action of it or all that one has called, or the newest success under a
        cache key."""
        ...

    @overload
    def find(self, query: RunQuery) -> Page[RunSummary]: ...

    @overload
    def find(self, query: StartQuery) -> Page[RunStarted]: ...

    @overload
    def find(self, query: ActionQuery) -> Page[ActionSummary]: ...

    @overload
    def find(self, query: AttemptQuery) -> Page[AttemptEnded]: ...

    @overload
    def find(self, query: EventQuery) -> Page[PoolEvent]: ...

    def prune(self, keep: Keep, swept: Sequence[str] = (), found: Sequence[str] = ()) -> list[str]:
        """Forget what is not to be kept. Gives the blobs that nothing refers to any more.

        A blob is named again by later calls until its name is given back in ``swept``, so none is forgotten when a
        process dies before it has unlinked them. ``found``: names of blobs that are there; those of them that were
        never written down are given too.
        """
        ...

    def close(self, timeout: float) -> None:
        """Commit what is queued and let go. JournalError, with how many entries are lost, after ``timeout`` seconds."""
        ...
