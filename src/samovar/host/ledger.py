"""The user's journal, open in this process, with the large values that it names. What is wrong with it is said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from samovar import config, errors
from samovar.engine.vault import Cellar
from samovar.entries import Health
from samovar.journal.choice import open_journal
from samovar.journal.writer import OnRefused
from samovar.ports import Journal

_CLOSE_SECONDS = 10.0


class Ledger:
    def __init__(self, say: Callable[[str], None]) -> None:
        self.cellar = Cellar(_blobs_folder)
        self._say = say
        self._trouble = ""
        self._journal: Journal | None = None

    def open(self, where: str, on_refused: OnRefused = lambda entry, error: None) -> Journal:
        """JournalError: what is there is newer than this samovar, or cannot be opened."""
        self._journal = open_journal(where, self._changed, on_refused, self.cellar.store)
        return self._journal

    def flush(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Until all that was recorded is written, and large values with it, or it takes too long."""
        if self._journal is not None:
            with contextlib.suppress(errors.JournalError):
                self._journal.flush(seconds)

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        if self._journal is not None:
            try:
                self._journal.close(seconds)
            except errors.JournalError as error:
                self._say(f"journal: {error}")

    def _changed(self, health: Health) -> None:
        """In the journal's thread."""
        if health.trouble != self._trouble:
            self._trouble = health.trouble
            self._say(f"journal: {health.trouble or 'all is written again'}")


def _blobs_folder() -> Path:
    return config.state_folder() / "blobs"
