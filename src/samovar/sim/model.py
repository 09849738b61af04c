"""What the checker knows of one engine, from what the core was told and has said: a model of its own, not the core's.

It knows less than the core and says so: what it calls waiting waits for certain, and there may be more.
"""

from __future__ import annotations

from collections import Counter

from samovar.core.messages import Claim, Submit
from samovar.model import PoolSettings

SUSPECT_LOSSES = 2
"""Losses from which on an action may be run alone, before all others."""


class Action:
    __slots__ = (
        "asked_at",
        "asker",
        "attempts",
        "claimed_at",
        "epoch",
        "failures",
        "is_delivered",
        "is_settled",
        "is_waiting",
        "losses",
        "number",
        "pool",
        "run",
        "said",
    )

    def __init__(self, number: int, pool: str, now: float) -> None:
        self.number = number
        self.pool = pool
        self.run = 0
        self.said: Submit | Claim | None = None  # None until somebody asks for it
        self.asker = 0  # the epoch that waits for it
        self.asked_at = self.claimed_at = now  # there was no engine in between, perhaps
        self.epoch = 0  # of its current attempt
        self.attempts = 0
        self.failures = 0  # its own
        self.losses = 0
        self.is_waiting = False  # in a queue, as far as is known
        self.is_settled = False
        self.is_delivered = False


class Attempt:
    __slots__ = ("action", "began", "is_cancelled", "replica", "unsettled", "waits")

    def __init__(self, action: Action, replica: str, began: float) -> None:
        self.action = action
        self.replica = replica
        self.began = began
        self.waits = 0  # children that are not delivered; those of one that is adopted may be more
        self.unsettled = 0  # children
        self.is_cancelled = False


class Replica:
    __slots__ = ("epochs", "heard_at", "is_killed", "is_ready", "is_stopped", "may_retire", "name", "pool")

    def __init__(self, name: str, pool: str, is_ready: bool, now: float) -> None:
        self.name = name
        self.pool = pool
        self.is_ready = is_ready
        self.heard_at = now
        self.epochs: set[int] = set()
        self.is_stopped = False
        self.is_killed = False
        self.may_retire = False


class Pool:
    """``passed[a][b]``: how often run b was given a slot since run a has waited for one without a turn."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.replicas: dict[str, Replica] = {}
        self.waiting: Counter[int] = Counter()  # actions, by run
        self.passed: dict[int, Counter[int]] = {}
        self.calm_from = 0.0  # when starts do not back off any more
        self.unsettled = 0  # actions
        self.idle_from = 0.0  # when the last of what it had to do was over

    @property
    def has_work(self) -> bool:
        return bool(self.unsettled) or any(replica.epochs for replica in self.replicas.values())

    def join(self, action: Action) -> None:
        """It waits for a slot like others of its run."""
        if action.is_waiting or action.losses >= SUSPECT_LOSSES:
            return
        action.is_waiting = True
        self.waiting[action.run] += 1
        self.passed.setdefault(action.run, Counter())

    def leave(self, action: Action) -> None:
        if not action.is_waiting:
            return
        action.is_waiting = False
        self.waiting[action.run] -= 1
        if not self.waiting[action.run]:
            del self.waiting[action.run], self.passed[action.run]

    def give(self, action: Action) -> int | None:
        """A slot goes to this action. Gives a run that has been passed over."""
        self.leave(action)
        if action.run in self.passed:
            self.passed[action.run].clear()
        if action.losses >= SUSPECT_LOSSES:
            return None
        for run, passed in self.passed.items():
            if run != action.run:
                passed[action.run] += 1
                if passed[action.run] > 1:
                    return run
        return None
