"""Blobs for a peer that shares no folder: cut into parts on one end, put together on the other.

A ``Shipment`` is a frame with the blobs that it names. It is drawn frame by frame, whenever the connection has room for
one, so neither end keeps more than a part of a large value in memory. ``Incoming`` knows the blobs of one peer: their
names are that peer's words and never become paths.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable
from typing import Any

from samovar.wire.blobs import Blobs
from samovar.wire.frames import Part, Scrap

PART_BYTES = 128 * 1024


class Shipment:
    """``frame`` goes out after its ``blobs``, files of ``folder``. Each is handed to ``discard`` when it is not needed
    any more.
    """

    def __init__(
        self, folder: str, blobs: tuple[str, ...], frame: Any, discard: Callable[[tuple[str, ...]], None]
    ) -> None:
        self._folder = folder
        self._blobs = blobs
        self._frame = frame
        self._discard = discard
        self._waiting = deque(blobs)
        self._file = -1  # of the first one that waits

    @property
    def is_over(self) -> bool:
        return self._frame is None

    def next(self) -> Any:
        """The next frame to send; None after the last."""
        if self._waiting:
            blob = self._waiting[0]
            try:
                data = self._read(blob)
            except OSError:
                self._end_blob()
                return Scrap((blob,))  # whoever looks for it will say that it is not there
            if data:
                return Part(blob, data)
            self._end_blob()
            return self.next()
        frame, self._frame = self._frame, None
        return frame

    def cancel(self) -> None:
        """Nobody wants the frame any more; the peer is told."""
        if not self.is_over:
            self._frame = Scrap(self._blobs)
            self._drop()

    def close(self) -> None:
        """The peer is gone."""
        self._frame = None
        self._drop()

    def _read(self, blob: str) -> bytes:
        """b"": it has come to its end."""
        if self._file < 0:
            # a replica may have put anything in its place: only what is a file is read, and no link is followed
            path = os.path.join(self._folder, os.path.basename(blob))
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise OSError(f"{path} is no file")
        return os.read(self._file, PART_BYTES)

    def _drop(self) -> None:
        while self._waiting:
            self._end_blob()

    def _end_blob(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._discard((self._waiting.popleft(),))


class Incoming:
    """The blobs of one peer, put together in ``folder`` under names of our own."""

    def __init__(self, folder: str) -> None:
        self._blobs = Blobs(folder)
        self._names: dict[str, str] = {}  # the peer's → ours
        self._lost: dict[str, str] = {}  # the peer's → why

    def add(self, part: Part) -> None:
        if part.blob in self._lost:
            return
        known = self._names.get(part.blob)
        try:
            if known is None:
                self._names[part.blob] = self._blobs.write(memoryview(part.data))
            else:
                self._append(known, part.data)
        except OSError as error:
            self._lost[part.blob] = error.strerror or str(error)
            self._unlink(self._names.pop(part.blob, ""))

    def why_lost(self, blobs: tuple[str, ...]) -> str:
        """Why these cannot be taken; "": they are here."""
        for blob in blobs:
            if blob not in self._names:
                return self._lost.get(blob, "it has not come")
        return "" if len(set(blobs)) == len(blobs) else "one is named twice"

    def take(self, blobs: tuple[str, ...]) -> tuple[str, ...]:
        """Our names of blobs that are here; the caller's from now on."""
        return tuple(self._names.pop(blob) for blob in blobs)

    def drop(self, blobs: tuple[str, ...]) -> tuple[str, ...]:
        """Forget these. Our names of what is to be removed."""
        for blob in blobs:
            self._lost.pop(blob, None)
        return tuple(self._names.pop(blob) for blob in blobs if blob in self._names)

    def drop_all(self) -> tuple[str, ...]:
        return self.drop((*self._names, *self._lost))

    def _append(self, name: str, data: bytes) -> None:
        # opened for each part: a peer may begin as many blobs as it likes, and descriptors are few
        fd = os.open(os.path.join(self._blobs.folder, name), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with memoryview(data) as rest:
                done = 0
                while done < len(data):
                    done += os.write(fd, rest[done:])
        finally:
            os.close(fd)

    def _unlink(self, name: str) -> None:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._blobs.folder, name))
