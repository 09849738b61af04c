"""Entries as rows, and back. What is rarely there shares one column, packed.

Rows are plain tuples in the order of ``*_COLUMNS``: they are made a million at a time.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from samovar.entries import (
    ActionSummary,
    AttemptEnded,
    Change,
    PoolEvent,
    RunEnded,
    RunStarted,
    RunSummary,
    Settled,
)
from samovar.journal.pages import error_line, plain
from samovar.model import RUNNING, Caching, Failure, Phase, TaskSpec

Row = tuple[Any, ...]

T = TypeVar("T")


class RunDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    input_blobs: tuple[str, ...] = ()
    context: dict[str, str] | None = None
    caching: Caching = ""


class ActionDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    input_blobs: tuple[str, ...] = ()
    result_blobs: tuple[str, ...] = ()
    failure: Failure | None = None
    hit: str = ""


RUN_COLUMNS = (
    "run",
    "engine",
    "action",
    "task",
    "phase",
    "started",
    "ended",
    "actions",
    "is_pruned",
    "spec",
    "inputs",
    "detail",
)

ACTION_COLUMNS = (
    "run",
    "action",
    "parent",
    "task",
    "phase",
    "queued",
    "started",
    "ended",
    "attempts",
    "replica",
    "cold",
    "error",
    "inputs",
    "result",
    "detail",
    "cache_key",
    "ran",
    "of_run",
)

ATTEMPT_COLUMNS = ("run", "action", "attempt", "replica", "cold", "started", "ended", "failure")

EVENT_COLUMNS = ("pool", "at", "change", "replica", "replicas", "reason")

BLOB_COLUMNS = ("name", "run")

_encode = msgspec.msgpack.Encoder().encode


class Specs:
    """Packed tasks. A run is a call, and many calls are of one task."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[TaskSpec, bytes]] = {}  # the spec is kept, so that its id stays its own

    def pack(self, spec: TaskSpec) -> bytes:
        known = self._packed.get(id(spec))
        if known is None:
            if len(self._packed) >= 1_000:
                self._packed.clear()
            known = self._packed[id(spec)] = (spec, _encode(spec))
        return known[1]


def run_row(entry: RunStarted, spec: bytes, end: RunEnded | None) -> Row:
    """``end``: of a run that is over before it is written."""
    phase, ended, actions = (end.phase, end.ended, end.actions) if end else (RUNNING, None, 0)
    detail = None
    if entry.input_blobs or entry.context or entry.caching:
        detail = _encode(RunDetail(entry.input_blobs, entry.context, entry.caching))
    return (
        entry.run,
        entry.engine,
        entry.action,
        entry.task.name,
        str(phase),
        entry.started,
        ended,
        actions,
        False,
        spec,
        entry.inputs,
        detail,
    )


def action_row(entry: Settled) -> Row:
    failure = entry.failure
    detail = None
    if failure is not None or entry.result_blobs or entry.input_blobs or entry.hit:
        detail = _encode(ActionDetail(entry.input_blobs, entry.result_blobs, failure, entry.hit))
    return (
        entry.run,
        entry.action,
        entry.parent,
        entry.task,
        str(entry.phase),
        entry.queued,
        entry.started,
        entry.ended,
        entry.attempts,
        entry.replica,
        entry.cold,
        error_line(failure) if failure is not None else "",
        entry.inputs,
        entry.result,
        detail,
        entry.cache_key or None,
        entry.ran or None,
        entry.of_run,
    )


def attempt_row(entry: AttemptEnded) -> Row:
    return (
        entry.run,
        entry.action,
        entry.attempt,
        entry.replica,
        entry.cold,
        entry.started,
        entry.ended,
        _encode(entry.failure),
    )


def event_row(entry: PoolEvent) -> Row:
    return (entry.pool, entry.at, str(entry.change), entry.replica, entry.replicas, plain(entry.reason))


# back


def task_of(spec: bytes) -> TaskSpec:
    return msgspec.msgpack.decode(spec, type=TaskSpec)


def run_of(row: Any) -> RunStarted:
    detail = _decode(row.detail, RunDetail) or RunDetail()
    return RunStarted(
        row.run,
        row.engine,
        row.action,
        task_of(row.spec),
        row.started,
        row.inputs,
        detail.input_blobs,
        detail.context,
        detail.caching,
    )


def run_summary(row: Any) -> RunSummary:
    return RunSummary(row.run, row.engine, row.action, row.task, Phase(row.phase), row.started, row.ended, row.actions)


def settled_of(row: Any) -> Settled:
    detail = _decode(row.detail, ActionDetail) or ActionDetail()
    return Settled(
        row.run,
        row.action,
        row.parent,
        row.task,
        Phase(row.phase),
        row.queued,
        row.ended,
        row.started,
        row.attempts,
        row.replica,
        row.cold,
        row.result,
        detail.result_blobs,
        row.inputs,
        detail.input_blobs,
        detail.failure,
        row.cache_key or "",
        detail.hit,
        row.ran or 0.0,
        row.of_run or 0,
    )


def action_summary(row: Any) -> ActionSummary:
    return ActionSummary(
        row.run,
        row.action,
        row.parent,
        row.task,
        Phase(row.phase),
        row.queued,
        row.ended,
        row.started,
        row.attempts,
        row.replica,
        row.cold,
        row.error,
        row.of_run or 0,
    )


def attempt_of(row: Any) -> AttemptEnded:
    failure = msgspec.msgpack.decode(row.failure, type=Failure)
    return AttemptEnded(row.run, row.action, row.attempt, row.replica, row.cold, row.started, row.ended, failure)


def event_of(row: Any) -> PoolEvent:
    return PoolEvent(row.pool, row.at, Change(row.change), row.replica, row.replicas, row.reason)


def _decode(packed: bytes | None, kind: type[T]) -> T | None:
    return msgspec.msgpack.decode(packed, type=kind) if packed is not None else None
