"""The hub and its links, with real sockets: what comes, what does not fit, what breaks."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.hub import Hub
from samovar.engine.links import Link
from samovar.wire import frames
from samovar.wire.session import replica_session

HELLO = frames.Hello(frames.VERSION, "p-1", "token", 1)
SECONDS = 30.0


class Heard:
    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.links: list[Link] = []
        self.gone: list[Link] = []

    def received(self, link: Link, batch: list[Any]) -> None:
        self.frames += batch
        self.links.append(link)

    def disconnected(self, link: Link) -> None:
        self.gone.append(link)


class Peer:
    """A replica's end, blocking."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(address)
        self.session = replica_session()

    def send(self, *batch: Any) -> None:
        self.socket.sendall(self.session.send(list(batch)))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "engine.sock")


@pytest.fixture
def hub(address: str, heard: Heard) -> Iterator[Hub]:
    made = Hub(heard)
    made.listen(address, "replica")
    yield made
    made.close()


@pytest.fixture
def peer(hub: Hub, address: str) -> Iterator[Peer]:
    made = Peer(address)
    yield made
    made.socket.close()


def turn(hub: Hub) -> None:
    ready = hub.poll(SECONDS)
    assert ready, "waited in vain"
    hub.handle(ready)


def linked(hub: Hub, heard: Heard, peer: Peer) -> Link:
    peer.send(HELLO)
    while not heard.links:
        turn(hub)
    return heard.links[0]


def test_only_the_owner_may_connect(hub: Hub, address: str) -> None:
    assert stat.S_IMODE(os.stat(address).st_mode) == 0o600


def test_a_socket_that_was_left_behind_is_replaced(hub: Hub, address: str) -> None:
    """And whoever could open it, as the user of a container, can open the new one."""
    os.chmod(address, 0o660)
    second = Hub(Heard())
    second.listen(address, "replica")
    assert stat.S_IMODE(os.stat(address).st_mode) == 0o660
    peer = Peer(address)
    turn(second)
    peer.socket.close()
    second.close()


def test_who_finds_it_is_not_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            assert not os.path.exists(address)
            super().listen(backlog)
            listening.append(address)

    listening: list[str] = []
    Path(address[:-1] + "~").touch()  # of one that was killed just then
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Watched)
        made = Hub(Heard())
        made.listen(address, "replica")
    assert listening == [address]
    assert [entry.name for entry in Path(address).parent.iterdir()] == ["engine.sock"]
    peer = Peer(address)
    turn(made)
    peer.socket.close()
    made.close()


def test_frames_are_handed_on(hub: Hub, heard: Heard, peer: Peer) -> None:
    linked(hub, heard, peer)
    peer.send(frames.Ready(0.1), frames.Beat(1, 0.0))
    turn(hub)
    assert heard.frames == [HELLO, frames.Ready(0.1), frames.Beat(1, 0.0)]


def test_what_a_socket_does_not_take_follows(hub: Hub, heard: Heard, peer: Peer) -> None:
    link = linked(hub, heard, peer)
    sent = [frames.Answer(number, b"x" * 100_000) for number in range(50)]
    for frame in sent:
        link.outbox.append(frame)
        link.flush()
    got: list[Any] = []
    peer.socket.setblocking(False)
    while len(got) < len(sent):
        try:
            got += peer.session.receive(peer.socket.recv(65536))
        except BlockingIOError:
            turn(hub)
    assert got == sent
    assert hub.poll(0) == []


def test_garbage_ends_the_link(hub: Hub, heard: Heard, peer: Peer) -> None:
    link = linked(hub, heard, peer)
    peer.socket.sendall(b"\xff" * 64)
    turn(hub)
    assert heard.gone == [link]
    assert not link.is_open
    assert peer.socket.recv(1) == b""


def test_a_peer_that_is_gone_is_heard_to_its_last_word(hub: Hub, heard: Heard, peer: Peer) -> None:
    link = linked(hub, heard, peer)
    peer.send(*[frames.Log(1, "stdout", "x" * 1000)] * 100)
    peer.socket.close()
    hub.drain(link)
    assert len(heard.frames) == 101
    assert heard.gone == [link]
    link.outbox.append(frames.Cancel(1))
    link.close()  # nothing left to be told, and nothing raised


def test_wake_ends_every_poll_until_it_was_seen(hub: Hub) -> None:
    hub.wake()
    hub.wake()
    turn(hub)
    assert hub.poll(0)  # another thread that takes a turn does not take the news from the one that sleeps
    hub.woken()
    assert hub.poll(0) == []
    hub.woken()


def test_one_that_has_gone_takes_nobody_along_who_has_its_descriptor(
    hub: Hub, heard: Heard, peer: Peer, address: str
) -> None:
    gone = linked(hub, heard, peer)
    second = Peer(address)
    hub.drop(gone)
    second.send(HELLO)
    while len(heard.links) < 2:
        turn(hub)
    assert heard.links[-1].fd == gone.fd
    hub.drain(gone)
    hub.await_room(gone)
    gone.close()
    second.send(frames.Ready(0.1))
    turn(hub)
    assert heard.frames[-1] == frames.Ready(0.1)
    assert heard.gone == [gone]
    second.socket.close()
