"""One action from near: previews of its values, its attempts, its error, and where its time went."""

from __future__ import annotations

from collections.abc import Sequence

from samovar.engine.crew import pool_of
from samovar.engine.scribe import ROOT, TRACE
from samovar.engine.survey import Closeup
from samovar.engine.timeline import Bar, Glance, Life
from samovar.entries import (
    AttemptEnded,
    AttemptQuery,
    Change,
    EventQuery,
    PoolEvent,
    Settled,
    StartQuery,
)
from samovar.journal.pages import error_line, summary_of
from samovar.model import Failure
from samovar.web import actions, models, preview, spans
from samovar.web.lookout import Lookout
from samovar.web.problems import Problem

ATTEMPTS = 200
"""That are told of an action."""

EVENTS = 1_000
"""Of a pool that are looked through for the lives of its replicas."""


class Details:
    def __init__(self, lookout: Lookout, known: actions.Actions) -> None:
        self._look = lookout
        self._actions = known

    def of(self, run: str, action: str) -> models.ActionDetail:
        """404: there is no such action. ``action``: its id, or its number as a timeline has it."""
        if action.isdecimal():
            action = self._look.id_of(run, int(action)) or action
        closeup = self._actions.closeup(run, action)
        if closeup is not None:
            return self._underway(closeup)
        settled = self._look.outcome(run, action)
        if settled is None:
            raise Problem(404, f"run {run!r} has no action {action!r}; /api/v1/runs/{{run}}/actions lists those it has")
        return self._settled(settled)

    def _underway(self, closeup: Closeup) -> models.ActionDetail:
        seen = closeup.underway
        shown = self._preview(closeup.body, closeup.blobs, seen.task)
        about = actions.underway(seen)
        return self._detail(about, seen.pool, closeup.retries, inputs=shown, result=None, failure=None)

    def _settled(self, entry: Settled) -> models.ActionDetail:
        inputs, retries = self._beginning(entry)
        return self._detail(
            actions.settled(summary_of(entry)),
            pool_of(entry.replica),
            retries,
            inputs=inputs,
            result=self._preview(entry.result, entry.result_blobs),
            failure=entry.failure,
            ran=entry.ran,
        )

    def _beginning(self, entry: Settled) -> tuple[str | None, int | None]:
        """The inputs and the retries of an action; of others than the first one large inputs are not written down."""
        if entry.action != ROOT:
            return self._preview(entry.inputs, entry.input_blobs, entry.task), None
        began = self._look.find(StartQuery(run=entry.run, limit=1)).items
        if not began:
            return None, None
        shown = self._preview(began[0].inputs, began[0].input_blobs, entry.task)
        return shown, began[0].task.retry.count

    def _detail(
        self,
        about: models.Action,
        pool: str,
        retries: int | None,
        *,
        inputs: str | None,
        result: str | None,
        failure: Failure | None,
        ran: float = 0.0,
    ) -> models.ActionDetail:
        ended = self._attempts(about)
        glance = self._look.glance(pool)
        bars = glance.bars_of(about.run, about.id) if glance is not None else []
        facts = spans.Facts(
            about.queued,
            about.ended,
            _tries(about, ended, bars, ran),
            self._pool(pool, glance),
            retries,
            about.cached,
            f"it was {about.phase.value.replace('_', ' ')}" if about.ended is not None else "",
        )
        tried = [_attempt(one) for one in ended]
        if about.started is not None and about.attempts > (ended[-1].attempt if ended else 0):
            tried.append(_last(about, failure))
        return models.ActionDetail(
            **about.model_dump(),
            inputs=inputs,
            result=result,
            attempts_list=tried,
            failure=_failure(failure),
            spans=[models.Span(**span._asdict()) for span in spans.spans(facts)],
            pool=pool,
        )

    def _attempts(self, about: models.Action) -> list[AttemptEnded]:
        """Those that did not settle it."""
        if self._look.journal is None or TRACE in about.id:
            return []
        query = AttemptQuery(run=about.run, action=about.id, oldest_first=True, limit=ATTEMPTS)
        found: list[AttemptEnded] = self._look.find(query).items
        return found

    def _pool(self, pool: str, glance: Glance | None) -> spans.Pool:
        settings = self._look.settings(pool)
        if glance is not None and glance.lives:
            moved = [life.moved(glance.zero) for life in glance.lives]
            return spans.Pool(moved, settings.concurrency, settings.max_replicas)
        if self._look.journal is None or not pool:
            return spans.Pool()
        lives = lives_of(self._look.find(EventQuery(pool=pool, limit=EVENTS)).items[::-1])
        return spans.Pool(lives, settings.concurrency, settings.max_replicas)

    def _preview(self, body: bytes, blobs: tuple[str, ...], task: str = "") -> str | None:
        """None: there is nothing, or it is not here any more. ``task``: whose inputs these are."""
        is_whole = True
        if not body and blobs:
            body, is_whole = self._look.blob(blobs[0], preview.READ_BYTES)
        if not body:
            return None
        if task:
            return preview.inputs(task.rpartition(".")[2], body, is_whole)
        return preview.result(body, is_whole)


def lives_of(events: Sequence[PoolEvent]) -> list[Life]:
    """Of replicas, from what was written of them, the oldest first."""
    found: dict[str, Life] = {}
    for event in events:
        if not event.replica:
            continue
        life = found.get(event.replica, Life(event.replica, event.at))
        if event.change is Change.READY:
            life = life._replace(ready=event.at)
        elif event.change is Change.LOST:
            life = life._replace(ended=event.at, reason=event.reason)
        found[event.replica] = life
    return list(found.values())


def _tries(about: models.Action, ended: Sequence[AttemptEnded], bars: Sequence[Bar], ran: float) -> list[spans.Try]:
    parked = {bar.attempt: bar.parked for bar in bars}
    tries = [
        spans.Try(
            one.attempt,
            one.replica,
            one.started,
            one.ended,
            error_line(one.failure),
            one.failure.kind == "user",
            parked.get(one.attempt, ()),
        )
        for one in ended
    ]
    if about.started is not None and about.attempts > (ended[-1].attempt if ended else 0):
        last = parked.get(about.attempts, ())
        tries.append(spans.Try(about.attempts, about.replica, about.started, about.ended, parked=last, ran=ran))
    return tries


def _attempt(one: AttemptEnded) -> models.Attempt:
    return models.Attempt(
        attempt=one.attempt,
        replica=one.replica,
        cold=one.cold,
        started=one.started,
        ended=one.ended,
        failure=error_line(one.failure),
    )


def _last(about: models.Action, failure: Failure | None) -> models.Attempt:
    assert about.started is not None
    return models.Attempt(
        attempt=about.attempts,
        replica=about.replica,
        cold=about.cold,
        started=about.started,
        ended=about.ended,
        failure=error_line(failure) if failure is not None else "",
    )


def _failure(failure: Failure | None) -> models.Failure | None:
    if failure is None:
        return None
    return models.Failure(kind=failure.kind, code=failure.code, message=failure.message, traceback=failure.traceback)
