"""What a script's own engine writes down: the results of cached calls, for the next script.

The journal is the user's, and it is opened at the first cached task: scripts without one never load a database. Of a
run only its cached calls are written, so nobody resumes it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from samovar import config, errors
from samovar.engine.engine import Remembers
from samovar.engine.scribe import Scribe
from samovar.engine.vault import Cellar
from samovar.entries import Health, RunEnded, RunQuery
from samovar.host.memory import blobs_folder
from samovar.journal.choice import open_journal
from samovar.model import Phase
from samovar.ports import Journal, Report

_CLOSE_SECONDS = 10.0


class Notebook:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._trouble = ""
        self._journal: Journal | None = None
        self._cellar = Cellar(blobs_folder)
        self.remembers = Remembers(None, self._open, self._cellar)

    def flush(self) -> None:
        """Until all that was recorded is written, or it takes too long."""
        if self._journal is not None:
            with contextlib.suppress(errors.JournalError):
                self._journal.flush(_CLOSE_SECONDS)

    def close(self) -> None:
        if self._journal is not None:
            try:
                self._journal.close(_CLOSE_SECONDS)
            except errors.JournalError as error:
                self._report(f"journal: {error}")

    def _open(self) -> Scribe | None:
        """In a thread. None: no journal is kept, or it cannot be opened."""
        try:
            where = config.journal()
            if not where:
                return None
            self._journal = open_journal(where, self._changed, before=self._cellar.store)
            _end_runs_of_the_dead(self._journal)
        except (errors.BaseRuntimeError, OSError) as error:
            self._report(f"results are cached for this script only: {error}")
            return None
        return Scribe(self._journal, _name(os.getpid()))

    def _changed(self, health: Health) -> None:
        """In the journal's thread."""
        if health.trouble != self._trouble:
            self._trouble = health.trouble
            self._report(f"journal: {health.trouble or 'all is written again'}")


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
