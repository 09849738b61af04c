"""What a crash, a full disk and an older version leave behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy

from samovar.entries import ActionQuery, AttemptQuery, Keep, RunQuery
from samovar.errors import JournalError
from samovar.journal.sql import dialects, schema
from samovar.journal.sql.journal import SqlJournal

from .makers import settled, started

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 60
KILLS = 8


@pytest.mark.parametrize(
    "seed", [int(os.environ.get("SAMOVAR_SEED") or random.SystemRandom().randrange(2**32))], ids=lambda seed: "seed"
)
def test_killed_at_any_moment(url, seed):
    """Many times, each time on top of what the last one left. What was flushed is there, and nothing after a gap."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    for attempt_number in range(KILLS):
        run = f"r{attempt_number}"
        told = killed_after(chance.randint(1, 4), chance.uniform(0, 0.05), url, run, chance.randrange(2**32))
        journal = SqlJournal(url)
        kept = {int(entry.action): entry for entry in journal.settled(run)}
        assert sorted(kept) == list(range(len(kept)))
        assert len(kept) >= told
        assert all(entry.result_blobs == (f"{run}-{number}",) for number, entry in kept.items())
        tries = journal.find(AttemptQuery(run=run, limit=1_000)).items
        assert all(int(one.action) <= len(kept) for one in tries)  # one more: it was not settled yet
        assert [one.run for one in journal.unfinished("e")] == [f"r{number}" for number in range(attempt_number + 1)]
        journal.close(SECONDS)
    if "://" not in url:
        with sqlite3.connect(url) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


def killed_after(flushes: int, delay: float, url: str, run: str, seed: int) -> int:
    """What the writing process said last before it was killed, ``delay`` seconds after so many flushes."""
    command = [sys.executable, "-m", "tests.journal.writes", url, run, str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(flushes)]
        threading.Timer(delay, process.kill).start()  # the moment is what the seed chooses, and nothing waits for it
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL, lines
    return int([line for line in lines if line.endswith("\n")][-1])


def test_a_full_disk(tmp_path):
    """A disk of four megabytes, in a mount namespace of the process that fills it."""
    own = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = 'mount -t tmpfs -o size=4m tmpfs "$1"'
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare on this machine")
    may = subprocess.run([*own, "sh", "-c", mount, "sh", str(tmp_path)], capture_output=True, text=True)
    if may.returncode:
        pytest.skip(f"no disk can be mounted here: {may.stderr.strip()}")
    program = f'{mount} && exec "$2" -m tests.journal.fills "$1"'
    done = subprocess.run(
        [*own, "sh", "-c", program, "sh", str(tmp_path), sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    trouble, kept = done.stdout.splitlines()
    assert "full" in trouble
    assert kept == "101"


# versions


@pytest.fixture
def version_1(tmp_path) -> str:
    """A journal as the first version of the schema had it, with a run and its actions in it."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((HERE / "version_1.sql").read_text(encoding="utf-8"))
    connection.close()
    return str(path)


def test_a_journal_of_version_1_is_migrated(version_1):
    with sqlite3.connect(version_1) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (1,)
    connection.close()
    journal = SqlJournal(version_1)
    (run,) = journal.unfinished("e")
    assert run == started("old", inputs=b"\x00in", input_blobs=("b1",), context={"who": "me"})
    assert [entry.action for entry in journal.settled("old")] == ["a", "b"]
    failed = next(journal.settled("old", "b")).failure
    assert failed is not None
    assert failed.code == "ValueError"
    assert len(journal.find(AttemptQuery(run="old")).items) == 1
    journal.record(settled("c", run="old", cache_key="k"))
    journal.flush(SECONDS)
    assert [entry.action for entry in journal.settled(cache_key="k")] == ["c"]
    journal.close(SECONDS)


def opened_at_once(url):
    """Four journals at one place, opened by as many threads."""
    journals: list[SqlJournal] = []
    threads = [threading.Thread(target=lambda: journals.append(SqlJournal(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(journals) == 4
    return journals


def test_many_who_open_an_older_journal_at_once(version_1):
    for journal in opened_at_once(version_1):
        assert len(journal.find(ActionQuery(run="old")).items) == 2
        journal.close(SECONDS)


def test_many_who_make_a_journal_at_once(url):
    """More often than it takes for them to meet."""
    for _ in range(20 if "://" not in url else 1):
        for journal in opened_at_once(url):
            journal.close(SECONDS)
        if "://" not in url:
            Path(url).unlink()
    for journal in opened_at_once(url):
        assert journal.find(RunQuery()).items == []
        journal.close(SECONDS)


def test_a_newer_journal_is_left_as_it_is(url):
    SqlJournal(url).close(SECONDS)
    engine = dialects.dialect(url).engine
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(schema.VERSION).values(version=99))
    with pytest.raises(JournalError, match=r"has schema version 99, and this samovar knows versions up to \d+: use a"):
        SqlJournal(url)
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(schema.VERSION.c.version)).scalar() == 99
    engine.dispose()


def test_a_migration_that_fails_leaves_the_older_version(version_1, monkeypatch):
    broken = (*schema.MIGRATIONS, "ALTER TABLE runs ADD COLUMN more TEXT; ALTER TABLE nowhere ADD COLUMN more TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(JournalError, match="no such table: nowhere"):
            SqlJournal(version_1)
    with sqlite3.connect(version_1) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (1,)
    connection.close()
    journal = SqlJournal(version_1)
    assert journal.prune(Keep()) == []
    journal.close(SECONDS)


def test_migrations_make_the_tables_that_queries_know(url):
    SqlJournal(url).close(SECONDS)
    engine = dialects.dialect(url).engine
    found = sqlalchemy.MetaData()
    found.reflect(engine)
    assert set(found.tables) == set(schema.TABLES.tables)
    for name, table in schema.TABLES.tables.items():
        made = {column.name: (kind(column), column.nullable) for column in found.tables[name].columns}
        if name not in ("schema_version", "blobs"):  # SQLite calls a key nullable
            made.update({key.name: (kind(key), False) for key in found.tables[name].primary_key})
        assert made == {column.name: (kind(column), column.nullable) for column in table.columns}
    engine.dispose()


def kind(column) -> type:
    """Numbers are one kind: the databases have more names for them than differences."""
    python = column.type.python_type
    return {bool: int}.get(python, python)
