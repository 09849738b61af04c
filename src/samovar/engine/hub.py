"""The hub: every connection of an engine in one epoll, read by whichever thread runs the engine.

It has no thread and no loop of its own. ``poll`` waits, and needs no turn; ``handle`` reads what came and hands on
frames, and needs it. A hub can itself be polled (``fileno``), so any event loop can carry it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any, Protocol

from samovar.engine.links import Link
from samovar.errors import ProtocolError

Ready = list[tuple[int, int]]
"""Descriptors and their events."""

_READ_BYTES = 64 * 1024
_BACKLOG = 1024
_IN_OUT = select.EPOLLIN | select.EPOLLOUT


class Receiver(Protocol):
    """Who the hub reports to: the engine."""

    def received(self, link: Link, frames: list[Any]) -> None: ...

    def disconnected(self, link: Link) -> None: ...


class Hub:
    """Listens at the Unix socket ``address``, which only the owner may open."""

    def __init__(self, address: str, receiver: Receiver) -> None:
        self.address = address
        self._receiver = receiver
        self._links: dict[int, Link] = {}
        self._epoll = select.epoll()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        self._listener.bind(address)
        os.chmod(address, 0o600)
        self._listener.listen(_BACKLOG)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self.poll = self._epoll.poll  # seconds → Ready; not a method of ours, as this is the hot path

    def fileno(self) -> int:
        return self._epoll.fileno()

    def handle(self, ready: Ready) -> None:
        links = self._links
        for fd, events in ready:
            link = links.get(fd)
            if link is not None:
                if events & select.EPOLLOUT and link.write():
                    self._epoll.modify(fd, select.EPOLLIN)
                if events & ~select.EPOLLOUT:
                    self._read(link)
            elif fd == self._listener.fileno():
                self._accept()
            elif fd == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)

    def wake(self) -> None:
        """Let the thread that is in ``poll`` return."""
        os.eventfd_write(self._wake, 1)

    def drain(self, link: Link) -> None:
        """Take in what a peer that has ended left behind, and drop it."""
        while self._has(link) and self._read(link):
            pass
        self.drop(link)

    def drop(self, link: Link) -> None:
        """The connection is over."""
        if self._has(link):
            del self._links[link.fd]
            with contextlib.suppress(OSError):
                self._epoll.unregister(link.fd)
            link.socket.close()
            self._receiver.disconnected(link)

    def await_room(self, link: Link) -> None:
        """Tell when the link's socket takes more."""
        if self._has(link):
            self._epoll.modify(link.fd, _IN_OUT)

    def close(self) -> None:
        for link in self._links.values():
            link.socket.close()
        self._links.clear()
        self._listener.close()
        self._epoll.close()
        os.close(self._wake)

    def _has(self, link: Link) -> bool:
        """Another one may have the descriptor of one that has gone."""
        return self._links.get(link.fd) is link

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                link = Link(sock, self)
                self._links[link.fd] = link
                self._epoll.register(link.fd, select.EPOLLIN)

    def _read(self, link: Link) -> bool:
        """False: nothing there now, or ever."""
        try:
            data = link.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self.drop(link)
            return False
        try:
            frames = link.session.receive(data)
        except ProtocolError:
            self.drop(link)
            return False
        self._receiver.received(link, frames)
        return True
