"""``samovar get``: runs, actions, pools and replicas, as lists."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec

from samovar.cli import table
from samovar.cli.service import no_service
from samovar.cli.source import Source, opened, unknown_run
from samovar.cli.table import Column, Fact, Listing, clock, duration, word
from samovar.engine.clients import NOTHING_WRITTEN
from samovar.entries import ActionQuery, ActionSummary, RunQuery
from samovar.errors import JournalError
from samovar.model import Phase, PoolStats, ReplicaStats, Underway


class Wanted(NamedTuple):
    """What of a list is to be shown. An empty field is no condition."""

    run: str = ""
    phase: str = ""
    task: str = ""
    since: float | None = None  # seconds since 1970
    pool: str = ""
    replica: str = ""
    limit: int = 50


def runs(wanted: Wanted, endpoint: str, output: str, watch: bool) -> None:
    phase = Phase(wanted.phase) if wanted.phase else None
    query = RunQuery(phase=phase, task=wanted.task, since=wanted.since)
    with opened(endpoint) as source:

        def look() -> list[Fact]:
            return [msgspec.to_builtins(run) for run in source.newest(query, wanted.limit)]

        table.show(Listing(look, RUN_COLUMNS, "no runs"), output, watch)


def actions(wanted: Wanted, endpoint: str, output: str, watch: bool) -> None:
    with opened(endpoint) as source:
        if wanted.run and not source.run_exists(wanted.run):
            raise unknown_run(wanted.run)
        columns = ACTION_COLUMNS[1:] if wanted.run else ACTION_COLUMNS
        table.show(Listing(lambda: _actions(source, wanted), columns, "no actions"), output, watch)


def pools(endpoint: str, output: str, watch: bool) -> None:
    with opened(endpoint) as source:

        def look() -> list[Fact]:
            return [pool_fact(pool) for pool in source.standing()[0]]

        nothing = "no pools" if source.host is not None else no_service(endpoint, ", and so no pools")
        table.show(Listing(look, POOL_COLUMNS, nothing), output, watch)


def replicas(wanted: Wanted, endpoint: str, output: str, watch: bool) -> None:
    with opened(endpoint) as source:

        def look() -> list[Fact]:
            found = source.standing()[1]
            return [_replica_fact(replica) for replica in found if replica.pool.startswith(wanted.pool)]

        nothing = "no replicas" if source.host is not None else no_service(endpoint, ", and so no pools")
        table.show(Listing(look, REPLICA_COLUMNS, nothing, _CHANGING), output, watch)


def _actions(source: Source, wanted: Wanted) -> list[Fact]:
    """Those that are on their way before those that have ended; one that ends between the two looks has ended."""
    found: dict[tuple[str, str], Fact] = {}
    phase = Phase(wanted.phase) if wanted.phase else None
    if phase is None or not phase.is_terminal:
        for going in _underway(source, wanted):
            found[going.run, going.action] = _underway_fact(going)
    if (phase is None or phase.is_terminal) and len(found) < wanted.limit:
        for ended in _settled(source, wanted, phase):
            found.pop((ended.run, ended.action), None)
            found[ended.run, ended.action] = _settled_fact(ended)
    return list(found.values())[: wanted.limit]


def _underway(source: Source, wanted: Wanted) -> list[Underway]:
    found: list[Underway] = []
    conditions = {key: getattr(wanted, key) for key in ("run", "task", "phase", "pool", "replica")}
    for action in source.underway(**conditions, limit=min(wanted.limit, 500)):
        if wanted.since is None or action.queued >= wanted.since:
            found.append(action)
        if len(found) == wanted.limit:
            break
    return found


def _settled(source: Source, wanted: Wanted, phase: Phase | None) -> list[ActionSummary]:
    query = ActionQuery(run=wanted.run, phase=phase, task=wanted.task, since=wanted.since)
    prefix = wanted.replica or wanted.pool
    try:
        return source.newest(query, wanted.limit, lambda action: action.replica.startswith(prefix))
    except JournalError as error:
        if source.host is None or str(error) != NOTHING_WRITTEN:
            raise
        return []


# facts and their columns


def _underway_fact(action: Underway) -> Fact:
    """With the keys of an action that has ended."""
    return {
        "run": action.run,
        "action": action.action,
        "parent": action.parent,
        "task": action.task,
        "phase": action.phase.value,
        "queued": action.queued,
        "ended": None,
        "started": action.started,
        "attempts": action.attempts,
        "replica": action.replica,
        "cold": action.cold,
        "error": "",
        "number": action.of_run,
    }


def _settled_fact(action: ActionSummary) -> Fact:
    fact: Fact = msgspec.to_builtins(action)
    fact["number"] = fact.pop("of_run")
    return fact


def pool_fact(pool: PoolStats) -> Fact:
    fact: Fact = msgspec.to_builtins(pool._asdict())
    return fact


def _replica_fact(replica: ReplicaStats) -> Fact:
    fact: Fact = msgspec.to_builtins(replica._asdict())
    del fact["blockage"]
    blockage = replica.blockage
    fact["blocked_by"] = (blockage.task or "no task") if blockage is not None else ""
    fact["blocked_for"] = blockage.seconds if blockage is not None else 0.0
    fact["blocked_in"] = blockage.stack if blockage is not None else ""
    del fact["actions"]  # numbers that mean something to the engine alone
    return fact


_CHANGING = frozenset({"age", "heard", "rss", "lag", "blocked_for"})


def _took(run: Fact) -> str:
    return duration((run["ended"] if run["ended"] is not None else time.time()) - run["started"])


def _waited(action: Fact) -> str:
    until = next(at for at in (action["started"], action["ended"], time.time()) if at is not None)
    return duration(until - action["queued"])


def _ran(action: Fact) -> str:
    if action["started"] is None:
        return ""
    return duration((action["ended"] if action["ended"] is not None else time.time()) - action["started"])


def _start(action: Fact) -> str:
    if action["attempts"] == 0 and action["phase"] == Phase.SUCCEEDED:
        return "cached"
    if action["started"] is None:
        return ""
    return "cold" if action["cold"] else "warm"


def _replicas(pool: Fact) -> str:
    states = [(pool[state], state) for state in ("ready", "starting", "draining")]
    return ", ".join(f"{number} {state}" for number, state in states if number or state == "ready")


def _range(pool: Fact) -> str:
    low, high = pool["settings"]["min_replicas"], pool["settings"]["max_replicas"]
    return f"{low}-{high}" if low != high else str(low)


def _runs(replica: Fact) -> str:
    running = replica["runs"]
    more = replica["active"] + replica["parked"] - 3
    return ", ".join(running[:3]) + (f" and {more} more" if more > 0 else "")


def _key(name: str) -> Any:
    return lambda fact: str(fact[name])


RUN_COLUMNS = (
    Column("RUN", _key("run")),
    Column("TASK", _key("task")),
    Column("PHASE", lambda run: word(run["phase"])),
    Column("STARTED", lambda run: clock(run["started"])),
    Column("TOOK", _took, is_number=True),
    Column("ACTIONS", lambda run: str(run["actions"]) if run["ended"] is not None else "", is_number=True),
    Column("ENDED", lambda run: clock(run["ended"]), is_wide=True),
    Column("CARRIED OUT BY", _key("engine"), is_wide=True),
)
ACTION_COLUMNS = (
    Column("RUN", _key("run")),
    Column("ACTION", _key("action")),
    Column("NUMBER", lambda action: str(action["number"] or ""), is_number=True),
    Column("TASK", _key("task")),
    Column("PHASE", lambda action: word(action["phase"])),
    Column("WAITED", _waited, is_number=True),
    Column("RAN", _ran, is_number=True),
    Column("ATTEMPTS", _key("attempts"), is_number=True),
    Column("START", _start),
    Column("REPLICA", _key("replica")),
    Column("PARENT", _key("parent"), is_wide=True),
    Column("QUEUED", lambda action: clock(action["queued"]), is_wide=True),
    Column("ENDED", lambda action: clock(action["ended"]), is_wide=True),
    Column("ERROR", _key("error"), is_long=True),
)
POOL_COLUMNS = (
    Column("POOL", _key("name")),
    Column("STATE", _key("state")),
    Column("RANGE", _range, is_number=True),
    Column("REPLICAS", _replicas),
    Column("SLOTS", lambda pool: f"{pool['active']}/{pool['slots']}", is_number=True),
    Column("PARKED", _key("parked"), is_number=True),
    Column("QUEUED", _key("queued"), is_number=True),
    Column("DONE", _key("done"), is_number=True),
    Column("FAILED", _key("failed"), is_number=True),
    Column("COLD/WARM", lambda pool: f"{pool['cold']}/{pool['warm']}", is_number=True),
    Column("CONCURRENCY", lambda pool: str(pool["settings"]["concurrency"]), is_number=True, is_wide=True),
    Column("IDLE TTL", lambda pool: duration(pool["settings"]["idle_ttl"]), is_number=True, is_wide=True),
    Column("SCALEDOWN TTL", lambda pool: duration(pool["settings"]["scaledown_ttl"]), is_number=True, is_wide=True),
    Column("MAX TASKS", lambda pool: str(pool["settings"]["max_tasks"] or ""), is_number=True, is_wide=True),
    Column("NOTE", _key("note"), is_long=True),
)
REPLICA_COLUMNS = (
    Column("REPLICA", _key("name")),
    Column("STATE", _key("state")),
    Column("SLOTS", lambda replica: f"{replica['active']}/{replica['slots']}", is_number=True),
    Column("PARKED", _key("parked"), is_number=True),
    Column("SERVED", _key("served"), is_number=True),
    Column("AGE", lambda replica: duration(replica["age"]), is_number=True),
    Column("PID", lambda replica: str(replica["pid"] or ""), is_number=True),
    Column("MEMORY", lambda replica: table.memory(replica["rss"]), is_number=True),
    Column("LAG", lambda replica: duration(replica["lag"]) if replica["lag"] > 0 else "", is_number=True),
    Column("BLOCKED BY", _key("blocked_by")),
    Column("HEARD", lambda replica: duration(replica["heard"]), is_number=True, is_wide=True),
    Column("POOL", _key("pool"), is_wide=True),
    Column("RUNS", _runs, is_long=True),
)
