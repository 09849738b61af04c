"""The scribe: what an engine writes into its journal, and what it finds there after a crash.

Only engines that have a journal have one. It makes entries in the engine's turn and hands them over, which costs no
I/O. Ids of actions are made from what a run does, not from when: the same parent that calls the same task with the
same inputs for the n-th time gives the same id, so a run that is started again meets what it had finished.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from samovar.entries import Change, Entry, PoolEvent, RunEnded, RunStarted, Settled
from samovar.errors import SlowDownError
from samovar.model import Phase, TaskSpec
from samovar.ports import Journal

if TYPE_CHECKING:
    from samovar.engine.work import Run, Work

ROOT = "root"
"""The id of a run's first action."""


class Record:
    """What is known of an action beside its outcome."""

    __slots__ = ("attempts", "calls", "cold", "forsaken", "id", "parent", "queued", "replica", "started")

    def __init__(self, action: str, parent: Record | None, queued: float) -> None:
        self.id = action
        self.parent = parent
        self.forsaken: dict[str, tuple[Settled, Record]] | None = None
        """By id: what was aborted with an attempt, and is nobody's outcome unless no attempt asks for it again."""
        self.queued = queued
        self.started: float | None = None
        self.attempts = 0
        self.replica = ""
        self.cold = False
        self.calls: dict[str, int] = {}  # how often the current attempt has called what


class Scribe:
    def __init__(self, journal: Journal, engine: str, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self._journal = journal
        self._clock = clock
        self._waiting: deque[Entry] = deque()  # the journal had no room for them

    @property
    def is_slow(self) -> bool:
        """Nothing that is to be written down should be started now."""
        return bool(self._waiting) or self._journal.health().is_slow

    def begin(self, work: Work, is_new: bool) -> None:
        """A run starts with its first action; ``is_new``: it is not written down yet."""
        now = self._clock()
        work.record = Record(ROOT, None, now)
        if is_new:
            run = work.run
            self._write(
                RunStarted(run.name, self.engine, ROOT, work.task, now, work.body, work.blobs, run.context),
            )

    def call(self, parent: Record, task: TaskSpec, body: bytes) -> Record:
        """``parent`` calls a task."""
        called = hashlib.blake2b(f"{parent.id} {task.name} ".encode() + body, digest_size=12).hexdigest()
        times = parent.calls[called] = parent.calls.get(called, 0) + 1
        record = Record(f"{called}-{times}" if times > 1 else called, parent, self._clock())
        if parent.forsaken and (forsaken := parent.forsaken.pop(record.id, None)) is not None:
            record.forsaken = forsaken[1].forsaken
        return record

    def assigned(self, record: Record, replica: str, cold: bool) -> None:
        record.started = self._clock()
        record.attempts += 1
        record.replica = replica
        record.cold = cold
        record.calls.clear()

    def settled(self, work: Work, record: Record, superseded: bool) -> None:
        entry = self._entry(work, record)
        if superseded and record.parent is not None:
            if record.parent.forsaken is None:
                record.parent.forsaken = {}
            record.parent.forsaken[record.id] = (entry, record)
            return
        self._write(entry)
        left = [record]
        while left:
            for forsaken, below in (left.pop().forsaken or {}).values():
                self._write(forsaken)
                left.append(below)

    def _entry(self, work: Work, record: Record) -> Settled:
        kept = not work.result_blobs  # what lies in files of this engine goes with it
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
            result=work.result if kept and work.failure is None else b"",
            result_blobs=work.result_blobs,
            failure=work.failure,
        )

    def ended(self, run: Run, phase: Phase) -> None:
        self._write(RunEnded(run.name, phase, self._clock(), run.actions))

    def happened(self, pool: str, change: Change, replica: str = "", reason: str = "") -> None:
        self._write(PoolEvent(pool, self._clock(), change, replica, reason=reason))

    def catch_up(self) -> None:
        """Hand over what the journal had no room for."""
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        if self._waiting:
            self._waiting.append(entry)
            return
        try:
            self._journal.record(entry)
        except SlowDownError:
            self._waiting.append(entry)
