"""What writing down costs: ``python -m benchmarks.journal [--actions N] [--calls N] [--rounds N] [--casts N]``.

First two services, one that keeps a journal in a file and one that keeps none (``services``). Then the journals alone:
entries of settled actions go through ``record`` and are committed, in each journal, one after the other in the same
run. The floor is ``sqlite3`` alone: ``executemany`` of ready tuples into one table with the same columns and indexes, a
transaction for as many rows as a group of the journal has. Beside the rate stands what a thread loses that works in
turns, as an engine does, and records an entry after each: the call itself, and what committing takes from it, as both
need the interpreter. The rate is that of entries in their places, where lists find them. PostgreSQL is measured where
it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.real import postgres

from samovar.entries import ActionQuery, RunStarted, Settled
from samovar.errors import SlowDownError
from samovar.journal.memory import MemoryJournal
from samovar.journal.sql import rows, schema
from samovar.journal.sql.dialects import SQLite, dialect
from samovar.journal.sql.journal import SqlJournal
from samovar.journal.writer import GROUP
from samovar.model import SUCCEEDED, Environment, TaskSpec
from samovar.ports import Journal

from . import services

SECONDS = 600
TASK = TaskSpec("shop.sell", "shop", "sell", Environment("shop"))
RESULT = bytes(60)
ROUNDS = 10  # of turns; the best counts, as the others measure the neighbours of this process


class Figures(NamedTuple):
    seconds: float
    record: float  # seconds, the median of a call
    taken: float  # seconds an entry that a thread loses which works and records
    turn: float  # seconds of its work alone
    page: float  # seconds to read 100 actions out of the middle of the run


def action(number: int) -> Settled:
    """Of an id as a digest is: without an order."""
    now = 1_700_000_000 + number * 1e-5
    name = os.urandom(8).hex()
    return Settled(
        "run-1", name, "root", TASK.name, SUCCEEDED, now, now + 2, now + 1, 1, "shop@12345678-1", result=RESULT
    )


class Work:
    """What an engine does for an action, in kind and length: some Python, a write, a read."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()

    def turns(self, entries: list[Settled], record: Callable[[Settled], object]) -> float:
        """Seconds a turn; after each an entry is recorded."""
        started = time.perf_counter()
        for entry in entries:
            for _ in range(80):
                sum(range(30))
            os.write(self._theirs, b"x")
            os.read(self._ours, 1)
            record(entry)
        return (time.perf_counter() - started) / len(entries)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)


def through(journal: Journal, entries: list[Settled]) -> Figures:
    journal.record(RunStarted("run-1", "bench", "root", TASK, 0.0))
    journal.flush(SECONDS)
    quarter = len(entries) // 4
    started = time.perf_counter()
    calls = [call for entry in entries[quarter:] if (call := _record(journal, entry)) >= 0]
    journal.flush(SECONDS)
    seconds = (time.perf_counter() - started) / (len(entries) - quarter)
    with contextlib.closing(Work()) as work:
        free, held = [], []
        for at in range(0, quarter, quarter // ROUNDS):
            some = entries[at : at + quarter // ROUNDS]
            free.append(work.turns(some, lambda entry: None))
            held.append(work.turns(some, lambda entry: _record(journal, entry)))
            journal.flush(SECONDS)
    return Figures(seconds, sorted(calls)[len(calls) // 2], min(held) - min(free), min(free), page(journal, entries))


def page(journal: Journal, entries: list[Settled]) -> float:
    middle = ActionQuery(run="run-1", until=entries[len(entries) // 2].ended)
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        journal.find(middle)
        taken.append(time.perf_counter() - started)
    return min(taken)


def _record(journal: Journal, entry: Settled) -> float:
    """Seconds of a call that was accepted at once; -1 where the journal had no room, and this waited."""
    started = time.perf_counter()
    try:
        journal.record(entry)
        return time.perf_counter() - started
    except SlowDownError:
        while journal.health().is_slow:
            time.sleep(0.001)
        journal.record(entry)
        return -1.0


def floor(path: Path, entries: list[Settled]) -> float:
    """Seconds a row."""
    place = SQLite(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        place._connected(connection, None)
        connection.execute("PRAGMA foreign_keys = OFF")
        for migration in schema.MIGRATIONS:
            for statement in migration.format_map(place.words).split(";"):
                connection.execute(statement)
        columns = ", ".join(rows.ACTION_COLUMNS)
        insert = f"INSERT INTO actions ({columns}) VALUES ({', '.join('?' * len(rows.ACTION_COLUMNS))})"
        ready = [rows.action_row(entry) for entry in entries]
        started = time.perf_counter()
        for at in range(0, len(ready), GROUP):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, ready[at : at + GROUP])
            connection.execute("COMMIT")
        return (time.perf_counter() - started) / len(ready)


def space(url: str) -> float:
    """Bytes of a database, after it was closed."""
    place = dialect(url)
    if isinstance(place, SQLite):
        return place.path.stat().st_size
    with place.engine.connect() as connection:
        size: int = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    place.engine.dispose()
    return size


def measured(make: Callable[[], Journal], entries: list[Settled]) -> Figures:
    journal = make()
    figures = through(journal, entries)
    journal.close(SECONDS)
    return figures


def lines(entries: list[Settled], folder: Path, server: postgres.Server | None) -> Iterator[str]:
    yield (
        f"{'journal':<34}{'entries/s':>12}{'ratio':>7}{'record':>10}{'taken from a turn':>20}"
        f"{'a page':>10}{'on disk':>10}"
    )
    raw = floor(folder / "floor.db", entries)
    on_disk = f"{space(str(folder / 'floor.db')) / len(entries):>7.0f} B"
    yield f"{'floor: sqlite3, executemany':<34}{1 / raw:>12,.0f}{1:>7.2f}{'':>40}{on_disk:>10}"
    places = {"memory": ""} | {"SQLite": str(folder / "journal.db")}
    if server is not None:
        places["PostgreSQL"] = server.database()
    for name, url in places.items():
        empty = 0.0
        if url:
            SqlJournal(url).close(SECONDS)
            empty = space(url)
        figures = measured(lambda url=url: SqlJournal(url) if url else MemoryJournal(), entries)
        size = f"{(space(url) - empty) / len(entries):>7.0f} B" if url else ""
        yield (
            f"{name:<34}{1 / figures.seconds:>12,.0f}{figures.seconds / raw:>7.2f}{figures.record * 1e6:>7.2f} µs"
            f"{f'{figures.taken * 1e6:.1f} of {figures.turn * 1e6:.0f} µs':>20}{figures.page * 1e3:>7.1f} ms{size:>10}"
        )


def compared(calls: int, rounds: int, casts: int) -> Iterator[str]:
    title = f"{calls:,} tiny tasks, {casts} x {rounds} rounds"
    yield f"{title:<34}{'no journal':>12}{'journal':>12}{'of the rate':>16}"
    for one in services.compare({"off": services.not_kept, "on": services.kept}, calls, rounds, casts):
        off, on = (f"{one.best(name) * 1e6:.1f} µs" for name in ("off", "on"))
        yield f"{one.measure:<34}{off:>12}{on:>12}{one.ratio('on', 'off')!s:>16}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actions", type=int, default=400_000, help="how many are written (default: 400000)")
    parser.add_argument("--calls", type=int, default=10_000, help="tasks of a round of the services (default: 10000)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a cast of services (default: 2)")
    parser.add_argument("--casts", type=int, default=10, help="times that these are started anew (default: 10)")
    options = parser.parse_args()
    count = options.actions
    entries = [action(number) for number in range(count)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        for line in compared(options.calls, options.rounds, options.casts):
            print(line, flush=True)
        print()
        reason = postgres.missing()
        server = None if reason else stack.enter_context(postgres.running())
        for line in lines(entries, folder, server):
            print(line, flush=True)
        if reason:
            print(f"PostgreSQL is not measured: there is {reason}")


if __name__ == "__main__":
    main()
