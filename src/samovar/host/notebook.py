"""What a script's own engine writes down: the results of cached calls, for the next script.

The journal is the user's, and it is opened at the first cached task: scripts without one never load a database. Of a
run only its cached calls are written, so nobody resumes it. Where a script has a dashboard all of its runs are written
down as well, in memory.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from samovar import config, errors
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Scribe
from samovar.entries import RunEnded, RunQuery, StartQuery
from samovar.host.ledger import Ledger
from samovar.model import Phase
from samovar.ports import Journal, Report

if TYPE_CHECKING:
    from samovar.journal.memory import MemoryJournal

_CLOSE_SECONDS = 10.0


class Notebook:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._ledger = Ledger(report)
        self.flush = self._ledger.flush
        self.journal: MemoryJournal | None = None
        self.remembers = Remembers(None, self._open, self._ledger.cellar)

    def write_all(self) -> None:
        """Every run is to be written down, for as long as this process lives."""
        from samovar.journal.memory import MemoryJournal  # only here: most scripts write nothing

        cellar = self._ledger.cellar
        self.journal = MemoryJournal(before=cellar.store)
        self.remembers = Remembers(Scribe(self.journal, _name(os.getpid())), self._open, cellar)

    def close(self) -> None:
        """When the engine has ended. Of the large values those stay that are results of cached calls."""
        if self.journal is not None:
            self.journal.flush(_CLOSE_SECONDS)
            for run in [*self._runs()]:
                for entry in self.journal.settled(run):
                    if not entry.cache_key:
                        self._ledger.cellar.sweep(entry.result_blobs)
            self.journal.close(_CLOSE_SECONDS)
        self._ledger.close()

    def _runs(self) -> Iterator[str]:
        """All that are written in memory; their large inputs go."""
        assert self.journal is not None
        query = StartQuery(limit=1000)
        while True:
            page = self.journal.find(query)
            for run in page.items:
                self._ledger.cellar.sweep(run.input_blobs)
                yield run.run
            if not page.next:
                return
            query = StartQuery(limit=1000, after=page.next)

    def _open(self) -> Scribe | None:
        """In a thread. None: no journal is kept, or it cannot be opened."""
        try:
            where = config.journal()
            if not where:
                return None
            journal = self._ledger.open(where)
            _end_runs_of_the_dead(journal)
        except (errors.BaseRuntimeError, OSError) as error:
            self._report(f"results are cached for this script only: {error}")
            return None
        return Scribe(journal, _name(os.getpid()))


def _name(process: int) -> str:
    """Of the engine of a script; "" when there is no such process."""
    try:
        with open(f"/proc/{process}/stat") as file:
            began = file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"script {process} of {began} on {socket.gethostname()}"


def _end_runs_of_the_dead(journal: Journal) -> None:
    """A script that was killed could not write that its run has ended."""
    page = journal.find(RunQuery(phase=Phase.RUNNING, limit=1000))
    for run in page.items:
        words = run.engine.split()
        is_ours = words[0] == "script" and words[-1] == socket.gethostname()
        if is_ours and run.engine != _name(int(words[1])):
            journal.record(RunEnded(run.run, Phase.ABORTED, time.time(), run.actions))
