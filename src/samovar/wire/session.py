"""One end of a connection without any I/O: bytes in → frames, frames → bytes out.

A batch is a 4-byte big-endian length and a msgpack array of frames. ``receive`` never hangs, never keeps more than
one unfinished batch, and raises nothing but ProtocolError; after an error the session is dead.
The engine decodes ``FromReplica`` and ``FromClient``, a replica ``FromEngine``, a client ``ToClient``.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from samovar.errors import ProtocolError
from samovar.wire.frames import FromClient, FromEngine, FromReplica, ToClient

MAX_BATCH = 64 * 1024 * 1024
"""Bytes of one batch; a peer that announces more is not speaking this protocol."""

BATCH_FRAMES = 512
"""Frames put into one batch at most, so that the peer starts on the first while the next is encoded."""

_HEADER = 4
_encode = msgspec.msgpack.Encoder().encode
_decode_from_peer = msgspec.msgpack.Decoder(list[FromReplica | FromClient]).decode
_decode_from_engine = msgspec.msgpack.Decoder(list[FromEngine]).decode
_decode_to_client = msgspec.msgpack.Decoder(list[ToClient]).decode

Received = TypeVar("Received")


class Session(Generic[Received]):
    """Frames of type ``Received`` come in; anything of the other direction goes out."""

    __slots__ = ("_buffer", "_dead", "_decode")

    def __init__(self, decode: Any) -> None:
        self._decode = decode
        self._buffer = bytearray()
        self._dead = False

    def receive(self, data: bytes) -> list[Received]:
        """Frames that ``data`` completes, in order. Raises ProtocolError."""
        if self._dead:
            raise ProtocolError("this session has failed before")
        try:
            return self._take(data)
        except ProtocolError:
            self._dead = True
            self._buffer = bytearray()
            raise

    def _take(self, data: bytes) -> list[Received]:
        buffer = self._buffer
        if not buffer and len(data) > _HEADER and int.from_bytes(data[:_HEADER], "big") == len(data) - _HEADER:
            return self._batch(memoryview(data)[_HEADER:])  # the common case: one whole batch, nothing to copy
        buffer += data
        frames: list[Received] = []
        start = 0
        with memoryview(buffer) as view:
            while len(buffer) - start >= _HEADER:
                length = int.from_bytes(view[start : start + _HEADER], "big")
                if length > MAX_BATCH:
                    raise ProtocolError(f"a batch of {length} bytes is announced, {MAX_BATCH} are allowed")
                end = start + _HEADER + length
                if end > len(buffer):
                    break
                frames += self._batch(view[start + _HEADER : end])
                start = end
        del buffer[:start]
        return frames

    def _batch(self, body: memoryview) -> list[Received]:
        try:
            frames: list[Received] = self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
            raise ProtocolError(f"a batch does not decode: {error}") from error
        finally:
            body.release()
        return frames

    @staticmethod
    def send(frames: list[Any]) -> bytes:
        """The bytes of ``frames``, in batches."""
        if len(frames) <= BATCH_FRAMES:
            body = _encode(frames)
            if len(body) <= MAX_BATCH:
                return len(body).to_bytes(_HEADER, "big") + body
            if len(frames) == 1:
                raise ProtocolError(f"a frame of {len(body)} bytes is too large; large values go through blobs")
        half = max(1, min(BATCH_FRAMES, len(frames) // 2))
        return b"".join(Session.send(frames[at : at + half]) for at in range(0, len(frames), half))


def engine_session() -> Session[FromReplica | FromClient]:
    """The engine's end."""
    return Session(_decode_from_peer)


def replica_session() -> Session[FromEngine]:
    """The replica's end."""
    return Session(_decode_from_engine)


def client_session() -> Session[ToClient]:
    """A client's end."""
    return Session(_decode_to_client)
