"""The gate: where clients of other hosts come in. It ends TLS, looks at a token, and passes bytes on.

    client ══TLS══▶ gate ──socket pair──▶ hub

It runs on an event loop of its own, in a thread of its own. A client says ``samovar 1 TOKEN``, one line, and is
answered ``welcome`` or ``no: REASON``; from then on the connection is the hub's, and all that is said on it is as on a
Unix socket.

What strangers can take is bounded: so many at a time, each for so long, a line of so many bytes. When there are too
many the oldest goes, so whoever keeps connections half open shuts nobody out. Whoever is in may be slow, as nothing is
read for a client that does not take it.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from samovar import endpoint, errors
from samovar.engine.links import Link
from samovar.host import silence
from samovar.host.pump import CHUNK, GREETING, LINGER, REFUSAL, WELCOME, Stream, bounded, pump, stream_of
from samovar.host.tokens import Tokens, Watch, digest_of

HELLO_SECONDS = 10.0
"""What a stranger has for the handshake, and then for its line."""

HELLO_BYTES = 256

REFUSAL_SECONDS = 1.0
"""How long whoever shows a wrong token waits for the answer."""

MAX_STRANGERS = 64
MAX_GUESTS = 256

LOOK_SECONDS = 0.25
"""After which a token that has been revoked, or has expired, lets nobody stay."""

_ACCEPT_PAUSE = 0.1  # seconds, when there are no descriptors
_COMPLAINT_SECONDS = 1.0  # between two lines about strangers


class Door(Protocol):
    """What the gate may do to the engine; called in the gate's thread."""

    def admit(self, sock: socket.socket) -> Link: ...

    def dismiss(self, link: Link, reason: str) -> None: ...


class _Guest(NamedTuple):
    digest: str  # of its token
    link: Link
    task: asyncio.Task[None]


class Gate:
    """Takes connections at ``host``, ``port`` when it is made, and lets them in when it is opened. InitializationError:
    it cannot listen there.
    """

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, tokens: Tokens, say: Callable[[str], None]
    ) -> None:
        self._context = context
        self._watch = Watch(tokens)
        self._say = say
        self._strangers: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._guests: list[_Guest] = []
        self._complained = 0.0
        self._unsaid = 0
        self._listener = _listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.SelectorEventLoop()
        self._chores: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="samovar-gate", daemon=True)

    def open(self, door: Door) -> None:
        self._door = door
        self._chores = [self._loop.create_task(chore) for chore in (self._accept(), self._look())]
        self._thread.start()

    def shut(self) -> None:
        """Let nobody in any more; whoever is in stays."""
        self._do(self._shut())

    def close(self) -> None:
        """Whoever is in still gets what it was sent."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _shut(self) -> None:
        waiting = [*self._chores, *self._strangers]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._listener.close()

    async def _close(self) -> None:
        await self._shut()
        staying = {guest.task for guest in self._guests}
        if staying:
            _, staying = await asyncio.wait(staying, timeout=LINGER)
        for task in staying:
            task.cancel()
        await asyncio.gather(*staying, return_exceptions=True)

    # strangers

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # no descriptors are left
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            if len(self._strangers) >= MAX_STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._receive(sock))
            self._strangers[task] = None
            task.add_done_callback(functools.partial(self._left, sock))

    def _left(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        sock.close()  # a task that is cancelled before it begins closes nothing
        self._strangers.pop(task, None)
        self._guests = [guest for guest in self._guests if guest.task is not task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(f"gate: a connection ended with {type(error).__name__}: {error}")

    async def _receive(self, sock: socket.socket) -> None:
        """From the first byte to the last. What strangers send is no error of ours, and takes no line in the log."""
        try:
            where = _peer(sock)
            stream = await self._secure(sock)
        except (OSError, TimeoutError):  # ssl.SSLError is one
            return
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                said = await stream.hear(HELLO_BYTES)
            if await self._greet(stream, said, where):
                await self._serve(stream, digest_of(said.removeprefix(GREETING)), where)
        except (OSError, TimeoutError):
            pass
        finally:
            stream.writer.transport.abort()

    async def _secure(self, sock: socket.socket) -> Stream:
        """The connection, in TLS. OSError, TimeoutError: the other end does not speak it, or not in time."""
        silence.ask_for_life(sock)
        reader = asyncio.StreamReader(limit=CHUNK, loop=self._loop)
        protocol = _Secured(reader, loop=self._loop)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=HELLO_SECONDS,
                ssl_shutdown_timeout=LINGER,
            )
        except asyncio.CancelledError:
            protocol.abort()
            raise
        return bounded(Stream(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)))

    async def _greet(self, stream: Stream, said: str, where: str) -> bool:
        """Whether it may come in; it has been told."""
        why = ""
        if not said.startswith(GREETING):
            why = f"this service expects {GREETING.strip()!r}; install the same version of samovar on both hosts"
        elif why := self._why_not(digest_of(said.removeprefix(GREETING))):
            self._complain(f"a client at {where} was refused: {why}")
            await asyncio.sleep(REFUSAL_SECONDS)
        elif len(self._guests) >= MAX_GUESTS:
            why = f"{MAX_GUESTS} clients of other hosts are connected already; try again later"
        async with asyncio.timeout(HELLO_SECONDS):
            await stream.say(f"{REFUSAL}{why}" if why else WELCOME)
            if why:
                await stream.close()
        return not why

    def _why_not(self, digest: str) -> str:
        try:
            self._watch.look()
        except errors.InitializationError as error:
            self._say(f"gate: nobody is let in: {error}")
        return self._watch.why_not(digest)

    def _complain(self, line: str) -> None:
        """Strangers are not to fill the log."""
        now = time.monotonic()
        if now - self._complained < _COMPLAINT_SECONDS:
            self._unsaid += 1
            return
        more = f"; {self._unsaid} more before it" if self._unsaid else ""
        self._complained, self._unsaid = now, 0
        self._say(f"gate: {line}{more}")

    # guests

    async def _serve(self, stream: Stream, digest: str, where: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._strangers.pop(task, None)
        ours, theirs = socket.socketpair()
        self._guests.append(_Guest(digest, self._door.admit(theirs), task))
        if await pump(await stream_of(ours), stream):
            self._say(f"gate: a client at {where} is cut off: its host has been silent for {silence.SECONDS:g} s")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for guest in list(self._guests):
                if guest.link.is_open and (why := self._why_not(guest.digest)):
                    self._say(f"gate: a client is sent away: {why}")
                    self._door.dismiss(guest.link, why)
                    self._loop.call_later(LINGER, guest.task.cancel)  # it may not read what it is told


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise errors.InitializationError(
            "InitializationError", f"cannot listen at {endpoint.join(host, port)}: {error.strerror or error}"
        ) from error
    listener.setblocking(False)
    return listener


class _Secured(asyncio.StreamReaderProtocol):
    """One that can be ended by whoever has no stream yet: asyncio would still say good-bye in TLS to a client whose
    handshake was over when its turn was cancelled, and the loop may end meanwhile.
    """

    _secured: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._secured = transport
        super().connection_made(transport)

    def abort(self) -> None:
        if self._secured is not None:
            self._secured.abort()


def _peer(sock: socket.socket) -> str:
    """OSError: it has gone again."""
    host, port, *_ = sock.getpeername()
    return endpoint.join(host, port)
