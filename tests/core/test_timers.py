"""Timers of what has ended long before are not kept until their day, and those that matter are."""

from __future__ import annotations

from samovar.core.messages import Cancel, Finished, StopReplica
from samovar.core.pools import CANCEL_GRACE
from samovar.core.timers import Timers
from samovar.model import Phase, Timeouts

from .bench import Bench

DAY = Timeouts(max_runtime=86_400.0, max_queued_time=86_400.0, deadline=86_400.0)


def test_the_dead_are_taken_out_and_the_living_keep_their_time() -> None:
    timers = Timers(lambda number, why: number % 10 == 0)
    for number in range(100):
        timers.add(float(number), number, "run")
    timers.trim(100)
    assert len(timers) == 100, "they may all live"
    timers.trim(10)
    assert list(timers.due(50.0)) == [(number, "run") for number in range(0, 51, 10)]
    assert len(timers) == 4


def test_a_deadline_of_a_day_is_forgotten_with_its_action() -> None:
    bench = Bench()
    bench.pool(ready=1)
    for _ in range(100):
        bench(Finished(bench.epoch(bench.submit(timeouts=DAY))))
    bench.tick(1.0)
    assert not len(bench.pools.timers)


def test_what_still_matters_is_not_forgotten_among_the_dead() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    running = bench.submit(timeouts=Timeouts(max_runtime=30.0))
    stuck = bench.submit(timeouts=Timeouts(max_runtime=1.0))
    queued = bench.submit(timeouts=Timeouts(max_queued_time=20.0))
    late = bench.submit(timeouts=Timeouts(deadline=10.0))
    bench.tick(1.5)
    assert [c.epoch for c in bench.said if isinstance(c, Cancel)] == [bench.epoch(stuck)]
    bench.pool("q", ready=1)
    for _ in range(100):
        bench(Finished(bench.epoch(bench.submit("q", timeouts=DAY))))
    bench.tick(0.1)
    assert len(bench.pools.timers) <= 6
    assert StopReplica("p-1", 0.0) in bench.tick(CANCEL_GRACE), "the cancelled one costs its replica"
    bench.tick(4.0)
    assert bench.settled(late).phase is Phase.TIMED_OUT
    bench.tick(10.0)
    assert bench.settled(queued).phase is Phase.TIMED_OUT
    bench.tick(10.0)
    assert bench.settled(running).phase is Phase.TIMED_OUT
