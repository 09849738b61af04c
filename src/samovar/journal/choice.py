"""Opens the journal that was asked for. SQLAlchemy is loaded only where a database is."""

from __future__ import annotations

from samovar.journal.memory import MemoryJournal
from samovar.journal.writer import OnHealth, OnRefused
from samovar.ports import Journal

MEMORY = "memory:"


def open_journal(
    where: str,
    on_health: OnHealth = lambda health: None,
    on_refused: OnRefused = lambda entry, error: None,
) -> Journal:
    """``memory:``, the path of a SQLite file, or ``postgresql://USER@HOST/DATABASE``.

    The callbacks are called in the journal's own thread and must not raise. Errors are those of ``SqlJournal``.
    """
    if where == MEMORY:
        return MemoryJournal(on_health, on_refused)
    from samovar.journal.sql.journal import SqlJournal

    return SqlJournal(where, on_health, on_refused)
