"""What is said again, and when."""

from __future__ import annotations

from samovar.wire.backlog import Backlog


def filled(count: int, who: int = 1, retry_after: float = 1.0) -> Backlog[str]:
    backlog: Backlog[str] = Backlog()
    for number in range(count):
        backlog.refused(who, f"{who}.{number}", retry_after, now=10.0)
    return backlog


def test_nothing_is_due_before_its_time() -> None:
    backlog = filled(1)
    assert backlog.seconds(10.25) == 0.75
    assert backlog.due(10.9) == []
    assert backlog.due(11.0) == ["1.0"]
    assert len(backlog) == 0
    assert backlog.seconds(99.0) == 0.0
    assert backlog.due(99.0) == []


def test_more_are_tried_each_time_until_one_is_refused() -> None:
    backlog = filled(20)
    assert [len(backlog.due(11.0 + step)) for step in range(4)] == [1, 2, 4, 8]
    assert len(backlog) == 5
    backlog.refused(1, "again", 2.0, now=15.0)
    assert backlog.due(16.9) == []
    assert backlog.due(17.0) == ["1.15"]
    assert backlog.due(18.9) == []
    assert backlog.due(19.0) == ["1.16", "1.17"]
    assert backlog.due(21.0) == ["1.18", "1.19", "again"]


def test_an_answer_calls_for_the_next_of_the_same_one() -> None:
    backlog = filled(2, who=1)
    backlog.refused(2, "2.0", 1.0, now=10.0)
    assert backlog.answered(3) == []
    assert backlog.answered(2) == ["2.0"]
    assert backlog.answered(2) == []
    assert [backlog.answered(1), backlog.answered(1), backlog.answered(1)] == [["1.0"], ["1.1"], []]
    assert len(backlog) == 0


def test_everybody_has_a_turn() -> None:
    backlog = filled(5, who=1)
    for number in range(3):
        backlog.refused(2, f"2.{number}", 1.0, now=10.0)
    assert backlog.due(11.0) == ["1.0"]
    assert backlog.due(12.0) == ["2.0", "1.1"]
    assert backlog.due(13.0) == ["2.1", "1.2", "2.2", "1.3"]
    assert backlog.due(14.0) == ["1.4"]
