"""Where the time of an action went, and that a person understands why."""

from __future__ import annotations

import pytest

from samovar.engine.timeline import Life
from samovar.web.spans import Facts, Pool, Span, Try, spans


def seen(facts):
    return [(span.name, span.start, span.end) for span in spans(facts)]


READY = Life("p-1", 0.0, 1.0)


def test_a_warm_call():
    facts = Facts(10.0, 12.0, [Try(1, "p-1", 10.001, 12.0)], Pool([READY]))
    assert spans(facts) == [
        Span("queue", 10.0, 10.001, "a slot was free"),
        Span("run", 10.001, 12.0, "it ran"),
    ]


def test_the_way_to_the_task_and_back_is_not_its_own_time():
    facts = Facts(10.0, 14.0, [Try(1, "p-1", 10.0, 14.0, parked=(12.0, 13.0), ran=3.5)], Pool([READY]))
    assert seen(facts) == [("dispatch", 10.0, 10.5), ("run", 10.5, 12.0), ("parked", 12.0, 13.0), ("run", 13.0, 14.0)]


def test_a_replica_whose_clock_runs_fast_says_nothing_of_the_way():
    facts = Facts(10.0, 14.0, [Try(1, "p-1", 10.0, 14.0, ran=4.5)], Pool([READY]))
    assert seen(facts) == [("run", 10.0, 14.0)]


def test_it_waited_for_a_replica_to_start():
    facts = Facts(10.0, 15.0, [Try(1, "p-2", 13.0, 15.0)], Pool([Life("p-2", 10.5, 12.0)]))
    assert seen(facts) == [
        ("queue", 10.0, 10.5),
        ("start", 10.5, 12.0),
        ("queue", 12.0, 13.0),
        ("run", 13.0, 15.0),
    ]
    assert spans(facts)[1].reason == "replica p-2 was starting"


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (
            Pool([READY, Life("p-2", 0.0, 2.0)], 2, 2),
            "all 4 slots of 2 replicas were taken, and the policy allows no more",
        ),
        (
            Pool([READY, Life("p-2", 10.5)], 2, 4),
            "all 2 slots of 1 replica were taken, and one more replica was on the way",
        ),
        (Pool([READY], 1, 4), "its slot was taken, and the queue was not long enough for one more replica"),
        (Pool([Life("p-1", 0.0, 1.0, 5.0)], 1, 4), "no replica was ready"),
    ],
)
def test_why_it_is_queued(pool, reason):
    assert spans(Facts(10.0, 20.0, [Try(1, "p-1", 15.0, 20.0)], pool))[0].reason == reason


def test_attempts_and_their_back_off():
    tries = [
        Try(1, "p-1", 10.0, 11.0, "ValueError: no"),
        Try(2, "p-1", 13.0, 14.0, "it was killed", is_own=False),
        Try(3, "p-1", 15.0, 16.0),
    ]
    found = spans(Facts(10.0, 16.0, tries, Pool([READY]), retries=2))
    assert [span.name for span in found] == ["run", "retry", "run", "retry", "run"]
    assert found[1].reason.startswith("back-off after failure 1 of 3 that end it")
    assert "replica p-1 was lost under it" in found[3].reason
    assert "of 3" not in spans(Facts(10.0, 16.0, tries, Pool([READY])))[1].reason


def test_parked_stretches_lie_within_the_run():
    facts = Facts(10.0, 20.0, [Try(1, "p-1", 10.0, 20.0, parked=(12.0, 13.0, 15.0, 20.0))], Pool([READY]))
    assert seen(facts) == [
        ("run", 10.0, 12.0),
        ("parked", 12.0, 13.0),
        ("run", 13.0, 15.0),
        ("parked", 15.0, 20.0),
    ]


def test_what_has_not_ended_stays_open():
    assert seen(Facts(10.0, None, [], Pool([READY])))[-1] == ("queue", 10.0, None)
    assert seen(Facts(10.0, None, [], Pool([Life("p-1", 9.0)]))) == [("start", 10.0, None)]
    assert seen(Facts(10.0, None, [Try(1, "p-1", 11.0, None)], Pool([READY])))[-1] == ("run", 11.0, None)
    parked = Try(1, "p-1", 11.0, None, parked=(12.0,))
    assert seen(Facts(10.0, None, [parked], Pool([READY])))[-1] == ("parked", 12.0, None)


def test_what_never_ran():
    (known,) = spans(Facts(10.0, 10.1, [], Pool(), is_known=True))
    assert "known already" in known.reason
    (given_up,) = spans(Facts(10.0, 12.0, [], Pool([READY]), outcome="it was aborted"))
    assert given_up.reason.endswith("it was aborted before it had one")


@pytest.mark.parametrize("ended", [16.0, None])
def test_spans_lie_end_to_end(ended):
    tries = [Try(1, "p-1", 10.7, 11.0, "x"), Try(2, "p-1", 13.0, ended, parked=(14.0, 15.0))]
    found = spans(Facts(10.0, ended, tries, Pool([Life("p-1", 9.0, 10.5)])))
    assert found[0].start == 10.0
    assert found[-1].end == ended
    assert [span.end for span in found[:-1]] == [span.start for span in found[1:]]
