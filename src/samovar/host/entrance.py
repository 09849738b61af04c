"""The entrance for other hosts of a service: its gate, with the certificate, the tokens and the engine behind it.

Off unless somebody says where to listen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple

from samovar import config, endpoint, errors
from samovar.engine.links import Link
from samovar.host import certificate
from samovar.host.gate import Gate
from samovar.host.station import Station
from samovar.host.tokens import Tokens

_ANYWHERE = ("0.0.0.0", "::")


class Wanted(NamedTuple):
    """What the command line says; "": as the settings say."""

    listen: str = ""  # HOST:PORT
    tls_cert: str = ""
    tls_key: str = ""

    def settled(self) -> Wanted:
        """With the settings. InitializationError: one is wrong."""
        settings = config.load()
        named = self if self.tls_cert or self.tls_key else settings  # a pair is not taken apart
        listen = config.listening(self.listen) or settings.listen
        if (self.tls_cert or self.tls_key) and not listen:
            raise errors.InitializationError(
                "InitializationError",
                "a certificate is for clients of other hosts: say with --listen where they come in",
            )
        return Wanted(listen, named.tls_cert, named.tls_key)

    def options(self) -> list[str]:
        """The same for a command line."""
        pairs = (("--listen", self.listen), ("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key))
        return [word for option, value in pairs if value for word in (option, value)]


AS_SET = Wanted()


class Entrance:
    """InitializationError: there is no listening there, or not with this certificate."""

    def __init__(self, wanted: Wanted, say: Callable[[str], None]) -> None:
        found = certificate.find(config.state_folder(), wanted.tls_cert, wanted.tls_key)
        host, port = endpoint.host_and_port(wanted.listen)
        self._gate = Gate(host, port, found.context, tokens(), say)
        self._fingerprint = found.fingerprint
        self._is_own = found.is_own
        self._say = say
        self._host = name_for_others(host)

    @property
    def endpoint(self) -> endpoint.Remote:
        """As clients may write it. The fingerprint of a certificate that others made is not in it, as it will be
        renewed.
        """
        return endpoint.Remote(self._host, self._gate.port, self._fingerprint if self._is_own else "")

    def open(self, station: Station) -> None:
        station.engine.clients.gate = self.endpoint.in_full
        self._gate.open(_Door(station))
        where = f"{self._host} port {self._gate.port}"
        self._say(f"listening for other hosts at {where}, fingerprint {self._fingerprint}")

    def shut(self) -> None:
        """Let nobody in any more."""
        self._gate.shut()

    def close(self) -> None:
        """When the engine has let go of its clients."""
        self._gate.close()


class _Door:
    """What the gate may do to a station, in turns of its own."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def admit(self, sock: socket.socket) -> Link:
        with self._station.turn:
            return self._station.engine.clients.admit(sock)

    def dismiss(self, link: Link, reason: str) -> None:
        with self._station.turn:
            self._station.engine.refuse(link, reason)
            self._station.engine.flush()


def name_for_others(host: str) -> str:
    """How clients may call the host that listens at this address."""
    return socket.gethostname() if host in _ANYWHERE else host


def tokens() -> Tokens:
    """Of this user's service."""
    return Tokens(config.state_folder() / "tokens")
