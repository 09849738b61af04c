"""Opens the journal that was asked for. SQLAlchemy is loaded only where a database is."""

from __future__ import annotations

from samovar.journal.memory import MemoryJournal
from samovar.journal.writer import Before, OnHealth, OnRefused, nothing
from samovar.ports import Journal

MEMORY = "memory:"


def open_journal(
    where: str,
    on_health: OnHealth = lambda health: None,
    on_refused: OnRefused = lambda entry, error: None,
    before: Before = nothing,
) -> Journal:
    """``memory:``, the path of a SQLite file, or ``postgresql://USER@HOST/DATABASE``.

    The callbacks are called in the journal's own thread; the first two must not raise. Errors are ``SqlJournal``'s.
    """
    if where == MEMORY:
        return MemoryJournal(on_health, on_refused, before=before)
    from samovar.journal.sql.journal import SqlJournal

    return SqlJournal(where, on_health, on_refused, before=before)
