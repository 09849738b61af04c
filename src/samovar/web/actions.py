"""The actions of runs: what is on its way, as the engine has it, and what is settled, as the journal has it."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from samovar.engine.scribe import ROOT, TRACE
from samovar.engine.survey import Closeup
from samovar.entries import ActionQuery, ActionSummary
from samovar.errors import JournalError
from samovar.model import Phase, Underway
from samovar.web import models
from samovar.web.lookout import Lookout
from samovar.web.passage import Passage
from samovar.wire import frames

KEPT_NUMBERS = 50_000
"""Actions that were shown: they are found at once when somebody wants to see more of them."""

SEARCHED = 20
"""Pages of the journal, or turns of the engine, of which a page is made at most. It may be short, and have a next."""


class Wanted(NamedTuple):
    """Actions of a run. ``parent`` "": the first one; None: all."""

    run: str
    parent: str | None = None
    phase: Phase | None = None
    task: str = ""
    limit: int = 100

    @property
    def has_underway(self) -> bool:
        """Some of these may be on their way."""
        return self.phase is None or not self.phase.is_terminal

    @property
    def has_settled(self) -> bool:
        return self.phase is None or self.phase.is_terminal


class Actions:
    def __init__(self, lookout: Lookout) -> None:
        self._look = lookout
        self._turn = lookout.turn
        self._survey = lookout.engine.survey
        self._numbers: OrderedDict[tuple[str, str], int] = OrderedDict()

    def page(self, wanted: Wanted, after: str) -> models.ActionList:
        """What is on its way comes before what is settled, and the newest first (``passage``)."""
        passage = Passage.of(after)
        found: list[models.Action] = []
        for _ in range(SEARCHED):
            if passage.before is None or len(found) == wanted.limit or not wanted.has_underway:
                break
            part, passage = self._underway(wanted, wanted.limit - len(found), passage)
            found += part
            if passage.before:
                self._look.breathe()
        else:
            return models.ActionList(items=found, next=passage.cursor)
        is_left = passage.before is not None and wanted.has_underway
        if is_left or not wanted.has_settled or self._look.journal is None:
            return models.ActionList(items=found, next=passage.cursor if is_left else "")
        for _ in range(SEARCHED):
            if len(found) == wanted.limit:
                return models.ActionList(items=found, next=passage.cursor)
            part, passage, is_last = self._settled(wanted, wanted.limit - len(found), passage)
            found += part
            if is_last:
                return models.ActionList(items=found, next="")
        return models.ActionList(items=found, next=passage.cursor)

    def closeup(self, run: str, action: str) -> Closeup | None:
        """An action that is on its way; None: it is not."""
        number = self.number(run, action)
        with self._turn:
            return self._survey.closeup(number)

    def abort(self, run: str, action: str, reason: str) -> bool:
        """False: it is not on its way."""
        number = self.number(run, action)
        with self._turn:
            done = self._survey.abort(run, number, reason)
            self._look.engine.flush()
        return done

    def number(self, run: str, action: str) -> int:
        """The engine's number of an action that is on its way; 0: it is not."""
        with self._turn:
            root = self._survey.root(run)
            known = self._numbers.get((run, action), 0)
            closeup = self._survey.closeup(known)
        if not root or action == ROOT:
            return root
        if closeup is not None:
            return known
        ask = frames.AskActions(0, run=run, action=action, limit=1)
        while True:
            with self._turn:
                found, before = self._survey.underway(ask)
            if found or not before:
                return self._noted(found[0]).number if found else 0
            if not ask.before and self._has_ended(run, action):  # a look that is cheaper than all the turns to come
                return 0
            ask = msgspec.structs.replace(ask, before=before)
            self._look.breathe()

    def _has_ended(self, run: str, action: str) -> bool:
        """As far as that is written down, and can be read."""
        with contextlib.suppress(JournalError):
            return self._look.outcome(run, action) is not None
        return False

    def _underway(self, wanted: Wanted, limit: int, passage: Passage) -> tuple[list[models.Action], Passage]:
        """What one turn finds."""
        before = passage.before or 0
        parent = self.number(wanted.run, wanted.parent) if wanted.parent else 0
        ask = frames.AskActions(0, wanted.run, parent=wanted.parent, before=before, limit=limit)
        found: tuple[Underway, ...] = ()
        with self._turn:
            root = self._survey.root(wanted.run)
            if wanted.parent == "":
                closeup = self._survey.closeup(root)
                found, before = (closeup.underway,) if closeup is not None else (), 0
            elif wanted.parent is None:
                found, before = self._survey.underway(ask) if root else ((), 0)
            else:
                some = self._survey.children(parent, before, limit)
                found, before = some if some is not None else self._survey.underway(ask)
            at = time.time()
        passage = passage.on(before, found[-1].queued if found else None, at)
        return [underway(self._noted(one)) for one in found if _is_wanted(one, wanted)], passage

    def _settled(self, wanted: Wanted, limit: int, passage: Passage) -> tuple[list[models.Action], Passage, bool]:
        """A page of the journal; whether it is the last."""
        query = ActionQuery(
            run=wanted.run,
            parent=wanted.parent,
            phase=wanted.phase,
            task=wanted.task,
            limit=limit,
            after=passage.written,
        )
        page = self._look.find(query)
        found = [settled(one) for one in page.items if not passage.has_shown(one.queued, one.ended)]
        return found, Passage(None, passage.marks, page.next), not page.next

    def _noted(self, one: Underway) -> Underway:
        self._numbers[one.run, one.action] = one.number
        while len(self._numbers) > KEPT_NUMBERS:
            with contextlib.suppress(KeyError):  # another thread was there first
                self._numbers.popitem(last=False)
        return one


def _is_wanted(one: Underway, wanted: Wanted) -> bool:
    return wanted.phase in (None, one.phase) and wanted.task in ("", one.task)


def underway(one: Underway) -> models.Action:
    return models.Action(
        run=one.run,
        id=one.action,
        number=one.of_run,
        parent=one.parent,
        task=one.task,
        phase=one.phase,
        queued=one.queued,
        started=one.started,
        ended=None,
        attempts=one.attempts,
        replica=one.replica,
        cold=one.cold,
        cached=False,
        is_traced=False,
        error="",
        has_children=one.has_children or None,
    )


def settled(one: ActionSummary) -> models.Action:
    return models.Action(
        run=one.run,
        id=one.action,
        number=one.of_run or None,
        parent=one.parent,
        task=one.task,
        phase=one.phase,
        queued=one.queued,
        started=one.started,
        ended=one.ended,
        attempts=one.attempts,
        replica=one.replica,
        cold=one.cold,
        cached=one.is_cached,
        is_traced=TRACE in one.action,
        error=one.error,
        has_children=None,
    )
