"""A journal in memory: for tests, and for an engine whose runs need not outlive it.

It keeps every promise of the port but one: it is gone with its process.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from samovar.entries import (
    ActionQuery,
    ActionSummary,
    AttemptEnded,
    AttemptQuery,
    Entry,
    Health,
    Keep,
    Page,
    PoolEvent,
    RunEnded,
    RunQuery,
    RunStarted,
    RunSummary,
    Settled,
    StartQuery,
)
from samovar.errors import JournalAwayError, JournalError
from samovar.journal import pages
from samovar.journal.writer import Before, OnHealth, OnRefused, Room, Sorted, Writer, nothing
from samovar.model import RUNNING, SUCCEEDED

__all__ = ["MemoryJournal"]

_Undo = Callable[[], object]


class _Tables:
    """What is written. Each row has the number of its place in the order of writing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.away = ""  # why nothing can be read or written
        self.started: dict[str, tuple[int, RunStarted]] = {}
        self.ended: dict[str, RunEnded] = {}
        self.settled: dict[str, dict[str, tuple[int, Settled]]] = {}  # by run, by action
        self.attempts: dict[str, dict[tuple[str, int], tuple[int, AttemptEnded]]] = {}
        self.events: dict[int, PoolEvent] = {}
        self.garbage: set[str] = set()
        self._rows = 0
        self._write: dict[type[Any], Callable[[Any], _Undo]] = {
            RunStarted: self._run_started,
            RunEnded: self._run_ended,
            Settled: self._action_settled,
            AttemptEnded: self._attempt_ended,
            PoolEvent: self._pool_event,
        }

    def commit(self, group: Sequence[Entry], number: int) -> None:
        undo: list[_Undo] = []
        with self.reading():
            try:
                for entry in group:
                    undo.append(self._write[type(entry)](entry))
            except JournalError:
                for step in reversed(undo):
                    step()
                raise

    def sort(self, is_calm: bool) -> Sorted:
        return Sorted(is_all=True)  # whatever is committed is in its place

    def close(self) -> None:
        """There is nothing to let go."""

    def reading(self) -> threading.RLock:
        if self.away:
            raise JournalAwayError(self.away)
        return self.lock

    def referred(self) -> set[str]:
        """Blobs that something refers to."""
        named = {name for _, run in self.started.values() for name in run.input_blobs}
        for actions in self.settled.values():
            for _, action in actions.values():
                named.update(action.input_blobs, action.result_blobs)
        return named

    def _number(self) -> int:
        self._rows += 1
        return self._rows

    def _add(self, table: dict[Any, Any], key: Any, row: Any) -> _Undo:
        if key in table:
            raise JournalError("it is written already, and the first one stays")
        table[key] = row
        return partial(table.pop, key)

    def _known(self, run: str) -> None:
        if run not in self.started:
            raise JournalError("its run is not written")

    def _run_started(self, entry: RunStarted) -> _Undo:
        return self._add(self.started, entry.run, (self._number(), entry))

    def _run_ended(self, entry: RunEnded) -> _Undo:
        self._known(entry.run)
        return self._add(self.ended, entry.run, entry)

    def _action_settled(self, entry: Settled) -> _Undo:
        self._known(entry.run)
        forget = self._add(self.settled.setdefault(entry.run, {}), entry.action, (self._number(), entry))
        if (end := entry.run_ended) is None:
            return forget
        try:
            go_on = self._run_ended(end)
        except JournalError:
            forget()
            raise
        return lambda: (go_on(), forget())

    def _attempt_ended(self, entry: AttemptEnded) -> _Undo:
        self._known(entry.run)
        row = (self._number(), entry)
        return self._add(self.attempts.setdefault(entry.run, {}), (entry.action, entry.attempt), row)

    def _pool_event(self, entry: PoolEvent) -> _Undo:
        return self._add(self.events, self._number(), entry)


class MemoryJournal:
    """A ``samovar.ports.Journal``. A reason in ``away`` makes it one whose database has gone; "" brings it back."""

    def __init__(
        self,
        on_health: OnHealth = lambda health: None,
        on_refused: OnRefused = lambda entry, error: None,
        room: Room | None = None,
        before: Before = nothing,
    ) -> None:
        self._tables = _Tables()
        self._writer = Writer(self._tables, on_health, on_refused, room, before)
        self.record = self._writer.record
        self.flush = self._writer.flush
        self.close = self._writer.close

    @property
    def away(self) -> str:
        return self._tables.away

    @away.setter
    def away(self, reason: str) -> None:
        self._tables.away = reason

    def health(self) -> Health:
        return self._writer.health()

    def unfinished(self, engine: str) -> list[RunStarted]:
        tables = self._tables
        with tables.reading():
            runs = [run for _, run in tables.started.values() if run.engine == engine and run.run not in tables.ended]
        return sorted(runs, key=lambda run: run.started)

    def settled(
        self, run: str = "", action: str = "", cache_key: str = "", parent: str | None = None
    ) -> Iterator[Settled]:
        tables = self._tables
        with tables.reading():
            if cache_key:
                rows = [row for actions in tables.settled.values() for row in actions.values()]
                found = [row for row in rows if row[1].cache_key == cache_key and row[1].phase == SUCCEEDED]
                return iter([max(found, key=lambda row: row[0])[1]] if found else [])
            actions = tables.settled.get(run, {})
            if action:
                actions = {key: row for key, row in actions.items() if key == action}
            return iter([entry for _, entry in actions.values() if parent in (None, entry.parent)])

    def find(self, query: Any) -> Page[Any]:
        tables = self._tables
        with tables.reading():
            if isinstance(query, RunQuery):
                return _page(query, _runs(tables, query))
            if isinstance(query, StartQuery):
                began = tables.started.values()
                return _page(query, ((run.started, number, run) for number, run in began if query.run in ("", run.run)))
            if isinstance(query, ActionQuery):
                return _page(query, _actions(tables, query))
            if isinstance(query, AttemptQuery):
                attempts = tables.attempts.get(query.run, {}).values()
                return _page(
                    query,
                    (
                        (attempt.ended, number, attempt)
                        for number, attempt in attempts
                        if query.action in ("", attempt.action)
                    ),
                )
            return _page(
                query,
                (
                    (event.at, number, event)
                    for number, event in tables.events.items()
                    if query.pool in ("", event.pool) and query.replica in ("", event.replica)
                ),
            )

    def prune(self, keep: Keep, swept: Sequence[str] = (), found: Sequence[str] = ()) -> list[str]:
        tables = self._tables
        with tables.reading():
            before = tables.referred()
            for run in _outdated(tables, keep):
                del tables.started[run], tables.ended[run]
                tables.settled.pop(run, None)
                tables.attempts.pop(run, None)
            horizon = time.time() - keep.age if keep.age is not None else float("-inf")
            surplus = len(tables.events) - keep.events if keep.events is not None else 0
            for at, (number, event) in enumerate(list(tables.events.items())):
                if event.at < horizon or at < surplus:
                    del tables.events[number]
            after = tables.referred()
            tables.garbage |= before - after
            tables.garbage -= set(swept)
            return sorted(tables.garbage | (set(found) - after))


def _outdated(tables: _Tables, keep: Keep) -> list[str]:
    newest = sorted(tables.ended.values(), key=lambda run: run.ended, reverse=True)
    horizon = time.time() - keep.age if keep.age is not None else float("-inf")
    return [
        run.run for at, run in enumerate(newest) if run.ended < horizon or (keep.runs is not None and at >= keep.runs)
    ]


def _runs(tables: _Tables, query: RunQuery) -> Iterator[tuple[float, int, RunSummary]]:
    for number, run in tables.started.values():
        end = tables.ended.get(run.run)
        phase = end.phase if end else RUNNING
        if (
            query.run in ("", run.run)
            and query.engine in ("", run.engine)
            and query.task in ("", run.task.name)
            and query.phase in (None, phase)
        ):
            ended, actions = (end.ended, end.actions) if end else (None, 0)
            summary = RunSummary(run.run, run.engine, run.action, run.task.name, phase, run.started, ended, actions)
            yield run.started, number, summary


def _actions(tables: _Tables, query: ActionQuery) -> Iterator[tuple[float, int, ActionSummary]]:
    runs = [tables.settled.get(query.run, {})] if query.run else list(tables.settled.values())
    for number, a in (row for actions in runs for row in actions.values()):
        if (
            query.action in ("", a.action)
            and query.parent in (None, a.parent)
            and query.phase in (None, a.phase)
            and query.task in ("", a.task)
            and query.replica in ("", a.replica)
        ):
            yield a.ended, number, pages.summary_of(a)


def _page(query: Any, rows: Iterable[tuple[float, int, Any]]) -> Page[Any]:
    after = pages.place(query.after)
    length = pages.length(query.limit)
    since = float("-inf") if query.since is None else query.since
    until = float("inf") if query.until is None else query.until

    def is_wanted(row: tuple[float, int, Any]) -> bool:
        if not since <= row[0] < until:
            return False
        return after is None or (row[:2] > after if query.oldest_first else row[:2] < after)

    first = heapq.nsmallest if query.oldest_first else heapq.nlargest
    found = first(length + 1, filter(is_wanted, rows), key=lambda row: row[:2])
    more = pages.cursor(found[length - 1][:2]) if len(found) > length else ""
    return Page([row[2] for row in found[:length]], more)
