"""The checker finds what is wrong: each bug here is planted in the core, and a few seeds must show it.

The core's own invariants are not asked, so it is the checker's own account that must differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from samovar.core import pool as core_pool
from samovar.core.messages import Deliver, Settle
from samovar.core.pool import Pool
from samovar.core.pools import Pools
from samovar.core.queue import Queue
from samovar.core.replicas import Execution, Roster
from samovar.sim import checker as checker_module
from samovar.sim import seeds

SEEDS = 100

Patch = pytest.MonkeyPatch


def settles_twice(patch: Patch) -> None:
    handle = Pools.handle

    def twice(self, event, now):
        said = handle(self, event, now)
        return [*said, *(command for command in said if isinstance(command, Settle) and command.action % 5 == 0)]

    patch.setattr(Pools, "handle", twice)


def delivers_twice(patch: Patch) -> None:
    handle = Pools.handle

    def twice(self, event, now):
        said = handle(self, event, now)
        return [*(command for command in said if isinstance(command, Deliver) and command.action % 5 == 0), *said]

    patch.setattr(Pools, "handle", twice)


def forgets_what_was_lost(patch: Patch) -> None:
    patch.setattr(Pool, "requeue", lambda self, action, now, suspect: None)


def forgets_what_waits_for_a_retry(patch: Patch) -> None:
    patch.setattr(Pools, "_retry_now", lambda self, number, now: None)


def keeps_answers_back(patch: Patch) -> None:
    patch.setattr(Pools, "_hand_over", lambda self, execution: None)


def takes_old_epochs_for_new(patch: Patch) -> None:
    """Any attempt speaks for its action, until that is settled."""
    patch.setattr(Execution, "is_current", property(lambda self: not self.action.phase.is_terminal))


def gives_a_slot_too_many(patch: Patch) -> None:
    make = Roster.__init__
    patch.setattr(Roster, "__init__", lambda self, concurrency: make(self, concurrency + 1))


def lets_parents_keep_their_slots(patch: Patch) -> None:
    patch.setattr(Pools, "_park", lambda self, execution, now: None)


def starts_a_replica_too_many(patch: Patch) -> None:
    patch.setattr(Pool, "_live", lambda self: 0)


def starves_all_runs_but_one(patch: Patch) -> None:
    def take(self):
        action = self._next.first
        self.remove(action)  # and the turn stays where it is
        return action

    patch.setattr(Queue, "take", take)


def lets_everybody_in(patch: Patch) -> None:
    patch.setattr(core_pool.admission, "has_room", lambda bound, queued, held, runs: True)


def waits_for_the_silent(patch: Patch) -> None:
    patch.setattr(Pool, "kill_silent", lambda self, now, lease: None)


def keeps_idle_replicas(patch: Patch) -> None:
    patch.setattr(Pool, "rest", lambda self, now: False)
    patch.setattr(Pool, "_scale_down", lambda self, now: None)


def sleeps_beside_work(patch: Patch) -> None:
    patch.setattr(Pool, "scale", lambda self, now: None)


def has_no_deadlines(patch: Patch) -> None:
    patch.setattr(Pools, "_timed_out", lambda self, number, kind, now: None)


def tries_once(patch: Patch) -> None:
    attempt_failed = Pools._attempt_failed

    def give_up(self, action, failure, phase, epoch, now):
        action.retry = type(action.retry)()
        attempt_failed(self, action, failure, phase, epoch, now)

    patch.setattr(Pools, "_attempt_failed", give_up)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (settles_twice, "is settled twice"),
        (delivers_twice, "is delivered"),
        (forgets_what_was_lost, "never settled"),
        (forgets_what_waits_for_a_retry, "never settled"),
        (keeps_answers_back, "never (settled|delivered)"),
        (takes_old_epochs_for_new, "does not count any more"),
        (gives_a_slot_too_many, "has slots for"),
        (lets_parents_keep_their_slots, "never settled"),
        (starts_a_replica_too_many, "replicas, of"),
        (starves_all_runs_but_one, "two turns"),
        (lets_everybody_in, "twice its bound"),
        (waits_for_the_silent, "is silent"),
        (keeps_idle_replicas, "longer than its idle_ttl"),
        (sleeps_beside_work, "work waits in"),
        (has_no_deadlines, "its deadline|its bound|max_runtime"),
        (tries_once, "is given up"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(plant: Callable[[Patch], None], rule: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(checker_module, "validate", lambda pools: None)
    plant(monkeypatch)
    said = []
    for seed in range(SEEDS):
        said += [what for _, what in seeds.run(range(seed, seed + 1)).broken]
        if any(re.search(rule, what) for what in said):
            return
    pytest.fail(f"{SEEDS} seeds do not show it; they show {said[:5]}")
