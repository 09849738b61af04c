"""What a person tells a pool, and what a person is told."""

from __future__ import annotations

from samovar.core.messages import (
    Drain,
    Finished,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    StopPool,
    StopReplica,
)

from .bench import BOOM, DEATH, Bench


def test_a_stopped_pool_queues_what_ran_again_and_blames_nobody() -> None:
    bench = Bench()
    bench.pool(ready=2, concurrency=2)
    ran = [bench.submit() for _ in range(4)]
    bench.lost_before(*ran)
    replicas = {bench.replica(action) for action in ran}
    bench.said.clear()
    bench(StopPool("p"))
    assert bench.said == [StopReplica(replica, 0.0) for replica in sorted(replicas)]
    for replica in sorted(replicas):
        bench(ReplicaLost(replica, DEATH))
    assert not any(bench.pools.actions[action].is_suspect for action in ran)
    fresh = bench.started()
    assert len(fresh) == 2
    assert not replicas & set(fresh)
    for replica in fresh:
        bench(ReplicaReady(replica))
    assert all(bench.replica(action) in fresh for action in ran)


def test_a_stopped_pool_without_work_sleeps_until_there_is_some() -> None:
    bench = Bench()
    bench.pool(ready=1)
    (replica,) = bench.pools.pools["p"].replicas
    bench(StopPool("p"))
    bench(ReplicaLost(replica, DEATH))
    bench.tick(1.0)
    assert bench.pools.stats(bench.now)[0].state == "asleep"
    assert bench.started() == []
    bench.submit()
    assert len(bench.started()) == 1


def test_a_replica_that_is_stopped_before_it_can_start_is_forgotten() -> None:
    bench = Bench()
    bench.pool(min_replicas=1)
    bench.submit()
    (replica,) = bench.started()
    bench(StopPool("p"))
    bench(ReplicaUnfit(replica, BOOM))
    assert replica not in bench.pools.pools["p"].replicas
    assert len(bench.started()) == 2
    second = bench.started()[1]
    bench(ReplicaReady(second))
    bench(ReplicaUnfit(second, BOOM))  # too late to be true
    assert second in bench.pools.pools["p"].replicas


def test_the_state_of_a_pool() -> None:
    bench = Bench()

    def state() -> str:
        return bench.pools.stats(bench.now)[0].state

    bench.pool(idle_ttl=10.0)
    assert state() == "asleep"
    action = bench.submit()
    (replica,) = bench.started()
    bench(ReplicaReady(replica))
    assert state() == "awake"
    bench(Drain("p"))
    assert state() == "draining"
    bench(Finished(bench.epoch(action)))
    bench(ReplicaLost(replica, DEATH))
    assert state() == "drained"


def test_the_figures_of_a_replica() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=30)
    parent = bench.submit()
    child = bench.submit(parent=parent)
    rest = [bench.submit() for _ in range(25)]
    bench.now += 3.0
    (figures,) = bench.pools.replica_stats(bench.now)
    assert (figures.pool, figures.state, figures.active, figures.parked, figures.slots) == ("p", "ready", 26, 1, 30)
    assert (figures.served, figures.age, figures.heard) == (28, 3.0, 3.0)
    assert figures.actions == (parent, child, *rest[:18])


def test_a_drained_pool_that_is_wanted_again_is_none() -> None:
    bench = Bench()
    bench.pool(idle_ttl=10.0)
    parent = bench.submit()
    (replica,) = bench.started()
    bench(ReplicaReady(replica))
    bench(Drain("p"))
    bench.submit(parent=parent)  # a part of what it had
    assert bench.pools.pools["p"].drained
    bench.submit()
    assert not bench.pools.pools["p"].drained
