"""A queue that is full: replicas and clients are told when to come again, and starts of this process wait outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.core.pools import Bounds
from samovar.engine.engine import Engine
from samovar.engine.work import Called, Outcome, Run
from samovar.model import Environment, Phase, PoolSettings, TaskSpec
from samovar.wire import frames

from .test_clients import JOIN, Talk

TASK = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(1, 1)))


class Starter:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def running(self) -> None: ...

    def logged(self, label: str, stream: str, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path, bounds=Bounds(max_queued=2))
    yield made
    made.engine.hub.close()


def start(engine: Engine, name: str) -> tuple[int, Starter]:
    starter = Starter()
    return engine.start(Called(TASK, b"in"), Run(name, None, starter)), starter


def hear(peer: Any, count: int = 1) -> list[Any]:
    peer.engine.flush()
    return list(peer.hear(count))


def test_a_call_that_does_not_fit_comes_back_whole(talk: Talk, tmp_path: Path) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, parent = hear(replica, 2)
    calls = [frames.Submit(n, parent.epoch, 1, b"%d" % n, ("blob",), "g") for n in range(1, 6)]
    replica.say(frames.Declare(1, TASK), *calls)
    child, *refused = hear(replica, 3)
    assert child.body == b"1"
    assert [frame.said for frame in refused] == calls[3:]
    assert all(frame.retry_after > 0 for frame in refused)
    replica.say(frames.Done(child.epoch, b"out"), calls[3], calls[4])
    answer, second, slow = hear(replica, 3)
    assert (answer.call, second.body) == (1, b"2")
    assert slow.said == calls[4]
    replica.close()


def test_what_was_refused_is_unknown_and_may_be_withdrawn(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, parent = hear(replica, 2)
    calls = [frames.Submit(n, parent.epoch, 1, b"") for n in range(1, 5)]
    replica.say(frames.Declare(1, TASK), *calls, frames.Withdraw(4), frames.Withdraw(3))
    heard = hear(replica, 3)
    assert [f.said for f in heard if isinstance(f, frames.SlowDown)] == [calls[3]]
    assert [(f.call, f.failure.code) for f in heard if isinstance(f, frames.Answer)] == [(3, "ActionAbortedError")]
    replica.close()


def test_a_client_is_told_to_start_again_later_and_others_are_not(talk: Talk) -> None:
    clients = [talk.client(), talk.client()]
    starts = [frames.Start(n, 1, f"a{n}", b"in") for n in range(1, 5)]
    clients[0].say(JOIN, frames.Declare(1, TASK), *starts)
    _, *slow = hear(clients[0], 3)
    assert [(frame.call, frame.said) for frame in slow] == [(3, None), (4, None)]
    clients[1].say(JOIN, frames.Declare(1, TASK), frames.Start(1, 1, "b1", b"in"), frames.Ask(2))
    _, standing = hear(clients[1], 2)
    assert standing.pools[0].queued == 3
    replica = talk.replica()
    ran = []
    for _ in range(3):
        run = next(f for f in hear(replica, 2 if not ran else 1) if isinstance(f, frames.Run))
        ran.append(run.run)
        replica.say(frames.Done(run.epoch, b"out"))
    assert ran == ["a1", "b1", "a2"], "clients take turns"
    clients[0].say(starts[2])
    (run,) = hear(replica)
    assert run.run == "a3"
    for peer in (*clients, replica):
        peer.close()


def test_starts_of_this_process_wait_until_there_is_room(talk: Talk) -> None:
    engine = talk.engine
    starters = [start(engine, f"r{n}")[1] for n in range(5)]
    assert engine.is_crowded
    assert engine.stats()[0].queued == 2
    replica = talk.replica()
    ran = []
    for n in range(5):
        run = next(f for f in hear(replica, 2 if not n else 1) if isinstance(f, frames.Run))
        ran.append(run.run)
        replica.say(frames.Done(run.epoch, b"%d" % n))
    hear(replica, 0)
    engine.hub.handle(engine.hub.poll(1))
    assert ran == [f"r{n}" for n in range(5)]
    assert [starter.outcomes[0].body for starter in starters] == [b"0", b"1", b"2", b"3", b"4"]
    assert not engine.is_crowded
    replica.close()


def test_time_lets_them_in_too(talk: Talk) -> None:
    engine = talk.engine
    actions = [start(engine, f"r{n}")[0] for n in range(3)]
    assert engine.phase(actions[2]) is Phase.QUEUED
    engine.abort(actions[0], "enough")
    assert not engine.is_crowded, "the end of a run makes room"
    start(engine, "r4")
    assert engine.is_crowded
    replica = talk.replica()  # takes one out of the queue, and ends nothing
    hear(replica, 2)
    assert engine.is_crowded
    engine.tick()
    assert not engine.is_crowded
    replica.close()


def test_a_start_that_waits_can_be_aborted(talk: Talk) -> None:
    made = [start(talk.engine, f"r{n}") for n in range(4)]
    action, starter = made[3]
    talk.engine.abort(action, "enough")
    assert [(o.phase, o.failure.message) for o in starter.outcomes if o.failure] == [(Phase.ABORTED, "enough")]
    assert talk.engine.phase(action) is None
    assert talk.engine.is_crowded
    talk.engine.abort_all("the end")
    assert [len(s.outcomes) for _, s in made] == [1, 1, 1, 1]
    assert not talk.engine.is_crowded
    talk.engine.abort(action, "again")
    assert len(starter.outcomes) == 1
