"""Clients of an engine: what they may say, and what they are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.engine import Engine
from samovar.model import Environment, Phase, PoolSettings, TaskSpec
from samovar.wire import frames
from samovar.wire.session import client_session, replica_session

from .test_handshake import FakeKeeper

TASK = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(1, 1)))
JOIN = frames.Join(frames.VERSION, 1)
START = frames.Start(7, 1, "r1", b"in")
SECONDS = 10.0


class Talk:
    """An engine with a socket for clients, and peers of it."""

    def __init__(self, folder: Path) -> None:
        self.keeper = FakeKeeper()
        self.engine = Engine(self.keeper, str(folder), "/blobs", lambda *_: None)  # type: ignore[arg-type]
        self.engine.clients.driver = "fake"
        self.address = str(folder / "service.sock")
        self.engine.hub.listen(self.address, "client")

    def peer(self, address: str, session: Any) -> Peer:
        return Peer(self.engine, address, session)

    def client(self) -> Peer:
        return self.peer(self.address, client_session())

    def replica(self) -> Peer:
        """The replica that was asked for, ready."""
        boot = self.keeper.boots[-1]
        made = self.peer(boot["SAMOVAR_ENGINE"], replica_session())
        hello = frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1)
        made.say(hello, frames.Ready(0.1))
        return made


class Peer:
    def __init__(self, engine: Engine, address: str, session: Any) -> None:
        self.engine = engine
        self.session = session
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address)
        self.socket.setblocking(False)

    def say(self, *batch: Any) -> None:
        self.socket.sendall(self.session.send(list(batch)))

    def hear(self, count: int) -> list[Any]:
        """The next ``count`` frames; fewer where the connection ends."""
        heard: list[Any] = []
        while len(heard) < count:
            self.engine.hub.handle(self.engine.hub.poll(0.05))
            self.engine.flush()
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                continue
            if not data:
                break
            heard += self.session.receive(data)
        return heard

    def close(self) -> None:
        self.socket.close()
        self.engine.hub.handle(self.engine.hub.poll(SECONDS))


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    yield made
    made.engine.hub.close()


def test_a_run_from_start_to_end(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    (joined,) = client.hear(1)
    assert (joined.blobs, joined.driver) == ("/blobs", "fake")
    replica = talk.replica()
    _, run = replica.hear(2)
    assert (run.run, run.body) == ("r1", b"in")
    replica.say(frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out"))
    assert client.hear(3) == [
        frames.Running(7),
        frames.Line("e.f r1-1", "stdout", "hi\n"),
        frames.Ended(7, Phase.SUCCEEDED, b"out"),
    ]
    client.close()
    replica.close()


def test_figures_and_notes(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START, frames.Ask(8))
    _, standing = client.hear(2)
    (pool,) = standing.pools
    assert (standing.call, pool.starting, pool.queued) == (8, 1, 1)
    talk.engine.clients.note("an image is built")
    talk.engine.flush()
    assert client.hear(1) == [frames.Note("an image is built")]
    client.close()


def test_an_abort(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START, frames.Abort(7, "enough"), frames.Abort(99, "unknown"))
    _, ended = client.hear(2)
    assert (ended.phase, ended.failure.message) == (Phase.ABORTED, "enough")
    client.close()


def test_a_run_goes_on_when_its_client_goes_away(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    client.close()
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out"))
    while talk.engine.is_busy:
        talk.engine.hub.handle(talk.engine.hub.poll(0.05))
    (pool,) = talk.engine.stats()
    assert pool.done == 1
    replica.close()


def test_what_cannot_be_started_ends_at_once(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, START)
    _, ended = client.hear(2)
    assert "has not declared" in ended.failure.message
    talk.engine.clients.refuse()
    client.say(frames.Declare(1, TASK), START)
    ending, ended = client.hear(2)
    assert ending == frames.Ending()
    assert "the service ends" in ended.failure.message
    client.close()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (frames.Join(99, 1), "protocol 99"),
        (START, "must be a join"),
        (frames.Hello(frames.VERSION, "e-1", "token", 1), "must be a join"),
    ],
)
def test_others_are_refused(talk: Talk, first: Any, reason: str) -> None:
    client = talk.client()
    client.say(first)
    (refusal,) = client.hear(1)
    assert reason in refusal.reason
    assert client.hear(1) == []
    client.socket.close()


def test_a_client_that_talks_like_a_replica_is_dropped(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Done(1, b""))
    assert len(client.hear(2)) == 1
    client.socket.close()


def test_a_replica_cannot_start_runs(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    replica = talk.replica()
    replica.hear(2)
    replica.say(START)
    assert replica.hear(1) == []
    client.close()
    replica.socket.close()


def test_shutdown_is_passed_on(talk: Talk) -> None:
    asked: list[float] = []
    talk.engine.clients.on_shutdown = asked.append
    client = talk.client()
    client.say(JOIN, frames.Shutdown(3.0))
    client.hear(1)
    assert asked == [3.0]
    client.close()
