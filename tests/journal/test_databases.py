"""What the two databases promise beside the port: one record for many engines, and errors that say what is wrong."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from sqlalchemy.dialects import sqlite

from samovar.entries import ActionQuery, AttemptQuery, EventQuery, Keep, RunQuery
from samovar.errors import InitializationError, JournalAwayError
from samovar.journal import choice
from samovar.journal.sql import store as stores
from samovar.journal.sql import unsorted
from samovar.journal.sql.journal import SqlJournal, listed
from samovar.model import Phase

from .makers import ended, event, settled, started

SECONDS = 30


def test_two_engines_write_to_one_journal(url):
    journals = [SqlJournal(url) for _ in range(2)]

    def write(number: int) -> None:
        journal = journals[number]
        journal.record(started(f"r{number}", engine=f"e{number}"))
        for action in range(300):
            journal.record(settled(f"a{action}", run=f"r{number}"))
            if action % 50 == 0:
                journal.flush(SECONDS)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    for number, journal in enumerate(journals):
        journal.flush(SECONDS)
        assert [run.run for run in journals[0].unfinished(f"e{number}")] == [f"r{number}"]
        assert len(list(journals[1 - number].settled(f"r{number}"))) == 300
        assert journal.health().refused == 0
    for journal in journals:
        journal.close(SECONDS)


@pytest.mark.parametrize("writes", [stores, unsorted], ids=["commit", "sort"])
def test_a_commit_whose_answer_is_lost_is_not_written_twice(url, writes, monkeypatch):
    writing = writes.writing
    lost = []

    class AnswerLost:
        def __init__(self, engine) -> None:
            self._inner = writing(engine)

        def __enter__(self):
            return self._inner.__enter__()

        def __exit__(self, *how):
            self._inner.__exit__(*how)
            if len(lost) < 2 and how[0] is None:
                lost.append(how)
                raise ConnectionResetError("the answer is lost")

    refused = []
    journal = SqlJournal(url, on_refused=lambda entry, error: refused.append(error))
    monkeypatch.setattr(writes, "writing", AnswerLost)
    for entry in (started(), settled(), event(), ended()):  # events have no key: they would be there twice
        journal.record(entry)
        journal.flush(SECONDS)
    assert len(lost) == 2
    assert refused == []
    assert len(list(journal.settled("r"))) == 1
    assert len(journal.find(EventQuery()).items) == 1
    journal.close(SECONDS)


def test_a_commit_that_the_server_is_still_busy_with_is_waited_for(postgres_server, monkeypatch):
    """The connection of a commit is lost, the next try comes on another one, and only then the first one ends."""
    writing = stores.writing
    held = []

    class Unfinished:
        def __init__(self, engine) -> None:
            self._inner = writing(engine)

        def __enter__(self):
            return self._inner.__enter__()

        def __exit__(self, *how):
            if not held:
                held.append(threading.Timer(0.2, self._inner.__exit__, how))
                held[0].start()
                raise ConnectionResetError("the connection is lost")
            return self._inner.__exit__(*how)

    refused = []
    journal = SqlJournal(postgres_server.database(), on_refused=lambda entry, error: refused.append(error))
    monkeypatch.setattr(stores, "writing", Unfinished)
    journal.record(event())
    journal.flush(SECONDS)
    held[0].join(SECONDS)
    assert refused == []
    assert len(journal.find(EventQuery()).items) == 1
    journal.close(SECONDS)


def test_two_who_prune_at_once_leave_no_blob_behind(url):
    journals = [SqlJournal(url) for _ in range(2)]
    for number in range(20):
        for entry in (started(f"r{number}", input_blobs=("shared", f"own{number}")), ended(f"r{number}", number)):
            journals[0].record(entry)
    journals[0].flush(SECONDS)
    threads = [threading.Thread(target=journal.prune, args=(Keep(runs=0),)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert journals[0].prune(Keep()) == sorted(["shared", *(f"own{number}" for number in range(20))])
    for journal in journals:
        journal.close(SECONDS)


# opening


def test_a_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "folder" / "journal.db"
    old = os.umask(0)
    try:
        journal = SqlJournal(str(path))
        journal.record(started())
        journal.flush(SECONDS)
    finally:
        os.umask(old)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    journal.close(SECONDS)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("tea, sugar, lemon\n" * 100)
    with pytest.raises(JournalAwayError, match=r"journal sqlite:.*notes\.txt: file is not a database"):
        SqlJournal(str(path))
    assert path.read_text().startswith("tea")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalAwayError, match=r"Not a directory|File exists"):
        SqlJournal(str(tmp_path / "file" / "journal.db"))


def test_a_server_that_does_not_answer(postgres_server, tmp_path):
    with pytest.raises(JournalAwayError, match=r"No such file or directory Is the server running") as caught:
        SqlJournal(f"postgresql://someone:sugar@/journal?host={tmp_path}")
    assert "sugar" not in str(caught.value)


def test_other_databases_are_none():
    with pytest.raises(InitializationError, match="no mysql:// URL"):
        SqlJournal("mysql://localhost/journal")


def test_postgres_without_its_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InitializationError, match=r"pip install 'samovar\[postgres\]'"):
        SqlJournal("postgresql://localhost/journal")


def test_choice(url):
    for where in (choice.MEMORY, url):
        journal = choice.open_journal(where)
        journal.record(started())
        journal.flush(SECONDS)
        assert [run.run for run in journal.unfinished("e")] == ["r"]
        journal.close(SECONDS)


def test_who_needs_no_database_loads_none():
    program = (
        "import sys; from samovar.journal.choice import MEMORY, open_journal; open_journal(MEMORY).close(9); "
        "print([name for name in ('sqlalchemy', 'sqlite3', 'psycopg') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout.strip() == "[]", done.stderr


# lists stay quick


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(), "runs_by_start"),
        (RunQuery(run="r"), "sqlite_autoindex_runs_1"),
        (ActionQuery(), "actions_by_end"),
        (ActionQuery(since=1.0, until=2.0), "actions_by_end"),
        (ActionQuery(run="r"), "actions_of_run"),
        (ActionQuery(run="r", after="1.5-7"), "actions_of_run"),
        (ActionQuery(run="r", oldest_first=True), "actions_of_run"),
        (ActionQuery(run="r", parent="root"), "actions_of_parent"),
        (ActionQuery(run="r", parent="", after="1.5-7"), "actions_of_parent"),
        (ActionQuery(run="r", phase=Phase.FAILED), "actions_that_failed"),
        (ActionQuery(run="r", phase=Phase.SUCCEEDED, since=1.0), "actions_of_run"),
        (AttemptQuery(run="r"), "sqlite_autoindex_attempts_1"),
        (EventQuery(), "events_by_time"),
        (EventQuery(pool="p", since=1.0), "events_of_pool"),
    ],
)
def test_a_page_is_read_along_an_index(tmp_path, query, index):
    """And nothing is sorted but the few rows of a unique key."""
    path = tmp_path / "journal.db"
    SqlJournal(str(path)).close(SECONDS)
    statement = listed(query).compile(dialect=sqlite.dialect())
    values = [statement.params[name] for name in statement.positiontup]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert f"USING INDEX {index} " in f"{plan[0]} "
    assert len(plan) == 1 or index.startswith("sqlite_autoindex"), plan
