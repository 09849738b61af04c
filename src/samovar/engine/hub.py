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

from samovar.engine.links import Link, Role
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
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._links: dict[int, Link] = {}
        self._listeners: dict[int, tuple[socket.socket, Role]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self.poll = self._epoll.poll  # seconds → Ready; not a method of ours, as this is the hot path

    def fileno(self) -> int:
        return self._epoll.fileno()

    def listen(self, address: str, role: Role) -> None:
        """Take connections of peers in this role at a Unix socket, which only the owner may open.

        One that is there was left behind by an engine that was killed: whoever could open that can open this. It gets
        its name when it listens, so that who finds it is not refused.
        """
        before = os.stat(address) if os.path.exists(address) else None
        unnamed = address[:-1] + "~"  # no longer than the address, which may be as long as one can be
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unnamed)
        listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)
        listener.bind(unnamed)
        os.chmod(unnamed, 0o600)
        if before is not None:
            os.chown(unnamed, -1, before.st_gid)
            os.chmod(unnamed, before.st_mode & 0o660)
        listener.listen(_BACKLOG)
        os.rename(unnamed, address)
        self._listeners[listener.fileno()] = listener, role
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def connect(self, address: str) -> Link:
        """A connection to an engine at a Unix socket. OSError: nobody listens there."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return self.add(sock, "engine")

    def add(self, sock: socket.socket, role: Role) -> Link:
        """Take in a connection that is there."""
        sock.setblocking(False)
        link = Link(sock, self, role)
        self._links[link.fd] = link
        self._epoll.register(link.fd, select.EPOLLIN)
        return link

    def handle(self, ready: Ready) -> None:
        links = self._links
        for fd, events in ready:
            link = links.get(fd)
            if link is not None:
                if events & select.EPOLLOUT and link.write():
                    self._epoll.modify(fd, select.EPOLLIN)
                if events & ~select.EPOLLOUT:
                    self._read(link)
            elif fd in self._listeners:
                self._accept(*self._listeners[fd])

    def wake(self) -> None:
        """Let ``poll`` return, whoever is in it, until ``woken``."""
        os.eventfd_write(self._wake, 1)

    def woken(self) -> None:
        """The thread for which ``wake`` was called has seen it. No other may say so, or that one sleeps on."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

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
            link.abandon()
            self._receiver.disconnected(link)

    def await_room(self, link: Link) -> None:
        """Tell when the link's socket takes more."""
        if self._has(link):
            self._epoll.modify(link.fd, _IN_OUT)

    def close(self) -> None:
        for link in self._links.values():
            link.socket.close()
            link.abandon()
        self._links.clear()
        for listener, _ in self._listeners.values():
            listener.close()
        self._epoll.close()
        os.close(self._wake)

    def _has(self, link: Link) -> bool:
        """Another one may have the descriptor of one that has gone."""
        return self._links.get(link.fd) is link

    def _accept(self, listener: socket.socket, role: Role) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.add(sock, role)

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
