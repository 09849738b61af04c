"""Where a command has its facts from: the service in use, or, where none runs, the files that one has left.

Queries are those of ``samovar.entries`` and of ``samovar.host.lines``; what is on its way only a service can tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
import msgspec

from samovar import config
from samovar.cli.service import errors_are_messages
from samovar.entries import ActionQuery, RunQuery
from samovar.errors import JournalError, RuntimeSystemError
from samovar.host import archive, service
from samovar.host.archive import Query
from samovar.host.lines import LogQuery
from samovar.host.remote import RemoteHost
from samovar.model import PoolStats, ReplicaStats, Underway
from samovar.ports import Journal, Report
from samovar.wire import frames

T = TypeVar("T")

PAGE = 1000  # rows that are read at once

SEARCHED_RUNS = 100
"""The newest runs, in which an action is looked for whose run is not said."""


class Source:
    """``say`` takes that a service is waited for."""

    def __init__(self, endpoint: str, say: Report = lambda line: None) -> None:
        self._endpoint = endpoint
        self._say = say
        self._is_waiting = False
        self._host: RemoteHost | None = None
        self._journal: Journal | None = None

    @property
    def host(self) -> RemoteHost | None:
        """The service, None where none runs; one that has come back is found again."""
        if self._host is not None and self._host.is_gone:
            self._host.close()
            self._host = None
        if self._host is None:
            self._host = service.at(self._endpoint, self._hear)
        return self._host

    def patiently(self, look: Callable[[], T]) -> T:
        """What a look gives; where the service is gone without a word meanwhile, the next one is waited for."""
        is_late = False
        while True:
            self._await_return()
            try:
                return look()
            except TimeoutError:  # perhaps the network is cut, which is known a little later
                if is_late:
                    raise
                is_late = True
            except RuntimeSystemError:
                if self._host is None or not self._host.is_gone:
                    raise

    def _await_return(self) -> None:
        if self._host is not None and self._host.is_gone:
            self._is_waiting = True
            self._host.is_back()
            self._is_waiting = False

    def _hear(self, line: str) -> None:
        """What a service says of its own work answers nothing that is asked here."""
        if self._is_waiting:
            self._say(line)

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
        if self._journal is not None:
            self._journal.close(1.0)

    def find(self, query: Query) -> Any:
        """A page. JournalError: there is none, and why."""
        host = self.host
        if host is not None:
            return archive.ask(host, query)
        if isinstance(query, LogQuery):
            return archive.answer(query, None, config.logs_folder())
        return archive.answer(query, self._written(), config.logs_folder())

    def newest(self, query: Any, limit: int, is_wanted: Callable[[Any], bool] = lambda item: True) -> list[Any]:
        """The newest items, at most ``limit``."""
        found: list[Any] = []
        query = msgspec.structs.replace(query, limit=min(limit, PAGE))
        while len(found) < limit:
            page = self.find(query)
            found += filter(is_wanted, page.items)
            if not page.next:
                break
            query = msgspec.structs.replace(query, after=page.next)
        return found[:limit]

    def underway(self, **wanted: Any) -> Iterator[Underway]:
        """Actions that are queued or run, the newest first; nothing where no service runs."""
        host = self.host
        return host.underway(frames.AskActions(0, **wanted)) if host is not None else iter(())

    def standing(self) -> tuple[list[PoolStats], list[ReplicaStats]]:
        """Pools and replicas; nothing where no service runs."""
        host = self.host
        return host.standing() if host is not None else ([], [])

    def run_exists(self, run: str) -> bool:
        with contextlib.suppress(JournalError):
            if self.find(RunQuery(run=run)).items:
                return True
        return any(True for _ in self.underway(run=run, limit=1))

    def action(self, run: str, action: str) -> Underway | None:
        """The action of a run that is on its way under this id, or under this number within the run."""
        return next(self.underway(run=run, action=action, limit=1), None)

    def has_settled(self, run: str, action: str) -> bool:
        """Whether an action of a run has ended, named as above. JournalError: nobody knows."""
        if self.newest(ActionQuery(run=run, action=action), 1):
            return True
        return action.isdecimal() and bool(
            self.newest(ActionQuery(run=run), 1, lambda settled: settled.of_run == int(action))
        )

    def run_of(self, action: str) -> str:
        """The newest run that has an action with this id; "": none of the newest ones has."""
        found = next(self.underway(action=action, limit=1), None)
        if found is not None:
            return found.run
        for run in self.newest(RunQuery(), SEARCHED_RUNS):
            if self.find(ActionQuery(run=run.run, action=action, limit=1)).items:
                return str(run.run)
        return ""

    def _written(self) -> Journal:
        if self._journal is None:
            from samovar.journal.choice import open_journal  # only here: who asks a service needs no database

            where = config.journal()
            if not where:
                raise JournalError(
                    "no service runs, and no journal is kept: SAMOVAR_JOURNAL or the config file says none"
                )
            self._journal = open_journal(where)
        return self._journal


@contextlib.contextmanager
def opened(endpoint: str, say: Report = lambda line: None) -> Iterator[Source]:
    """What cannot be told is one message and exit status 1."""
    with errors_are_messages():
        source = Source(endpoint, say)
        try:
            yield source
        finally:
            source.close()


def unknown_run(run: str) -> click.ClickException:
    return click.ClickException(f"there is no run {run!r}; `samovar get runs` lists them")
