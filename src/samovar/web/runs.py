"""Runs: what is written down of them, with what the engine knows of those that are on their way."""

from __future__ import annotations

import threading
import time
from collections import Counter

import msgspec

from samovar.engine.crew import pool_of
from samovar.engine.scribe import ROOT, TRACE
from samovar.engine.survey import THIS_PROCESS
from samovar.entries import ActionQuery, RunQuery, RunSummary
from samovar.journal.pages import LARGEST
from samovar.model import Phase
from samovar.web import models
from samovar.web.actions import SEARCHED, Actions, Wanted
from samovar.web.lookout import Lookout
from samovar.web.problems import Problem

COUNTING_TURNS = 100
"""In which the actions of a run that are on their way are counted; where it takes more, they are not."""

COUNTED_PAGES = 5
"""Of failed actions of a run that are counted; likewise."""

REST = 10.0
"""Times what a dear count took, for which it is told again."""

KEPT_COUNTS = 100
"""Of runs."""

_BAD = (Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT)


class Runs:
    def __init__(self, lookout: Lookout, actions: Actions) -> None:
        self._look = lookout
        self._actions = actions
        self._turn, self._engine = lookout.turn, lookout.engine
        self._counting = threading.Lock()
        self._counted: dict[tuple[str, bool], tuple[float, models.RunCounts]] = {}
        """By run, and whether it is on its way: until when they hold, by the monotonic clock, and the counts."""

    def page(self, query: RunQuery, search: str = "") -> models.RunList:
        """The newest first. ``search``: a part of the name or of the task."""
        if self._look.journal is None:
            return models.RunList(items=[run for run in self._live(query) if _matches(run, query, search)], next="")
        phase = query.phase if query.phase is None or query.phase.is_terminal else Phase.RUNNING
        found: list[models.Run] = []
        after = query.after
        for _ in range(SEARCHED):
            part = msgspec.structs.replace(query, phase=phase, limit=query.limit - len(found), after=after)
            page = self._look.find(part)
            found += [run for run in self._seen(page.items) if _matches(run, query, search)]
            after = page.next
            if not after or len(found) == query.limit:
                break
        return models.RunList(items=found, next=after)

    def get(self, name: str) -> models.Run:
        """404: there is none."""
        query = RunQuery(run=name)
        is_written = self._look.journal is not None
        found = self._seen(self._look.find(query).items) if is_written else self._live(query)
        if not found:
            raise Problem(404, f"there is no run {name!r}; /api/v1/runs lists those that are known")
        return found[0]

    def detail(self, name: str) -> models.RunDetail:
        run = self.get(name)
        first = self._actions.page(Wanted(name, parent="", limit=1), "").items
        some = self._actions.page(Wanted(name), "").items
        pools = {pool_of(action.replica) for action in [*first, *some] if action.replica}
        return models.RunDetail(
            **run.model_dump(), counts=self._counts(run), root=first[0] if first else None, pools=sorted(pools)
        )

    def abort(self, name: str, reason: str) -> bool:
        """False: it is not on its way."""
        return self._actions.abort(name, ROOT, reason)

    def _seen(self, written: list[RunSummary]) -> list[models.Run]:
        """What is written down, and the engine's word on what has not ended."""
        with self._turn:
            roots = [self._engine.roots.get(run.run) for run in written if run.ended is None]
            phases = {root.run.name: root.phase for root in roots if root is not None}
        return [_run(run, phases.get(run.run, run.phase), run.run in phases) for run in written]

    def _live(self, query: RunQuery) -> list[models.Run]:
        """Where no journal is kept."""
        with self._turn:
            survey = self._engine.survey
            closeup = survey.closeup(survey.root(query.run)) if query.run else None
            roots = [closeup.underway] if closeup is not None else survey.runs(query.limit) if not query.run else []
        return [
            models.Run(
                name=root.run,
                task=root.task,
                phase=root.phase,
                started=root.queued,
                ended=None,
                actions=0,
                engine=THIS_PROCESS,
                is_live=True,
            )
            for root in roots
        ]

    def _counts(self, run: models.Run) -> models.RunCounts:
        """Every page of a run asks each second: what is dear to count is counted for all, and not all the time."""
        with self._counting:
            key = run.name, run.is_live  # nobody asks again of a run that has ended
            until, counts = self._counted.pop(key, (0.0, None))
            began = time.monotonic()
            if counts is None or began >= until:
                counts, is_dear = self._count(run)
                if not is_dear:
                    return counts
                now = time.monotonic()
                until = now + REST * (now - began)
            self._counted[key] = until, counts
            if len(self._counted) > KEPT_COUNTS:
                del self._counted[next(iter(self._counted))]
            return counts

    def _count(self, run: models.Run) -> tuple[models.RunCounts, bool]:
        """And whether one turn, or the first pages, did not do."""
        live, turns = self._count_live(run.name) if run.is_live else (Counter(), 0)
        bad, pages = self._count_bad(run.name) if self._look.journal is not None else (None, 0)
        with self._turn:
            root = self._engine.roots.get(run.name)
            settled = root.run.settled if root is not None else run.actions
        counts = models.RunCounts(
            queued=None if live is None else live[Phase.QUEUED],
            waiting=None if live is None else live[Phase.WAITING_FOR_RESOURCES],
            running=None if live is None else live[Phase.RUNNING],
            succeeded=None if bad is None else max(0, settled - bad.total()),
            failed=None if bad is None else bad[Phase.FAILED],
            aborted=None if bad is None else bad[Phase.ABORTED],
            timed_out=None if bad is None else bad[Phase.TIMED_OUT],
        )
        return counts, turns > 1 or pages > len(_BAD)

    def _count_live(self, run: str) -> tuple[Counter[str] | None, int]:
        """By phase, None where there are too many; and the turns that it took."""
        total: Counter[str] = Counter()
        before = 0
        for turn in range(1, COUNTING_TURNS + 1):
            with self._turn:
                part, before = self._engine.survey.count(run, before)
            total += part
            if not before:
                return total, turn
            self._look.breathe()
        return None, COUNTING_TURNS

    def _count_bad(self, run: str) -> tuple[Counter[str] | None, int]:
        """What has not succeeded by phase, None where there is too much; and the pages that it took."""
        total: Counter[str] = Counter()
        read = 0
        for phase in _BAD:
            query = ActionQuery(run=run, phase=phase, limit=LARGEST)
            for _ in range(COUNTED_PAGES):
                page = self._look.find(query, waits=False)  # the run itself was waited for
                read += 1
                total[phase] += sum(TRACE not in action.action for action in page.items)
                query = msgspec.structs.replace(query, after=page.next)
                if not page.next:
                    break
            else:
                return None, read
        return total, read


def told(run: RunSummary) -> models.Run:
    """What the engine has just seen of it."""
    return _run(run, run.phase, run.ended is None)


def _run(run: RunSummary, phase: Phase, is_live: bool) -> models.Run:
    return models.Run(
        name=run.run,
        task=run.task,
        phase=phase,
        started=run.started,
        ended=run.ended,
        actions=run.actions,
        engine=run.engine,
        is_live=is_live,
    )


def _matches(run: models.Run, query: RunQuery, search: str) -> bool:
    return (
        query.phase in (None, run.phase)
        and query.task in ("", run.task)
        and (query.since is None or run.started >= query.since)
        and (not search or search.lower() in run.name.lower() or search.lower() in run.task.lower())
    )
