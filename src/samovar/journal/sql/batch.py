"""Entries by tables, so that each table is written with few statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Connection, bindparam, update

from samovar.entries import AttemptEnded, Entry, PoolEvent, RunEnded, RunStarted, Settled
from samovar.errors import JournalError
from samovar.journal.sql import rows
from samovar.journal.sql.dialects import Dialect
from samovar.journal.sql.rows import Row
from samovar.journal.sql.schema import RUNS

_Run = TypeVar("_Run", RunStarted, RunEnded)

_END = (
    update(RUNS)
    .where(RUNS.c.run == bindparam("of"), RUNS.c.ended.is_(None))
    .values(phase=bindparam("phase"), ended=bindparam("ended"), actions=bindparam("actions"))
)


class Batch:
    """A group by tables. A run that begins and ends in one group is one row, written once."""

    def __init__(self, group: Sequence[Entry], specs: rows.Specs) -> None:
        self.actions: list[Row] = []
        self.attempts: list[Row] = []
        self.events: list[Row] = []
        self.blobs: list[Row] = []
        self.started: dict[str, RunStarted] = {}
        self.ended: dict[str, RunEnded] = {}
        for entry in group:
            if type(entry) is Settled:
                self.actions.append(rows.action_row(entry))
                if (end := entry.run_ended) is not None:
                    _only(self.ended, end)
                if entry.result_blobs or entry.input_blobs:
                    self.blobs += [(name, entry.run) for name in (*entry.input_blobs, *entry.result_blobs)]
            elif type(entry) is RunStarted:
                _only(self.started, entry)
                self.blobs += [(name, entry.run) for name in entry.input_blobs]
            elif type(entry) is RunEnded:
                _only(self.ended, entry)
            elif type(entry) is AttemptEnded:
                self.attempts.append(rows.attempt_row(entry))
            elif type(entry) is PoolEvent:
                self.events.append(rows.event_row(entry))
        self.runs = [
            rows.run_row(run, specs.pack(run.task), self.ended.pop(run.run, None)) for run in self.started.values()
        ]

    def write(self, connection: Connection, dialect: Dialect) -> None:
        """Runs first, as the rest refers to them."""
        for table, columns, many in (
            ("runs", rows.RUN_COLUMNS, self.runs),
            ("actions", rows.ACTION_COLUMNS, self.actions),
            ("attempts", rows.ATTEMPT_COLUMNS, self.attempts),
            ("events", rows.EVENT_COLUMNS, self.events),
            ("blobs", rows.BLOB_COLUMNS, self.blobs),
        ):
            if many:
                dialect.insert(connection, table, columns, many)
        if self.ended:
            ends = [
                {"of": end.run, "phase": end.phase.value, "ended": end.ended, "actions": end.actions}
                for end in self.ended.values()
            ]
            if connection.execute(_END, ends).rowcount != len(ends):
                raise JournalError("its run is not written, or has ended already")


def _only(known: dict[str, _Run], entry: _Run) -> None:
    if entry.run in known:
        raise JournalError("it is written already, and the first one stays")
    known[entry.run] = entry
