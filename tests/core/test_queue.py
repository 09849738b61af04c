"""Turns: every run with work gets as many as any other, and what has left is kept nowhere."""

from __future__ import annotations

import gc
from collections import Counter, defaultdict, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samovar.core.actions import Action
from samovar.core.messages import Abort, Assign, Finished, ReplicaLost, ReplicaReady, Submit
from samovar.core.queue import Lane, Queue
from samovar.model import Retry

from .bench import BOOM, DEATH, Bench


def action(number: int, run: int) -> Action:
    return Action(Submit(number, "p", run=run), None)  # type: ignore[arg-type]


class Model:
    """The same promises, kept in the plainest way."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.waiting: dict[int, deque[Action]] = defaultdict(deque)

    def add(self, joins: Action, first: bool) -> None:
        if not self.waiting[joins.run]:
            self.turns.append(joins.run)
        if first:
            self.waiting[joins.run].appendleft(joins)
        else:
            self.waiting[joins.run].append(joins)

    def remove(self, leaves: Action) -> None:
        self.waiting[leaves.run].remove(leaves)
        if not self.waiting[leaves.run]:
            self.turns.remove(leaves.run)

    def take(self) -> Action:
        run = self.turns.pop(0)
        taken = self.waiting[run].popleft()
        if self.waiting[run]:
            self.turns.append(run)
        return taken


steps = st.lists(
    st.tuples(st.sampled_from(["append", "append", "first", "take", "remove"]), st.integers(1, 4), st.integers(0, 99)),
    max_size=80,
)


@settings(deadline=None)
@given(steps)
def test_a_queue_does_what_its_model_does(steps: list[tuple[str, int, int]]) -> None:
    queue, model = Queue(), Model()
    inside: list[Action] = []
    for number, (what, run, pick) in enumerate(steps):
        if what in ("append", "first"):
            joins = action(number, run)
            inside.append(joins)
            model.add(joins, what == "first")
            (queue.put_first if what == "first" else queue.append)(joins)
        elif inside and what == "take":
            taken = queue.take()
            assert taken is model.take()
            inside.remove(taken)
        elif inside:
            leaves = inside.pop(pick % len(inside))
            queue.remove(leaves)
            model.remove(leaves)
        assert queue.length == len(inside)
        assert {run: queue.held(run) for run in range(1, 5)} == {run: len(model.waiting[run]) for run in range(1, 5)}
        assert [list(lane) for lane in queue.lanes] == [list(model.waiting[run]) for run in model.turns]
        assert queue.first() is (model.waiting[model.turns[0]][0] if inside else None)


def serve(bench: Bench, rounds: int) -> list[int]:
    """The actions that the slots got next, one execution after the other."""
    running = deque(c for c in bench.said if isinstance(c, Assign) and bench.open(c.action))
    taken: list[int] = []
    while len(taken) < rounds:
        new = [c for c in bench(Finished(running.popleft().epoch)) if isinstance(c, Assign)]
        running += new
        taken += [c.action for c in new]
    return taken


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(8, 20), min_size=1, max_size=5),
    turns=st.integers(1, 7),
    slots=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_runs_with_work_get_the_same_number_of_slots(sizes: list[int], turns: int, slots: int, order: object) -> None:
    """Of any k·n assignments each of the k runs gets n, give or take one, however much each has queued and when."""
    bench = Bench()
    bench.pool(ready=1, concurrency=slots)
    submits = [run for run, size in enumerate(sizes, 1) for _ in range(size + slots)]
    order.shuffle(submits)  # type: ignore[attr-defined]
    runs: dict[int, int] = {}
    for run in submits:
        runs[bench.submit(run=run)] = run
    waiting = Counter(runs[a.id] for lane in bench.pools.pools["p"].queue.lanes for a in lane)
    k, n = len(sizes), min(turns, min(waiting.values()))
    taken = [runs[number] for number in serve(bench, k * n)]
    for start in range(k * n):
        for length in range(1, k * n - start + 1):
            got = Counter(taken[start : start + length])
            for run in waiting:
                assert abs(got[run] - length / k) <= 1


def test_a_run_of_many_does_not_hold_up_those_behind_it() -> None:
    bench = Bench()
    bench.pool(ready=1)
    many = [bench.submit(run=1) for _ in range(100)]
    late = bench.submit(run=2)
    assert serve(bench, 3) == [many[1], late, many[2]]


def test_a_run_whose_work_is_gone_joins_at_the_end() -> None:
    bench = Bench()
    bench.pool(ready=1)
    first, again = bench.submit(run=1), bench.submit(run=1)
    others = [bench.submit(run=2), bench.submit(run=3)]
    assert serve(bench, 1) == [again]
    last = bench.submit(run=1)
    assert serve(bench, 3) == [*others, last]
    assert bench.settled(first).failure is None


def test_what_is_tried_again_goes_to_the_head_of_its_own_lane() -> None:
    bench = Bench()
    bench.pool(ready=1)
    fails = bench.submit(run=1, retry=Retry(1))
    behind = bench.submit(run=1)
    other = bench.submit(run=2)
    bench(Finished(bench.epoch(fails), BOOM))
    assert bench.assigned(behind) == []
    assert bench.open(fails)
    assert len(bench.assigned(other)) + len(bench.assigned(fails)) == 2, "one of the two has the slot"
    lost = bench.replica(other if bench.assigned(other) else fails)
    bench(ReplicaLost(lost, DEATH))
    bench(ReplicaReady("p-2"))
    serve(bench, 2)
    assert [c.action for c in bench.said if isinstance(c, Assign)].count(behind) == 1
    assert [c.action for c in bench.said if isinstance(c, Assign)][-1] == behind


def known(kind: type) -> int:
    """How many there are, without help from the collector."""
    return sum(type(found) is kind for found in gc.get_objects())


@pytest.mark.parametrize("how", ["abort", "run"])
def test_nothing_is_kept_of_what_has_left(how: str) -> None:
    bench = Bench()
    bench.pool(ready=1)
    busy = bench.submit()
    gc.collect()  # what tests before this one have left
    before = known(Lane)
    waiting = [bench.submit(run=run) for run in range(1, 6) for _ in range(3)]
    assert known(Lane) == before + 5
    if how == "abort":
        for number in waiting[1:] + waiting[:1]:
            bench(Abort(number))
    else:
        serve(bench, len(waiting))
    assert not bench.pools.pools["p"].queue.lanes
    assert bench.open(busy) is (how == "abort")
    assert known(Lane) == before
