"""What a service remembers: its journal, opened, resumed from, and kept to a size.

Reading and pruning happen outside of the engine's turn.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from samovar import config, errors
from samovar.engine.engine import Remembers
from samovar.engine.scribe import ROOT, TRACE, Scribe
from samovar.engine.vault import Cellar
from samovar.entries import Entry, Health, Keep, RunEnded, RunQuery, RunStarted, Settled
from samovar.host.bundles import Bundles
from samovar.host.station import Station
from samovar.journal.choice import open_journal
from samovar.model import Phase
from samovar.ports import Journal

ENGINE = f"service of user {os.getuid()}"
"""The name under which runs are resumed."""

PRUNE_EVERY = 3600.0  # seconds

_CLOSE_SECONDS = 10.0


def blobs_folder() -> Path:
    """Where the large values lie that a journal of this user names."""
    return config.state_folder() / "blobs"


def prune(journal: Journal, cellar: Cellar, keep: Keep) -> None:
    """Forget old runs, and the large values that nothing names any more or, after a crash, nothing has ever named."""
    gone = journal.prune(keep, found=cellar.names())
    cellar.sweep(gone)
    journal.prune(keep, swept=gone)


class _Past:
    """What a run had come to."""

    def __init__(self) -> None:
        self.phase: Phase | None = None  # of its first action
        self.done = 0  # its actions
        self.parents: set[str] = set()  # ids of what had called or traced something

    def add(self, entry: Settled) -> None:
        if entry.action == ROOT:
            self.phase = entry.phase
        self.parents.add(entry.parent)
        self.done += TRACE not in entry.action


class Memory:
    """JournalError: what is there is newer than this samovar, or cannot be opened. InitializationError: a setting is
    wrong."""

    def __init__(self, where: str, say: Callable[[str], None]) -> None:
        self._say = say
        settings = config.load()
        self._keep = Keep(age=settings.keep_days * 86400, runs=settings.keep_runs)
        self._trouble = ""
        self._station: Station | None = None
        self._closing = threading.Event()
        self.on_pruned: Callable[[], None] = lambda: None
        self._cellar = cellar = Cellar(blobs_folder)
        self.journal = self._journal = open_journal(where, self._changed, self._refused, cellar.store)
        scribe = Scribe(self._journal, ENGINE)
        self.remembers = Remembers(scribe, lambda: scribe, cellar)

    def resume(self, station: Station, bundles: Bundles) -> None:
        """Start again what another engine could not end."""
        self._station = station
        for started in self._journal.unfinished(ENGINE):
            past = _Past()
            for entry in self._journal.settled(run=started.run):
                past.add(entry)
            if past.phase is not None:  # all but the last word was written
                self._end(started, past.phase, "it had ended")
            elif (inputs := station.engine.vault.copies(started.input_blobs)) is None:
                self._end(started, Phase.FAILED, "its large inputs are lost")
            elif (code := started.task.environment.bundle).folder and not bundles.has(code.digest):
                self._end(started, Phase.FAILED, f"its code is lost or damaged: {code.folder}")
            else:
                self._say(f"resuming run {started.run} of {started.task.name}: {past.done} actions are done")
                with station.turn:
                    station.engine.clients.resume(started, inputs, frozenset(past.parents))
                    station.engine.flush()
        threading.Thread(target=self._prune, name="samovar-prune", daemon=True).start()

    def flush(self) -> None:
        """Until all that was recorded is written, and large values with it, or it takes too long."""
        with contextlib.suppress(errors.JournalError):
            self._journal.flush(_CLOSE_SECONDS)

    def knows(self, run: str) -> bool:
        """Whether the run is written down."""
        return bool(self._journal.find(RunQuery(run=run)).items)

    def digests(self) -> set[str]:
        """Of the code of runs that have not ended. JournalError: it cannot be read now."""
        return {started.task.environment.bundle.digest for started in self._journal.unfinished(ENGINE)}

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
                prune(self._journal, self._cellar, self._keep)
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
