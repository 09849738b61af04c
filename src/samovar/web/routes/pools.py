"""Pools and replicas over HTTP: as they stand, as they have stood, and what a person changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Body

from samovar.model import PoolStats, ReplicaStats
from samovar.web import models
from samovar.web.feed import Feed, Standing, rates, throughput
from samovar.web.lookout import Lookout
from samovar.web.problems import Problem, documented
from samovar.web.routes.base import In, Name
from samovar.wire import frames

router = APIRouter(prefix="/api/v1", tags=["pools"])


@router.get("/pools", response_model=models.PoolList, responses=documented(), operation_id="list_pools")
def list_pools(house: In) -> models.PoolList:
    return pool_list(house.lookout.feed, house.lookout.feed.standing())


@router.post(
    "/pools/{pool}/scale", response_model=models.Pool, responses=documented(400, 404, 409), operation_id="scale_pool"
)
def scale(pool: Name, range: Annotated[models.Scale, Body()], house: In) -> models.Pool:
    """Change how many replicas it may have."""
    if range.min > range.max:
        raise Problem(409, f"min is {range.min} and max {range.max}: a pool may have no more at least than at most")
    return _controlled(house.lookout, pool, "scale", range.min, range.max)


@router.post(
    "/pools/{pool}/drain", response_model=models.Pool, responses=documented(400, 404, 409), operation_id="drain_pool"
)
def drain(pool: Name, house: In) -> models.Pool:
    """Let it finish its work, and end."""
    return _controlled(house.lookout, pool, "drain")


@router.post(
    "/pools/{pool}/stop", response_model=models.Pool, responses=documented(400, 404, 409), operation_id="stop_pool"
)
def stop(pool: Name, house: In) -> models.Pool:
    """End its replicas now; what they run is queued again."""
    return _controlled(house.lookout, pool, "stop")


@router.get("/pools/{pool}", response_model=models.Pool, responses=documented(404), operation_id="get_pool")
def get_pool(pool: Name, house: In) -> models.Pool:
    return _pool(house.lookout, pool)


@router.get(
    "/replicas/{replica}",
    response_model=models.ReplicaDetail,
    responses=documented(404),
    operation_id="get_replica",
)
def get_replica(replica: Name, house: In) -> models.ReplicaDetail:
    look = house.lookout
    standing = look.feed.standing()
    found = next((one for one in standing.replicas if one.name == replica), None)
    if found is None:
        raise Problem(404, f"there is no replica {replica!r}; /api/v1/pools lists those that live")
    samples = look.feed.replica_samples(replica)
    history = models.ReplicaHistory(
        at=[sample.at for sample in samples],
        rss=[sample.rss for sample in samples],
        lag=[sample.lag for sample in samples],
        cpu=[sample.cpu for sample in samples],
        active=[sample.active for sample in samples],
    )
    return models.ReplicaDetail(
        **_replica_fields(look.feed, found, standing.at),
        history=history,
        environment=found.pool.partition("@")[0],
        log=look.replica_log(replica),
    )


def pool_list(feed: Feed, standing: Standing) -> models.PoolList:
    rows: dict[str, list[ReplicaStats]] = {}
    for replica in standing.replicas:
        rows.setdefault(replica.pool, []).append(replica)
    return models.PoolList(
        items=[_pool_of(feed, pool, rows.get(pool.name, []), standing.at) for pool in standing.pools]
    )


def _pool(look: Lookout, name: str) -> models.Pool:
    """404 where there is none of exactly this name."""
    standing = look.feed.standing()
    found = next((pool for pool in standing.pools if pool.name == name), None)
    if found is None:
        raise _unknown(name)
    rows = [replica for replica in standing.replicas if replica.pool == name]
    return _pool_of(look.feed, found, rows, standing.at)


def _unknown(name: str) -> Problem:
    return Problem(404, f"there is no pool {name!r}; /api/v1/pools lists those that there are")


def _controlled(
    look: Lookout, pool: str, verb: Literal["scale", "drain", "stop"], low: int = 0, high: int = 0
) -> models.Pool:
    if not look.has_pool(pool):
        raise _unknown(pool)
    if problem := look.control(frames.Control(0, pool, verb, low, high)):
        raise Problem(409, problem)
    return _pool(look, pool)


def _pool_of(feed: Feed, pool: PoolStats, rows: list[ReplicaStats], at: float) -> models.Pool:
    samples = feed.pool_samples(pool.name)
    history = models.PoolHistory(
        at=[sample.at for sample in samples],
        queued=[sample.queued for sample in samples],
        active=[sample.active for sample in samples],
        done_per_second=rates(samples),
    )
    return models.Pool(
        name=pool.name,
        environment=pool.name.partition("@")[0],
        state=cast(models.PoolState, pool.state),
        note=pool.note,
        queued=pool.queued,
        slots=pool.slots,
        active=pool.active,
        parked=pool.parked,
        replicas=models.Counts(starting=pool.starting, ready=pool.ready, draining=pool.draining),
        done=pool.done,
        failed=pool.failed,
        cold=pool.cold,
        warm=pool.warm,
        throughput=throughput(samples),
        settings=models.Settings(**msgspec.to_builtins(pool.settings)),
        history=history,
        rows=[models.Replica(**_replica_fields(feed, replica, at)) for replica in rows],
    )


def _replica_fields(feed: Feed, replica: ReplicaStats, at: float) -> dict[str, Any]:
    named = ("name", "pool", "state", "slots", "active", "parked", "served", "age", "heard", "pid", "rss", "lag")
    fields = {name: getattr(replica, name) for name in named}
    cpu, blockage = feed.cpu(replica.name), replica.blockage
    fields["blockage"] = models.Blockage(**blockage._asdict()) if blockage is not None else None
    return {**fields, "cpu": cpu, "runs": list(replica.runs), "started_at": at - replica.age}
