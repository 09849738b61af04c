"""What a service remembers: its journal, opened, resumed from, and kept to a size.

Reading and pruning happen outside of the engine's turn.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from samovar import errors
from samovar.engine.scribe import ROOT, Scribe
from samovar.entries import Entry, Health, Keep, RunEnded, RunQuery, RunStarted
from samovar.host.station import Station
from samovar.journal.choice import open_journal
from samovar.model import Phase

ENGINE = f"service of user {os.getuid()}"
"""The name under which runs are resumed."""

KEEP = Keep(age=30 * 86400, runs=100_000)
PRUNE_EVERY = 3600.0  # seconds

_CLOSE_SECONDS = 10.0


class Memory:
    """JournalError: what is there is newer than this samovar, or cannot be opened."""

    def __init__(self, where: str, say: Callable[[str], None]) -> None:
        self._say = say
        self._trouble = ""
        self._station: Station | None = None
        self._closing = threading.Event()
        self.on_pruned: Callable[[], None] = lambda: None
        self.journal = self._journal = open_journal(where, self._changed, self._refused)
        self.scribe = Scribe(self._journal, ENGINE)

    def resume(self, station: Station) -> None:
        """Start again what another engine could not end."""
        self._station = station
        for started in self._journal.unfinished(ENGINE):
            recalled = {known.action: known for known in self._journal.settled(run=started.run)}
            root = recalled.get(ROOT)
            if root is not None:  # all but the last word was written
                self._end(started, root.phase, "it had ended")
            elif started.input_blobs:
                self._end(started, Phase.FAILED, "its large inputs are lost")
            else:
                kept = {action: known for action, known in recalled.items() if not known.result_blobs}
                self._say(f"resuming run {started.run} of {started.task.name}: {len(kept)} actions are done")
                with station.turn:
                    station.engine.clients.resume(started, kept)
                    station.engine.flush()
        threading.Thread(target=self._prune, name="samovar-prune", daemon=True).start()

    def knows(self, run: str) -> bool:
        """Whether the run is written down."""
        return bool(self._journal.find(RunQuery(run=run)).items)

    def close(self) -> None:
        self._closing.set()
        try:
            self._journal.close(_CLOSE_SECONDS)
        except errors.JournalError as error:
            self._say(f"journal: {error}")

    def _end(self, started: RunStarted, phase: Phase, why: str) -> None:
        self._say(f"not resuming run {started.run} of {started.task.name}: {why}")
        self._journal.record(RunEnded(started.run, phase, time.time()))

    def _prune(self) -> None:
        while not self._closing.wait(PRUNE_EVERY):
            try:
                gone = self._journal.prune(KEEP)
                self._journal.prune(KEEP, swept=gone)  # blobs lie on a tmpfs and have gone with their engine
                self.on_pruned()
            except errors.JournalError as error:
                self._say(f"journal: old runs stay for now: {error}")

    # called in the journal's thread

    def _changed(self, health: Health) -> None:
        if health.trouble != self._trouble:
            self._trouble = health.trouble
            self._say(f"journal: {health.trouble or 'all is written again'}")

    def _refused(self, entry: Entry, why: Exception) -> None:
        """A second settling of an action is no trouble: what was written first stays. A second run of a name is."""
        if isinstance(entry, RunStarted) and self._station is not None:
            reason = f"a run named {entry.run!r} is recorded already; choose another name"
            with self._station.turn:
                self._station.engine.clients.abort_run(entry.run, reason)
                self._station.engine.flush()
