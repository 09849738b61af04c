"""What the writer commits to: a group of entries is one row of bytes, and is sorted into the tables when it is calm.

A group has a number, which is written with it. So when the answer to a commit is lost, with the connection or the
server, the next try sees whether it was the commit or the answer that got lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from samovar.entries import Entry, RunStarted, Settled
from samovar.errors import JournalError
from samovar.journal.sql import rows
from samovar.journal.sql.dialects import Dialect, translated, writing
from samovar.journal.sql.schema import WRITERS
from samovar.journal.sql.unsorted import Refused, Unsorted, pack
from samovar.journal.writer import Sorted
from samovar.runname import is_made

PUT_OFF = 250_000
"""Entries that may wait for a calm moment; a reader, and an engine that starts, waits some seconds for as many."""


class SqlStore:
    """A ``samovar.journal.writer.Store``."""

    def __init__(self, dialect: Dialect, unsorted: Unsorted) -> None:
        self._dialect = dialect
        self._unsorted = unsorted
        self._name = os.urandom(8).hex()
        self._specs = rows.Specs()
        self._in_doubt = False  # whether the last group is written
        self._waiting = unsorted.count()  # entries to be sorted, those that others have sorted since among them
        self._waiting_runs: set[str] = set()  # of names that somebody chose: committed here, and not sorted
        self._is_urgent = False  # somebody looks for what waits
        with translated(dialect), writing(dialect.engine) as connection:
            connection.execute(WRITERS.insert().values(writer=self._name, last=0))

    def commit(self, group: Sequence[Entry], number: int) -> None:
        packed = pack(group, self._specs)
        named = [entry.run for entry in group if type(entry) is RunStarted and not is_made(entry.run)]
        in_doubt, self._in_doubt = self._in_doubt, True
        mine = WRITERS.c.writer == self._name
        with translated(self._dialect), writing(self._dialect.engine) as connection:
            # A server may still be busy with a commit whose connection is lost: its lock on the row is waited for.
            last = select(WRITERS.c.last).where(mine).with_for_update()
            if not (in_doubt and connection.execute(last).scalar_one() == number):
                self._refuse_known(connection, named)
                self._unsorted.add(connection, packed, len(group))
                connection.execute(update(WRITERS).where(mine).values(last=number))
        self._in_doubt = False
        self._waiting += len(group)
        self._waiting_runs.update(named)
        self._is_urgent |= any(type(entry) is Settled and entry.cache_key for entry in group)

    def sort(self, is_calm: bool) -> Sorted:
        refused: Refused = []
        is_due = is_calm or self._is_urgent
        while self._waiting and (is_due or self._waiting > PUT_OFF):
            count, more = self._unsorted.sort()
            refused += more
            self._waiting -= count
            if not count:
                self._waiting = 0
            if is_calm:
                break  # the next group has its turn in between
        if not self._waiting:
            self._waiting_runs.clear()
            self._is_urgent = False
        return Sorted(not self._waiting, refused)

    def close(self) -> None:
        with contextlib.suppress(JournalError), translated(self._dialect), writing(self._dialect.engine) as connection:
            connection.execute(delete(WRITERS).where(WRITERS.c.writer == self._name))
        self._dialect.engine.dispose()

    def _refuse_known(self, connection: Connection, runs: list[str]) -> None:
        """At once, as a second run of a name should not go on until it is calm. Whoever sorts finds all others."""
        if runs and (not self._waiting_runs.isdisjoint(runs) or self._dialect.known_runs(connection, runs)):
            raise JournalError("it is written already, and the first one stays")
