"""All in which the two databases differ: connections, locks, inserts of many rows, and who is to blame for an error.

An error is the entry's own only when the database says so (a key that is taken, a value that does not fit). Whatever
else goes wrong, a full disk or a lost connection, is the database's, and then entries wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import Connection, Engine, event

from samovar.errors import InitializationError, JournalAwayError, JournalError
from samovar.journal.sql.rows import Row

_WRITES = "samovar_writes"

_SQLITE_BUSY = 2.0  # seconds to wait for another process that writes
_SQLITE_RETRY = 0.01  # seconds
_SQLITE_PAGES = 20_000  # of the log before they are moved into the database: random keys touch each page often
_SQLITE_CACHE = 64 * 1024  # KiB of pages, so that the indexes of a million actions need no reads
_SQLITE_ROWS = (100, 10, 1)  # rows of one statement

_POSTGRES_CONNECT = 5  # seconds
_POSTGRES_SILENCE = 10_000  # milliseconds without a sign of a server that should answer

_MIGRATING, _PRUNING, _SORTING = 0x5A_0001, 0x5A_0002, 0x5A_0003  # keys of PostgreSQL's advisory locks


class Dialect(Protocol):
    engine: Engine
    driver_error: type[Exception]  # the root of what the driver raises
    words: dict[str, str]  # of migrations

    def insert(self, connection: Connection, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None: ...

    def lock_schema(self, connection: Connection) -> None:
        """Until the transaction ends, nobody else migrates."""
        ...

    def lock_pruning(self, connection: Connection) -> None:
        """Until the transaction ends, nobody else prunes."""
        ...

    def lock_sorting(self, connection: Connection) -> None:
        """Until the transaction ends, nobody else sorts in what is committed."""
        ...

    def known_runs(self, connection: Connection, runs: list[str]) -> list[str]:
        """Those of ``runs`` that have a row already."""
        ...

    def is_of_an_entry(self, error: BaseException) -> bool: ...


def dialect(url: str) -> Dialect:
    """For ``postgresql://…``, or the path of a file. InitializationError: what it needs is not installed."""
    if "://" not in url:
        return SQLite(Path(url))
    name, _, rest = url.partition("://")
    if name not in ("postgresql", "postgres"):
        raise InitializationError(
            "InitializationError", f"a journal is the path of a file or a postgresql:// URL, and no {name}:// URL"
        )
    return PostgreSQL(f"postgresql+psycopg://{rest}")


@contextlib.contextmanager
def translated(dialect: Dialect) -> Iterator[None]:
    """What a driver raises becomes a JournalError: JournalAwayError unless an entry is to blame."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        raise _error(dialect, error.orig or error) from error
    except (sqlalchemy.exc.SQLAlchemyError, dialect.driver_error, OSError) as error:
        raise _error(dialect, error) from error


def _error(dialect: Dialect, error: BaseException) -> JournalError:
    kind = JournalError if dialect.is_of_an_entry(error) else JournalAwayError
    text = " ".join(str(error).split()) or type(error).__name__
    return kind(f"journal {dialect.engine.url.render_as_string(hide_password=True)}: {text}")


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Of several that open a new file at once one sets its mode; SQLite tells the others at once that it is locked."""
    end = time.monotonic() + _SQLITE_BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= end:
                raise
        time.sleep(_SQLITE_RETRY)


class SQLite:
    """One file.

    A statement inserts many rows, as each gives the interpreter lock away and then waits for it, and not too many, as
    their values are handed over while it is held.
    """

    driver_error: type[Exception] = sqlite3.Error
    words = {"number": "INTEGER PRIMARY KEY", "bytes": "BLOB", "double": "REAL"}

    def __init__(self, path: Path) -> None:
        self.path = path
        self._statements: dict[tuple[str, int], str] = {}
        self.engine = sqlalchemy.create_engine(
            sqlalchemy.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": _SQLITE_BUSY, "check_same_thread": False, "cached_statements": 64},
        )
        event.listen(self.engine, "do_connect", self._before)
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "begin", _begin)

    def _before(self, *_: Any) -> None:
        """Payloads are nobody else's business, and SQLite would make the file readable by all.

        It is not opened for that: to close a descriptor of it would drop the locks of all connections of this process.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mknod(self.path, stat.S_IFREG | 0o600)

    @staticmethod
    def _connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        _keep_a_log(connection)
        for setting in (
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"wal_autocheckpoint = {_SQLITE_PAGES}",
            f"cache_size = -{_SQLITE_CACHE}",
        ):
            connection.execute(f"PRAGMA {setting}")

    def insert(self, connection: Connection, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        cursor = connection.connection.cursor()
        at = 0
        for count in _SQLITE_ROWS:
            while at + count <= len(rows):
                part = rows[at : at + count]
                cursor.execute(self._statement(table, columns, count), tuple(chain.from_iterable(part)))
                at += count
        cursor.close()

    def _statement(self, table: str, columns: tuple[str, ...], count: int) -> str:
        statement = self._statements.get((table, count))
        if statement is None:
            row = f"({', '.join('?' * len(columns))})"
            statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * count)}"
            self._statements[table, count] = statement
        return statement

    def lock_schema(self, connection: Connection) -> None:
        """Whoever writes is alone already."""

    def lock_pruning(self, connection: Connection) -> None:
        """Whoever writes is alone already."""

    def lock_sorting(self, connection: Connection) -> None:
        """Whoever writes is alone already."""

    def known_runs(self, connection: Connection, runs: list[str]) -> list[str]:
        known = "SELECT run FROM runs WHERE run IN (SELECT value FROM json_each(?))"
        return list(connection.exec_driver_sql(known, (json.dumps(runs),)).scalars())

    def is_of_an_entry(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError)


class PostgreSQL:
    """One database, of many engines. Rows are copied in: one statement for all."""

    words = {
        "number": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "bytes": "BYTEA",
        "double": "DOUBLE PRECISION",
    }

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # an optional dependency
        except ImportError as error:
            raise InitializationError(
                "InitializationError", "a journal in PostgreSQL needs psycopg: pip install 'samovar[postgres]'"
            ) from error
        self.driver_error: type[Exception] = psycopg.Error
        self._entry_errors = (psycopg.IntegrityError, psycopg.DataError)
        self.engine = sqlalchemy.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _POSTGRES_CONNECT,
                "tcp_user_timeout": _POSTGRES_SILENCE,
                "application_name": "samovar",
            },
        )

    def insert(self, connection: Connection, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def lock_schema(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")

    def lock_pruning(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_PRUNING})")

    def lock_sorting(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SORTING})")

    def known_runs(self, connection: Connection, runs: list[str]) -> list[str]:
        return list(connection.exec_driver_sql("SELECT run FROM runs WHERE run = ANY(%s)", (runs,)).scalars())

    def is_of_an_entry(self, error: BaseException) -> bool:
        return isinstance(error, self._entry_errors)


def writing(engine: Engine) -> contextlib.AbstractContextManager[Connection]:
    """A transaction that writes: it takes its lock when it begins, where a later one could be refused."""
    return engine.execution_options(**{_WRITES: True}).begin()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
