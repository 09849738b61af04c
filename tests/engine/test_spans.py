"""Which actions are traced, by a clock of the test's own, and what is told of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from samovar.core.actions import ABORTED, Action
from samovar.core.messages import Assign, Settle, Submit
from samovar.engine.spans import SMALL, Budget, Span, Spans, Way
from samovar.engine.work import Run, Work
from samovar.model import Environment, Failure, Phase, TaskSpec
from samovar.traceparent import Traceparent, parse

TASK = TaskSpec("e.f", "m", "f", Environment("e"))
LUCK = Failure("user", "ValueError", "no luck", worker="replica-1")
NOBODY: Any = None


class Tale:
    """Spans of an engine that is played here: a clock, runs and what they call; and the tracer, which keeps all."""

    def __init__(self, rate: float) -> None:
        self.now = 1000.0
        self.works: dict[int, Work] = {}
        self.actions: dict[int, Action] = {}
        self.ways: list[Way] = []
        self.room = True
        self.asked = 0
        self.wanted = True
        self.spans = Spans(self, self.works, self, Budget(rate))

    # as a tracer

    def put(self, way: Way) -> None:
        self.ways.append(way)

    def has_room(self) -> bool:
        return self.room

    def is_sampled(self, trace: int) -> bool:
        self.asked += 1
        return self.wanted

    # as an engine

    def call(self, run: Run, parent: int = 0) -> int:
        number = len(self.works) + 1
        work = Work(TASK, "e@1", run, run.number(), b"", ())
        work.action = number
        action = Action(Submit(number, "e@1", parent), NOBODY)
        action.parent = self.actions.get(parent)
        action.queued_at = self.now
        self.works[number], self.actions[number] = work, action
        return number

    def assign(self, number: int, attempt: int = 1) -> str:
        work, span = self.works[number], ""
        if work.run.top is not None or self.now >= self.spans.begins_at:
            span = self.spans.assigned(Assign("replica-1", number, number, attempt, False), work, self.actions[number])
        else:
            self.spans.untraced += 1
        work.since = self.now
        return span

    def retry(self, number: int) -> None:
        self.spans.failed(LUCK, self.works[number])
        self.actions[number].queued_at = self.now

    def settle(self, number: int, failure: Failure | None = None, epoch: int = 1) -> None:
        phase = Phase.SUCCEEDED if failure is None else Phase.ABORTED if failure is ABORTED else Phase.FAILED
        work = self.works[number]
        if work.way is not None or failure is not None:
            self.spans.settled(Settle(number, phase, epoch, failure), work)
        del self.actions[number]

    def starts(self, name: str = "r", trace: str = "") -> int:
        """The first action of a run, on a replica."""
        root = self.call(Run(name, None, NOBODY, trace=trace))
        self.assign(root)
        return root

    def calls(self, parent: int, count: int) -> list[int]:
        """These, on a replica."""
        numbers = [self.call(self.works[parent].run, parent) for _ in range(count)]
        for number in numbers:
            self.assign(number)
        return numbers

    def runs(self, name: str, children: int = 0) -> None:
        """A whole run."""
        root = self.starts(name)
        for number in [*self.calls(root, children), root]:
            self.settle(number)

    def told(self) -> dict[str, int]:
        """How many actions, by run."""
        return Counter(way.run for way in self.ways)

    def all_spans(self) -> list[Span]:
        return [span for way in self.ways for span in way.spans(0.0)]


def test_what_comes_slowly_is_all_traced() -> None:
    tale = Tale(rate=100)
    for number in range(1000):  # 100 actions a second, for 50 s
        tale.runs(f"r{number}", children=4)
        tale.now += 0.05
    assert len(tale.ways) == 5000
    assert tale.spans.untraced == 0


def test_a_burst_is_traced_whole_and_then_what_the_rate_allows() -> None:
    tale = Tale(rate=100)
    for number in range(20_000):  # 10,000 runs a second, for 2 s
        tale.runs(f"r{number}")
        tale.now += 1e-4
    at_once, meanwhile = 0.75 * 100 * Budget.SECONDS, 2 * 100
    assert len(tale.ways) == pytest.approx(at_once + meanwhile, abs=2)
    assert len(tale.ways) + tale.spans.untraced == 20_000
    tale.now += Budget.SECONDS
    tale.runs("later")
    assert tale.ways[-1].run == "later"


def test_no_rate_is_no_bound() -> None:
    tale = Tale(rate=0)
    tale.runs("r", children=20_000)
    assert len(tale.ways) == 20_001


def test_a_rate_that_is_small_still_traces() -> None:
    tale = Tale(rate=0.01)
    for number in range(10):
        tale.runs(f"r{number}")
        tale.now += 100
    assert len(tale.ways) == 10


def test_runs_that_have_begun_are_whole_trees_and_others_are_not_there() -> None:
    tale = Tale(rate=100)
    for number in range(4000):  # each of five actions, which are asked for when others have begun
        tale.runs(f"r{number}", children=4)
        tale.now += 1e-4
    told = tale.told()
    assert set(told.values()) == {5}
    assert 0.75 * 100 * Budget.SECONDS / 5 <= len(told) < 100 * Budget.SECONDS / 2
    assert tale.spans.untraced == 5 * (4000 - len(told))


def test_a_large_run_leaves_room_for_others() -> None:
    tale = Tale(rate=100)
    large = tale.starts("large")
    for number in tale.calls(large, 10_000):
        tale.settle(number)
    traced = len(tale.ways)
    assert SMALL < traced <= 0.5 * 100 * Budget.SECONDS + 1
    tale.runs("small", children=3)
    assert tale.told()["small"] == 4


def test_what_an_untraced_action_calls_is_not_traced_when_there_is_room_again() -> None:
    tale = Tale(rate=100)
    tale.room = False
    root = tale.starts()
    tale.room = True
    (child,) = tale.calls(root, 1)
    assert tale.works[child].way is None
    assert tale.spans.untraced == 2


def test_below_a_traced_run_an_untraced_call_has_nothing_traced_below_it() -> None:
    tale = Tale(rate=100)
    root = tale.starts()
    tale.room = False
    (child,) = tale.calls(root, 1)
    tale.room = True
    (grandchild,) = tale.calls(child, 1)
    assert tale.works[grandchild].way is None
    (sibling,) = tale.calls(root, 1)
    assert tale.works[sibling].way is not None


def test_what_an_execution_of_another_engine_calls_is_traced_below_the_run() -> None:
    tale = Tale(rate=100)
    script = Traceparent(0xABC, 0xDEF)
    adopted = tale.call(Run("r", None, NOBODY, trace=str(script)))  # this engine never assigned it
    for child in tale.calls(adopted, 2):
        tale.settle(child)
    assert [(way.trace, way.parent) for way in tale.ways] == [(script.trace, script.span)] * 2


def test_a_run_that_is_not_sampled_takes_no_budget_and_is_not_counted() -> None:
    tale = Tale(rate=1)
    tale.wanted = False
    root = tale.starts()
    for number in [*tale.calls(root, 1000), root]:
        tale.settle(number, LUCK)
    assert (tale.ways, tale.spans.untraced, tale.asked) == ([], 0, 1)
    unwanted = tale.starts("s", trace=str(Traceparent(1, 2, is_sampled=False)))
    assert (tale.works[unwanted].way, tale.asked) == (None, 1)
    tale.wanted = True
    tale.runs("t")
    assert tale.told() == {"t": 1}


def test_an_attempt_that_fails_begins_the_trace_of_its_action() -> None:
    tale = Tale(rate=100)
    tale.room = False
    root = tale.starts()
    tale.room = True
    tale.now += 1
    tale.retry(root)
    tale.now += 1
    span = parse(tale.assign(root, attempt=2))
    assert span is not None
    (child,) = tale.calls(root, 1)
    tale.now += 1
    for number in (child, root):
        tale.settle(number)
    spans = {(span.name, span.began): span for span in tale.all_spans()}
    action = spans["e.f", 1000]
    first, waited, second = spans["run", 1000], spans["queue", 1001], spans["run", 1002]
    assert (first.error, first.ended, first.attributes) == ("no luck", 1001, {"samovar.replica": "replica-1"})
    assert (waited.ended, second.error, second.ended, second.id) == (1002, "", 1003, span.span)
    assert {action.id} == {first.parent, waited.parent, second.parent}
    assert (action.error, action.ended, action.attributes["samovar.phase"]) == ("", 1003, "succeeded")
    assert spans["e.f", 1002].parent == second.id, "what the second attempt calls is below it"


def test_an_untraced_action_that_fails_is_told_in_the_trace_of_its_run() -> None:
    tale = Tale(rate=100)
    script = Traceparent(0xABC, 0xDEF)
    tale.room = False
    root = tale.starts(trace=str(script))
    good, bad = tale.calls(root, 2)
    tale.room = True
    tale.now += 2
    tale.settle(good)
    tale.settle(bad, LUCK)
    run, action = tale.all_spans()
    assert (action.trace, action.parent, action.error) == (script.trace, script.span, "no luck")
    assert (action.attributes["samovar.action"], action.attributes["samovar.phase"]) == ("3", "failed")
    assert (run.name, run.parent, run.began, run.ended, run.error) == ("run", action.id, 1000, 1002, "no luck")


def test_failures_keep_to_the_budget() -> None:
    tale = Tale(rate=100)
    root = tale.starts()
    for number in tale.calls(root, 10_000):
        tale.settle(number, LUCK)
    assert len(tale.ways) == pytest.approx(100 * Budget.SECONDS, abs=2)


def test_an_untraced_action_that_is_aborted_is_not_told() -> None:
    tale = Tale(rate=100)
    tale.room = False
    root = tale.starts()
    tale.room = True
    tale.settle(root, ABORTED, epoch=0)
    assert tale.ways == []


def test_a_traced_action_that_is_aborted_between_two_attempts_is_told_with_both_ends() -> None:
    tale = Tale(rate=100)
    root = tale.starts()
    tale.now += 1
    tale.retry(root)
    tale.now += 1
    tale.settle(root, ABORTED, epoch=0)
    spans = {span.name: span for span in tale.all_spans()}
    assert (spans["run"].ended, spans["run"].error) == (1001, "no luck")
    assert (spans["e.f"].ended, spans["e.f"].attributes["samovar.phase"]) == (1002, "aborted")
