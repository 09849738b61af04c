"""The tables, and how a database of an older version gets them.

A migration is SQL that is never changed again once it was released; what the two databases call differently stands in
braces. ``TABLES`` is what all migrations together make, for queries; a test holds the two side by side.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    update,
)

from samovar.errors import JournalError

TABLES = MetaData()

VERSION = Table("schema_version", TABLES, Column("version", Integer, nullable=False))

RUNS = Table(
    "runs",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("run", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double),
    Column("actions", Integer, nullable=False),
    Column("is_pruned", Boolean, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Column("detail", LargeBinary),
)

ACTIONS = Table(
    "actions",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("run", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("queued", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("replica", Text, nullable=False),
    Column("cold", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Column("result", LargeBinary, nullable=False),
    Column("detail", LargeBinary),
    Column("cache_key", Text),
    Column("ran", Double),
    Column("of_run", Integer),
)

ATTEMPTS = Table(
    "attempts",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("run", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("replica", Text, nullable=False),
    Column("cold", Boolean, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double, nullable=False),
    Column("failure", LargeBinary, nullable=False),
)

EVENTS = Table(
    "events",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("pool", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("change", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)

# Groups of entries that are committed and in no other table yet.
UNSORTED = Table(
    "unsorted",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("entries", LargeBinary, nullable=False),
)

# Who refers to a blob. It may refer to it more than once.
BLOBS = Table("blobs", TABLES, Column("name", Text, nullable=False), Column("run", Text, nullable=False))

# Blobs to which nothing refers, until somebody says that they are unlinked.
GARBAGE = Table("garbage", TABLES, Column("name", Text, primary_key=True))

# The last group that each writer has committed, so that one whose answer was lost is not written twice.
WRITERS = Table(
    "writers",
    TABLES,
    Column("writer", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

MIGRATIONS = (
    # 1
    """
    CREATE TABLE runs (
        number {number}, run TEXT NOT NULL UNIQUE, engine TEXT NOT NULL, action TEXT NOT NULL, task TEXT NOT NULL,
        phase TEXT NOT NULL, started {double} NOT NULL, ended {double}, actions INTEGER NOT NULL,
        is_pruned BOOLEAN NOT NULL, spec {bytes} NOT NULL, inputs {bytes} NOT NULL, detail {bytes}
    );
    CREATE INDEX runs_by_start ON runs (started);
    CREATE INDEX runs_by_end ON runs (ended);
    CREATE INDEX runs_to_delete ON runs (run) WHERE is_pruned;
    CREATE INDEX runs_unfinished ON runs (engine) WHERE ended IS NULL;
    CREATE TABLE actions (
        number {number}, run TEXT NOT NULL REFERENCES runs (run), action TEXT NOT NULL, parent TEXT NOT NULL,
        task TEXT NOT NULL, phase TEXT NOT NULL, queued {double} NOT NULL, started {double}, ended {double} NOT NULL,
        attempts INTEGER NOT NULL, replica TEXT NOT NULL, cold BOOLEAN NOT NULL, error TEXT NOT NULL,
        inputs {bytes} NOT NULL, result {bytes} NOT NULL, detail {bytes}, UNIQUE (run, action)
    );
    CREATE INDEX actions_by_end ON actions (ended);
    CREATE INDEX actions_of_run ON actions (run, ended);
    CREATE INDEX actions_of_parent ON actions (run, parent, ended);
    CREATE INDEX actions_that_failed ON actions (run, ended) WHERE phase <> 'succeeded';
    CREATE TABLE attempts (
        number {number}, run TEXT NOT NULL REFERENCES runs (run), action TEXT NOT NULL, attempt INTEGER NOT NULL,
        replica TEXT NOT NULL, cold BOOLEAN NOT NULL, started {double} NOT NULL, ended {double} NOT NULL,
        failure {bytes} NOT NULL, UNIQUE (run, action, attempt)
    );
    CREATE TABLE events (
        number {number}, pool TEXT NOT NULL, at {double} NOT NULL, change TEXT NOT NULL, replica TEXT NOT NULL,
        replicas INTEGER NOT NULL, reason TEXT NOT NULL
    );
    CREATE INDEX events_by_time ON events (at);
    CREATE INDEX events_of_pool ON events (pool, at);
    CREATE TABLE blobs (name TEXT NOT NULL, run TEXT NOT NULL REFERENCES runs (run));
    CREATE INDEX blobs_by_name ON blobs (name);
    CREATE INDEX blobs_of_run ON blobs (run);
    CREATE TABLE garbage (name TEXT PRIMARY KEY);
    CREATE TABLE writers (writer TEXT PRIMARY KEY, last BIGINT NOT NULL)
    """,
    # 2: results are found by what was called
    """
    ALTER TABLE actions ADD COLUMN cache_key TEXT;
    CREATE INDEX actions_by_cache_key ON actions (cache_key) WHERE cache_key IS NOT NULL
    """,
    # 3: groups are committed as they are and sorted in later; pools are known after a crash
    """
    CREATE TABLE unsorted (number {number}, count INTEGER NOT NULL, entries {bytes} NOT NULL);
    CREATE TABLE pools (
        number {number}, pool TEXT NOT NULL UNIQUE, opened {double} NOT NULL, environment {bytes} NOT NULL
    );
    CREATE INDEX pools_by_time ON pools (opened)
    """,
    # 4: they are known by the register of their replicas
    """
    DROP TABLE pools
    """,
    # 5: where the time of an attempt went, and the number by which people know an action
    """
    ALTER TABLE actions ADD COLUMN ran {double};
    ALTER TABLE actions ADD COLUMN of_run INTEGER
    """,
)


def migrate(connection: Connection, words: Mapping[str, str]) -> None:
    """Bring the database to this version. The caller holds a lock on it and an open transaction.

    JournalError: the database is of a newer version, and stays as it is.
    """
    found = _version(connection)
    if found > len(MIGRATIONS):
        raise JournalError(
            f"the journal {connection.engine.url!r} has schema version {found}, and this samovar knows versions up to "
            f"{len(MIGRATIONS)}: use a newer samovar, or another journal"
        )
    if found == len(MIGRATIONS):
        return
    for migration in MIGRATIONS[found:]:
        for statement in migration.format_map(words).split(";"):
            connection.exec_driver_sql(statement)
    connection.execute(update(VERSION).values(version=len(MIGRATIONS)))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(VERSION.name):
        VERSION.create(connection)
        connection.execute(VERSION.insert().values(version=0))
    version: int = connection.execute(select(VERSION.c.version)).scalar_one()
    return version
