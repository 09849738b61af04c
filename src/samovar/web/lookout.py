"""What there is to be seen of a service: of its engine in short turns, and of what is written down.

Called in threads of the web server's own. Each turn asks the engine for a bounded part, however much is queued.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import Any

import samovar
from samovar import errors
from samovar.engine.timeline import Glance
from samovar.entries import ActionQuery, Settled
from samovar.host import archive, lines
from samovar.host.lines import LogPage, LogQuery
from samovar.host.premises import Premises
from samovar.model import PoolSettings
from samovar.web import models
from samovar.web.feed import Feed
from samovar.web.problems import Problem
from samovar.wire import frames

KEPT_LINES = 200
"""Lines that a replica has written outside of tasks, the newest."""

LONGEST_LINE = 1_000
"""Characters of such a line that are kept."""

KEPT_REPLICAS = 1_000
"""Replicas of which such lines are kept."""

BREATH = 0.001  # seconds

NO_JOURNAL = "no journal is kept, so what has ended is not known; set SAMOVAR_JOURNAL, or leave it unset, to keep one"


class Lookout:
    """``closing``: done when the service ends."""

    def __init__(self, premises: Premises, closing: Future[None]) -> None:
        self.station = premises.station
        self.engine = premises.station.engine
        self.turn = premises.station.turn
        self.journal = premises.journal
        self.closing = closing
        self.feed = Feed(premises.station, closing)
        self._address = premises.address
        self._logbook = premises.logbook
        self._written: OrderedDict[str, deque[str]] = OrderedDict()  # by replica
        with self.turn:
            self.timeline = self.engine.keep_timeline()
            self._on_log, self.engine.on_log = self.engine.on_log, self._heard

    @staticmethod
    def breathe() -> None:
        """Between two turns of many: whoever takes a lock again at once gets it before those who wait for it."""
        time.sleep(BREATH)

    # the service

    def service(self, url: str) -> models.Service:
        kept = models.Journal(kept=False)
        if self.journal is not None:
            health = self.journal.health()
            kept = models.Journal(
                kept=True, backlog=health.backlog, lag=health.lag, is_slow=health.is_slow, trouble=health.trouble
            )
        return models.Service(
            version=samovar.__version__,
            pid=os.getpid(),
            driver=self.station.driver,
            started_at=self.engine.clients.started_at,
            address=self._address,
            url=url,
            journal=kept,
            now=time.time(),
        )

    def why_not_ready(self) -> str:
        """Why no run can be started now; "": it can."""
        with self.turn:
            why = self.engine.clients.why_not_ready
        trouble = self.journal.health().trouble if self.journal is not None else ""
        return why or (f"the journal cannot be written: {trouble}" if trouble else "")

    # pools and replicas

    def has_pool(self, pool: str) -> bool:
        with self.turn:
            return pool in self.engine.environments

    def control(self, order: frames.Control) -> str:
        """Change a pool by hand. Why nothing was changed; "": it was."""
        with self.turn:
            _, problem = self.engine.survey.control(order)
            self.engine.flush()
        return problem

    def settings(self, pool: str) -> PoolSettings:
        """Of a pool that there is, or what a pool has where nothing is said."""
        with self.turn:
            environment = self.engine.environments.get(pool)
        return environment.settings if environment is not None else PoolSettings()

    def glance(self, pool: str) -> Glance | None:
        """At what its replicas have run; None: there is no such pool."""
        with self.turn:
            return self.timeline.glance(pool)

    def id_of(self, run: str, number: int) -> str:
        """Of an action that a timeline has by its number; "": none has it."""
        with self.turn:
            pools = list(self.engine.environments)
        for pool in pools:
            glance = self.glance(pool)
            if glance is not None and (found := glance.id_of(run, number)):
                return found
        return ""

    def replica_log(self, replica: str) -> list[str]:
        with self.turn:
            return list(self._written.get(replica, ()))

    def _heard(self, replica: str, stream: str, text: str) -> None:
        """In a turn: it writes outside of tasks."""
        fresh = (line[:LONGEST_LINE] for line in text.splitlines()[-KEPT_LINES:])
        self._written.setdefault(replica, deque(maxlen=KEPT_LINES)).extend(fresh)
        self._written.move_to_end(replica)
        if len(self._written) > KEPT_REPLICAS:
            self._written.popitem(last=False)
        self._on_log(replica, stream, text)

    # what is written down

    def find(self, query: Any, waits: bool = True) -> Any:
        """A page; ``waits``: until all is in it that was said before. JournalError: there is none, and why."""
        if self.journal is None:
            raise errors.JournalError(NO_JOURNAL)
        if waits:
            archive.catch_up(query, self.station, self.journal, self._logbook)
        return self.journal.find(query)

    def outcome(self, run: str, action: str) -> Settled | None:
        """Of an action that has ended, whole; None: it is not written down."""
        if self.journal is None:
            return None
        archive.catch_up(ActionQuery(run=run), self.station, self.journal, self._logbook)
        return next(iter(self.journal.settled(run=run, action=action)), None)

    def blob(self, name: str, limit: int) -> tuple[bytes, bool]:
        """The beginning of a large value, and whether that is all of it; nothing where it is gone."""
        for path in self.engine.vault.places(name):
            with contextlib.suppress(OSError), open(path, "rb", opener=_plainly) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    data = file.read(limit + 1)
                    return data[:limit], len(data) <= limit
        return b"", False

    def lines(self, query: LogQuery, waits: bool = True) -> LogPage:
        """What tasks have printed; nothing where that is not kept. ``waits``: until what was said before is stored."""
        if self._logbook is None:
            return LogPage([], query.after, True)
        if waits:
            archive.catch_up(query, self.station, self.journal, self._logbook)
        try:
            return lines.read(self._logbook.root, query)
        except ValueError as error:
            raise Problem(404, "after: it is no place among lines; take the 'next' of the page before") from error
        except OSError as error:
            raise Problem(503, f"the lines of run {query.run} cannot be read: {error}") from error


def _plainly(path: str, flags: int) -> int:
    """Replicas may write to the folder of large values: no link is followed, and no pipe waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
