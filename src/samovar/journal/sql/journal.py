"""The journal's questions, in SQL. Lists are read in parts by the key they are sorted by, never by an offset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Select, Table, delete, func, literal_column, select, text, tuple_, update

from samovar.entries import (
    ActionQuery,
    AttemptQuery,
    EventQuery,
    Health,
    Keep,
    Page,
    RunQuery,
    RunStarted,
    Settled,
    StartQuery,
)
from samovar.journal import pages
from samovar.journal.sql import rows, schema
from samovar.journal.sql.dialects import dialect, translated, writing
from samovar.journal.sql.schema import ACTIONS, ATTEMPTS, BLOBS, EVENTS, GARBAGE, RUNS
from samovar.journal.sql.store import SqlStore
from samovar.journal.sql.unsorted import Unsorted
from samovar.journal.writer import Before, OnHealth, OnRefused, Room, Writer, nothing
from samovar.model import SUCCEEDED

__all__ = ["SqlJournal"]

# Each in the words of a partial index, which is used only then.
_FAILED: ColumnElement[bool] = literal_column("phase") != literal_column("'succeeded'")
_TO_DELETE = text("is_pruned")

_PART = 1_000  # actions that are read at once
_PRUNED = 5_000  # rows that are deleted at once, so that the writer gets its turn in between


class _Listing(NamedTuple):
    """How a kind of query is answered."""

    table: Table
    time: Column[float]
    columns: tuple[str, ...]  # that are read
    fields: tuple[str, ...]  # of the query, conditions unless empty
    item: Callable[[Any], Any]


_LISTINGS: dict[Any, _Listing] = {
    RunQuery: _Listing(
        RUNS,
        RUNS.c.started,
        ("number", "run", "engine", "action", "task", "phase", "started", "ended", "actions"),
        ("run", "engine", "phase", "task"),
        rows.run_summary,
    ),
    StartQuery: _Listing(RUNS, RUNS.c.started, ("number", *rows.RUN_COLUMNS), ("run",), rows.run_of),
    ActionQuery: _Listing(
        ACTIONS,
        ACTIONS.c.ended,
        ("number", *(name for name in rows.ACTION_COLUMNS if name not in ("inputs", "result", "detail", "cache_key"))),
        ("run", "action", "phase", "task", "replica"),
        rows.action_summary,
    ),
    AttemptQuery: _Listing(
        ATTEMPTS, ATTEMPTS.c.ended, ("number", *rows.ATTEMPT_COLUMNS), ("run", "action"), rows.attempt_of
    ),
    EventQuery: _Listing(EVENTS, EVENTS.c.at, ("number", *rows.EVENT_COLUMNS), ("pool", "replica"), rows.event_of),
}


class SqlJournal:
    """A ``samovar.ports.Journal`` in the file or the PostgreSQL database that ``url`` names.

    Raises JournalAwayError when it cannot be opened, JournalError when its schema is newer than this samovar, and
    InitializationError when PostgreSQL is wanted and psycopg is not installed.
    """

    def __init__(
        self,
        url: str,
        on_health: OnHealth = lambda health: None,
        on_refused: OnRefused = lambda entry, error: None,
        room: Room | None = None,
        before: Before = nothing,
    ) -> None:
        self._dialect = dialect(url)
        try:
            with translated(self._dialect), writing(self._dialect.engine) as connection:
                self._dialect.lock_schema(connection)
                schema.migrate(connection, self._dialect.words)
            self._unsorted = Unsorted(self._dialect)
            store = SqlStore(self._dialect, self._unsorted)
        except BaseException:
            self._dialect.engine.dispose()
            raise
        self._writer = Writer(store, on_health, on_refused, room, before)
        self.record = self._writer.record
        self.flush = self._writer.flush
        self.close = self._writer.close

    def health(self) -> Health:
        return self._writer.health()

    def unfinished(self, engine: str) -> list[RunStarted]:
        self._sort()
        wanted = select(RUNS).where(RUNS.c.engine == engine, RUNS.c.ended.is_(None)).order_by(RUNS.c.started)
        return [rows.run_of(row) for row in self._read(wanted)]

    def settled(
        self, run: str = "", action: str = "", cache_key: str = "", parent: str | None = None
    ) -> Iterator[Settled]:
        self._sort()
        if cache_key:
            wanted = select(ACTIONS).where(ACTIONS.c.cache_key == cache_key, ACTIONS.c.phase == str(SUCCEEDED))
            yield from map(rows.settled_of, self._read(wanted.order_by(ACTIONS.c.number.desc()).limit(1)))
            return
        of_run = select(ACTIONS).where(ACTIONS.c.run == run)
        if parent is not None:
            yield from self._children(of_run.where(ACTIONS.c.parent == parent))
            return
        if action:
            yield from map(rows.settled_of, self._read(of_run.where(ACTIONS.c.action == action)))
            return
        if parent is not None:
            of_run = of_run.where(ACTIONS.c.parent == parent)
        last = ""
        while part := self._read(of_run.where(ACTIONS.c.action > last).order_by(ACTIONS.c.action).limit(_PART)):
            yield from map(rows.settled_of, part)
            last = part[-1].action

    def _children(self, wanted: Select[Any]) -> Iterator[Settled]:
        """Along the index of parents."""
        key, place = (ACTIONS.c.ended, ACTIONS.c.number), (float("-inf"), 0)
        of_parent = wanted.order_by(*key).limit(_PART)
        while part := self._read(of_parent.where(tuple_(*key) > tuple_(*place))):
            yield from map(rows.settled_of, part)
            place = (part[-1].ended, part[-1].number)

    def find(self, query: Any) -> Page[Any]:
        self._sort()
        listing, length = _LISTINGS[type(query)], pages.length(query.limit)
        found = self._read(listed(query))
        more = ""
        if len(found) > length:
            last = found[length - 1]
            more = pages.cursor((getattr(last, listing.time.name), last.number))
        return Page([listing.item(row) for row in found[:length]], more)

    def prune(self, keep: Keep, swept: Sequence[str] = (), found: Sequence[str] = ()) -> list[str]:
        """In many small transactions. A run that is to go is hidden first, so that nobody sees half of it."""
        self._sort()
        now = time.time()
        with translated(self._dialect), writing(self._dialect.engine) as connection:
            for outdated in _outdated(keep, now):
                connection.execute(update(RUNS).where(outdated, RUNS.c.ended.is_not(None)).values(is_pruned=True))
            for at in range(0, len(swept), _PART):
                connection.execute(delete(GARBAGE).where(GARBAGE.c.name.in_(swept[at : at + _PART])))
        for run in [row.run for row in self._read(select(RUNS.c.run).where(_TO_DELETE))]:
            self._delete(select(ACTIONS.c.number).where(ACTIONS.c.run == run), ACTIONS)
            self._delete_run(run)
        for old in _old_events(keep, now):
            self._delete(old, EVENTS)
        unwritten = set(found)
        for at in range(0, len(found), _PART):
            written = select(BLOBS.c.name).where(BLOBS.c.name.in_(found[at : at + _PART]))
            unwritten.difference_update(row.name for row in self._read(written))
        return sorted(unwritten.union(row.name for row in self._read(select(GARBAGE.c.name))))

    def _sort(self) -> None:
        """What is committed is read, wherever it is."""
        self._writer.refuse(self._unsorted.sort_all())

    def _read(self, query: Select[Any]) -> Sequence[Any]:
        with translated(self._dialect), self._dialect.engine.connect() as connection:
            return connection.execute(query).all()

    def _delete(self, numbers: Select[Any], table: Table) -> None:
        some = delete(table).where(table.c.number.in_(numbers.limit(_PRUNED)))
        count = _PRUNED
        while count == _PRUNED:
            with translated(self._dialect), writing(self._dialect.engine) as connection:
                count = connection.execute(some).rowcount

    def _delete_run(self, run: str) -> None:
        """With what came late. Alone, as two that prune would each leave a shared blob to the other."""
        self._sort()  # what has come meanwhile may name its blobs
        others = BLOBS.alias()
        elsewhere = select(others.c.name).where(others.c.name == BLOBS.c.name, others.c.run != run).exists()
        known = select(GARBAGE.c.name).where(GARBAGE.c.name == BLOBS.c.name).exists()
        free = select(BLOBS.c.name).distinct().where(BLOBS.c.run == run, ~elsewhere, ~known)
        with translated(self._dialect), writing(self._dialect.engine) as connection:
            self._dialect.lock_pruning(connection)
            connection.execute(GARBAGE.insert().from_select(["name"], free))
            for table in (BLOBS, ACTIONS, ATTEMPTS, RUNS):
                connection.execute(delete(table).where(table.c.run == run))


def listed(query: Any) -> Select[Any]:
    """The rows of a page, and one more where there is a next page."""
    listing = _LISTINGS[type(query)]
    key, number = listing.time, listing.table.c.number
    wanted = select(*(listing.table.c[name] for name in listing.columns)).where(*_conditions(listing, query))
    after = pages.place(query.after)
    if after is not None:
        here, there = tuple_(key, number), tuple_(*after)
        wanted = wanted.where(here > there if query.oldest_first else here < there)
    order = (key, number) if query.oldest_first else (key.desc(), number.desc())
    return wanted.order_by(*order).limit(pages.length(query.limit) + 1)


def _conditions(listing: _Listing, query: Any) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for field in listing.fields:
        value = getattr(query, field)
        if value:
            found.append(listing.table.c[field] == str(value))
    if isinstance(query, RunQuery | StartQuery):
        found.append(~RUNS.c.is_pruned)
    if isinstance(query, ActionQuery):
        if query.parent is not None:
            found.append(ACTIONS.c.parent == query.parent)
        if query.phase not in (None, SUCCEEDED):
            found.append(_FAILED)
    if query.since is not None:
        found.append(listing.time >= query.since)
    if query.until is not None:
        found.append(listing.time < query.until)
    return found


def _outdated(keep: Keep, now: float) -> Iterator[ColumnElement[bool]]:
    if keep.age is not None:
        yield RUNS.c.ended < now - keep.age
    if keep.runs is not None:
        ended = select(RUNS.c.number).where(RUNS.c.ended.is_not(None))
        yield RUNS.c.number.not_in(ended.order_by(RUNS.c.ended.desc(), RUNS.c.number.desc()).limit(keep.runs))


def _old_events(keep: Keep, now: float) -> Iterator[Select[Any]]:
    if keep.age is not None:
        yield select(EVENTS.c.number).where(EVENTS.c.at < now - keep.age)
    if keep.events is not None:
        newest = select(func.max(EVENTS.c.number)).scalar_subquery()
        yield select(EVENTS.c.number).where(EVENTS.c.number <= newest - keep.events)
