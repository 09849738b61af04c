"""What an engine counts: by environment, exact, and bounded in number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.core.messages import Tick
from samovar.core.pools import Bounds
from samovar.engine.executions import SAY_AGAIN
from samovar.engine.figures import ENVIRONMENTS, OTHERS, SECONDS, Histogram, Ledgers, Reading
from samovar.engine.work import Called, Run
from samovar.model import Blockage, Exit, Failure, Retry
from samovar.wire import frames
from samovar.wire.session import replica_session

from .test_admission import TASK, Starter, hear, start
from .test_clients import Talk


@given(st.lists(st.lists(st.one_of(st.floats(0, 1e5), st.sampled_from(SECONDS)))))
def test_a_histogram_has_each_value_in_its_bucket(batches: list[list[float]]) -> None:
    histogram = Histogram()
    wanted = [0] * (len(SECONDS) + 1)
    for batch in batches:
        for value in batch:
            histogram.add(value)
            wanted[bisect_left(SECONDS, value)] += 1
        histogram.sort_in()
    read = histogram.read()
    assert list(read.counts) == wanted
    assert read.total == pytest.approx(sum(map(sum, batches)))


def test_environments_without_end_share_one_place() -> None:
    ledgers = Ledgers()
    for number in range(ENVIRONMENTS + 5):
        ledgers.open(f"e{number}@v", f"e{number}")
        ledgers.of[f"e{number}@v"].refused += 1
    read = ledgers.read()
    assert len(read) == ENVIRONMENTS + 1
    assert read[OTHERS].refused == 5


def test_versions_of_an_environment_share_figures_that_outlive_their_pools() -> None:
    ledgers = Ledgers()
    ledgers.open("e@1", "e")
    ledgers.of["e@1"].retries += 1
    ledgers.close("e@1")
    ledgers.open("e@2", "e")
    ledgers.of["e@2"].retries += 1
    assert ledgers.read()["e"].retries == 2


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path, bounds=Bounds(max_queued=2))
    yield made
    for peer in made.peers:
        peer.socket.close()
    made.engine.hub.close()


def read(talk: Talk) -> Reading:
    return talk.engine.figures.read()["e"]


def test_an_action_is_counted_where_it_passes(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Done(run.epoch, b"out", (), 1e-9))
    hear(replica, 0)
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    start(talk.engine, "r2")
    (second,) = hear(replica, 1)
    replica.say(frames.Failed(second.epoch, Failure("user", "ValueError", "no"), 3.0))
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    figures = read(talk)
    assert (figures.cold, figures.warm) == (1, 1)
    assert figures.settled == {"succeeded": 1, "failed": 1}
    assert sum(figures.waits.counts) == sum(figures.runs.counts) == sum(figures.dispatches.counts) == 2
    assert figures.runs.total == pytest.approx(3.0)
    assert 0 < figures.dispatches.total < 3.0, "what the task itself took is not the way"
    assert sum(figures.starts.counts) == 1


def test_an_outcome_from_before_the_figures_is_in_no_histogram(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Done(run.epoch, b"out"))
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    assert sum(read(talk).runs.counts) == 0
    assert read(talk).settled == {"succeeded": 1}


def test_submits_that_have_to_come_again_are_counted(talk: Talk) -> None:
    for number in range(4):
        start(talk.engine, f"r{number}")
    assert read(talk).refused == 2


def test_a_retry_is_the_tasks_own_and_a_loss_is_not(talk: Talk) -> None:
    starter = Starter()
    task = msgspec.structs.replace(TASK, retry=Retry(1))
    talk.engine.start(Called(task, b"in"), Run("r1", None, starter))
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Failed(run.epoch, Failure("user", "ValueError", "no")))
    (again,) = hear(replica, 1)
    assert again.attempt == 2
    assert (read(talk).retries, read(talk).attempts_lost) == (1, 0)
    name = talk.keeper.boots[-1]["SAMOVAR_REPLICA"]
    talk.engine.crew.ended(name, TASK.environment, Exit(signal=9))
    figures = read(talk)
    assert (figures.retries, figures.attempts_lost, figures.losses) == (1, 1, {"crashed": 1})
    assert not starter.outcomes


@pytest.mark.parametrize(
    ("how", "losses", "out_of_memory"),
    [
        (Exit(code=1), {"crashed": 1}, 0),
        (Exit(signal=9, out_of_memory=True), {"out of memory": 1}, 1),
    ],
)
def test_a_loss_has_its_kind(talk: Talk, how: Exit, losses: dict[str, int], out_of_memory: int) -> None:
    start(talk.engine, "r1")
    hear(talk.replica(), 2)
    talk.engine.crew.ended(talk.keeper.boots[-1]["SAMOVAR_REPLICA"], TASK.environment, how)
    figures = read(talk)
    assert (figures.losses, figures.out_of_memory, figures.failed_starts) == (losses, out_of_memory, 0)


def test_a_replica_that_was_told_to_end_is_no_loss(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Done(run.epoch, b""))
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    (pool,) = talk.engine.environments
    talk.engine.survey.control(frames.Control(1, pool, "stop"))
    talk.engine.crew.ended(talk.keeper.boots[-1]["SAMOVAR_REPLICA"], TASK.environment, Exit(signal=15))
    assert read(talk).losses == {}


def test_a_silent_replica_is_a_loss_of_its_own_kind(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    hear(replica, 2)
    now = talk.engine.now + 1000
    monkeypatch.setattr("samovar.engine.engine.time.monotonic", lambda: now)
    talk.engine.handle(Tick())
    talk.engine.crew.ended(talk.keeper.boots[-1]["SAMOVAR_REPLICA"], TASK.environment, Exit(signal=9))
    assert read(talk).losses == {"silent": 1}


def test_a_start_that_fails_is_counted_once(talk: Talk) -> None:
    start(talk.engine, "r1")
    name = talk.keeper.boots[-1]["SAMOVAR_REPLICA"]
    talk.engine.crew.ended(name, TASK.environment, Exit(code=3))
    figures = read(talk)
    assert (figures.failed_starts, figures.losses) == (1, {})


def test_code_that_does_not_import_is_one_failed_start(talk: Talk) -> None:
    start(talk.engine, "r1")
    boot = talk.keeper.boots[-1]
    peer = talk.peer(boot["SAMOVAR_ENGINE"], replica_session())
    hello = frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1)
    peer.say(hello, frames.Unfit(Failure("user", "ModuleLoadError", "no")))
    hear(peer, 1)
    talk.engine.crew.ended(boot["SAMOVAR_REPLICA"], TASK.environment, Exit(code=1))
    figures = read(talk)
    assert (figures.failed_starts, figures.losses) == (1, {})


def test_ticks_are_samples_of_turns(talk: Talk) -> None:
    talk.engine.figures.ticked(0.002, 0.0002)
    ledgers = talk.engine.figures
    assert (ledgers.turn_waits.read().total, ledgers.ticks.read().total) == (0.002, 0.0002)


def block(talk: Talk, replica: Any, epoch: int, seconds: float = 2.1) -> None:
    replica.say(frames.Blocked(epoch, seconds, "  File e.py, line 3, in f"))
    talk.engine.hub.handle(talk.engine.hub.poll(1))


def test_a_blocked_loop_is_named_counted_and_said_once_in_a_while(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    block(talk, replica, run.epoch)
    name = talk.keeper.boots[-1]["SAMOVAR_REPLICA"]
    (said,) = talk.keeper.said
    assert said.startswith(f"task e.f (e.f r1-1) on replica {name} has blocked its event loop for 2.1 s: await")
    assert said.endswith("it stands in\n  File e.py, line 3, in f")
    block(talk, replica, run.epoch)
    assert len(talk.keeper.said) == 1
    talk.engine.now += SAY_AGAIN
    block(talk, replica, run.epoch)
    assert len(talk.keeper.said) == 2
    assert read(talk).blockages == 3


def test_a_blockage_is_shown_until_the_loop_turns_again(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    block(talk, replica, run.epoch)
    (shown,) = talk.engine.survey.replicas()
    assert shown.blockage == Blockage("e.f", "e.f r1-1", 2.1, "  File e.py, line 3, in f")
    assert shown.lag == 2.1
    replica.say(frames.Beat(1, 3.1))
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    (pool,) = talk.engine.survey.pools()
    assert pool.note == f"task e.f has blocked the event loop of {shown.name} for 3 s"
    replica.say(frames.Beat(1, 0.001))
    talk.engine.hub.handle(talk.engine.hub.poll(1))
    assert talk.engine.survey.replicas()[0].blockage is None
    assert talk.engine.survey.pools()[0].note == ""


def test_code_of_no_task_may_block_too(talk: Talk) -> None:
    start(talk.engine, "r1")
    replica = talk.replica()
    hear(replica, 2)
    block(talk, replica, 0)
    assert talk.keeper.said[0].startswith("code that no task has started on replica e@")
    assert "code of no task" in talk.engine.survey.pools()[0].note


def test_tasks_without_end_are_forgotten_in_their_turn(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samovar.engine.executions._MOST_TOLD", 1)
    start(talk.engine, "r1")
    replica = talk.replica()
    _, run = hear(replica, 2)
    for epoch in (run.epoch, 0, run.epoch):
        block(talk, replica, epoch)
    assert len(talk.keeper.said) == 3
