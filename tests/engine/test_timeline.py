"""What replicas have run: bars of executions, lives of replicas, and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.engine import executions, timeline
from samovar.engine.timeline import ABORTED, AGAIN, DONE, FAILED, RUNS
from samovar.engine.work import Called, Run
from samovar.model import Environment, Exit, Failure, PoolSettings, Retry, TaskSpec
from samovar.wire import frames

from .test_admission import Starter, start
from .test_clients import Talk

TASK = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(1, 1)), retry=Retry(1))
OTHER = TaskSpec("e.g", "m", "g", Environment("e", settings=PoolSettings(1, 1)))


@pytest.fixture
def all_are_long(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 0.0)


@pytest.fixture
def few_are_told_apart(monkeypatch):
    monkeypatch.setattr(timeline, "OWN_BARS", 1)
    monkeypatch.setattr(timeline, "SHORT", 3600.0)
    monkeypatch.setattr(executions, "SHORT", 3600.0)


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    made.engine.keep_timeline()
    yield made
    for peer in made.peers:
        peer.socket.close()
    made.engine.hub.close()


def strip(talk: Talk, limit: int = 100):
    (pool,) = talk.engine.environments
    assert talk.engine.timeline is not None
    return talk.engine.timeline.glance(pool).strip(None, limit)


def run(talk: Talk, name: str = "r1"):
    """A run whose first action runs: its replica, and the frame."""
    start(talk.engine, name)
    talk.engine.flush()
    replica = talk.replica()
    _, frame = replica.hear(2)
    return replica, frame


def end(talk: Talk, replica, *said) -> None:
    replica.say(*said)
    talk.engine.hub.handle(talk.engine.hub.poll(5))
    talk.engine.flush()


@pytest.mark.usefixtures("all_are_long")
def test_a_bar_from_its_start_to_its_end(talk):
    replica, frame = run(talk)
    (bar,) = strip(talk).bars
    assert (bar.end, bar.phase, bar.run, bar.number, bar.cold) == (None, RUNS, "r1", 1, True)
    end(talk, replica, frames.Done(frame.epoch, b""))
    (bar,) = strip(talk).bars
    assert bar.phase == DONE
    assert bar.start <= bar.end
    (life,) = strip(talk).lives
    assert life.starting <= life.ready
    assert life.ended is None


def test_how_bars_end(talk):
    replica, frame = run(talk)
    failure = Failure("user", "ValueError", "no")
    end(talk, replica, frames.Failed(frame.epoch, failure))
    assert strip(talk).bars[0].phase == FAILED
    start(talk.engine, "r2")
    talk.engine.flush()
    (frame,) = replica.hear(1)
    talk.engine.abort(2, "enough")
    end(talk, replica, frames.Failed(frame.epoch, failure))
    assert [bar.phase for bar in strip(talk).bars] == [FAILED, ABORTED]


def test_a_replica_that_is_lost(talk):
    run(talk)
    (name,) = talk.engine.crew.links
    talk.engine.crew.ended(name, TASK.environment, Exit(signal=9))
    found = strip(talk)
    assert [bar.phase for bar in found.bars] == [AGAIN]
    assert "SIGKILL" in next(life for life in found.lives if life.name == name).reason


@pytest.mark.usefixtures("all_are_long")
def test_parked_stretches(talk):
    replica, parent = run(talk)
    replica.say(frames.Declare(1, TASK), frames.Submit(1, parent.epoch, 1, b""))
    (child,) = replica.hear(1)
    bars = {bar.number: bar for bar in strip(talk).bars}
    assert len(bars[1].parked) == 1
    end(talk, replica, frames.Done(child.epoch, b""))
    end(talk, replica, frames.Done(parent.epoch, b""))
    bars = {bar.number: bar for bar in strip(talk).bars}
    begin, ended = bars[1].parked
    assert bars[1].start <= begin <= ended <= bars[1].end
    assert bars[2].parked == ()


def work_off(talk, replica, frame, names: str):
    """Runs of these names, one after the other; "g…" calls the other task. The frame of what would be next."""
    for name in names.split():
        called = Called(OTHER if name.startswith("g") else TASK, b"")
        talk.engine.start(called, Run(name, None, Starter()))
        end(talk, replica, frames.Done(frame.epoch, b""))
        (frame,) = [one for one in replica.hear(1) if isinstance(one, frames.Run)]
    return frame


@pytest.mark.usefixtures("few_are_told_apart")
def test_short_ones_of_a_tick_share_a_bar(talk):
    replica, frame = run(talk)
    frame = work_off(talk, replica, frame, "r2 r3 r4 r5")
    found = strip(talk)
    assert [(bar.run, bar.members) for bar in found.bars] == [("r1", 1), ("r2", 3)], "r5 runs, and not for long"
    crowd = found.bars[1]
    assert found.bars[0].end <= crowd.start < crowd.end
    assert crowd.busy == pytest.approx(crowd.end - crowd.start, rel=0.5)
    assert (crowd.phase, crowd.number, crowd.cold) == (DONE, 1, False)
    frame = work_off(talk, replica, frame, "r6")
    assert [(bar.run, bar.members) for bar in strip(talk).bars[2:]] == [("r5", 1)], "who has looked sees what is new"
    talk.engine.tick()
    work_off(talk, replica, frame, "r7 r8 r9")
    assert [(bar.run, bar.members) for bar in strip(talk).bars[3:]] == [("r6", 1), ("r7", 2)]


@pytest.mark.usefixtures("few_are_told_apart")
def test_an_attempt_that_failed_has_a_bar_of_its_own_in_its_place(talk):
    replica, frame = run(talk)
    frame = work_off(talk, replica, frame, "r2 r3 r4")
    start(talk.engine, "r5")
    end(talk, replica, frames.Failed(frame.epoch, Failure("user", "ValueError", "no")))
    (frame,) = [one for one in replica.hear(1) if isinstance(one, frames.Run)]
    work_off(talk, replica, frame, "r6 r7")
    bars = strip(talk).bars
    assert [(bar.run, bar.members, bar.phase) for bar in bars] == [
        ("r1", 1, DONE),
        ("r2", 2, DONE),
        ("r4", 1, AGAIN),
        ("r4", 2, DONE),
    ]
    assert [bar.end for bar in bars] == sorted(bar.end for bar in bars)


@pytest.mark.usefixtures("few_are_told_apart")
def test_no_crowd_begins_with_one_that_was_parked(talk):
    replica, parent = run(talk)
    replica.say(frames.Declare(1, TASK), frames.Submit(1, parent.epoch, 1, b""))
    (child,) = replica.hear(1)
    end(talk, replica, frames.Done(child.epoch, b""))
    end(talk, replica, frames.Done(parent.epoch, b""))
    start(talk.engine, "r2")
    talk.engine.flush()
    (frame,) = [one for one in replica.hear(2) if isinstance(one, frames.Run)]
    work_off(talk, replica, frame, "r3 r4")
    assert [(bar.run, bar.number, bar.members, bool(bar.parked)) for bar in strip(talk).bars] == [
        ("r1", 2, 1, False),
        ("r1", 1, 1, True),
        ("r2", 1, 2, False),
    ]


@pytest.mark.usefixtures("few_are_told_apart")
def test_one_that_was_aborted_and_succeeds_too_late_joins_nobody(talk):
    replica, frame = run(talk)
    frame = work_off(talk, replica, frame, "r2 r3 r4")
    talk.engine.abort(4, "enough")
    end(talk, replica, frames.Done(frame.epoch, b""))
    assert [(bar.run, bar.members, bar.phase) for bar in strip(talk).bars] == [
        ("r1", 1, DONE),
        ("r2", 2, DONE),
        ("r4", 1, ABORTED),
    ]


@pytest.mark.usefixtures("few_are_told_apart")
def test_tasks_that_take_turns_have_a_crowd_each(talk):
    replica, frame = run(talk)
    work_off(talk, replica, frame, "r2 g3 r4 g5 r6 g7 r8")
    found = {(bar.task, bar.members) for bar in strip(talk).bars}
    assert found == {("e.f", 1), ("e.f", 3), ("e.g", 3)}


@pytest.mark.usefixtures("few_are_told_apart")
def test_all_of_a_crowd_are_counted_when_it_goes(talk, monkeypatch):
    replica, frame = run(talk)
    work_off(talk, replica, frame, "r2 r3 r4 r5")
    assert strip(talk, 1).dropped == 1
    monkeypatch.setattr(timeline, "POOL_BARS", 0)
    talk.engine.tick()
    assert strip(talk).dropped == 4


@pytest.mark.usefixtures("all_are_long")
def test_older_bars_go(talk, monkeypatch):
    replica, frame = run(talk)
    for number in range(2, 7):
        start(talk.engine, f"r{number}")
        end(talk, replica, frames.Done(frame.epoch, b""))
        (frame,) = [one for one in replica.hear(1) if isinstance(one, frames.Run)]
    assert [bar.run for bar in strip(talk, 2).bars] == ["r5", "r6"]
    assert strip(talk, 2).dropped == 4
    monkeypatch.setattr(timeline, "POOL_BARS", 3)
    talk.engine.tick()
    assert [bar.run for bar in strip(talk).bars] == ["r3", "r4", "r5", "r6"]
    assert strip(talk).dropped == 2
    monkeypatch.setattr(timeline, "ALL_BARS", 1)
    talk.engine.tick()
    assert [bar.run for bar in strip(talk).bars] == ["r5", "r6"]
    assert talk.engine.timeline.glance("x") is None


@pytest.mark.usefixtures("all_are_long")
def test_only_what_ended_since(talk):
    replica, frame = run(talk)
    for number in range(2, 6):
        start(talk.engine, f"r{number}")
        end(talk, replica, frames.Done(frame.epoch, b""))
        (frame,) = [one for one in replica.hear(1) if isinstance(one, frames.Run)]
    glance = talk.engine.timeline.glance(*talk.engine.environments)
    since = glance.strip(None, 100).bars[2].end + glance.zero
    assert [bar.run for bar in glance.strip(since - 1e-6, 100).bars][-3:] == ["r3", "r4", "r5"]
    assert [bar.run for bar in glance.strip(since - 1e-6, 2).bars] == ["r4", "r5"]
    assert [bar.run for bar in glance.strip(since + 3600, 100).bars] == ["r5"]
    assert glance.strip(since, 100).dropped == 0


def test_one_action_among_all(talk):
    replica, frame = run(talk)
    end(talk, replica, frames.Done(frame.epoch, b""))
    glance = talk.engine.timeline.glance(*talk.engine.environments)
    action = glance.id_of("r1", 1)
    assert glance.id_of("r1", 2) == glance.id_of("r2", 1) == ""
    (bar,) = glance.bars_of("r1", action)
    assert bar == glance.strip(None, 1).bars[0].moved(glance.zero)
    assert glance.bars_of("r2", action) == []
