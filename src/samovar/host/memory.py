"""What a service remembers: its journal, opened, resumed from, and kept to a size.

Reading and pruning happen outside of the engine's turn.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from samovar import config, errors
from samovar.engine.adoption import Past, Unfinished, Wanted
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Scribe
from samovar.engine.vault import Cellar
from samovar.entries import Entry, Keep, RunEnded, RunQuery, RunStarted
from samovar.host.bundles import Bundles
from samovar.host.ledger import Ledger
from samovar.host.station import Station
from samovar.model import Phase
from samovar.ports import Journal

ENGINE = f"service of user {os.getuid()}"
"""The name under which runs are resumed."""

PRUNE_EVERY = 3600.0  # seconds


def prune(journal: Journal, cellar: Cellar, keep: Keep) -> None:
    """Forget old runs, and the large values that nothing names any more or, after a crash, nothing has ever named."""
    gone = journal.prune(keep, found=cellar.names())
    cellar.sweep(gone)
    journal.prune(keep, swept=gone)


class Memory:
    """JournalError: what is there is newer than this samovar, or cannot be opened. InitializationError: a setting is
    wrong."""

    def __init__(self, where: str, say: Callable[[str], None]) -> None:
        self._say = say
        settings = config.load()
        self._keep = Keep(age=settings.keep_days * 86400, runs=settings.keep_runs)
        self._station: Station | None = None
        self._closing = threading.Event()
        self.on_pruned: Callable[[], None] = lambda: None
        self._ledger = Ledger(say)
        self.flush = self._ledger.flush
        self.journal = self._journal = self._ledger.open(where, self._refused)
        scribe = Scribe(self._journal, ENGINE)
        self.remembers = Remembers(scribe, lambda: scribe, self._ledger.cellar)

    def resume(self, station: Station, bundles: Bundles) -> None:
        """Go on with what another engine could not end, and with what its replicas hold of it."""
        self._station = station
        wanted = station.hear_survivors()
        found = [self._unfinished(started, wanted, bundles) for started in self._journal.unfinished(ENGINE)]
        station.take_stock([one for one in found if one is not None], self._say)
        threading.Thread(target=self._prune, name="samovar-prune", daemon=True).start()

    def _unfinished(self, started: RunStarted, wanted: dict[str, Wanted], bundles: Bundles) -> Unfinished | None:
        """None: it is not gone on with."""
        assert self._station is not None
        past = Past(wanted.get(started.run) or Wanted())
        for entry in self._journal.settled(run=started.run):
            past.add(entry)
        code = started.task.environment.bundle
        if past.phase is not None:  # all but the last word was written
            self._end(started, past.phase, "it had ended")
        elif (inputs := self._station.inputs(started.input_blobs)) is None:
            self._end(started, Phase.FAILED, "its large inputs are lost")
        elif code.folder and not bundles.has(code.digest):
            self._end(started, Phase.FAILED, f"its code is lost or damaged: {code.folder}")
        else:
            self._say(f"resuming run {started.run} of {started.task.name}: {past.done} actions are done")
            return Unfinished(started, inputs, past)
        return None

    def knows(self, run: str) -> bool:
        """Whether the run is written down."""
        return bool(self._journal.find(RunQuery(run=run)).items)

    def digests(self) -> set[str]:
        """Of the code of runs that have not ended. JournalError: it cannot be read now."""
        return {started.task.environment.bundle.digest for started in self._journal.unfinished(ENGINE)}

    def close(self, seconds: float) -> None:
        self._closing.set()
        self._ledger.close(seconds)

    def _end(self, started: RunStarted, phase: Phase, why: str) -> None:
        self._say(f"not resuming run {started.run} of {started.task.name}: {why}")
        self._journal.record(RunEnded(started.run, phase, time.time()))

    def _prune(self) -> None:
        while not self._closing.wait(PRUNE_EVERY):
            try:
                prune(self._journal, self._ledger.cellar, self._keep)
                self.on_pruned()
            except (errors.JournalError, OSError) as error:  # of a file of large values or lines; the next time will do
                self._say(f"journal: old runs stay for now: {error}")

    # called in the journal's thread

    def _refused(self, entry: Entry, why: Exception) -> None:
        """A second settling of an action is no trouble: what was written first stays. A second run of a name is."""
        if isinstance(entry, RunStarted) and self._station is not None:
            reason = f"a run named {entry.run!r} is recorded already; choose another name"
            with self._station.turn:
                self._station.engine.clients.abort_run(entry.run, reason)
                self._station.engine.flush()
