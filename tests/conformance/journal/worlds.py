"""The journals that the suite is run over, each with a way to take its database away and to bring it back."""

from __future__ import annotations

import queue
import sqlite3
from pathlib import Path

from samovar.entries import Entry, Health
from samovar.errors import JournalError
from samovar.journal.memory import MemoryJournal
from samovar.journal.sql.journal import SqlJournal
from samovar.journal.writer import Room
from samovar.ports import Journal
from tests.real.postgres import Server

SECONDS = 30  # the bound of every wait
NAMES = ("memory", "sqlite", "postgres")


class World:
    """One database, empty at first, and ``journal``, which is open."""

    outlives_its_journal = True
    reads_while_away = False

    def __init__(self) -> None:
        self.refused: list[tuple[Entry, JournalError]] = []
        self.health: queue.Queue[Health] = queue.Queue()
        self.journal = self._open(None)

    def reopen(self, room: Room | None = None) -> Journal:
        self.close()
        self.journal = self._open(room)
        return self.journal

    def _open(self, room: Room | None) -> Journal:
        return self.make(self.health.put, lambda entry, error: self.refused.append((entry, error)), room)

    def make(self, *arguments) -> Journal:
        raise NotImplementedError

    def take_away(self) -> None:
        raise NotImplementedError

    def bring_back(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.journal.close(SECONDS)


class Memory(World):
    outlives_its_journal = False

    def make(self, *arguments) -> Journal:
        return MemoryJournal(*arguments)

    def take_away(self) -> None:
        self.journal.away = "taken away"

    def bring_back(self) -> None:
        self.journal.away = ""


class SQLite(World):
    """It is taken away by somebody who keeps the file locked, beside whom it can be read."""

    reads_while_away = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self._lock: sqlite3.Connection | None = None
        super().__init__()

    def make(self, *arguments) -> Journal:
        return SqlJournal(str(self.path), *arguments)

    def take_away(self) -> None:
        self._lock = sqlite3.connect(self.path, isolation_level=None)
        self._lock.execute("BEGIN IMMEDIATE")

    def bring_back(self) -> None:
        self._lock.close()


class Postgres(World):
    """It is taken away by a server that crashes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._url = server.database()
        super().__init__()

    def make(self, *arguments) -> Journal:
        return SqlJournal(self._url, *arguments)

    def take_away(self) -> None:
        self._server.stop()

    def bring_back(self) -> None:
        self._server.start()
