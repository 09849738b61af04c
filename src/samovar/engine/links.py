"""A link: one connection, socket ↔ session, and what is known of the other end.

Writes are coalesced: what a link is given during one turn leaves as one write when the turn ends. Shipments leave part
by part, whenever the socket has taken all that was written before.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from samovar.engine.work import Work
from samovar.model import Blockage, TaskSpec
from samovar.wire.parts import Incoming, Shipment
from samovar.wire.session import Session, client_session, engine_session

if TYPE_CHECKING:
    from samovar.engine.hub import Hub
    from samovar.engine.timeline import Crowd


Homes = dict[int, tuple[TaskSpec, str]]
"""The pools of tasks: id of a spec → the spec, kept alive, and its pool."""


Role = Literal["replica", "client", "engine"]
"""What the other end is."""

BEHIND = 8 * 1024 * 1024
"""Bytes that wait for a client to read them, from which it is spared what it can do without."""

MAX_UNSENT = 256 * 1024 * 1024
"""Bytes that wait for a client to read them, from which it is given up."""


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
        self.heard_at = 0.0  # the last beat, by the monotonic clock
        self.used = -1  # of the processor, when it was looked at last because it did not beat; -1: it does
        self.turns = 0  # of a client: what all its starts share
        self.is_ready = False  # its code is imported
        self.outcomes = 0  # that it has sent
        self.apart: set[int] = set()  # of these by number: their large values are being moved
        self.receipted = 0  # of these: how many it has a receipt for, or will have when they are committed
        self.told: list[Any] | None = None  # what it has said of itself, where stock is yet to be taken
        self.lag = 0.0  # seconds for which its event loop has not answered
        self.blockage: Blockage | None = None  # while there is one
        self.crowd: Crowd | None = None  # of a timeline: what its short executions join
        self.outbox: list[Any] = []  # frames of this turn
        self.incoming: Incoming | None = None  # of a peer that shares no folder with us: it is on another host
        self._hub = hub
        self._unsent = bytearray()
        self._shipments: deque[Shipment] = deque()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    @property
    def is_sending(self) -> bool:
        return bool(self._unsent or self._shipments)

    @property
    def is_behind(self) -> bool:
        """The other end does not read what it is sent."""
        return len(self._unsent) > BEHIND

    def ship(self, shipment: Shipment) -> None:
        """Send it when there is room."""
        self._shipments.append(shipment)
        self._hub.await_room(self)

    def flush(self) -> None:
        """Write the frames of this turn; what the socket does not take follows when it has room."""
        frames, self.outbox = self.outbox, []
        data = self.session.send(frames)
        if self._unsent:
            self._unsent += data
            if self.role == "client" and len(self._unsent) > MAX_UNSENT:
                self._hub.drop(self)
            return
        sent = self._send(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._hub.await_room(self)

    def write(self) -> bool:
        """The socket has room again. True: nothing is left."""
        if self._unsent:
            del self._unsent[: self._send(self._unsent)]
        while self._shipments and not self._unsent:
            frame = self._shipments[0].next()
            if frame is None:
                self._shipments.popleft()
                continue
            data = self.session.send([frame])
            self._unsent += memoryview(data)[self._send(data) :]
            break  # others have their turn in between
        return not self.is_sending

    def abandon(self) -> None:
        """The connection is over."""
        while self._shipments:
            self._shipments.popleft().close()

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
