"""How much may wait for a slot, and when to ask again. Plain arithmetic; a pool asks it for every submission.

The bound is for the memory of the engine: whoever is refused keeps its inputs meanwhile. Three exceptions keep it from
doing harm: a run of which nothing waits is let in, or a full queue would shut out everybody but those who filled it; a
run that holds less than its equal share is too, until twice the bound waits; and so is the first child of an
execution (``Pools.admission``), which would otherwise wait in the slot that its other children need.
"""

from __future__ import annotations

MAX_QUEUED = 1_000_000
"""Actions that may wait in one pool."""

SOONEST, LATEST = 0.05, 5.0
"""Seconds, between which whoever was refused asks again."""

_UNMEASURED = 1.0  # seconds that an action is taken to run before any has
_PART = 100  # of the queue, that should be gone by then


def has_room(bound: int, queued: int, held: int, runs: int) -> bool:
    """May one more join? ``held`` of the ``queued`` actions are of its run; ``runs`` have any."""
    if queued < bound or not held:
        return True
    return queued < 2 * bound and held < bound // runs


def retry_after(queued: int, slots: int, run_seconds: float | None) -> float:
    """Seconds until a good part of the queue is gone, by the measured mean."""
    run = _UNMEASURED if run_seconds is None else run_seconds
    return min(max(queued / _PART * run / max(slots, 1), SOONEST), LATEST)
