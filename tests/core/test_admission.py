"""How much may wait: what is refused, for how long, and what must never be."""

from __future__ import annotations

import pytest

from samovar.core.admission import LATEST, SOONEST, has_room, retry_after
from samovar.core.messages import Finished
from samovar.core.pools import Bounds

from .bench import Bench


@pytest.mark.parametrize(
    ("queued", "held", "runs", "room"),
    [
        (9, 9, 1, True),
        (10, 10, 1, False),
        (10, 0, 1, True),  # nothing of this run waits
        (10, 4, 2, True),  # less than its share
        (10, 5, 2, False),
        (19, 4, 2, True),
        (20, 4, 2, False),  # twice the bound
        (99, 0, 2, True),
        (15, 1, 20, False),  # more runs than room
    ],
)
def test_has_room(queued: int, held: int, runs: int, room: bool) -> None:
    assert has_room(10, queued, held, runs) is room


@pytest.mark.parametrize(
    ("queued", "slots", "run_seconds", "seconds"),
    [
        (1, 1, 0.001, SOONEST),
        (1_000_000, 1, 60.0, LATEST),
        (1_000, 10, 1.0, 1.0),
        (200, 2, None, 1.0),
        (200, 0, 1.0, 2.0),
    ],
)
def test_retry_after(queued: int, slots: int, run_seconds: float | None, seconds: float) -> None:
    assert retry_after(queued, slots, run_seconds) == seconds


def test_a_full_queue_refuses_the_run_that_filled_it_and_lets_others_in() -> None:
    bench = Bench(Bounds(max_queued=4))
    bench.pool(ready=1)
    for _ in range(5):  # one has the slot
        assert bench.pools.admission("p", 1, 0) == 0
        bench.submit(run=1)
    assert SOONEST <= bench.pools.admission("p", 1, 0) <= LATEST
    for _ in range(2):
        assert bench.pools.admission("p", 2, 0) == 0
        bench.submit(run=2)
    assert bench.pools.admission("p", 2, 0) > 0
    while bench.pools.pools["p"].queued >= 4:
        (running,) = bench.pools.executions
        bench(Finished(running))
    assert bench.pools.admission("p", 1, 0) == 0


def test_the_first_child_is_let_in_whatever_waits() -> None:
    bench = Bench(Bounds(max_queued=1))
    bench.pool(ready=1)
    parent, _ = bench.submit(run=1), bench.submit(run=1)
    assert bench.pools.admission("p", 1, parent) == 0
    child = bench.submit(parent=parent, run=1)
    assert bench.pools.admission("p", 1, parent) > 0
    while bench.open(child):
        bench(Finished(max(bench.pools.executions)))
    bench.submit(run=1)
    bench.submit(run=1)
    assert bench.pools.admission("p", 1, parent) == 0


@pytest.mark.parametrize("slots", [1, 3])
def test_more_children_than_fit_are_run_in_the_end(slots: int) -> None:
    """Whoever is refused asks again: three parents of twenty children each, in a queue of two."""
    bench = Bench(Bounds(max_queued=2))
    bench.pool(ready=1, concurrency=slots)
    parents = {bench.submit(run=run): run for run in (1, 2, 3)}
    wanted = dict.fromkeys(parents, 20)
    most = 0
    for _ in range(200):
        for parent in [p for p in parents if bench.open(p) and bench.assigned(p)]:
            if wanted[parent] and not bench.pools.admission("p", parents[parent], parent):
                wanted[parent] -= 1
                bench.submit(parent=parent, run=parents[parent])
        most = max(most, bench.pools.pools["p"].queued)
        over = [e for e, x in bench.pools.executions.items() if not wanted.get(x.action.id) and not x.action.children]
        for epoch in over[:1]:
            bench(Finished(epoch))
    assert not any(map(bench.open, parents))
    assert not any(wanted.values())
    assert most <= 2 * 2 + len(parents)
