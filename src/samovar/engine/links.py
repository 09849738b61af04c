"""A link: one connection, socket ↔ session, and what is known of the other end.

Writes are coalesced: what a link is given during one turn leaves as one write when the turn ends.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Literal

from samovar.engine.work import Work
from samovar.model import TaskSpec
from samovar.wire.session import Session, client_session, engine_session

if TYPE_CHECKING:
    from samovar.engine.hub import Hub


Homes = dict[int, tuple[TaskSpec, str]]
"""The pools of tasks: id of a spec → the spec, kept alive, and its pool."""


Role = Literal["replica", "client", "engine"]
"""What the other end is."""


class Link:
    def __init__(self, sock: socket.socket, hub: Hub, role: Role) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.role = role
        self.session: Session[Any] = client_session() if role == "engine" else engine_session()
        self.is_known = False  # after a good handshake
        self.replica = ""  # which one it is
        self.is_bounded = False  # its environment bounds the memory of the replica
        self.tasks: dict[int, TaskSpec] = {}  # what was declared, by ref
        self.homes: Homes = {}  # of these
        self.running: dict[int, Work] = {}  # by epoch: what it executes
        self.calls: dict[int, int] = {}  # unanswered: call → action
        self.pid = 0  # as a replica sees itself
        self.rss = 0  # bytes, at its last sign of life
        self.lag = 0.0  # seconds for which its event loop has not answered
        self.outbox: list[Any] = []  # frames of this turn
        self._hub = hub
        self._unsent = bytearray()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def flush(self) -> None:
        """Write the frames of this turn; what the socket does not take follows when it has room."""
        frames, self.outbox = self.outbox, []
        data = self.session.send(frames)
        if self._unsent:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._hub.await_room(self)

    def write(self) -> bool:
        """The socket has room again. True: nothing is left."""
        del self._unsent[: self._send(self._unsent)]
        return not self._unsent

    def close(self) -> None:
        if self.outbox:
            self.flush()
        self._hub.drop(self)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)  # nobody will read it; that the peer is gone is seen by the reader
