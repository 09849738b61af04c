"""The gate and the tunnel, with real TLS on loopback: who gets in, and what strangers can take."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.endpoint import Remote
from samovar.errors import InitializationError
from samovar.host import certificate, gate, tunnel
from samovar.host.gate import Gate
from samovar.host.tokens import Tokens
from samovar.host.tunnel import Tunnel

SECONDS = 60.0


class FakeLink:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(SECONDS)

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0


class Door:
    """In place of an engine: it keeps what comes in."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []

    def admit(self, sock: socket.socket) -> Any:
        self.links.append(FakeLink(sock))
        return self.links[-1]

    def dismiss(self, link: Any, reason: str) -> None:
        link.socket.sendall(reason.encode())
        link.socket.close()


class Place:
    """A gate, and ways to it."""

    def __init__(self, folder: Path) -> None:
        self.tokens = Tokens(folder / "tokens")
        self.token = self.tokens.make("ann", None)
        self.certificate = certificate.find(folder)
        self.door = Door()
        self.said: list[str] = []
        self.gate = Gate("127.0.0.1", 0, self.certificate.context, self.tokens, self.said.append)
        self.gate.open(self.door)
        self.where = Remote("127.0.0.1", self.gate.port, self.certificate.fingerprint, self.token)

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.gate.port), SECONDS)

    def secure(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(self.plain())

    def at(self, **changes: Any) -> Remote:
        return dataclasses.replace(self.where, **changes)

    def answer(self, hello: bytes) -> bytes:
        """All that comes back, until the gate ends the connection."""
        with self.secure() as peer:
            try:
                peer.sendall(hello)
                return read_all(peer)
            except OSError:
                return b""

    def pair(self) -> tuple[Tunnel, socket.socket]:
        """A connection, and the engine's end of it."""
        before = len(self.door.links)
        there = Tunnel(self.where)
        there.socket.settimeout(SECONDS)
        until(lambda: len(self.door.links) > before)
        return there, self.door.links[-1].socket

    def works(self) -> None:
        """Whoever has a token gets in, and bytes go both ways."""
        there, here = self.pair()
        there.socket.sendall(b"ping")
        assert here.recv(4) == b"ping"
        here.sendall(b"pong")
        assert there.socket.recv(4) == b"pong"
        there.socket.close()
        assert here.recv(1) == b""
        here.close()
        there.close()


def read_all(peer: socket.socket) -> bytes:
    data = b""
    while more := peer.recv(65536):
        data += more
    return data


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(gate, "REFUSAL_SECONDS", 0.05)
    made = Place(tmp_path)
    yield made
    for link in made.door.links:
        link.socket.close()
    made.gate.close()
    assert not [line for line in made.said if made.token in line]


def refusal(where: Remote) -> str:
    with pytest.raises(InitializationError) as raised:
        Tunnel(where)
    assert not where.token or where.token not in str(raised.value)
    return str(raised.value)


def test_a_client_with_a_token(place: Place) -> None:
    for _ in range(3):
        place.works()
    assert place.said == []


def test_bytes_of_any_number_arrive_in_order(place: Place) -> None:
    there, here = place.pair()
    data = os.urandom(8 * 2**20)
    writer = threading.Thread(target=lambda: (there.socket.sendall(data), there.socket.close()))
    writer.start()
    assert read_all(here) == data
    writer.join(SECONDS)
    there.close()


def test_what_was_sent_before_the_end_arrives(place: Place) -> None:
    there, here = place.pair()
    here.sendall(b"x" * 100_000)
    here.close()
    there.socket.settimeout(SECONDS)
    assert read_all(there.socket) == b"x" * 100_000
    there.socket.close()
    there.close()


def test_whoever_has_no_good_token_is_told_why(place: Place) -> None:
    assert "the token is not known here" in refusal(place.at(token="samovar_wrong"))
    assert "asks for a token, and none is set: SAMOVAR_ACCESS_TOKEN" in refusal(place.at(token=""))
    gone, short = place.tokens.make("bob", None), place.tokens.make("cid", 0.0)
    place.tokens.revoke("bob")
    assert "the token 'bob' was revoked" in refusal(place.at(token=gone))
    assert "the token 'cid' has expired" in refusal(place.at(token=short))
    assert place.door.links == []
    assert place.said[0].startswith("gate: a client at 127.0.0.1:")
    assert place.said[0].endswith("was refused: the token is not known here")


def test_strangers_do_not_fill_the_log(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_COMPLAINT_SECONDS", 1000.0)
    for _ in range(5):
        refusal(place.at(token="samovar_wrong"))
    assert len(place.said) == 1
    monkeypatch.setattr(gate, "_COMPLAINT_SECONDS", 0.0)
    refusal(place.at(token="samovar_wrong"))
    assert place.said[1].endswith("; 4 more before it")


def test_another_certificate_is_not_trusted(place: Place) -> None:
    other = "0" * 64
    said = refusal(place.at(fingerprint=other))
    assert other in said
    assert place.certificate.fingerprint in said
    assert "Somebody may stand in between" in said
    said = refusal(place.at(fingerprint=""))
    assert "is not trusted" in said
    assert f"{place.where}#{place.certificate.fingerprint}" in said
    assert place.door.links == []
    assert place.said == [], "no token was shown"


def test_a_certificate_that_an_authority_vouches_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place.tokens._path.parent / "tls" / "service.pem"))
    place.where = place.at(host="localhost", fingerprint="")
    place.works()
    assert "IP address mismatch" in refusal(place.at(host="127.0.0.1"))


def test_nobody_there(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot be reached: " in refusal(place.at(port=port))
    assert "there is no such host" in refusal(place.at(host="nowhere.invalid"))


def test_somebody_else_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "has not answered for 0.5 s" in refusal(place.at(port=silent.getsockname()[1]))

        def talk() -> None:
            silent.accept()[0].close()  # the one before
            peer, _ = silent.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        talking = threading.Thread(target=talk)
        talking.start()
        monkeypatch.setattr(tunnel, "SECONDS", SECONDS)
        assert "does not speak TLS as a service does" in refusal(place.at(port=silent.getsockname()[1]))
        talking.join(SECONDS)


def test_an_answer_that_is_none_is_shown_without_tricks(place: Place) -> None:
    def answer(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with place.certificate.context.wrap_socket(peer, server_side=True) as secure:
            secure.recv(1000)
            secure.sendall(b"no: \x1b[31mred\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer, args=(listener,))
        answering.start()
        assert refusal(place.at(port=listener.getsockname()[1])).endswith("refuses this client: ?[31mred")
        answering.join(SECONDS)


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (b"samovar 1 nonsense\n", b"no: the token is not known here\n"),
        (b"samovar 2 nonsense\n", b"no: this service expects 'samovar 1'; install the same version"),
        (b"GET / HTTP/1.1\r\n", b"no: this service expects 'samovar 1'"),
        (b"\n", b"no: this service expects 'samovar 1'"),
        (b"samovar 1 \xff\xfe\n", b"no: the token is not known here\n"),
        (b"x" * 1000, b""),
        (b"x" * 255 + b"\n", b"no: this service expects"),
        (b"samovar 1 a\nmore\n", b"no: the token is not known here\n"),
        (b"samovar 1 a\nmore", None),
    ],
)
def test_first_lines_that_are_wrong(
    place: Place, monkeypatch: pytest.MonkeyPatch, hello: bytes, answer: bytes | None
) -> None:
    with monkeypatch.context() as patch:
        if not answer:
            patch.setattr(gate, "HELLO_SECONDS", 0.5)
        got = place.answer(hello)
    assert got.startswith(answer) if answer else got == b""
    assert place.door.links == []
    place.works()


def test_a_good_token_with_more_behind_it_is_none(place: Place) -> None:
    assert place.answer(f"samovar 1 {place.token}\nmore\n".encode()).startswith(b"no: the token is not known")


def test_first_bytes_of_every_kind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random, and what a real client sends with some of it changed."""
    chance = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    client_hello = outgoing.read()
    with monkeypatch.context() as patch:
        patch.setattr(gate, "HELLO_SECONDS", 0.5)
        for _ in range(150):
            first = bytearray(client_hello if chance.random() < 0.7 else chance.randbytes(chance.randrange(2000)))
            for _ in range(chance.randrange(4)):
                if first:
                    first[chance.randrange(len(first))] = chance.randrange(256)
            del first[chance.randrange(len(first) + 1) :]
            with place.plain() as peer:
                try:
                    peer.sendall(first)
                    peer.shutdown(socket.SHUT_WR)
                    read_all(peer)
                except ConnectionError:
                    pass
    assert place.said == []
    assert place.door.links == []
    place.works()


def test_old_tls_is_refused(place: Place) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with place.plain() as peer, pytest.raises(ssl.SSLError):
        context.wrap_socket(peer)


def test_half_open_connections_shut_nobody_out_and_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_STRANGERS", 8)
    silent = [place.plain() for _ in range(20)]
    slow = [place.secure() for _ in range(20)]
    for peer in slow:
        with contextlib.suppress(OSError):  # it has gone already
            peer.sendall(b"s")
    for peer in (*silent, *slow)[:30]:  # the oldest have gone, while the limit of time is far away
        assert ended(peer)
    place.works()
    assert len(place.gate._strangers) <= 8
    for peer in (*silent, *slow):
        peer.close()


def test_whoever_is_slow_has_so_much_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HELLO_SECONDS", 1.0)
    with place.plain() as silent, place.secure() as slow:
        slow.sendall(b"samovar")
        assert ended(silent)
        assert ended(slow)
    until(lambda: not place.gate._strangers)


def ended(peer: socket.socket) -> bool:
    try:
        return read_all(peer) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_so_many_guests_and_no_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_GUESTS", 2)
    first, second = Tunnel(place.where), Tunnel(place.where)
    assert "2 clients of other hosts are connected already" in refusal(place.where)
    first.socket.close()
    first.close()
    until(lambda: len(place.gate._guests) == 1)
    place.works()
    second.socket.close()
    second.close()


def test_a_revoked_token_ends_its_connections_and_no_others(place: Place) -> None:
    bob = place.tokens.make("bob", None)
    (hers, here), his = place.pair(), Tunnel(place.at(token=bob))
    place.tokens.revoke("bob")
    his.socket.settimeout(SECONDS)
    assert read_all(his.socket) == b"the token 'bob' was revoked"
    hers.socket.sendall(b"still here")
    assert here.recv(10) == b"still here"
    assert place.said == ["gate: a client is sent away: the token 'bob' was revoked"]
    for each in (hers, his):
        each.socket.close()
        each.close()


def test_a_token_that_runs_out_ends_its_connections(place: Place) -> None:
    brief = place.tokens.make("brief", 3.0)
    there = Tunnel(place.at(token=brief))
    there.socket.settimeout(SECONDS)
    assert read_all(there.socket) == b"the token 'brief' has expired"
    there.socket.close()
    there.close()


def test_a_peer_that_never_reads_is_not_read_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LINGER", 0.1)
    peer = place.secure()
    peer.sendall(f"samovar 1 {place.token}\n".encode())
    assert peer.recv(100) == b"welcome\n"
    until(lambda: place.door.links)
    here = place.door.links[0].socket
    here.setblocking(False)
    written = 0
    while select.select([], [here], [], 1.0)[1]:  # until nothing more is taken for a while
        written += here.send(b"x" * 65536)
    assert written < 40 * 2**20, "no more than what the kernel keeps on both sides"
    place.tokens.revoke("ann")
    until(lambda: not place.gate._guests)
    peer.close()


def test_a_gate_that_is_shut_lets_nobody_in_and_keeps_who_is_there(place: Place) -> None:
    there, here = place.pair()
    place.gate.shut()
    assert "cannot be reached" in refusal(place.where)
    here.sendall(b"the end")
    here.close()
    there.socket.settimeout(SECONDS)
    assert read_all(there.socket) == b"the end"
    there.socket.close()
    there.close()


def test_a_gate_that_closes_as_a_handshake_ends_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    made = gate._Secured.connection_made

    def cancelled(protocol: Any, transport: Any) -> None:
        made(protocol, transport)
        for stranger in place.gate._strangers:
            stranger.cancel()

    monkeypatch.setattr(gate._Secured, "connection_made", cancelled)
    with place.secure():
        until(lambda: not place.gate._strangers)
        place.gate.close()
    gc.collect()  # a transport that was not closed says so now, and warnings are errors


def test_a_port_that_is_taken(place: Place) -> None:
    with pytest.raises(InitializationError, match=rf"cannot listen at 127.0.0.1:{place.gate.port}: Address already"):
        Gate("127.0.0.1", place.gate.port, place.certificate.context, place.tokens, print)
