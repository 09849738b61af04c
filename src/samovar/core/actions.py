"""An action: one task execution asked for, through all its attempts.

QUEUED ──assign──▶ RUNNING ──returned──▶ SUCCEEDED
   ▲                  │ ├──raised, no retries left──▶ FAILED
   └──retry / lost────┘ ├──a timeout──▶ TIMED_OUT
                        └──abort (also from QUEUED)──▶ ABORTED
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from samovar.model import QUEUED, Failure

if TYPE_CHECKING:
    from samovar.core.messages import Submit
    from samovar.core.pool import Pool
    from samovar.core.queue import Lane
    from samovar.core.replicas import Execution

SUSPECT_AFTER = 2
"""Deaths of replicas under this action after which it runs alone. The first may have had any cause from outside, and
one after the other is slow where many were on the replica."""

MAX_STRIKES = 3
"""Deaths of a replica with this action alone on it, after which the action is what kills it."""

MAX_LOSSES = 10
"""Deaths of replicas under this action in any company."""


class Action:
    __slots__ = (
        "ahead",
        "attempts",
        "behind",
        "children",
        "execution",
        "failures",
        "id",
        "lane",
        "losses",
        "parent",
        "phase",
        "pool",
        "queued_at",
        "retry",
        "run",
        "strikes",
        "timeouts",
    )

    def __init__(self, submit: Submit, pool: Pool) -> None:
        self.id = submit.action
        self.run = submit.run
        self.pool = pool
        self.parent: Action | None = None
        self.retry = submit.retry
        self.timeouts = submit.timeouts
        self.phase = QUEUED
        self.attempts = 0
        self.failures = 0  # the user's own, which count against ``retry``
        self.strikes = 0
        self.losses = 0
        self.queued_at = 0.0
        self.execution: Execution | None = None
        self.children: set[Action] | None = None  # unsettled ones; None until the first
        self.lane: Lane | None = None  # where it waits, between these two
        self.ahead: Action | None = None
        self.behind: Action | None = None

    @property
    def is_suspect(self) -> bool:
        return self.losses >= SUSPECT_AFTER

    def lose(self, failure: Failure, alone: bool) -> Failure | None:
        """Its replica died under it: None to try again, else why not."""
        self.losses += 1
        self.strikes += alone
        if alone and failure.code == "OOMError":
            return failure
        if self.strikes < MAX_STRIKES and self.losses < MAX_LOSSES:
            return None
        blame = f"{self.strikes} times with this execution alone on it" if alone else f"{self.losses} times under it"
        return Failure(
            failure.kind,
            failure.code,
            f"{failure.message} ({blame}); it is not tried again",
            traceback=failure.traceback,
            worker=failure.worker,
        )


def callers(actions: Iterable[Action]) -> set[Action]:
    """Those that wait for one of these, or for one that does.

    What kills a replica together with its caller is called anew, as another action, whenever that one runs again: only
    the caller can be seen to go wrong each time.
    """
    found: set[Action] = set()
    for action in actions:
        parent = action.parent
        while parent is not None and parent not in found:
            found.add(parent)
            parent = parent.parent
    return found


ABORTED = Failure("user", "ActionAbortedError", "aborted", recoverable=False)
