"""What happens while something is done beside the engine: values are copied, the journal is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.engine import Engine
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Scribe
from samovar.engine.vault import Cellar
from samovar.engine.work import Called, Outcome, Run
from samovar.entries import Settled
from samovar.journal.memory import MemoryJournal
from samovar.model import CacheCall, Environment, Failure, Limits, Phase, PoolSettings, Retry, TaskSpec
from samovar.wire import frames
from samovar.wire.session import replica_session

from .test_clients import Peer
from .test_handshake import FakeKeeper

SETTINGS = PoolSettings(1, 1, concurrency=4)
BOUNDED = Environment("e", limits=Limits(memory=2**30), settings=SETTINGS)
TASK = TaskSpec("e.f", "m", "f", BOUNDED, Retry(1))
BOOM = Failure("user", "ValueError", "boom")
SECONDS = 30.0


class Scene:
    """A run that executes on the one replica of an engine whose side work is done when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keeper = FakeKeeper()
        self.journal = MemoryJournal()
        scribe = Scribe(self.journal, "here")
        memory = Remembers(scribe, lambda: scribe, Cellar(lambda: folder / "cellar"))
        self.engine = Engine(self.keeper, str(folder), str(folder), lambda *_: None, memory=memory)  # type: ignore[arg-type]
        self.outcomes: dict[str, Outcome] = {}
        self.run("r")
        boot = self.keeper.boots[-1]
        self.replica = Peer(self.engine, boot["SAMOVAR_ENGINE"], replica_session())
        hello = frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1)
        self.replica.say(hello, frames.Ready(0.1))
        welcome, self.first = self.replica.hear(2)
        assert welcome.keeps_traces
        self.replica.say(frames.Declare(1, TASK))
        self.keeper.apart_waits = True

    def run(self, name: str, cached: CacheCall | None = None) -> int:
        scene = self

        class Starter:
            def running(self) -> None: ...
            def logged(self, *_: str) -> None: ...
            def ended(self, outcome: Outcome) -> None:
                scene.outcomes[name] = outcome

        action = self.engine.start(Called(TASK, b"in", cached=cached), Run(name, None, Starter()))
        self.engine.flush()
        return action

    def go_on(self) -> None:
        """Do what was to be done beside."""
        waiting, self.keeper.waiting = self.keeper.waiting, []
        for step in waiting:
            step()
        self.engine.flush()

    def say(self, *batch: Any) -> None:
        self.replica.say(*batch)
        self.engine.hub.handle(self.engine.hub.poll(SECONDS))
        self.engine.flush()

    def commit(self) -> None:
        """All that has happened by now."""
        self.engine.hand_over()
        self.journal.flush(SECONDS)

    def blob(self, name: str) -> tuple[str, ...]:
        (self.folder / name).write_text(name)
        return (name,)

    def settled(self) -> list[Settled]:
        self.commit()
        return list(self.journal.settled(run="r"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.replica.socket.close()
    made.engine.hub.close()
    made.journal.close(SECONDS)


def test_a_result_is_settled_when_its_large_values_are_adopted(scene: Scene) -> None:
    scene.say(frames.Done(scene.first.epoch, b"", scene.blob("big")))
    assert scene.outcomes == {}
    scene.go_on()
    assert scene.outcomes["r"].blobs == ("big",)


def test_a_call_is_made_when_its_large_inputs_are_adopted(scene: Scene) -> None:
    scene.say(frames.Submit(1, scene.first.epoch, 1, b"", scene.blob("big")))
    scene.go_on()
    (child,) = scene.replica.hear(1)
    assert (type(child), child.blobs) == (frames.Run, ("big",))


def test_a_call_that_is_withdrawn_meanwhile_is_not_made(scene: Scene) -> None:
    scene.say(frames.Submit(1, scene.first.epoch, 1, b"", scene.blob("big")), frames.Withdraw(1))
    scene.go_on()
    assert not (scene.folder / "big").exists()
    scene.say(frames.Submit(2, scene.first.epoch, 1, b"small"))
    (child,) = scene.replica.hear(1)
    assert child.body == b"small"


def test_a_call_whose_replica_is_gone_meanwhile_is_not_made(scene: Scene) -> None:
    scene.say(frames.Submit(1, scene.first.epoch, 1, b"", scene.blob("big")))
    scene.replica.close()
    scene.go_on()
    assert not (scene.folder / "big").exists()
    assert [pool.queued for pool in scene.engine.stats()] == [0]


def child_has_ended(scene: Scene) -> None:
    scene.say(frames.Submit(1, scene.first.epoch, 1, b"child"))
    (child,) = scene.replica.hear(1)
    scene.say(frames.Done(child.epoch, b"done"))
    assert scene.replica.hear(1) == [frames.Answer(1, b"done")]


def test_an_attempt_begins_when_it_is_known_what_had_ended(scene: Scene) -> None:
    child_has_ended(scene)
    scene.say(frames.Traced(scene.first.epoch, "key", "helper", 1.0, b"was"))
    scene.say(frames.Failed(scene.first.epoch, BOOM))
    assert [type(step) for step in scene.keeper.waiting] == [type(lambda: 0)]
    scene.go_on()
    (second,) = scene.replica.hear(1)
    assert (second.attempt, second.past) == (2, (frames.Past("key", b"was"),))
    scene.say(frames.Submit(7, second.epoch, 1, b"child"))
    assert scene.replica.hear(1) == [frames.Answer(7, b"done")]


def test_an_attempt_that_is_aborted_before_it_begins_never_does(scene: Scene) -> None:
    child_has_ended(scene)
    scene.say(frames.Failed(scene.first.epoch, BOOM))
    scene.engine.abort(1, "enough")
    assert scene.outcomes["r"].phase is Phase.ABORTED
    scene.go_on()
    scene.run("next")
    (other,) = scene.replica.hear(1)
    assert other.run == "next"
    assert [pool.active for pool in scene.engine.stats()] == [1]


def test_an_attempt_whose_replica_is_gone_before_it_begins_does_not_either(scene: Scene) -> None:
    child_has_ended(scene)
    scene.say(frames.Failed(scene.first.epoch, BOOM))
    scene.replica.close()
    scene.go_on()
    assert scene.outcomes == {}


def test_traces_of_an_execution_that_is_over_are_not_written_down(scene: Scene) -> None:
    scene.say(frames.Traced(99, "key", "helper", 1.0, b"", scene.blob("big")))
    assert not (scene.folder / "big").exists()
    assert scene.settled() == []


def test_a_cached_action_is_looked_up_beside_and_runs_when_nothing_is_found(scene: Scene) -> None:
    first = scene.run("one", CacheCall("k"))
    assert scene.engine.phase(first) is Phase.QUEUED
    scene.go_on()
    (run,) = scene.replica.hear(1)
    scene.say(frames.Done(run.epoch, b"found"))
    scene.run("two", CacheCall("k"))
    assert scene.outcomes["two"].body == b"found"
    assert scene.keeper.waiting == []


def test_an_action_that_is_aborted_during_the_look_does_not_run(scene: Scene) -> None:
    action = scene.run("one", CacheCall("k"))
    scene.engine.abort(action, "enough")
    scene.go_on()
    assert scene.outcomes["one"].phase is Phase.ABORTED
    assert [pool.queued for pool in scene.engine.stats()] == [0]


def test_a_result_that_comes_during_the_look_answers_it(scene: Scene) -> None:
    scene.run("one", CacheCall("k"))
    scene.go_on()
    (run,) = scene.replica.hear(1)
    scene.run("two", CacheCall("k"))
    scene.say(frames.Done(run.epoch, b"found"))
    scene.go_on()
    assert scene.outcomes["two"].body == b"found"


def test_results_in_memory_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from samovar.engine import cache

    monkeypatch.setattr(cache, "RESULTS", 2)
    for key in ("a", "b", "c"):
        scene.run(key, CacheCall(key, replace=True))
        scene.go_on()
        (run,) = scene.replica.hear(1)
        scene.say(frames.Done(run.epoch, key.encode()))
    scene.run("again", CacheCall("c"))
    assert scene.outcomes["again"].body == b"c"
    scene.run("gone", CacheCall("a"))
    assert "gone" not in scene.outcomes
    scene.commit()
    scene.go_on()
    assert scene.outcomes["gone"].body == b"a", "the journal has it"
