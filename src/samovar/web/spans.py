"""Where the time of an action went: a pure function of what is known of it, its attempts, and its pool's replicas.

The spans lie end to end from the call to the outcome, or to now; each has a reason that a person understands. Times are
seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from samovar.engine.timeline import Life

SOON = 0.005
"""Seconds of a wait that nothing but the way to a free slot explains."""


class Span(NamedTuple):
    name: str  # "queue" | "start" | "dispatch" | "run" | "parked" | "retry"
    start: float
    end: float | None  # None: it goes on
    reason: str


class Try(NamedTuple):
    """An attempt. ``failure``: why it did not settle the action; "" for the last one."""

    attempt: int
    replica: str
    start: float
    end: float | None
    failure: str = ""
    is_own: bool = True  # a failure of the task itself, not of its replica
    parked: Sequence[float] = ()  # when it gave its slot back and had one again, in turn
    ran: float = 0.0  # seconds that the task itself took; 0: not known


class Pool(NamedTuple):
    """``lives``: of its replicas, as far as they are known."""

    lives: Sequence[Life] = ()
    concurrency: int = 1
    max_replicas: int = 1


class Facts(NamedTuple):
    queued: float
    ended: float | None
    tries: Sequence[Try]
    pool: Pool
    retries: int | None = None  # that its own failures are given; None: not known
    is_known: bool = False  # its result was there already
    outcome: str = ""  # why it ended without having run


def spans(facts: Facts) -> list[Span]:
    if facts.is_known:
        return [Span("queue", facts.queued, facts.ended, "its result was known already, so it did not run")]
    found: list[Span] = []
    since, failed, failures = facts.queued, None, 0
    for one in facts.tries:
        found += _before(facts, since, one.start, one.replica, failed, failures)
        found += _during(one)
        if one.end is None:
            return found
        since, failed = one.end, one
        failures += one.is_own and bool(one.failure)
    if failed is None or failed.failure:
        found += _before(facts, since, facts.ended, "", failed, failures)
    return found


def _before(
    facts: Facts, since: float, until: float | None, replica: str, failed: Try | None, failures: int
) -> Iterator[Span]:
    """What it waited for before an attempt, or before it was given up."""
    if until is not None and until <= since:
        return
    if failed is not None:
        yield Span("retry", since, until, _why_again(failed, failures, facts.retries))
    else:
        yield from _waiting(facts, since, until, replica)


def _why_again(failed: Try, failures: int, retries: int | None) -> str:
    if not failed.is_own:
        return f"replica {failed.replica} was lost under it; it waits for another slot: {failed.failure}"
    of = f" of {retries + 1} that end it" if retries is not None else ""
    return f"back-off after failure {failures}{of}, and the way to a slot: {failed.failure}"


def _waiting(facts: Facts, since: float, until: float | None, replica: str) -> Iterator[Span]:
    """For its first slot."""
    life = _starting(facts.pool.lives, since, until, replica)
    if life is None or (life.ready is not None and life.ready <= since):
        yield Span("queue", since, until, _ended(_why_queued(facts.pool, since, until), facts, until, replica))
        return
    began = max(since, life.starting)
    if began - since > SOON:
        yield Span("queue", since, began, _why_queued(facts.pool, since, began))
    else:
        began = since
    ready = life.ready if until is None or life.ready is None else min(life.ready, until)
    yield Span("start", began, ready or until, f"replica {life.name} was starting")
    if ready is not None and (until is None or until - ready > 0):
        yield Span("queue", ready, until, _why_queued(facts.pool, ready, until))


def _starting(lives: Sequence[Life], since: float, until: float | None, replica: str) -> Life | None:
    """The replica whose start it waited for: the one that took it, or, while none has, the first that starts."""
    if replica:
        return next((life for life in lives if life.name == replica), None)
    if any(life.ready is not None and life.ready <= since and life.ended is None for life in lives):
        return None
    began = [life for life in lives if life.ready is None and life.ended is None]
    return min(began, key=lambda life: life.starting, default=None)


def _why_queued(pool: Pool, since: float, until: float | None) -> str:
    if until is not None and until - since <= SOON:
        return "a slot was free"
    ready = [life for life in pool.lives if _is_ready(life, since)]
    if not ready:
        return "no replica was ready"
    slots = len(ready) * pool.concurrency
    taken = f"all {slots} slots of {_counted(len(ready), 'replica')} were taken" if slots > 1 else "its slot was taken"
    if len(ready) >= pool.max_replicas:
        return f"{taken}, and the policy allows no more"
    later = [life for life in pool.lives if since < (life.ready or life.starting) and (until or since) >= life.starting]
    if later:
        more = "one more replica was" if len(later) == 1 else f"{len(later)} more replicas were"
        return f"{taken}, and {more} on the way"
    return f"{taken}, and the queue was not long enough for one more replica"


def _is_ready(life: Life, at: float) -> bool:
    return life.ready is not None and life.ready <= at and (life.ended is None or life.ended > at)


def _ended(reason: str, facts: Facts, until: float | None, replica: str) -> str:
    if replica or until is None or not facts.outcome:
        return reason
    return f"{reason}; {facts.outcome} before it had one"


def _during(one: Try) -> Iterator[Span]:
    since = one.start
    if one.end is not None and 0 < one.ran < one.end - one.start:
        since = one.end - one.ran
        yield Span("dispatch", one.start, since, "it was on its way to the task and back")
    why = one.failure or ("it runs" if one.end is None else "it ran")
    for at in range(0, len(one.parked), 2):
        parked = one.parked[at]
        resumed = one.parked[at + 1] if at + 1 < len(one.parked) else one.end
        if parked > since:
            yield Span("run", since, parked, why)
        yield Span("parked", parked, resumed, "it waited for the tasks that it had called, and held no slot")
        if resumed is None:
            return
        since = resumed
    if one.end is None or one.end > since or not one.parked:
        yield Span("run", since, one.end, why)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
