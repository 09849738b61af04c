"""Clients of other hosts, as the engine sees them: large values in parts, no paths, and not every right."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine import links
from samovar.model import Bundle, Environment, Phase, PoolSettings, TaskSpec
from samovar.wire import frames
from samovar.wire.blobs import Blobs
from samovar.wire.parts import PART_BYTES
from samovar.wire.session import client_session

from .test_clients import JOIN, START, TASK, Peer, Talk

LARGE = os.urandom(3 * PART_BYTES)
PUSHED = frames.Start(7, 1, "r1", b"in", ("theirs",))


class Served(Talk):
    def __init__(self, folder: Path) -> None:
        self.blobs = folder / "blobs"
        self.blobs.mkdir()
        super().__init__(folder, str(self.blobs))

    def joined(self, task: TaskSpec = TASK) -> Peer:
        client = self.stranger()
        client.say(JOIN, frames.Declare(1, task))
        (joined,) = client.hear(1)
        assert joined.blobs == "", "a folder that it does not share"
        return client

    def turn(self) -> None:
        """Take in what has come."""
        while ready := self.engine.hub.poll(0):
            self.engine.hub.handle(ready)
            self.engine.flush()

    @property
    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in self.blobs.iterdir()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.engine.hub.close()


def push(client: Peer, served: Served, data: bytes = LARGE, name: str = "theirs") -> None:
    for at in range(0, len(data), PART_BYTES):
        client.say(frames.Part(name, data[at : at + PART_BYTES]))
        served.turn()


def test_large_values_come_and_go_in_parts(served: Served) -> None:
    client = served.joined()
    push(client, served)
    client.say(PUSHED)
    served.turn()
    replica = served.replica()
    _, run = replica.hear(2)
    assert "theirs" not in run.blobs
    assert served.files == [LARGE]
    result = Blobs(str(served.blobs)).write(memoryview(LARGE))
    replica.say(frames.Done(run.epoch, b"out", (result,)))
    running, *parts, ended = client.hear(5)
    assert (running, ended) == (frames.Running(7), frames.Ended(7, Phase.SUCCEEDED, b"out", (result,)))
    assert b"".join(part.data for part in parts) == LARGE
    assert served.files == []
    client.close()
    replica.close()


def test_a_large_value_is_sent_at_the_pace_of_who_reads_it(served: Served) -> None:
    client = served.joined()
    client.say(START)
    served.turn()
    replica = served.replica()
    _, run = replica.hear(2)
    result = Blobs(str(served.blobs)).write(memoryview(LARGE * 20))
    replica.say(frames.Done(run.epoch, b"", (result,)))
    served.turn()  # the client reads nothing
    (link,) = [link for link in served.engine.hub._links.values() if link.incoming is not None]
    assert link.is_sending
    assert len(link._unsent) <= PART_BYTES + 100
    client.close()
    assert served.files == [], "whoever is gone gets no result"
    replica.close()


def test_inputs_that_did_not_arrive_are_an_error(served: Served) -> None:
    client = served.joined()
    client.say(PUSHED)
    (ended,) = client.hear(1)
    assert ended.failure.message == "a large input did not reach the service: it has not come"
    push(client, served)
    client.say(frames.Start(8, 99, "r2", b"", ("theirs",)))
    (ended,) = client.hear(1)
    assert "has not declared" in ended.failure.message
    assert served.files == []
    client.close()


def test_parts_that_nobody_wants_any_more_go(served: Served) -> None:
    client = served.joined()
    push(client, served)
    assert served.files == [LARGE]
    client.say(frames.Scrap(("theirs", "unknown")))
    served.turn()
    assert served.files == []
    push(client, served)
    client.close()
    assert served.files == []


def test_a_start_that_comes_too_soon_keeps_its_parts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = served.joined()
    push(client, served)
    with monkeypatch.context() as patch:
        patch.setattr(type(served.engine), "is_slow", property(lambda _: True))
        client.say(PUSHED)
        (slow,) = client.hear(1)
        assert (type(slow), slow.call, slow.said) == (frames.SlowDown, PUSHED.call, None)
    client.say(PUSHED)
    served.turn()
    replica = served.replica()
    assert len(replica.hear(2)[1].blobs) == 1
    client.close()
    replica.close()


def test_a_client_cannot_name_files_of_the_service(served: Served, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    own = Blobs(str(served.blobs)).write(memoryview(LARGE))
    client = served.joined()
    for call, name in enumerate(("../secret", str(tmp_path / "secret"), own)):
        client.say(frames.Start(call, 1, f"r{call}", b"", (name,)), frames.Scrap((name,)))
        (ended,) = client.hear(1)
        assert "did not reach the service" in ended.failure.message
    assert served.files == [LARGE]
    client.close()


def test_paths_of_another_host_are_dropped(served: Served) -> None:
    bundle = Bundle(main="/there/main.py", cwd="/there", python="/there/bin/python")
    environment = Environment("e", bundle=bundle, settings=PoolSettings(1, 1))
    client = served.joined(TaskSpec("e.f", "m", "f", environment))
    client.say(frames.Prepare((environment,)), START)
    served.turn()
    assert len(served.engine.environments) == 1, "it is prepared as it is run"
    replica = served.replica()
    (welcome, _) = replica.hear(2)
    assert (welcome.bundle.cwd, welcome.bundle.python) == ("", "")
    client.close()
    replica.close()


def test_a_service_is_ended_on_its_own_host_only(served: Served) -> None:
    asked: list[float] = []
    served.engine.clients.on_shutdown = asked.append
    client = served.joined()
    client.say(frames.Shutdown(0.0))
    (refusal,) = client.hear(1)
    assert "on its own host only" in refusal.reason
    assert client.hear(1) == []
    assert asked == []
    client.socket.close()


def test_a_client_of_this_host_sends_no_parts(served: Served) -> None:
    client = served.client()
    client.say(JOIN, frames.Part("x", b"x"), frames.Part("x", b"x"))
    _, refusal = client.hear(2)
    assert "are files" in refusal.reason
    assert client.hear(1) == []
    assert served.files == []
    client.socket.close()


@pytest.mark.parametrize("limit", ["BEHIND", "MAX_UNSENT"])
def test_a_client_that_does_not_read(served: Served, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(links, limit, 100_000)
    client = served.joined()
    client.say(START)
    served.turn()
    replica = served.replica()
    _, run = replica.hear(2)
    for _ in range(20):
        replica.say(frames.Log(run.epoch, "stdout", "x" * 60_000))
        served.turn()
    if limit == "BEHIND":  # it is spared what tasks print, and told so
        assert len(heard := texts(client)) < 20
        assert heard == ["x" * 60_000] * len(heard)
        replica.say(frames.Log(run.epoch, "stdout", "last"))
        note, line = client.hear(2)
        assert note.text.startswith(f"{20 - len(heard)} texts that tasks of run r1 wrote are left out")
        assert line.text == "last"
    else:  # it is given up, and its run goes on
        assert len(texts(client)) < 20
        assert client.socket.recv(1) == b""
        assert served.engine.is_busy
    client.socket.close()
    replica.socket.close()


def texts(client: Peer) -> list[str]:
    """What is there to be read, without the first frame."""
    heard: list[Any] = []
    while True:
        client.engine.hub.handle(client.engine.hub.poll(0))
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            break
        if not data:
            break
        heard += client.session.receive(data)
    assert isinstance(heard[0], frames.Running)
    return [frame.text for frame in heard[1:]]


def test_a_gate_says_why_it_sends_a_client_away(served: Served) -> None:
    ours, theirs = socket.socketpair()
    link = served.engine.clients.admit(theirs)
    served.engine.refuse(link, "the token 'ann' was revoked")
    served.engine.flush()
    client = served.peer(ours, client_session())
    assert client.hear(1) == [frames.Refuse("the token 'ann' was revoked")]
    assert not link.is_open
    ours.close()
