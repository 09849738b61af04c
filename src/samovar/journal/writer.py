"""The one way into a journal: a queue in memory, and a thread that commits what is in it, in groups.

Whoever records appends to a deque and goes on. What must stay true: entries are committed in their order, each
exactly once; none is dropped without a report; the queue is bounded, in entries and in bytes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from samovar.entries import Entry, Health, PoolEvent, RunEnded, RunStarted, size_of
from samovar.errors import JournalAwayError, JournalError, SlowDownError

GATHER = 0.1  # seconds in which a group gathers in busy times: each commit takes the interpreter from the engine
GROUP = 20_000  # entries that are committed at once, and what was recorded together with the last of them
CALM = 250  # entries of a group; of more, the engine is busy and has better use for the processor
QUIET = 0.25  # seconds without such a group until it is calm
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0  # seconds between tries while the database is away

OnHealth = Callable[[Health], None]
OnRefused = Callable[[Entry, JournalError], None]

Before = Callable[[Sequence[Entry]], None]
"""Called with each group before it is committed, perhaps more than once. It raises as ``Store.commit`` does."""


def nothing(group: Sequence[Entry]) -> None:
    """Nothing is to be done before a commit."""


class Room(NamedTuple):
    """What may wait to be committed."""

    entries: int = 100_000
    bytes: int = 256 * 1024 * 1024


class Sorted(NamedTuple):
    is_all: bool  # nothing that is committed waits to be sorted
    refused: Sequence[tuple[Entry, Exception]] = ()  # contradict what is written already


class Store(Protocol):
    """What a writer commits to. Called by one thread."""

    def commit(self, group: Sequence[Entry], number: int) -> None:
        """Write all of the group or nothing of it; a group whose number is written already is left as it is.

        JournalAwayError: not now. Any other exception: an entry of the group cannot be written, ever.
        """
        ...

    def sort(self, is_calm: bool) -> Sorted:
        """Put some of what is committed where readers find it, if there is time. JournalAwayError: not now."""
        ...

    def close(self) -> None: ...


class Writer:
    """``on_health`` is told when trouble begins, changes and ends, ``on_refused`` of each entry that cannot be written;
    both are called by the writer's thread and must not raise."""

    def __init__(
        self,
        store: Store,
        on_health: OnHealth = lambda health: None,
        on_refused: OnRefused = lambda entry, error: None,
        room: Room | None = None,
        before: Before = nothing,
    ) -> None:
        self._store = store
        self._before = before
        self._on_health = on_health
        self._on_refused = on_refused
        self._room = room or Room()
        self._queue: deque[tuple[Sequence[Entry], int]] = deque()  # with their bytes
        self._lock = threading.Lock()  # held for a few instructions
        self._recorded = self._recorded_bytes = 0  # changed by whoever holds the lock
        self._done = self._done_bytes = 0  # changed by the writer alone
        self._sorted = 0  # the same
        self._until, self._until_bytes = self._room  # of what is recorded, as far as there is room; the same
        self._number = 0
        self._refused = 0
        self._disowned: set[str] = set()  # names of runs that were refused: another run has them
        self._trouble = ""
        self._behind_since = 0.0
        self._is_idle = True
        self._is_closed = False
        self._flushing = 0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._abandon = threading.Event()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="samovar-journal", daemon=True)
        self._thread.start()

    def record(self, *entries: Entry) -> None:
        size = size_of(entries)
        with self._lock:
            recorded = self._recorded + len(entries)
            recorded_bytes = self._recorded_bytes + size
            if recorded > self._until or recorded_bytes > self._until_bytes:
                self._check_room()
            if self._is_closed:
                raise JournalError("the journal is closed")
            self._queue.append((entries, size))
            self._recorded = recorded
            self._recorded_bytes = recorded_bytes
            if not self._is_idle:
                return
            self._is_idle = False
            self._behind_since = time.monotonic()
        self._wake.set()

    def _check_room(self) -> None:
        """Alone, what is recorded together finds room whatever its size."""
        backlog = self._recorded - self._done
        if backlog:
            raise SlowDownError(f"the journal has no room, {backlog} entries wait: {self._trouble or 'it is slow'}")

    def flush(self, timeout: float) -> None:
        """Until all is committed and sorted in, so that whatever is refused has been told."""
        self._await(lambda: self._sorted, timeout)

    def _await(self, reached: Callable[[], int], timeout: float) -> None:
        with self._lock:
            wanted = self._recorded
            self._flushing += 1
            self._hurry.set()
        self._wake.set()
        try:
            with self._progress:
                if self._progress.wait_for(lambda: reached() >= wanted, timeout):
                    return
        finally:
            with self._lock:
                self._flushing -= 1
                if not self._flushing:
                    self._hurry.clear()
        raise JournalError(
            f"{wanted - reached()} entries are not committed after {timeout:g} s: {self._trouble or 'it is slow'}"
        )

    def health(self) -> Health:
        backlog, waiting = self._recorded - self._done, self._recorded_bytes - self._done_bytes
        return Health(
            backlog,
            waiting,
            time.monotonic() - self._behind_since if backlog else 0.0,
            backlog * 2 > self._room.entries or waiting * 2 > self._room.bytes,
            self._trouble,
            self._refused,
        )

    def close(self, timeout: float) -> None:
        """The store is closed by the writer's thread, which alone uses it. A second call does nothing."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        try:
            self._await(lambda: self._done, timeout)
        except JournalError as error:
            raise JournalError(f"the journal is closed and these are lost: {error}") from error
        finally:
            self._abandon.set()
            self._wake.set()
            self._thread.join(timeout)

    # the writer's thread

    def _work(self) -> None:
        busy_until = 0.0
        while not self._abandon.is_set():
            group, size = self._take(time.monotonic() < busy_until)
            if group and not self._commit(group):
                break
            self._done_bytes += size
            self._until_bytes = self._done_bytes + self._room.bytes
            now = time.monotonic()
            if group and len(group) >= CALM:
                busy_until = now + QUIET
            is_calm = now >= busy_until or self._flushing > 0
            is_all = self._sort(is_calm)
            if not group and (is_all or not is_calm):
                self._wake.wait(None if is_all else busy_until - now)
                self._wake.clear()
        self._store.close()

    def _take(self, is_busy: bool) -> tuple[list[Entry], int]:
        """The next group, once it has gathered, and its bytes; empty when there is nothing, and then ``record`` wakes
        this thread."""
        with self._lock:
            if not self._queue:
                self._is_idle = True
                return [], 0
        if is_busy and self._recorded - self._done < GROUP:
            self._hurry.wait(GATHER)
        group, size = list[Entry](), 0
        while self._queue and len(group) < GROUP:
            entries, more = self._queue.popleft()
            group += entries
            size += more
        return group, size

    def _commit(self, group: Sequence[Entry]) -> bool:
        """Until it is written; False when it is given up. Entries that cannot be written are found by halves."""
        self._number += 1
        number, taken = self._number, time.monotonic()
        if self._disowned:
            group = self._owned(group)

        def step() -> None:
            self._before(group)
            self._store.commit(group, number)

        try:
            if not self._insist(step):
                return False
        except Exception as error:
            if len(group) > 1:
                half = len(group) // 2
                return self._commit(group[:half]) and self._commit(group[half:])
            if isinstance(group[0], RunStarted):
                self._disowned.add(group[0].run)
            self.refuse([(group[0], error)])
        with self._progress:
            self._done += len(group)
            self._until = self._done + self._room.entries
            self._behind_since = taken
            self._progress.notify_all()
        return True

    def _owned(self, group: Sequence[Entry]) -> Sequence[Entry]:
        """Without what is of runs that were refused, which would be written down as another run's."""
        owned = []
        for entry in group:
            if isinstance(entry, PoolEvent) or entry.run not in self._disowned:
                owned.append(entry)
            elif isinstance(entry, RunStarted):  # one more, and the name may be free by now
                self._disowned.discard(entry.run)
                owned.append(entry)
            else:
                self.refuse([(entry, JournalError("another run has this name"))])
        self._done += len(group) - len(owned)
        return owned

    def _sort(self, is_calm: bool) -> bool:
        """Whether all that is committed is in its place, or nothing more can be done."""
        found: list[Sorted] = []
        if not self._insist(lambda: found.append(self._store.sort(is_calm))):
            return True
        self.refuse(found[0].refused)
        if found[0].is_all:
            with self._progress:
                self._sorted = self._done
                self._progress.notify_all()
        return found[0].is_all

    def _insist(self, step: Callable[[], object]) -> bool:
        """Until the database is there. False: it is given up."""
        pause = FIRST_PAUSE
        while True:
            try:
                step()
            except JournalAwayError as error:
                self._say(str(error))
                if self._abandon.wait(pause):
                    return False
                pause = min(2 * pause, LAST_PAUSE)
            else:
                self._say("")
                return True

    def refuse(self, refused: Sequence[tuple[Entry, Exception]]) -> None:
        """Tell of entries that contradict what is written. In any thread."""
        for entry, why in refused:
            with self._lock:
                self._refused += 1
            self._on_refused(entry, JournalError(f"{told(entry)} is refused: {why}"))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_health(self.health())


def told(entry: Entry) -> str:
    """An entry for people; never its payloads."""
    if isinstance(entry, PoolEvent):
        return f"the event '{entry.change}' of pool {entry.pool}"
    if isinstance(entry, RunStarted | RunEnded):
        return f"the {'start' if isinstance(entry, RunStarted) else 'end'} of run {entry.run}"
    return f"action {entry.action} of run {entry.run}"
