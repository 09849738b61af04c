"""Each rule of a pool: events in, the commands they cause."""

from __future__ import annotations

import pytest

from samovar.core.actions import MAX_LOSSES, MAX_STRIKES
from samovar.core.messages import (
    Abort,
    Answered,
    Assign,
    Cancel,
    ClosePool,
    Deliver,
    Drain,
    Enqueue,
    Finished,
    OpenPool,
    ReplicaHeard,
    ReplicaLost,
    ReplicaReady,
    ReplicaUnfit,
    Retried,
    Scaled,
    Settle,
    StartReplica,
    StopPool,
    StopReplica,
    Submit,
    Supersede,
)
from samovar.core.pools import CANCEL_GRACE, LEASE
from samovar.core.replicas import KEPT_TIMES
from samovar.core.scaling import START_ATTEMPTS, Mean, backlog_outlasts_start, backoff, desired
from samovar.model import Failure, Phase, PoolSettings, Retry, Timeouts

from .bench import BOOM, DEATH, FINAL, OOM, Bench

# scaling, as arithmetic


@pytest.mark.parametrize(
    ("active", "queued", "replicas"),
    [(0, 0, 1), (1, 0, 1), (2, 1, 2), (0, 5, 3), (100, 100, 4)],
)
def test_desired(active: int, queued: int, replicas: int) -> None:
    assert desired(PoolSettings(min_replicas=1, max_replicas=4, concurrency=2), active, queued) == replicas


@pytest.mark.parametrize(
    ("queued", "slots", "run", "start", "waited", "worth"),
    [
        (10, 0, 0.001, 1.0, 0.0, True),  # nothing serves
        (10, 2, 0.001, 1.0, 0.0, False),  # gone in 5 ms
        (10, 2, 1.0, 1.0, 0.0, True),  # takes 5 s
        (10, 2, 0.001, 1.0, 1.0, True),  # the means were wrong
    ],
)
def test_cold_start_aware(queued: int, slots: int, run: float, start: float, waited: float, worth: bool) -> None:
    assert backlog_outlasts_start(queued, slots, run, start, waited) is worth


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff(n) for n in (1, 2, 3, 50)] == [0.1, 0.2, 0.4, 30.0]


def test_mean() -> None:
    mean = Mean()
    mean.add(10.0)
    mean.add(20.0)
    assert mean.value == 12.0


# start, route, settle


def test_one_action_from_call_to_result() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=2)))
    assert bench(Submit(1, "p")) == [StartReplica("p", "p-1")]
    assert bench(ReplicaReady("p-1")) == [Assign("p-1", 1, 1, 1, cold=True)]
    assert bench(Finished(1)) == [Settle(1, Phase.SUCCEEDED, 1), Deliver(1)]
    assert bench(Submit(2, "p")) == [Assign("p-1", 2, 2, 1, cold=False)]


def test_work_goes_to_the_replica_with_most_free_slots() -> None:
    bench = Bench()
    bench.pool(ready=2, concurrency=2)
    where = [bench.replica(bench.submit()) for _ in range(4)]
    assert sorted(where[:2]) == sorted(where[2:]) == ["p-1", "p-2"]
    waiting = bench.submit()
    assert not bench.assigned(waiting)
    assert bench.pools.stats(bench.now)[0].note == "no free slot"


def test_min_replicas_start_at_once_and_max_bounds_them() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(min_replicas=2, max_replicas=3)))
    bench.submit()
    assert bench.started() == ["p-1", "p-2"]
    for _ in range(10):
        bench.submit()
    assert bench.started() == ["p-1", "p-2", "p-3"]
    assert bench.pools.stats(bench.now)[0].note == "replica starting"


def test_no_replica_for_a_backlog_that_is_gone_before_it_is_ready() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=2)))
    first = bench.submit()
    bench(ReplicaReady("p-1"), after=1.0)
    bench(Finished(bench.epoch(first)), after=0.001)
    bench.submit()
    bench.submit()
    assert bench.started() == ["p-1"]
    bench.tick(1.1)
    assert bench.started() == ["p-1", "p-2"]


def test_scale_down_one_at_a_time_then_all_when_idle_and_start_again() -> None:
    bench = Bench()
    bench.pool(ready=3, min_replicas=3, max_replicas=3, scaledown_ttl=1.0, idle_ttl=5.0)
    bench(OpenPool("p", PoolSettings(min_replicas=1, max_replicas=3, scaledown_ttl=1.0, idle_ttl=5.0)))
    assert len(bench.tick(2.0)) == 1
    assert len(bench.tick(0.1)) == 1
    assert bench.tick(0.1) == []
    (stop,) = bench.tick(5.0)
    assert isinstance(stop, StopReplica)
    for replica in ("p-1", "p-2", "p-3"):
        bench(ReplicaLost(replica, DEATH))
    bench.said.clear()
    bench.submit()
    assert bench.started() == ["p-4"]


def test_a_replica_that_still_starts_when_the_pool_goes_idle_is_stopped() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=1, idle_ttl=1.0)))
    action = bench.submit()
    bench(Abort(action))
    assert bench.tick(2.0) == [StopReplica("p-1", 5.0)]
    assert bench.tick(2.0) == bench(ReplicaReady("p-1")) == []


def test_settings_change_on_a_live_pool() -> None:
    bench = Bench()
    bench.pool(ready=3)
    busy = bench.submit()
    bench(OpenPool("p", PoolSettings(max_replicas=1)))
    assert sum(isinstance(c, StopReplica) for c in bench.said) == 2
    bench(OpenPool("p", PoolSettings(max_replicas=0)))
    bench(Finished(bench.epoch(busy)))
    assert sum(isinstance(c, StopReplica) for c in bench.said) == 3


def test_shrinking_takes_what_is_still_starting_first() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(min_replicas=2, max_replicas=2)))
    bench.submit()
    bench(ReplicaReady("p-2"))
    assert bench(OpenPool("p", PoolSettings(max_replicas=1))) == [StopReplica("p-1", 5.0)]


def test_drain_replaces_every_replica() -> None:
    bench = Bench()
    bench.pool(ready=1)
    first, second = bench.submit(), bench.submit()
    bench(Drain("p"))
    assert bench.open(first)
    bench(Finished(bench.epoch(first)))
    assert StopReplica("p-1", 5.0) in bench.said
    bench(ReplicaLost("p-1", DEATH))
    bench(ReplicaReady("p-2"))
    assert bench.replica(second) == "p-2"


def test_drain_of_an_idle_pool_starts_nothing() -> None:
    bench = Bench()
    bench.pool(ready=2)
    assert bench(Drain("p")) == [StopReplica("p-1", 5.0), StopReplica("p-2", 5.0)]


def test_a_parent_on_a_replica_that_drains_does_not_keep_its_children_from_one() -> None:
    bench = Bench()
    bench.pool(ready=1)
    parent = bench.submit()
    bench(Drain("p"))
    child = bench.submit(parent=parent)
    assert bench.started() == ["p-2"]
    bench(ReplicaReady("p-2"))
    assert bench.replica(child) == "p-2"
    bench(Finished(bench.epoch(child)))
    assert StopReplica("p-1", 5.0) in bench(Finished(bench.epoch(parent)))


def test_a_parent_on_a_replica_too_many_does_not_keep_others_from_one() -> None:
    bench = Bench()
    bench.pool(ready=2)
    bench.pool("q")
    parents = [bench.submit() for _ in range(2)]
    for parent in parents:
        bench.submit("q", parent)
    bench(OpenPool("p", PoolSettings(max_replicas=1)))
    staying = next(replica.id for replica in bench.pools.pools["p"].replicas.values() if replica.place >= 0)
    assert StartReplica("p", "p-3") in bench(ReplicaLost(staying, DEATH))


# parents and children


@pytest.mark.parametrize("depth", [200, 5000])
def test_parents_hold_no_slot(depth: int) -> None:
    bench = Bench()
    bench.pool(ready=1)
    chain = [bench.submit()]
    for _ in range(depth if depth < 1000 else 0):
        chain.append(bench.submit(parent=chain[-1]))
    if depth >= 1000:  # without the quadratic look at every invariant
        for _ in range(depth):
            number = chain[-1] + 1
            bench.said += bench.pools.handle(Submit(number, "p", chain[-1]), bench.now)
            chain.append(number)
    epochs = [c.epoch for c in bench.said if isinstance(c, Assign)]
    for epoch in reversed(epochs):
        bench.said += bench.pools.handle(Finished(epoch), bench.now)
    assert not bench.pools.actions
    assert all(bench.settled(action).phase is Phase.SUCCEEDED for action in (chain[0], chain[-1]))


def test_resume_comes_before_anything_new() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q", ready=1)
    parent = bench.submit()
    child = bench.submit("q", parent)
    other = bench.submit()  # takes the parent's slot
    queued = bench.submit()
    assert bench(Finished(bench.epoch(child))) == [Settle(child, Phase.SUCCEEDED, bench.epoch(child))]
    commands = bench(Finished(bench.epoch(other)))
    assert commands[-1] == Deliver(child)
    assert not bench.assigned(queued)
    bench(Finished(bench.epoch(parent)))
    assert bench.assigned(queued)


def test_results_of_all_but_the_last_child_are_delivered_at_once() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=3)
    parent = bench.submit()
    children = [bench.submit(parent=parent) for _ in range(2)]
    for child in children:
        assert bench(Finished(bench.epoch(child)))[-1] == Deliver(child)


def test_when_a_parent_was_parked_is_kept_and_of_many_stretches_two_become_one() -> None:
    bench = Bench()
    bench.pool(ready=1)
    parent = bench.submit()
    execution = bench.pools.executions[bench.epoch(parent)]
    for number in range(1, KEPT_TIMES // 2):
        bench(Finished(bench.epoch(bench.submit(parent=parent))))
        assert len(execution.parked or ()) == 2 * number
    bench(Finished(bench.epoch(bench.submit(parent=parent))))
    assert len(execution.parked or ()) == KEPT_TIMES // 2


def test_a_parent_that_waits_to_resume_may_submit_again() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q", ready=1)
    parent = bench.submit()
    child = bench.submit("q", parent)
    bench.submit()
    bench(Finished(bench.epoch(child)))
    again = bench.submit("q", parent)
    assert Deliver(child) in bench.said
    bench(Finished(bench.epoch(again)))
    bench(Finished(bench.epoch(parent)))  # ends while it waits to resume
    assert bench.said.count(Deliver(again)) == 1
    assert bench.settled(parent).phase is Phase.SUCCEEDED


def test_a_call_of_somebody_who_is_gone_is_aborted() -> None:
    bench = Bench()
    bench.pool(ready=1)
    assert [type(c) for c in bench(Submit(77, "p", parent=76))] == [Settle, Deliver]
    assert bench.settled(77).phase is Phase.ABORTED


# replicas that die


def test_suspects_run_alone_and_the_one_that_kills_is_named() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    good, bad = bench.submit(), bench.submit()
    third = bench.submit()
    bench.lost_before(good, bad)
    bench(ReplicaLost("p-1", DEATH))
    for name in ("p-2", "p-3", "p-4", "p-5"):
        if not bench.open(bad):
            break
        bench(ReplicaReady(name))
        if bench.open(good):
            assert bench.replica(good) == name
            assert not [a for a in bench.assigned(bad) if a.replica == name]
            bench(Finished(bench.epoch(good)))
        assert bench.replica(bad) == name
        bench(ReplicaLost(name, DEATH))
    failure = bench.settled(bad).failure
    assert failure is not None
    assert f"{MAX_STRIKES} times with this execution alone" in failure.message
    assert bench.settled(good).failure is None
    assert bench.open(third)


def test_after_a_first_death_all_run_together_again() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    both = [bench.submit(), bench.submit()]
    bench(ReplicaLost("p-1", DEATH))
    bench(ReplicaReady("p-2"))
    assert [bench.replica(action) for action in both] == ["p-2", "p-2"]
    bench(ReplicaLost("p-2", DEATH))
    bench(ReplicaReady("p-3"))
    assert sorted(len(bench.assigned(action)) for action in both) == [2, 3]


def test_losses_in_company_are_bounded() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    a = bench.submit()
    for _ in range(MAX_LOSSES):
        assert bench.open(a)
        action = bench.pools.actions[a]
        action.losses += 1
    b = bench.submit()
    bench(ReplicaLost("p-1", DEATH))
    failure = bench.settled(a).failure
    assert failure is not None
    assert "times under it" in failure.message
    assert bench.open(b)


def test_a_parked_parent_is_innocent_and_its_children_go() -> None:
    bench = Bench()
    bench.pool(ready=1)
    parent = bench.submit()
    child = bench.submit(parent=parent)
    bench(ReplicaLost("p-1", DEATH))
    assert bench.settled(child).phase is Phase.ABORTED
    assert not bench.pools.pools["p"].suspects.length
    bench(ReplicaReady("p-2"))
    assert bench.assigned(parent)[-1].attempt == 2


def test_a_child_that_kills_its_parents_replica_each_time_is_not_called_for_ever() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    root = bench.submit()
    for _ in range(MAX_LOSSES):
        assert bench.open(root)
        middle = bench.submit(parent=root)
        bench.submit(parent=middle)
        bench(ReplicaLost(bench.replica(root), DEATH))
        assert not bench.open(middle)
        bench(ReplicaReady(f"p-{len(bench.started()) + 1}"))
    failure = bench.settled(root).failure
    assert failure is not None
    assert f"{MAX_LOSSES} times under it" in failure.message


def test_a_child_out_of_memory_on_its_parents_replica_is_the_parents_failure() -> None:
    bench = Bench()
    bench.pool(ready=1)
    parent = bench.submit(retry=Retry(1))
    for replica in ("p-1", "p-2"):
        bench.submit(parent=parent)
        bench(ReplicaLost(replica, OOM))
        bench(ReplicaReady("p-2"))
    assert bench.settled(parent).failure == OOM


def test_those_that_hold_a_slot_are_the_ones_that_may_have_killed_a_replica() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    parent, other = bench.submit(), bench.submit()
    assert bench.pools.running_on("p-1") == [parent, other]
    child = bench.submit(parent=parent)
    assert bench.pools.running_on("p-1") == [other, child]
    bench(Abort(other))
    assert bench.pools.running_on("p-1") == [child]
    bench(ReplicaLost("p-1", DEATH))
    assert bench.pools.running_on("p-1") == []


def test_a_parent_that_is_cancelled_before_it_resumes_hears_that_before_the_answer() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q", ready=1)
    parent = bench.submit()
    child = bench.submit("q", parent)
    bench.submit()
    bench(Finished(bench.epoch(child)))
    epoch = bench.epoch(parent)
    said = bench(Abort(parent))
    assert said.index(Cancel("p-1", epoch)) < said.index(Deliver(child))


def test_what_is_killed_makes_room_by_its_end_only() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q")
    parent = bench.submit()
    bench.submit("q", parent)
    bench.submit()
    bench(StopPool("p"))
    bench.tick(0.1)
    assert bench.started() == ["q-1"]
    bench(ReplicaLost("p-1", DEATH))
    assert bench.started() == ["q-1", "p-2"]


def test_a_parent_that_waits_to_resume_loses_its_replica() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q", ready=1)
    parent = bench.submit()
    child = bench.submit("q", parent)
    bench.submit()
    bench(Finished(bench.epoch(child)))
    assert Deliver(child) in bench(ReplicaLost("p-1", DEATH))
    assert bench.open(parent)


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2)])
def test_out_of_memory_alone_is_the_tasks_own_failure(retries: int, attempts: int) -> None:
    bench = Bench()
    bench.pool(ready=1)
    hungry = bench.submit(retry=Retry(retries))
    bench(ReplicaLost("p-1", OOM))
    if retries:
        bench(ReplicaReady("p-2"))
        bench(ReplicaLost("p-2", OOM))
    assert len(bench.assigned(hungry)) == attempts
    assert bench.settled(hungry).failure == OOM


def test_a_replica_is_emptied_for_a_suspect() -> None:
    bench = Bench()
    suspects, others = bench.two_suspects()
    bench(Finished(bench.epoch(others[0])))  # the survivor has a free slot: it is reserved
    late = bench.submit()
    assert not bench.assigned(late)
    bench(Finished(bench.epoch(others[1])))
    assert len(bench.assigned(suspects[0])) == 2
    bench(Finished(bench.epoch(suspects[0])))
    assert len(bench.assigned(suspects[1])) == 2
    bench(Finished(bench.epoch(suspects[1])))
    assert bench.assigned(late)


def test_suspects_that_are_aborted_give_the_reserved_replica_back() -> None:
    bench = Bench()
    suspects, others = bench.two_suspects()
    bench(Finished(bench.epoch(others[0])))
    for suspect in suspects:
        bench(Abort(suspect))
    late = bench.submit()
    assert bench.assigned(late)


def test_a_reserved_replica_that_dies_is_forgotten() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    a, b = bench.submit(), bench.submit()
    bench.lost_before(a, b)
    bench(ReplicaLost("p-1", DEATH))
    bench(ReplicaReady("p-2"))
    bench(ReplicaLost("p-2", DEATH))
    assert bench.pools.pools["p"].reserved is None
    assert bench.open(a)
    assert bench.open(b)


# starts that fail


def test_starts_back_off_and_in_the_end_fail_the_queue_with_the_reason() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=1)))
    action = bench.submit()
    for n in range(1, START_ATTEMPTS + 1):
        assert bench.started() == [f"p-{i}" for i in range(1, n + 1)]
        bench(ReplicaLost(f"p-{n}", DEATH))
        if n < START_ATTEMPTS:
            assert "backing off" in bench.pools.stats(bench.now)[0].note
            bench.tick(backoff(n))
    assert bench.settled(action).failure == DEATH
    bench.said.clear()
    bench.submit()
    assert bench.started() == [f"p-{START_ATTEMPTS + 1}"]


def test_a_permanent_failure_is_not_tried_again() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=1)))
    action = bench.submit()
    bench(ReplicaUnfit("p-1", BOOM, permanent=True))
    assert bench.settled(action).failure == BOOM


def test_failed_starts_do_not_fail_the_queue_of_a_pool_that_serves() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(min_replicas=2, max_replicas=2)))
    first, second = bench.submit(), bench.submit()
    bench(ReplicaReady("p-1"))
    bench(ReplicaUnfit("p-2", BOOM, permanent=True))
    assert bench.open(first)
    assert bench.open(second)


def test_events_of_unknown_replicas_and_epochs_are_ignored() -> None:
    bench = Bench()
    bench.pool(ready=1)
    for event in (
        ReplicaReady("p-9"),
        ReplicaReady("nobody-1"),
        ReplicaReady("p-1"),
        ReplicaUnfit("p-1", BOOM),
        ReplicaLost("p-9", DEATH),
        Finished(12345),
        Abort(12345),
    ):
        assert bench(event) == []


# retries, timeouts, aborts


def test_retries_wait_and_are_bounded() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit(retry=Retry(2, base=1.0, factor=2.0))
    bench(Finished(bench.epoch(action), BOOM))
    assert bench.tick(0.5) == []
    bench.tick(0.6)
    assert bench.assigned(action)[-1].attempt == 2
    bench(Finished(bench.epoch(action), BOOM))
    bench.tick(2.1)
    bench(Finished(bench.epoch(action), BOOM))
    assert bench.settled(action) == Settle(action, Phase.FAILED, bench.epoch(action), BOOM)


def test_an_action_aborted_while_it_waits_for_its_retry() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit(retry=Retry(1, base=1.0))
    bench(Finished(bench.epoch(action), BOOM))
    bench(Abort(action, "enough"))
    bench.tick(2.0)
    assert bench.settled(action).failure == Failure("user", "ActionAbortedError", "enough", recoverable=False)


def test_non_recoverable() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit(retry=Retry(5))
    bench(Finished(bench.epoch(action), FINAL))
    assert bench.settled(action).failure == FINAL


@pytest.mark.parametrize("retries", [0, 1])
def test_max_runtime(retries: int) -> None:
    bench = Bench()
    bench.pool(ready=2)
    action = bench.submit(timeouts=Timeouts(max_runtime=1.0), retry=Retry(retries))
    first = bench.epoch(action)
    assert Cancel(bench.replica(action), first) in bench.tick(1.0)
    if retries:
        assert bench.epoch(action) != first
        bench(Finished(first))  # too late: the next attempt counts
        assert bench.open(action)
        bench.tick(1.0)
    failure = bench.settled(action).failure
    assert bench.settled(action).phase is Phase.TIMED_OUT
    assert failure is not None
    assert (failure.code, "1 s" in failure.message) == ("MaxRuntimeExceededError", True)


def test_max_queued_time_and_deadline() -> None:
    bench = Bench()
    bench.pool(ready=1)
    busy = bench.submit(timeouts=Timeouts(max_queued_time=1.0))
    waits = bench.submit(timeouts=Timeouts(max_queued_time=1.0))
    late = bench.submit(timeouts=Timeouts(deadline=3.0))
    bench.tick(2.0)
    assert bench.open(busy)
    failure = bench.settled(waits).failure
    assert failure is not None
    assert failure.code == "MaxQueuedTimeExceededError"
    bench.tick(2.0)
    failure = bench.settled(late).failure
    assert failure is not None
    assert failure.code == "DeadlineExceededError"


def test_timers_of_what_has_ended_do_nothing() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit(timeouts=Timeouts(max_runtime=1.0, max_queued_time=1.0, deadline=1.0))
    bench(Finished(bench.epoch(action)))
    assert bench.tick(2.0) == []


def test_a_cancelled_execution_that_does_not_end_costs_its_replica_and_blames_nobody() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    stuck, neighbour = bench.submit(), bench.submit()
    bench(Abort(stuck))
    assert bench.tick(CANCEL_GRACE) == [StopReplica("p-1", 0.0)]
    bench(ReplicaLost("p-1", DEATH))
    assert not bench.pools.pools["p"].suspects.length
    bench(ReplicaReady("p-2"))
    assert bench.pools.actions[neighbour].losses == 0
    assert bench.assigned(neighbour)[-1].attempt == 2


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_replica_that_is_killed_gets_nothing_new(concurrency: int) -> None:
    """Neither its free slot, nor the one that the cancelled execution gives back at the last moment."""
    bench = Bench()
    bench.pool(ready=1, concurrency=concurrency)
    stuck = bench.submit()
    bench(Abort(stuck))
    assert bench.tick(CANCEL_GRACE) == [StopReplica("p-1", 0.0)]
    late = bench.submit()
    assert bench(Finished(bench.epoch(stuck))) == []
    assert bench(ReplicaLost("p-1", DEATH)) == [StartReplica("p", "p-2")]
    bench(ReplicaReady("p-2"))
    assert bench.replica(late) == "p-2"


def test_a_cancelled_execution_that_ends_in_time() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit()
    bench(Abort(action))
    bench(Finished(bench.epoch(action), BOOM))
    assert bench.tick(CANCEL_GRACE) == []


def test_abort_takes_everything_below() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=4)
    root = bench.submit()
    child = bench.submit(parent=root)
    grandchildren = [bench.submit(parent=child) for _ in range(5)]
    bench(Abort(root))
    for action in (root, child, *grandchildren):
        assert bench.settled(action).phase is Phase.ABORTED
        assert bench.said.count(Deliver(action)) == 1


def test_what_an_attempt_has_called_is_superseded_by_the_next() -> None:
    bench = Bench()
    bench.pool(ready=2, concurrency=4)
    root = bench.submit(retry=Retry(1))
    child = bench.submit(parent=root)
    below = bench.submit(parent=child)
    bench(Finished(bench.epoch(root), BOOM))
    assert bench.settled(child).superseded
    assert bench.settled(below).superseded
    again = bench.submit(parent=root)
    bench(Abort(root))
    assert not bench.settled(again).superseded
    assert not bench.settled(root).superseded


def test_an_aborted_parent_that_waited_to_resume() -> None:
    bench = Bench()
    bench.pool(ready=1)
    bench.pool("q", ready=1)
    parent = bench.submit()
    child = bench.submit("q", parent)
    other = bench.submit()
    bench(Finished(bench.epoch(child)))
    bench(Abort(parent))
    assert bench.said.count(Deliver(child)) == 1
    bench(Finished(bench.epoch(other)))
    bench(Finished(bench.epoch(parent)))
    assert bench.pools.stats(bench.now)[0].active == 0


def test_a_failed_parent_takes_its_unfinished_children_along() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=3)
    parent = bench.submit()
    child = bench.submit(parent=parent)
    bench(Finished(bench.epoch(parent), BOOM))
    assert bench.settled(child).phase is Phase.ABORTED


# environments without reuse: a replica for each execution


def test_fresh_replicas_serve_once_and_parked_ones_do_not_count() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=2, max_tasks=1)))
    chain = [bench.submit()]
    for n in range(1, 6):
        bench(ReplicaReady(f"p-{n}"))
        chain.append(bench.submit(parent=chain[-1]))
    assert len(bench.started()) == 6
    bench(ReplicaReady("p-6"))
    for n, action in reversed(list(enumerate(chain, 1))):
        bench(Finished(bench.epoch(action)))
        assert StopReplica(f"p-{n}", 5.0) in bench.said
    assert all(assign.cold for assign in bench.said if isinstance(assign, Assign))


def test_fresh_replicas_are_bounded_by_max() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=2, max_tasks=1)))
    actions = [bench.submit() for _ in range(5)]
    assert len(bench.started()) == 2
    bench(ReplicaReady("p-1"))
    bench(ReplicaReady("p-2"))
    assert len(bench.started()) == 2
    bench(Finished(bench.epoch(actions[0])))
    bench(ReplicaLost("p-1", DEATH))
    assert len(bench.started()) == 3


def test_work_that_is_no_suspect_does_not_wait_beside_a_free_slot_for_want_of_a_queue() -> None:
    """Only suspects wait, one runs alone, and another replica has room: nothing is assigned to it."""
    bench = Bench()
    _, others = bench.two_suspects()
    for action in others:
        bench(Finished(bench.epoch(action)))
    bench(ReplicaReady("p-3"))
    alone = [r for r in bench.pools.pools["p"].replicas.values() if r.alone]
    assert len(alone) == 1
    assert alone[0].active == 1


def test_a_parent_does_not_resume_beside_a_suspect() -> None:
    bench = Bench()
    bench.pool("q", ready=1)
    suspects, (parent, other) = bench.two_suspects()
    child = bench.submit("q", parent)
    bench(Finished(bench.epoch(other)))  # the survivor is empty but for the parked parent: a suspect gets it
    (suspect,) = [a for a in suspects if len(bench.assigned(a)) == 2]
    bench(Finished(bench.epoch(child)))
    assert Deliver(child) not in bench.said
    bench(Finished(bench.epoch(suspect)))
    assert Deliver(child) in bench.said


def test_two_executions_that_must_be_killed_cost_one_stop() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    actions = [bench.submit(), bench.submit()]
    for action in actions:
        bench(Abort(action))
    assert bench.tick(CANCEL_GRACE) == [StopReplica("p-1", 0.0)]


def test_no_scale_down_before_its_time() -> None:
    bench = Bench()
    bench.pool(ready=2)
    bench(OpenPool("p", PoolSettings(min_replicas=0, max_replicas=2, scaledown_ttl=5.0)))
    assert bench.tick(1.0) == []


def test_suspects_aborted_while_no_replica_serves() -> None:
    bench = Bench()
    bench.pool(ready=1, concurrency=2)
    suspects = [bench.submit(), bench.submit()]
    bench.lost_before(*suspects)
    bench(ReplicaLost("p-1", DEATH))
    for suspect in suspects:
        bench(Abort(suspect))
    bench.submit()
    assert bench(ReplicaReady("p-2"))


def test_a_drained_pool_is_forgotten_when_it_was_empty_for_its_idle_ttl() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=5.0)
    action = bench.submit()
    replica = bench.replica(action)
    bench(Finished(bench.epoch(action)))
    bench(Drain("p"))
    bench(ReplicaLost(replica, DEATH))
    assert bench.tick(4) == []
    assert bench.tick(1) == [ClosePool("p")]
    assert bench.pools.stats(bench.now) == []
    bench.pool(ready=1)
    assert bench.open(bench.submit())


def test_a_drained_pool_that_is_opened_again_stays() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=5.0)
    bench(Drain("p"))
    bench(ReplicaLost("p-1", DEATH))
    bench(OpenPool("p", PoolSettings(min_replicas=0, idle_ttl=5.0)))
    assert bench.tick(60) == []


def test_a_superseded_pool_finishes_its_work_with_the_replicas_it_has_and_ends() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=600.0)
    first, second = bench.submit(), bench.submit()
    assert bench(Supersede("p")) == []
    bench(Finished(bench.epoch(first)))
    assert bench.replica(second) == "p-1"
    bench(Finished(bench.epoch(second)))
    assert bench.tick(0) == [StopReplica("p-1", 5.0)]
    bench(ReplicaLost("p-1", DEATH))
    assert bench.tick(600) == [ClosePool("p")]


def test_a_superseded_pool_that_idles_ends_at_once_and_still_serves_whoever_comes_late() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=600.0)
    assert bench(Supersede("p")) == [StopReplica("p-1", 5.0)]
    bench(ReplicaLost("p-1", DEATH))
    late = bench.submit()
    bench(ReplicaReady("p-2"))
    bench(Finished(bench.epoch(late)))
    assert bench.tick(0) == [StopReplica("p-2", 5.0)]


def test_a_superseded_pool_that_is_opened_again_keeps_its_replicas() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=600.0)
    action = bench.submit()
    bench(Supersede("p"))
    bench(OpenPool("p", PoolSettings(idle_ttl=600.0)))
    bench(Finished(bench.epoch(action)))
    assert bench.tick(1) == []


# leases


def test_a_replica_that_is_not_heard_of_is_killed_and_its_work_goes_elsewhere() -> None:
    bench = Bench()
    bench.pool(ready=2, idle_ttl=1000.0)
    first, second = bench.submit(), bench.submit()
    silent, heard = bench.replica(first), bench.replica(second)
    bench.tick(LEASE - 1)
    bench(ReplicaHeard(heard))
    (stop,) = bench.tick(2)
    assert stop == StopReplica(silent, 0.0, f"it has not been heard of for {LEASE + 1:.0f} s")
    assert bench.tick(1) == []
    bench(Finished(bench.epoch(second)))
    bench(ReplicaLost(silent, DEATH))
    assert bench.replica(first) == heard


def test_a_late_answer_of_a_silent_replica_counts_once() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=1000.0)
    action = bench.submit()
    late = bench.epoch(action)
    silent = bench.replica(action)
    bench.tick(LEASE + 1)
    bench(Finished(late))
    assert bench.settled(action).epoch == late
    bench(ReplicaLost(silent, DEATH))
    bench(Finished(late))
    assert not bench.open(action)


def test_a_replica_that_drains_in_silence_is_killed_too() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=1000.0)
    action = bench.submit()
    bench(Drain("p"))
    assert next(c for c in bench.tick(LEASE + 1) if isinstance(c, StopReplica)).replica == bench.replica(action)


def test_a_replica_that_stops_too_slowly_is_killed_once() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=5.0)
    (polite,) = bench.tick(6)
    assert isinstance(polite, StopReplica)
    assert polite.grace > 0
    bench(ReplicaHeard("unknown"))
    (kill,) = bench.tick(LEASE)
    assert isinstance(kill, StopReplica)
    assert (kill.replica, kill.grace) == (polite.replica, 0.0)
    assert bench.tick(LEASE) == []


def test_what_was_done_is_counted() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=1000.0)
    bench(Finished(bench.epoch(bench.submit()), BOOM))
    bench(Finished(bench.epoch(bench.submit())))
    (stats,) = bench.pools.stats(bench.now)
    assert (stats.done, stats.failed, stats.cold, stats.warm) == (2, 1, 1, 2)


# actions that may not have to run


def test_an_action_whose_result_may_be_there_is_no_work_until_it_is_queued() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=1)))
    waiting = bench.submit(waits=True)
    assert bench.said == []
    assert bench.tick(1.0) == []
    assert bench(Enqueue(waiting)) == [StartReplica("p", "p-1")]
    bench(ReplicaReady("p-1"))
    bench(Finished(bench.epoch(waiting)))
    assert bench.settled(waiting).epoch
    assert bench(Enqueue(waiting)) == bench(Answered(waiting)) == []


def test_an_answer_settles_it_and_its_parent_goes_on_when_it_has_a_slot() -> None:
    bench = Bench()
    bench.pool(ready=1)
    parent, other = bench.submit(), bench.submit()
    child = bench.submit(parent=parent, waits=True)
    assert bench.assigned(other), "the parent is parked meanwhile"
    assert bench(Answered(child)) == [Settle(child, Phase.SUCCEEDED)]
    assert bench(Finished(bench.epoch(other)))[-1] == Deliver(child)


def test_it_is_aborted_and_times_out_as_any_other() -> None:
    bench = Bench()
    bench.pool(ready=1)
    aborted, late = bench.submit(waits=True), bench.submit(waits=True, timeouts=Timeouts(max_queued_time=1.0))
    bench(Abort(aborted))
    bench.tick(2.0)
    assert bench.settled(aborted).phase is Phase.ABORTED
    assert bench.settled(late).phase is Phase.TIMED_OUT
    assert bench(Enqueue(late)) == []


def test_a_pool_is_kept_for_an_action_that_is_not_queued() -> None:
    bench = Bench()
    bench.pool(ready=1, idle_ttl=5.0)
    waiting = bench.submit(waits=True)
    bench(Drain("p"))
    bench(ReplicaLost("p-1", DEATH))
    assert bench.tick(10.0) == []
    bench(Answered(waiting))
    assert bench.tick(10.0) == [ClosePool("p")]


def test_the_failures_of_an_action_are_said_with_its_next_attempt() -> None:
    bench = Bench()
    bench.pool(ready=2)
    action = bench.submit(retry=Retry(1))
    bench(Finished(bench.epoch(action), BOOM))
    bench(ReplicaLost(bench.replica(action), DEATH))
    assert [attempt.failures for attempt in bench.assigned(action)] == [0, 1, 1]


# what is told for the record


def test_each_scaling_decision_says_why() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(max_replicas=3, concurrency=2, idle_ttl=60, scaledown_ttl=5)))
    first = bench.submit()
    others = [bench.submit() for _ in range(2)]
    for replica in bench.started():
        bench(ReplicaReady(replica))
    for action in (first, *others):
        bench(Finished(bench.epoch(action)))
    bench.tick(5)
    bench(ReplicaHeard("p-2"), after=55)
    bench.tick(5)
    assert bench.told == [
        Scaled("p", 1, "1 queued, 0 active, 2 slots a replica: 1 replica wanted"),
        Scaled("p", 2, "3 queued, 0 active, 2 slots a replica: 2 replicas wanted"),
        Scaled("p", 1, "p-1 has had no work for 5 s: 1 replica wanted"),
        Scaled("p", 0, "no work for 60 s: 0 replicas wanted"),
    ]


def test_what_bounds_a_scaling_decision_is_said() -> None:
    bench = Bench()
    bench(OpenPool("p", PoolSettings(min_replicas=2, max_replicas=4)))
    bench.submit()
    for _ in range(6):
        bench.submit()
    assert [told.reason for told in bench.told if isinstance(told, Scaled)] == [
        "1 queued, 0 active, 1 slot a replica: 2 replicas wanted, the fewest that the policy allows",
        "3 queued, 0 active, 1 slot a replica: 3 replicas wanted",
        "4 queued, 0 active, 1 slot a replica: 4 replicas wanted, the most that the policy allows",
    ]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            OpenPool("p", PoolSettings(1, 1)),
            Scaled("p", 1, "the policy has changed: 1 replica wanted, the most that the policy allows"),
        ),
        (Drain("p"), Scaled("p", 0, "the pool is drained: 0 replicas wanted")),
    ],
)
def test_a_pool_that_is_told_to_shrink_says_so(event: OpenPool | Drain, told: Scaled) -> None:
    bench = Bench()
    bench.pool(ready=2)
    bench(event)
    assert bench.told == [told]


def test_starts_that_fail_for_good_are_told() -> None:
    bench = Bench()
    bench.pool(max_replicas=2, concurrency=1)
    bench.submit()
    bench.submit()
    bench(ReplicaUnfit("p-1", DEATH, permanent=True))
    assert bench.told[-1] == Scaled("p", 0, "1 start in a row failed: 0 replicas wanted")


def test_an_attempt_that_raised_and_is_retried_is_told_before_the_next() -> None:
    bench = Bench()
    bench.pool(ready=1)
    action = bench.submit(retry=Retry(1))
    commands = bench.pools.handle(Finished(bench.epoch(action), BOOM), bench.now)
    assert commands == [Retried(action, 2, BOOM), Assign("p-1", action, 3, 2, cold=False, failures=1)]
    assert [type(c) for c in bench.pools.handle(Finished(3, BOOM), bench.now)] == [Settle, Deliver]


def test_an_attempt_that_is_lost_with_its_replica_is_told() -> None:
    bench = Bench()
    bench.pool(ready=2)
    action = bench.submit()
    epoch = bench.epoch(action)
    bench(ReplicaLost(bench.replica(action), DEATH))
    assert [told for told in bench.told if isinstance(told, Retried)] == [Retried(action, epoch, DEATH)]
