"""What a script's own engine writes down: the results of cached calls, for the next script.

The journal is the user's, and it is opened at the first cached task: scripts without one never load a database. Of a
run only its cached calls are written, so nobody resumes it.
"""

from __future__ import annotations

import os
import socket
import time

from samovar import config, errors
from samovar.engine.engine import Remembers
from samovar.engine.scribe import Scribe
from samovar.entries import RunEnded, RunQuery
from samovar.host.ledger import Ledger
from samovar.model import Phase
from samovar.ports import Journal, Report


class Notebook:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._ledger = Ledger(report)
        self.flush, self.close = self._ledger.flush, self._ledger.close
        self.remembers = Remembers(None, self._open, self._ledger.cellar)

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
