"""A link: one replica's connection, socket ↔ session.

Writes are coalesced: what a link is given while its engine handles a batch leaves as one when the batch is done.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from samovar.engine.work import Work
from samovar.errors import ProtocolError
from samovar.model import TaskSpec
from samovar.wire.session import engine_session


class Receiver(Protocol):
    """Who a link reports to: the engine, which flushes ``unflushed`` links before it returns to its loop."""

    unflushed: list[Link]

    def received(self, link: Link, frames: list[Any]) -> None: ...

    def disconnected(self, link: Link) -> None: ...


class Link(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, receiver: Receiver) -> None:
        self.replica = ""  # after a good handshake
        self.tasks: dict[int, TaskSpec] = {}  # what was declared, by ref
        self.running: dict[int, Work] = {}  # by epoch: what it executes
        self.calls: dict[int, int] = {}  # unanswered: call → action
        self.closed: asyncio.Future[None] = loop.create_future()
        self._receiver = receiver
        self._session = engine_session()
        self._outbox: list[Any] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own type is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._session.receive(data)
        except ProtocolError:
            self.close()
            return
        self._receiver.received(self, frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._receiver.disconnected(self)

    def send(self, frame: Any) -> None:
        """Queue a frame; it leaves when the engine flushes."""
        outbox = self._outbox
        outbox.append(frame)
        if len(outbox) == 1:
            self._receiver.unflushed.append(self)

    def flush(self) -> None:
        frames, self._outbox = self._outbox, []
        if self._transport is not None:
            self._transport.write(self._session.send(frames))

    def close(self) -> None:
        if self._outbox:
            self.flush()
        if self._transport is not None:
            self._transport.close()
