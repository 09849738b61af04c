"""The timeline of a pool over HTTP: columns, since there may be 100,000 executions in it."""

from __future__ import annotations

import gzip
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Response

from samovar.engine.timeline import POOL_BARS, Bar, Life, Strip
from samovar.web import models
from samovar.web.problems import Problem, documented
from samovar.web.routes.base import In, Name, Since

router = APIRouter(prefix="/api/v1", tags=["pools"])

PACKED_BYTES = 16 * 1024
"""From which an answer is compressed for whoever takes it so."""


@router.get(
    "/pools/{pool}/timeline",
    response_model=models.Timeline,
    responses=documented(404),
    operation_id="get_timeline",
)
def get_timeline(
    pool: Name,
    house: In,
    since: Since = None,
    until: Since = None,
    limit: Annotated[int, Query(ge=1, le=POOL_BARS)] = POOL_BARS,
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """What its replicas have run, those that still run included: the newest `limit` that ended at `since` or later."""
    glance = house.lookout.glance(pool)
    if glance is None:
        raise Problem(404, f"there is no pool {pool!r}; /api/v1/pools lists those that there are")
    body = msgspec.json.encode(
        {"pool": pool, "since": since, "until": until, **columns(glance.strip(since, limit), until)}
    )
    headers = {"vary": "accept-encoding"}
    if len(body) > PACKED_BYTES and "gzip" in accept_encoding:
        body = gzip.compress(body, 1)
        headers["content-encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def columns(strip: Strip, until: float | None = None) -> dict[str, Any]:
    """What began before ``until``, by the wall clock."""
    zero = strip.zero
    bars = [bar for bar in strip.bars if until is None or bar.start + zero < until]
    lives = _lives(strip, bars)
    rows = {life.name: at for at, life in enumerate(lives)}
    tasks, runs = _places(bar.task for bar in bars), _places(bar.run for bar in bars)
    executions = {
        "row": [rows[bar.replica] for bar in bars],
        "start": [_time(bar.start, zero) for bar in bars],
        "end": [_time(bar.end, zero) for bar in bars],
        "task": [tasks[bar.task] for bar in bars],
        "phase": [bar.phase for bar in bars],
        "cold": [int(bar.cold) for bar in bars],
        "attempt": [bar.attempt for bar in bars],
        "run": [runs[bar.run] for bar in bars],
        "action": [bar.number for bar in bars],
        "members": [bar.members for bar in bars],
        "busy": [round(bar.busy, 6) for bar in bars],
    }
    return {
        "now": _time(strip.now, zero),
        "tasks": list(tasks),
        "replicas": [_replica(life, zero) for life in lives],
        "executions": executions,
        "runs": list(runs),
        "parked": _parked(bars, zero),
        "events": [
            {
                "at": _time(one.at, zero),
                "change": one.change,
                "reason": one.reason,
                "replicas": one.replicas,
                "replica": one.replica,
            }
            for one in strip.events
        ],
        "dropped": strip.dropped,
    }


def _lives(strip: Strip, bars: list[Bar]) -> list[Life]:
    """Replicas by their start, those that are not known any more as their first execution tells of them."""
    known = {life.name: life for life in strip.lives}
    for bar in bars:
        if bar.replica not in known:
            known[bar.replica] = Life(bar.replica, bar.start)
    return sorted(known.values(), key=lambda life: life.starting)


def _places(names: Any) -> dict[str, int]:
    return {name: at for at, name in enumerate(dict.fromkeys(names))}


def _parked(bars: list[Bar], zero: float) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"execution": [], "start": [], "end": []}
    for at, bar in enumerate(bars):
        for begin in range(0, len(bar.parked), 2):
            end = bar.parked[begin + 1] if begin + 1 < len(bar.parked) else bar.end
            found["execution"].append(at)
            found["start"].append(_time(bar.parked[begin], zero))
            found["end"].append(_time(end, zero))
    return found


def _replica(life: Life, zero: float) -> dict[str, Any]:
    return {
        "name": life.name,
        "starting_at": _time(life.starting, zero),
        "ready_at": _time(life.ready, zero),
        "ended_at": _time(life.ended, zero),
        "end_reason": life.reason,
    }


def _time(at: float | None, zero: float) -> float | None:
    """By the wall clock, to the microsecond."""
    return None if at is None else round(at + zero, 6)
