"""The nouns of the journal: what is written down, what is asked of it, and what it answers.

The engine makes entries, a journal keeps them (``ports.Journal``), and the command and the pages ask. Times are seconds
since 1970 by the wall clock. Payloads are bytes as the wire carried them; large values are blobs, here by name alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Generic, TypeVar

from samovar.light import msgspec
from samovar.model import Caching, Failure, Phase, TaskSpec

T = TypeVar("T")

ENTRY_BYTES = 512
"""What an entry counts in memory beside its payload."""


# what is written down


class _Entry(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """Journals keep entries packed for a while, by position: a new field is the last one and has a default."""

    @property
    def payload(self) -> int:
        """Bytes of what users have given it."""
        return 0


class RunStarted(_Entry, frozen=True):
    """A run exists. All that is needed to start its root again after a crash is in it."""

    run: str  # unique in the journal
    engine: str  # who runs it, and may resume it
    action: str  # the root
    task: TaskSpec
    started: float
    inputs: bytes = b""
    input_blobs: tuple[str, ...] = ()
    context: dict[str, str] | None = None
    caching: Caching = ""  # of its cached calls

    @property
    def payload(self) -> int:
        return len(self.inputs)


class RunEnded(_Entry, frozen=True):
    """A run has ended, whose first action does not say so."""

    run: str
    phase: Phase
    ended: float
    actions: int = 0  # that the run had


class Settled(_Entry, frozen=True):
    """An action has its final phase. There is one for each action, and none while it is on its way.

    ``started``, ``replica``, ``cold`` and ``ran`` are those of its last attempt. ``inputs``: small ones; those of a
    root are with its run.
    """

    run: str
    action: str  # unique in its run
    parent: str  # "" for the root
    task: str  # environment.function
    phase: Phase
    queued: float
    ended: float
    started: float | None = None  # None: it never ran
    attempts: int = 0
    replica: str = ""
    cold: bool = False
    result: bytes = b""
    result_blobs: tuple[str, ...] = ()
    inputs: bytes = b""
    input_blobs: tuple[str, ...] = ()
    failure: Failure | None = None
    cache_key: str = ""  # under which later calls find the result; "": it is not cached
    hit: str = ""  # RUN/ACTION whose result it has, without having run
    ran: float = 0.0  # seconds that the task itself took, without the way there and back; 0: not known
    of_run: int = 0  # its number within the run, as the lines of its task have it; 0: it has none
    actions: int = 0  # of a run that ends with it: how many it had. This is the run's last entry then

    @property
    def payload(self) -> int:
        failure = self.failure
        if failure is not None:
            return len(self.inputs) + len(failure.exception) + len(failure.traceback)
        return len(self.result) + len(self.inputs)

    @property
    def run_ended(self) -> RunEnded | None:
        """What it says of its run; None: nothing."""
        return RunEnded(self.run, self.phase, self.ended, self.actions) if self.actions else None


class AttemptEnded(_Entry, frozen=True):
    """An attempt ended and did not settle its action: it raised and is tried again, or its replica was lost."""

    run: str
    action: str
    attempt: int
    replica: str
    cold: bool
    started: float
    ended: float
    failure: Failure

    @property
    def payload(self) -> int:
        return len(self.failure.exception) + len(self.failure.traceback)


class Change(enum.StrEnum):
    """What a pool event tells."""

    STARTING = "starting"  # of a replica
    READY = "ready"
    STOPPING = "stopping"
    LOST = "lost"
    SCALED = "scaled"  # of the pool
    CLOSED = "closed"


class PoolEvent(_Entry, frozen=True):
    """Something happened to a pool or to one of its replicas."""

    pool: str
    at: float
    change: Change
    replica: str = ""  # "": the pool as a whole
    replicas: int = 0  # how many the pool has, or wants, after it
    reason: str = ""


Entry = RunStarted | RunEnded | Settled | AttemptEnded | PoolEvent


def size_of(entries: Sequence[Entry]) -> int:
    """Bytes that they count in memory. What is there by the thousand is looked at without a call."""
    payloads = [
        len(entry.result) + len(entry.inputs) if type(entry) is Settled and entry.failure is None else entry.payload
        for entry in entries
    ]
    return ENTRY_BYTES * len(entries) + sum(payloads)


# what is asked


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list, the newest first. ``after`` is ``Page.next`` of the page before."""

    since: float | None = None  # seconds since 1970, as ``until``, which is outside
    until: float | None = None
    oldest_first: bool = False
    limit: int = 100
    after: str = ""


class RunQuery(_Query, frozen=True, kw_only=True):
    """Runs by the time of their start. An empty field is no condition."""

    run: str = ""
    engine: str = ""
    phase: Phase | None = None
    task: str = ""


class StartQuery(_Query, frozen=True, kw_only=True):
    """How runs began, whole, by the time of their start."""

    run: str = ""


class ActionQuery(_Query, frozen=True, kw_only=True):
    """Settled actions by the time of their end. An empty field is no condition."""

    run: str = ""
    action: str = ""
    parent: str | None = None  # "": the root
    phase: Phase | None = None
    task: str = ""
    replica: str = ""


class AttemptQuery(_Query, frozen=True, kw_only=True):
    """Attempts that did not settle their action, by the time of their end."""

    run: str
    action: str = ""


class EventQuery(_Query, frozen=True, kw_only=True):
    """Pool events by their time."""

    pool: str = ""
    replica: str = ""


class Keep(msgspec.Struct, frozen=True):
    """What stays when a journal is pruned. None: no bound. Runs that have not ended always stay."""

    age: float | None = None  # seconds since the end of a run, or since a pool event
    runs: int | None = None  # the newest
    events: int | None = 100_000  # pool events, the newest


# what is answered


class RunSummary(msgspec.Struct, frozen=True):
    run: str
    engine: str
    action: str
    task: str
    phase: Phase  # running until it has ended
    started: float
    ended: float | None
    actions: int


class ActionSummary(msgspec.Struct, frozen=True):
    """An action without its payloads; ``error`` is one line."""

    run: str
    action: str
    parent: str
    task: str
    phase: Phase
    queued: float
    ended: float
    started: float | None
    attempts: int
    replica: str
    cold: bool
    error: str
    of_run: int = 0  # its number within the run; 0: it has none

    @property
    def is_cached(self) -> bool:
        """It has a result and has not run."""
        return self.attempts == 0 and self.phase == Phase.SUCCEEDED


class Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]
    next: str  # "" on the last page


class Health(msgspec.Struct, frozen=True):
    """How a journal keeps up with what is recorded."""

    backlog: int  # entries that are not committed
    backlog_bytes: int
    lag: float  # seconds since the last commit, or since there has been anything to commit
    is_slow: bool  # more than half of the room is taken: start nothing that will be recorded
    trouble: str = ""  # why nothing is committed; "": nothing is wrong
    refused: int = 0  # entries that contradict what is written already, and were reported
