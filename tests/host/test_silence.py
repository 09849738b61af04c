"""What a host that has fallen silent is known by, with real connections on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from samovar.host import silence

from .test_gate import Place, until
from .test_gate import place as place

MOMENT = 0.2  # seconds


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        yield one, other


def test_a_cut_network_is_noticed_within_ten_seconds() -> None:
    assert silence.FIRST < silence.SECONDS <= 10, "whoever has nothing to say is asked first"
    assert silence.FIRST + silence.NEXT * silence.ASKED <= 10


def test_the_system_asks_for_life(ends: tuple[socket.socket, socket.socket]) -> None:
    sock, _ = ends
    silence.ask_for_life(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    set_to = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert set_to == [silence.FIRST, silence.NEXT, silence.ASKED]


@pytest.mark.parametrize("sender", [0, 1], ids=["acknowledgement", "data"])
def test_what_comes_ends_the_silence(ends: tuple[socket.socket, socket.socket], sender: int) -> None:
    until(lambda: silence.lasting(ends[0]) > MOMENT)

    def is_heard() -> bool:
        ends[sender].sendall(b".")  # again and again, as this process may be held up between the two
        return silence.lasting(ends[0]) < MOMENT

    until(is_heard)


def test_the_system_is_answered_where_nothing_is_sent(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "FIRST", 1)
    one, _ = ends
    silence.ask_for_life(one)
    until(lambda: silence.lasting(one) > MOMENT)
    until(lambda: silence.lasting(one) < MOMENT)


def test_a_connection_that_is_closed_is_not_called_silent() -> None:
    async def look() -> bool:
        sock = socket.socket()
        sock.close()
        looking = asyncio.create_task(silence.fallen(sock))
        await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        return looking.cancelled()

    assert asyncio.run(look())


def test_whoever_is_silent_is_let_go_and_it_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SECONDS", 0.0)
    with place.secure() as peer:
        peer.sendall(f"samovar 1 {place.token}\n".encode())
        assert peer.recv(100) == b"welcome\n"
        until(lambda: place.said)
        assert place.said[0].startswith("gate: a client at 127.0.0.1:")
        assert place.said[0].endswith(" is cut off: its host has been silent for 0 s")
        assert place.door.links[0].socket.recv(1) == b"", "the engine knows"
