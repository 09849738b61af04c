"""The scribe: what an engine writes into its journal, and what it finds there after a crash.

Only engines that have a journal have one. It makes entries in the engine's turn and hands them over, which costs no
I/O. Ids of actions are made from what a run does, not from when: the same parent that calls the same task with the
same inputs for the n-th time gives the same id, so a run that is started again meets what it had finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from samovar.engine.work import NONE
from samovar.entries import AttemptEnded, Change, Entry, PoolEvent, RunEnded, RunStarted, Settled
from samovar.errors import JournalError, SlowDownError
from samovar.light import msgspec
from samovar.model import SUCCEEDED, Failure, Phase, TaskSpec
from samovar.ports import Journal
from samovar.wire.frames import Done, Failed, Holds, Origin

if TYPE_CHECKING:
    from samovar.core.messages import Assign
    from samovar.engine.work import Run, Work
    from samovar.wire.frames import Submit, Traced

ROOT = "root"
"""The id of a run's first action."""

TRACE = "@"
"""Stands in the id of a traced call between that of its action and its own key."""

AGAIN = "~"
"""Stands in an id before the number of the time that this is done, after what came of it before did not count."""

INPUTS_KEPT = 4096
"""Bytes of inputs, up to which an action is written down with them."""

MANY = 1_000
"""Entries that are handed over when a turn ends; fewer wait for the tick."""

_FLUSH_SECONDS = 5.0


class Record:
    """What is known of an action beside its outcome."""

    __slots__ = (
        "attempts",
        "called",
        "cold",
        "failed_at",
        "failing",
        "failures",
        "forsaken",
        "hashes",
        "id",
        "parent",
        "queued",
        "replica",
        "started",
    )

    def __init__(self, action: str, parent: Record | None, queued: float) -> None:
        self.id = action
        self.parent = parent
        self.forsaken: dict[str, tuple[Settled, Record]] | None = None
        """By id: what was aborted with an attempt, and is nobody's outcome unless no attempt asks for it again."""
        self.queued = queued
        self.started: float | None = None
        self.attempts = 0
        self.failures = 0  # of its own
        self.failed_at = 0.0  # the last of them
        self.replica = ""
        self.cold = False
        self.hashes: dict[str, Any] | None = None  # of its id and a task; each call copies one
        self.called = False  # an attempt has called or traced something, and what came of it may be written down
        self.failing: set[str] | None = None  # ids of what it called that have failed

    def assigned(self, command: Assign) -> Origin:
        """An attempt begins. What its replica keeps of it, for the engine that comes after this one."""
        self.started = now = time.time()
        self.attempts += 1
        self.replica = command.replica
        self.cold = cold = command.cold
        parent = self.parent
        caller = parent.id if parent is not None else ""
        return Origin(self.id, caller, self.queued, now, cold, self.failures, self.failed_at)

    def call(self, task: str, body: bytes, ordinal: int) -> str:
        """The id of what it calls, with these inputs for the ``ordinal``-th time."""
        self.called = True
        if self.hashes is None:
            self.hashes = {}
        begun = self.hashes.get(task)
        if begun is None:
            begun = self.hashes[task] = hashlib.blake2b(f"{self.id} {task} ".encode(), digest_size=12)
        ended = begun.copy()
        ended.update(body)
        called: str = ended.hexdigest()
        return f"{called}-{ordinal}" if ordinal > 1 else called


class Scribe:
    def __init__(self, journal: Journal, engine: str) -> None:
        self.engine = engine
        self._journal = journal
        self._clock = time.time
        self._entries: list[Entry] = []  # since the tick, and those for which the journal had no room
        self._write: Callable[[Entry], None] = self._entries.append
        self._handed = 0  # entries that the journal has
        self._noted: dict[Run, str] = {}  # written down for their cached results → their names here
        self.is_slow = False
        """Nothing that is to be written down should be started now. Known anew at each tick."""

    @property
    def written(self) -> int:
        """Entries so far."""
        return self._handed + len(self._entries)

    @property
    def committed(self) -> int:
        """How many of them are on disk for certain."""
        return self._handed - self._journal.health().backlog

    def begin(self, work: Work, is_new: bool) -> None:
        """A run starts with its first action; ``is_new``: it is not written down yet."""
        now = self._clock()
        work.record = Record(ROOT, None, now)
        if is_new:
            run = work.run
            self._write(
                RunStarted(run.name, self.engine, ROOT, work.task, now, work.body, work.blobs, run.context, run.caching)
            )

    def call(self, run: Run, parent: Record, task: TaskSpec, frame: Submit) -> Record:
        """``parent`` calls a task."""
        action = parent.call(task.name, frame.body, frame.ordinal)
        if action in run.taken:
            action = _free(run, action)
        record = Record(action, parent, self._clock())
        if parent.forsaken and (forsaken := parent.forsaken.pop(action, None)) is not None:
            record.forsaken = forsaken[1].forsaken
            record.called = forsaken[1].called
        return record

    def recalls(self, run: Run, record: Record, command: Assign) -> bool:
        """Whether the attempt that begins is not the first, and there is something to recall of those before."""
        if not (command.failures or record.called or run.parents):
            return False
        if command.failures > record.failures:  # tried again because it failed: so is what failed below it
            record.failures = command.failures
            record.failed_at = self._clock()
            run.taken |= record.failing or NONE
            record.failing = None
        record.called = record.called or record.id in run.parents
        return record.called

    def recall(self, held: Holds, replica: str) -> Record:
        """What an engine before this one knew of an action. Its parent is whoever asks for it."""
        origin = held.origin
        record = Record(origin.action, None, origin.queued)
        record.started = origin.started
        record.attempts = held.attempt
        record.replica = replica
        record.cold = origin.cold
        record.failures, record.failed_at = origin.failures, origin.failed_at
        record.called = True  # it may have
        return record

    def found(self, held: Holds, replica: str, outcome: Done | Failed, run: Run) -> Settled:
        """Write down an outcome that an engine before this one had taken in, and not written."""
        origin = held.origin
        failure = outcome.failure if isinstance(outcome, Failed) else None
        phase = SUCCEEDED
        if failure is not None:
            phase = Phase.ABORTED if failure.code == "CancelledError" else Phase.FAILED
        body, blobs = (outcome.body, outcome.blobs) if isinstance(outcome, Done) else (b"", ())
        entry = Settled(
            held.run,
            origin.action,
            origin.parent,
            held.task,
            phase,
            origin.queued,
            self._clock(),
            origin.started,
            held.attempt,
            replica,
            origin.cold,
            result=body,
            result_blobs=blobs,
            failure=failure,
            of_run=held.number,
        )
        self._settle(run, entry)
        return entry

    def settled(self, work: Work, record: Record, superseded: bool) -> None:
        entry = self._entry(work, record)
        if superseded and record.parent is not None:
            if record.parent.forsaken is None:
                record.parent.forsaken = {}
            record.parent.forsaken[record.id] = (entry, record)
            return
        work.run.settled += 1
        self._write(entry)
        if work.failure is not None:
            self.failed(record)
        if record.forsaken:
            self._settle_forsaken(work.run, record)

    def _settle_forsaken(self, run: Run, record: Record) -> None:
        left = [record]
        while left:
            for forsaken, below in (left.pop().forsaken or {}).values():
                self._settle(run, forsaken)
                left.append(below)

    def failed(self, record: Record) -> None:
        """What an action called has failed, now or before a crash."""
        if record.parent is not None:
            add_failing(record.parent, record.id)

    def traced(self, work: Work, record: Record, frame: Traced) -> None:
        """A traced call of an execution has ended."""
        run = work.run
        action = _free(run, f"{record.id}{TRACE}{frame.key}")
        record.called = True
        if frame.failure is not None:
            add_failing(record, action)
        entry = Settled(
            run.name,
            action,
            record.id,
            frame.name,
            SUCCEEDED if frame.failure is None else Phase.FAILED,
            frame.started,
            self._clock(),
            frame.started,
            1,
            record.replica,
            result=frame.body,
            result_blobs=frame.blobs,
            failure=frame.failure,
        )
        self._write(entry)

    def note(self, work: Work, record: Record) -> None:
        """The result of a cached call, by an engine that writes down nothing else: its run goes before it."""
        run = work.run
        if run not in self._noted and run.task is not None:
            name = f"{run.name}.{os.urandom(3).hex()}"  # a script may use a name again
            self._noted[run] = name
            self._write(RunStarted(name, self.engine, ROOT, run.task, record.queued, caching=run.caching))
        parent = "" if record.id == ROOT else ROOT
        self._write(msgspec.structs.replace(self._entry(work, record), run=self._noted[run], parent=parent))

    def note_end(self, run: Run, phase: Phase) -> None:
        name = self._noted.pop(run, None)
        if name is not None:
            self._write(RunEnded(name, phase, self._clock(), run.actions))

    def _settle(self, run: Run, entry: Settled) -> None:
        run.settled += 1
        self._write(entry)

    def _entry(self, work: Work, record: Record, actions: int = 0) -> Settled:
        hit, succeeded = work.hit, work.failure is None
        return Settled(
            work.run.name,
            record.id,
            record.parent.id if record.parent is not None else "",
            work.task.name,
            work.phase,
            record.queued,
            self._clock(),
            record.started,
            record.attempts,
            record.replica,
            record.cold,
            work.result if succeeded else b"",
            work.result_blobs if hit is None else hit.blobs,
            work.body if record.parent is not None and len(work.body) <= INPUTS_KEPT else b"",
            (),
            work.failure,
            work.cached.key if work.cached is not None and succeeded else "",
            hit.source if hit is not None else "",
            work.ran,
            work.number,
            actions,
        )

    def retried(self, work: Work, record: Record, failure: Failure) -> None:
        """An attempt has ended, and its action goes on."""
        entry = AttemptEnded(
            work.run.name,
            record.id,
            record.attempts,
            record.replica,
            record.cold,
            record.started or record.queued,
            self._clock(),
            failure,
        )
        self._write(entry)

    # in a thread

    def known(self, key: str) -> Settled | None:
        """The newest result under a cache key."""
        with contextlib.suppress(JournalError):
            return next(iter(self._journal.settled(cache_key=key)), None)
        return None

    def below(self, run: str, action: str) -> list[Settled]:
        """What an action has called and traced, as far as it has ended; nothing where the journal cannot say."""
        with contextlib.suppress(JournalError):
            self._journal.flush(_FLUSH_SECONDS)
            return list(self._journal.settled(run=run, parent=action))
        return []

    # in a turn

    def ended(self, work: Work, record: Record) -> None:
        """A run has ended: this is its first action."""
        run = work.run
        if record.forsaken:
            self._settle_forsaken(run, record)
        run.settled += 1
        self._write(self._entry(work, record, run.settled))

    def happened(self, pool: str, change: Change, replica: str = "", reason: str = "", replicas: int = 0) -> None:
        """``replicas``: how many the pool wants from here on."""
        self._write(PoolEvent(pool, self._clock(), change, replica, replicas, reason))

    def turn_ended(self) -> None:
        if len(self._entries) >= MANY and not self.is_slow:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the journal what is written; what it has no room for is given again."""
        if not self._entries and not self.is_slow:
            return
        try:
            self._journal.record(*self._entries)
        except SlowDownError:
            self.is_slow = True
        else:
            self._handed += len(self._entries)
            self._entries.clear()
            self.is_slow = self._journal.health().is_slow


def _free(run: Run, action: str) -> str:
    """The id, or the next one of it that is not taken by an outcome that does not count any more."""
    while action in run.taken:
        base, times = parted(action)
        action = f"{base}{AGAIN}{times + 1}"
    return action


def parted(action: str) -> tuple[str, int]:
    """An id without, and for which time it is done."""
    base, _, times = action.rpartition(AGAIN)
    return (base, int(times)) if times.isdigit() and base else (action, 1)


def add_failing(record: Record, action: str) -> None:
    if record.failing is None:
        record.failing = set()
    record.failing.add(action)
