"""Entries for tests, with all that a test does not care about filled in."""

from __future__ import annotations

from samovar.entries import AttemptEnded, Change, PoolEvent, RunEnded, RunStarted, Settled
from samovar.model import Environment, Failure, Phase, Retry, TaskSpec

TASK = TaskSpec("shop.sell", "shop", "sell", Environment("shop"), Retry(2))
FAILURE = Failure("user", "ValueError", "plain\nand more", "Traceback …", worker="shop@1-7", exception=b"\x00\xff")
START = 1_700_000_000.0


def started(run: str = "r", at: float = START, **more) -> RunStarted:
    return RunStarted(run, more.pop("engine", "e"), "root", more.pop("task", TASK), at, **more)


def ended(run: str = "r", at: float = START + 9, phase: Phase = Phase.SUCCEEDED, actions: int = 1) -> RunEnded:
    return RunEnded(run, phase, at, actions)


def settled(action: str = "root", run: str = "r", at: float = START + 5, **more) -> Settled:
    plain = {"parent": "", "task": "shop.sell", "phase": Phase.SUCCEEDED, "queued": START, "started": START + 1}
    return Settled(run=run, action=action, ended=at, **{**plain, **more})


def attempt(number: int = 1, action: str = "root", run: str = "r", at: float = START + 2) -> AttemptEnded:
    return AttemptEnded(run, action, number, "shop@1-1", True, START + 1, at, FAILURE)


def event(change: Change = Change.READY, pool: str = "shop@1", at: float = START, **more) -> PoolEvent:
    return PoolEvent(pool, at, change, **more)
