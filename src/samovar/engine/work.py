"""What the engine keeps of an action beside the core's decisions: its bytes, and who waits for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from samovar.model import QUEUED, CacheCall, Caching, Failure, Phase, TaskSpec

if TYPE_CHECKING:
    from samovar.engine.adoption import Survivor
    from samovar.engine.links import Link
    from samovar.engine.scribe import Record
    from samovar.engine.spans import Way
    from samovar.entries import Settled
    from samovar.traceparent import Traceparent


class Outcome:
    """How a run ended, for its starter: a payload or a failure."""

    __slots__ = ("blobs", "body", "failure", "phase")

    def __init__(self, phase: Phase, body: bytes, blobs: tuple[str, ...], failure: Failure | None) -> None:
        self.phase = phase
        self.body = body
        self.blobs = blobs
        self.failure = failure


class Called(NamedTuple):
    """What a run starts with: its first call."""

    task: TaskSpec
    body: bytes
    blobs: tuple[str, ...] = ()
    cached: CacheCall | None = None


class Known(NamedTuple):
    """The result of a call that has run."""

    body: bytes
    blobs: tuple[str, ...]  # names of what is kept, not to be consumed
    source: str  # RUN/ACTION


class Work:
    __slots__ = (
        "action",
        "blobs",
        "body",
        "cached",
        "call",
        "context",
        "epoch",
        "failure",
        "hit",
        "link",
        "number",
        "phase",
        "pool",
        "ran",
        "record",
        "result",
        "result_blobs",
        "run",
        "since",
        "task",
        "way",
    )

    def __init__(self, task: TaskSpec, pool: str, run: Run, number: int, body: bytes, blobs: tuple[str, ...]) -> None:
        self.task = task
        self.pool = pool
        self.run = run
        self.number = number  # within the run
        self.body = body
        self.blobs = blobs
        self.context = run.context
        self.cached: CacheCall | None = None
        self.hit: Known | None = None  # where it need not run
        self.action = 0
        self.link: Link | None = None  # the replica that asked for it; None: whoever started the run
        self.call = 0
        self.epoch = 0  # the attempt that counts
        self.ran = 0.0  # seconds that the task took in the attempt that ended last, without the way; 0.0: not known
        self.since = 0.0  # when it was assigned, by the monotonic clock; 0.0: by another engine
        self.result = b""
        self.result_blobs: tuple[str, ...] = ()
        self.phase = QUEUED
        self.failure: Failure | None = None
        self.record: Record | None = None  # where a journal is kept
        self.way: Way | None = None  # where it is traced

    @property
    def id(self) -> str:
        """The action's id within its run: that of the journal, or its number where none is kept."""
        return self.record.id if self.record is not None else str(self.number)

    @property
    def label(self) -> str:
        return f"{self.task.name} {self.run.name}-{self.number}"


class Starter(Protocol):
    """Who started a run, and is told of it; every method is called in a turn."""

    def running(self) -> None:
        """Its first action has left the queue."""
        ...

    def logged(self, label: str, stream: str, text: str) -> None:
        """One of its actions wrote something."""
        ...

    def ended(self, outcome: Outcome) -> None: ...


NONE: frozenset[str] = frozenset()


class Run:
    """One call from outside; numbers its actions."""

    __slots__ = (
        "actions",
        "caching",
        "client",
        "context",
        "is_resumed",
        "name",
        "parents",
        "pools",
        "recalled",
        "settled",
        "started",
        "starter",
        "survivors",
        "taken",
        "task",
        "top",
        "trace",
        "turns",
    )

    def __init__(
        self, name: str, context: dict[str, str] | None, starter: Starter, caching: Caching = "", trace: str = ""
    ) -> None:
        self.name = name
        self.trace = trace  # the span that it was started in; "": in none
        self.top: Traceparent | None = None  # what its first action is below, where the engine is traced
        self.caching = caching
        self.task: TaskSpec | None = None  # the first one
        self.context = context
        self.starter = starter
        self.started = time.time()
        self.actions = 0
        self.client = 0  # whoever its first action shares turns with: all that its client starts
        self.turns = 0  # the same of all its other actions; 0: there are none yet
        self.settled = 0  # of them, where a journal is kept
        self.pools: tuple[str, ...] = ()  # that only this run uses (scope="run")
        self.is_resumed = False  # another engine has written it down
        self.parents = NONE  # ids of actions that had called something before a crash
        self.recalled: dict[str, Settled] | None = (
            None  # what had ended before a crash or a retry, until it is asked for
        )
        self.survivors: dict[str, Survivor] = {}  # what replicas hold of it that have lived through the crash, by id
        self.taken = NONE  # ids of what has ended and does not count any more

    def number(self) -> int:
        self.actions += 1
        return self.actions


class Logbook(Protocol):
    """Keeps what tasks print; every method is called in a turn, and none waits."""

    def put(self, work: Work, stream: str, text: str) -> None: ...

    def put_shared(self, run: str, stream: str, text: str) -> None:
        """Text of one of the run's actions, or of another run's, and nobody knows which."""
        ...

    def ended(self, run: str) -> None:
        """Nothing follows of this run."""
        ...


class NoLogbook:
    """A logbook of whoever keeps none."""

    def put(self, work: Work, stream: str, text: str) -> None:
        return None

    def put_shared(self, run: str, stream: str, text: str) -> None:
        return None

    def ended(self, run: str) -> None:
        return None
