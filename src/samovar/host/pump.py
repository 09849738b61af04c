"""Bytes both ways between two connections, with no more of them in between than a few chunks.

Both ends of a connection between hosts are made of this: the gate of a service and the tunnel of a client. Each has a
socket pair on its near side, so that the hub knows nothing of TLS, and TLS on its far side.
"""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple

from samovar.host import silence

GREETING = "samovar 1 "  # and the token
WELCOME = "welcome"
REFUSAL = "no: "  # and why

CHUNK = 64 * 1024
"""Bytes that are read at once; a connection holds some of these in each direction at most."""

LINGER = 5.0
"""Seconds in which the other end has to take what it was sent before a connection was closed."""

GREETING_BYTES = 1024
"""What a line of the greeting may have at most."""


class Stream(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: str) -> None:
        self.writer.write(f"{line}\n".encode())
        await self.writer.drain()

    async def hear(self, limit: int = GREETING_BYTES) -> str:
        """A line, with nothing behind it. ConnectionError: there is none."""
        data = b""
        while not data.endswith(b"\n"):
            more = await self.reader.read(limit - len(data))
            if not more:
                raise ConnectionError("the connection ended, or the line is too long")
            data += more
        return data[:-1].decode("ascii", "replace")

    async def close(self) -> None:
        """What was written still goes out, if the other end takes it in time."""
        try:
            async with asyncio.timeout(LINGER):
                self.writer.close()
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # it is gone, or takes nothing
        finally:
            self.writer.transport.abort()


async def stream_of(sock: socket.socket) -> Stream:
    """Of our end of a socket pair."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=CHUNK)
    return bounded(Stream(reader, writer))


def bounded(stream: Stream) -> Stream:
    """``drain`` waits until the system has taken all, so nothing gathers here, and closing loses nothing."""
    stream.writer.transport.set_write_buffer_limits(high=1, low=0)  # with TLS a high of 0 never lets go
    return stream


async def pump(near: Stream, far: Stream) -> bool:
    """Until one of them ends; the other gets all that was sent before. A cancelled pump waits for nobody.

    True: the far end's host has fallen silent.
    """
    flows = [asyncio.create_task(_flow(near, far)), asyncio.create_task(_flow(far, near))]
    silent = asyncio.create_task(silence.fallen(far.writer.get_extra_info("socket")))
    over: set[asyncio.Task[None]] = set()
    try:
        over, _ = await asyncio.wait([*flows, silent], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        near.writer.transport.abort()
        far.writer.transport.abort()
        raise
    finally:
        for task in (*flows, silent):
            task.cancel()
        await asyncio.gather(*flows, silent, return_exceptions=True)  # that a peer is gone is no error here
    if silent in over:
        far.writer.transport.abort()
    await asyncio.gather(near.close(), far.close())
    return silent in over


async def _flow(source: Stream, target: Stream) -> None:
    while data := await source.reader.read(CHUNK):
        target.writer.write(data)
        await target.writer.drain()
