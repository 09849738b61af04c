"""Who may speak with the engine: a replica that it has started, once, with its token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.engine import Engine
from samovar.engine.work import Called, Outcome, Run
from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit, PoolSettings, TaskSpec
from samovar.wire import frames
from samovar.wire.session import replica_session

TASK = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(1, 1)))
SECONDS = 30.0


class FakeKeeper:
    def __init__(self) -> None:
        self.adopted: list[str] = []
        self.boots: list[dict[str, str]] = []
        self.stops: list[tuple[str, float]] = []
        self.prepared: list[Environment] = []
        self.apart_waits = False
        self.said: list[str] = []
        self.waiting: list[Any] = []  # what is to be done in a thread

    def start(self, replica: str, environment: Environment, boot: dict[str, str], watcher: Any) -> None:
        self.boots.append(boot)

    def adopt(self, replica: str, environment: Environment, watcher: Any) -> None:
        self.adopted.append(replica)

    def stop(self, replica: str, grace: float) -> None:
        self.stops.append((replica, grace))

    def do(self, work: Any) -> None:
        work()

    def say(self, line: str) -> None:
        self.said.append(line)

    def apart(self, work: Any, then: Any) -> None:
        if self.apart_waits:
            self.waiting.append(lambda: then(work()))
        else:
            then(work())

    def prepare(self, environment: Environment) -> None:
        self.prepared.append(environment)


class Talk:
    """An engine with one action that waits for a replica, and a connection to it."""

    def __init__(self, folder: Path) -> None:
        self.keeper = FakeKeeper()
        self.logs: list[tuple[str, str, str]] = []
        self.engine = Engine(self.keeper, str(folder), str(folder), lambda *log: self.logs.append(log))  # type: ignore[arg-type]
        self.outcomes: list[Outcome] = []
        self.is_running = False
        self.engine.start(Called(TASK, b"in"), Run("r1", None, self))
        (self.boot,) = self.keeper.boots
        self.replica = self.boot["SAMOVAR_REPLICA"]

    def running(self) -> None:
        self.is_running = True

    def logged(self, label: str, stream: str, text: str) -> None:
        self.logs.append((label, stream, text))

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(SECONDS)
        peer.connect(self.boot["SAMOVAR_ENGINE"])
        return peer

    def hello(self, **changes: Any) -> frames.Hello:
        fields = {"version": frames.VERSION, "replica": self.replica, "token": self.boot["SAMOVAR_TOKEN"], "pid": 1}
        return frames.Hello(**{**fields, **changes})

    def say(self, peer: socket.socket, *batch: Any) -> list[Any]:
        """What the engine answers; nothing where it closes the connection without a word."""
        session = replica_session()
        peer.sendall(session.send(list(batch)))
        peer.setblocking(False)
        while True:
            self.turn()
            try:
                data = peer.recv(65536)
            except BlockingIOError:
                continue
            return session.receive(data) if data else []

    def turn(self) -> None:
        self.engine.hub.handle(self.engine.hub.poll(0.05))
        self.engine.flush()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    yield made
    made.engine.hub.close()


def test_a_replica_is_welcomed_and_given_work(talk: Talk) -> None:
    with talk.connect() as peer:
        (welcome,) = talk.say(peer, talk.hello())
        assert isinstance(welcome, frames.Welcome)
        (run,) = talk.say(peer, frames.Ready(0.1))
        assert (run.task, run.body, run.attempt) == ("e.f", b"in", 1)
        assert talk.is_running
        peer.sendall(replica_session().send([frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out")]))
        while not talk.outcomes:
            talk.turn()
    assert talk.outcomes[0].body == b"out"
    assert talk.logs == [("e.f r1-1", "stdout", "hi\n")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 99}, "protocol 99"),
        ({"token": "wrong"}, "wrong token"),
        ({"token": "schlüssel"}, "wrong token"),
        ({"token": "-", "replica": "nobody-1"}, "unknown replica"),
    ],
)
def test_others_are_refused(talk: Talk, changes: dict[str, Any], reason: str) -> None:
    with talk.connect() as peer:
        (refusal,) = talk.say(peer, talk.hello(**changes))
        assert reason in refusal.reason


def test_a_token_is_good_once(talk: Talk) -> None:
    with talk.connect() as first, talk.connect() as second:
        talk.say(first, talk.hello())
        (refusal,) = talk.say(second, talk.hello())
        assert isinstance(refusal, frames.Refuse)


@pytest.mark.parametrize("frame", [frames.Ready(0.1), frames.Done(1, b"")])
def test_the_first_frame_is_a_hello(talk: Talk, frame: Any) -> None:
    with talk.connect() as peer:
        (refusal,) = talk.say(peer, frame)
        assert "hello" in refusal.reason


def test_a_second_hello_ends_the_connection_and_then_the_replica(talk: Talk) -> None:
    with talk.connect() as peer:
        talk.say(peer, talk.hello())
        assert talk.say(peer, talk.hello()) == []
    assert [replica for replica, _ in talk.keeper.stops] == [talk.replica]


def test_a_call_for_an_execution_that_is_not_its_own_is_refused(talk: Talk) -> None:
    with talk.connect() as peer:
        talk.say(peer, talk.hello())
        (run,) = talk.say(peer, frames.Ready(0.1))
        (answer,) = talk.say(peer, frames.Declare(1, TASK), frames.Submit(7, run.epoch + 1, 1, b""))
        assert (answer.call, answer.failure.code) == (7, "ActionAbortedError")


def test_what_the_keeper_tells(talk: Talk) -> None:
    talk.engine.crew.unfit(talk.replica, TASK.environment, ReplicaStartError("no room"))
    with talk.connect() as peer:
        assert talk.say(peer, talk.hello())[0].reason  # it has been given up
    talk.engine.abort_all("enough")
    assert talk.outcomes[0].failure is not None
    talk.engine.crew.ended("unknown-1", TASK.environment, Exit(code=1))
