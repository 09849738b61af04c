"""What is written down, for clients: their queries and the pages that answer them, as bytes on the wire.

The service answers in threads of its own (``Archive``), because journals and files are read there and the engine's
turn is no place for that. A command without a service asks the same of the files (``answer``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec

from samovar import errors
from samovar.engine.clients import NOTHING_WRITTEN, Recalled
from samovar.engine.work import Outcome
from samovar.entries import (
    ActionQuery,
    ActionSummary,
    AttemptEnded,
    AttemptQuery,
    EventQuery,
    Page,
    PoolEvent,
    RunQuery,
    RunSummary,
)
from samovar.host import lines
from samovar.host.lines import LogPage, LogQuery
from samovar.host.logbook import Logbook
from samovar.host.station import Station
from samovar.model import Failure, Phase
from samovar.ports import Journal

THREADS = 4

SECONDS = 5.0
"""How long what was said last may take until it can be read."""

Query = RunQuery | ActionQuery | AttemptQuery | EventQuery | LogQuery

_QUERIES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (RunQuery, ActionQuery, AttemptQuery, EventQuery, LogQuery)
}
_PAGES: dict[type[Any], Any] = {
    RunQuery: Page[RunSummary],
    ActionQuery: Page[ActionSummary],
    AttemptQuery: Page[AttemptEnded],
    EventQuery: Page[PoolEvent],
    LogQuery: LogPage,
}


class Service(Protocol):
    """Whoever takes a query to an ``Archive``."""

    def find(self, query: bytes) -> bytes: ...


def unpack(data: bytes) -> Query:
    """JournalError: this samovar knows no such query."""
    try:
        kind, fields = msgspec.msgpack.decode(data, type=tuple[str, msgspec.Raw])
        query: Query = msgspec.msgpack.decode(fields, type=_QUERIES[kind])
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise errors.JournalError(f"the query is not understood: {error}") from error
    return query


def ask(service: Service, query: Query) -> Any:
    """The page. JournalError: there is none, and why."""
    data = service.find(msgspec.msgpack.encode((type(query).__name__, query)))
    return msgspec.msgpack.decode(data, type=_PAGES[type(query)])


def answer(query: Query, journal: Journal | None, logs: Path) -> Any:
    """The page. JournalError: there is none, and why."""
    if isinstance(query, LogQuery):
        try:
            return lines.read(logs, query)
        except (OSError, ValueError) as error:
            raise errors.JournalError(f"the lines of run {query.run} cannot be read: {error}") from error
    if journal is None:
        raise errors.JournalError(NOTHING_WRITTEN)
    return journal.find(query)


def catch_up(query: Query, station: Station, journal: Journal | None, logbook: Logbook | None) -> None:
    """What has happened before the question is to be in the answer, where it can be."""
    if isinstance(query, LogQuery):
        if logbook is not None:
            logbook.flush(SECONDS)
    elif journal is not None:
        station.hand_over()
        with contextlib.suppress(errors.JournalError):  # then what is written by now has to do
            journal.flush(SECONDS)


class Archive:
    """Implements ``samovar.engine.clients.Archive``."""

    def __init__(self, journal: Journal | None, logbook: Logbook, station: Station) -> None:
        self._journal = journal
        self._logbook = logbook
        self._station = station
        self._turn = station.turn
        self._flush = station.engine.flush
        self._copies = station.engine.vault.copies
        self._threads = ThreadPoolExecutor(THREADS, "samovar-archive")

    def find(self, query: bytes, answer: Callable[[bytes, str], None]) -> None:
        self._threads.submit(self._find, query, answer)

    def recall(self, run: str, answer: Callable[[Recalled], None]) -> None:
        self._threads.submit(self._recall, run, answer)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _find(self, data: bytes, tell: Callable[[bytes, str], None]) -> None:
        page, problem = b"", ""
        try:
            query = unpack(data)
            catch_up(query, self._station, self._journal, self._logbook)
            page = msgspec.msgpack.encode(answer(query, self._journal, self._logbook.root))
        except errors.JournalError as error:
            problem = str(error)
        except Exception as error:  # whoever asks waits for an answer, and this thread has nobody else to tell
            problem = f"{type(error).__name__}: {error}"
        with self._turn:
            tell(page, problem)
            self._flush()

    def _recall(self, run: str, tell: Callable[[Recalled], None]) -> None:
        try:
            known = Recalled() if self._journal is None else self._recalled(self._journal, run)
        except Exception as error:  # as above
            known = Recalled(reason=f"what is written of run {run} cannot be read: {error}")
        with self._turn:
            tell(known)
            self._flush()

    def _recalled(self, journal: Journal, run: str) -> Recalled:
        self._station.hand_over()
        journal.flush(SECONDS)
        found = journal.find(RunQuery(run=run)).items
        if not found:
            return Recalled()
        (summary,) = found
        if not summary.phase.is_terminal:
            return Recalled(reason=f"run {run} is not carried out here, but by the {summary.engine}")
        for root in journal.settled(run, summary.action):
            files = self._copies(root.result_blobs)
            if files is None:
                return Recalled(summary.task, _lost("its large result is lost"))
            return Recalled(summary.task, Outcome(root.phase, root.result, files, root.failure))
        return Recalled(summary.task, _lost("how is not written down"))


def _lost(why: str) -> Outcome:
    return Outcome(Phase.FAILED, b"", (), Failure("system", "RuntimeSystemError", f"the run has ended, but {why}"))
