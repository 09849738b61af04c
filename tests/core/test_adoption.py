"""Replicas of an engine that was killed: they come with what they run, and are like any other from then on."""

from __future__ import annotations

from samovar.core.messages import (
    Abort,
    Adopt,
    Assign,
    Cancel,
    Claim,
    Deliver,
    Finished,
    Held,
    OpenPool,
    ReplicaLost,
    ReplicaReady,
    Settle,
    StartReplica,
    StopReplica,
    Submit,
)
from samovar.core.pools import EPOCHS, Pools
from samovar.model import Phase, PoolSettings, Retry, Timeouts

from .bench import BOOM, DEATH, Bench

OLD = "p-old.1"


def adopted(*held: Held, is_ready: bool = True, **settings: object) -> Bench:
    bench = Bench()
    bench.pool(**{"max_replicas": 2, "concurrency": 2, **settings})
    bench(Adopt("p", OLD, is_ready, held))
    return bench


def test_an_engine_of_a_later_era_gives_names_and_epochs_of_its_own() -> None:
    pools = Pools(era=3)
    pools.handle(OpenPool("p", PoolSettings()), 0.0)
    assert StartReplica("p", "p-3.1") in pools.handle(Submit(1, "p"), 0.0)
    (assign,) = pools.handle(ReplicaReady("p-3.1"), 0.0)
    assert isinstance(assign, Assign)
    assert 3 * EPOCHS < assign.epoch < 4 * EPOCHS


def test_an_idle_replica_is_warm_and_takes_work() -> None:
    bench = adopted()
    action = bench.submit()
    assert bench.replica(action) == OLD
    assert not bench.assigned(action)[0].cold


def test_one_that_still_imports_takes_work_when_it_is_ready() -> None:
    bench = adopted(is_ready=False, max_replicas=1)
    action = bench.submit()
    assert not bench.started()
    bench(ReplicaReady(OLD))
    assert bench.replica(action) == OLD


def test_what_runs_holds_slots_and_what_waits_for_others_holds_none() -> None:
    bench = adopted(
        Held(91, -1, 1, waits=False), Held(92, -2, 1, waits=True), Held(93, -3, 1, waits=False), max_replicas=1
    )
    waiting = bench.submit()
    assert not bench.assigned(waiting)
    assert bench.pools.stats(bench.now)[0].active == 2
    bench(Finished(-1))
    assert not bench.assigned(waiting), "the one that waited comes before anything new"
    bench(Finished(-2))
    assert bench.assigned(waiting)


def test_a_child_that_is_claimed_answers_its_parent() -> None:
    bench = adopted(Held(91, -1, 1, waits=True), Held(92, -2, 1, waits=False))
    bench(Claim(91))
    bench(Claim(92, parent=91))
    assert bench(Finished(-2))[:2] == [Settle(92, Phase.SUCCEEDED, -2), Deliver(92)]
    assert Deliver(91) in bench(Finished(-1))


def test_retries_and_timeouts_come_with_the_claim() -> None:
    bench = adopted(Held(91, -1, 1, waits=False))
    bench(Claim(91, 0, Retry(1), Timeouts(max_runtime=10.0, deadline=100.0), age=97.0, ran=9.0))
    assert bench.tick(0.9) == []
    assert Cancel(OLD, -1) in bench.tick(0.2)
    again = bench.assigned(91)[-1]
    assert again.attempt == 2
    bench(Finished(-1))
    assert bench.tick(1.5) == []
    bench.tick(1.0)
    assert bench.settled(91).phase is Phase.TIMED_OUT


def test_a_claim_that_comes_too_late() -> None:
    bench = adopted(Held(91, -1, 1, waits=False), Held(92, -2, 1, waits=False))
    bench(Finished(-1, BOOM))
    assert bench(Claim(91)) == []
    bench(Claim(92, parent=91))
    assert bench.settled(92).phase is Phase.ABORTED


def test_letting_go_of_one_lets_go_of_what_it_has_called() -> None:
    bench = adopted(Held(91, -1, 1, waits=True), Held(92, -2, 1, waits=False))
    bench(Claim(92, parent=91))
    bench(Abort(91, superseded=True))
    assert bench.settled(92).superseded
    assert not bench.settled(91).superseded
    assert [c.epoch for c in bench.said if isinstance(c, Cancel)] == [-1, -2]
    assert bench.said.index(Cancel(OLD, -1)) < bench.said.index(Deliver(92)), "it is not to go on with that"


def test_one_that_dies_gives_back_what_was_claimed() -> None:
    bench = adopted(Held(91, -1, 1, waits=False))
    bench(Claim(91))
    bench(ReplicaLost(OLD, DEATH))
    (start,) = bench.started()
    bench(ReplicaReady(start))
    assert bench.assigned(91)[-1].attempt == 2


def test_more_of_them_than_may_be() -> None:
    bench = adopted(max_replicas=1)
    assert StopReplica(OLD, 5.0) in bench(Adopt("p", "p-old.2", is_ready=True))


def test_idle_ones_end_as_others_do() -> None:
    bench = adopted(idle_ttl=10.0)
    assert bench.tick(9.0) == []
    assert StopReplica(OLD, 5.0) in bench.tick(2.0)


def test_one_for_a_single_execution_retires_after_it() -> None:
    bench = adopted(Held(91, -1, 1, waits=False), concurrency=1, max_tasks=1)
    bench(Claim(91))
    assert StopReplica(OLD, 5.0) in bench(Finished(-1))
    bench(Adopt("p", "p-old.2", is_ready=True))
    assert bench.replica(bench.submit()) == "p-old.2"
