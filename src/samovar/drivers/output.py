"""What a replica writes to stdout and stderr outside of tasks, read on the engine's loop.

The end of it is kept for the replica's Exit; whole lines are handed on as they come. A replica writes into a file: it
may outlive its engine, and a pipe that nobody reads breaks who writes to it, or stops it as soon as it is full. So can
the replica read what its tasks write past Python, and tell whose it is (``samovar.runtime.descriptors``).
"""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable
from pathlib import Path

TAIL_BYTES = 8 * 1024
"""How much of a replica's output is kept for its Exit."""
UNREAD_BYTES = 1 << 20
"""How much that nobody has read yet is handed on; of more, only the end."""

OnOutput = Callable[[str, str], None]
"""Takes the replica and one line of what it wrote, without the newline."""
Sink = Callable[[str], None]
"""Takes one line."""

_READ_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024  # a longer line is handed on in pieces
_LOOK_EVERY = 0.25  # seconds: the kernel tells nobody that a file has grown
_FREE_BYTES = 64 * 1024  # what has been read and still takes room in a file, before it is freed
_PUNCH_HOLE = 0x01 | 0x02  # for fallocate: the room is given back, the length stays
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Transcript:
    """Bytes in; the lines of them, and their end, out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: Sink | None) -> None:
        self._loop = loop
        self._sink = sink
        self._tail = bytearray()
        self._line = ""
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def add(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        if self._sink is not None:
            self._hand_on(self._decode(data), self._sink)

    def finish(self) -> str:
        if self._line and self._sink is not None:
            self._give(self._line, self._sink)
            self._line = ""
        return self._tail.decode("utf-8", errors="replace")

    def _hand_on(self, text: str, sink: Sink) -> None:
        *lines, self._line = (self._line + text).split("\n")
        if len(self._line) > _LINE_BYTES:
            lines.append(self._line)
            self._line = ""
        for line in lines:
            self._give(line.removesuffix("\r"), sink)

    def _give(self, line: str, sink: Sink) -> None:
        """A sink that fails must not keep a death from being seen."""
        try:
            sink(line)
        except Exception as error:
            self._loop.call_exception_handler({"message": "on_output of a driver failed", "exception": error})


class Output:
    """Reads a file that a replica appends to, from where the driver before this one has come to.

    What has been read gives its room back and leaves a hole, so the file takes little room however long it gets, and
    shows how far it was read. It takes a file system that can do that; all that one would choose can.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, sink: Sink | None, rounds: Rounds) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._transcript = _Transcript(loop, sink)
        self._rounds = rounds
        self._freed = self._at = _first_data(self._fd)
        rounds.add(loop, self)

    def look(self) -> None:
        """Read what has come since the last look."""
        size = os.lseek(self._fd, 0, os.SEEK_END)  # cheaper than fstat; reads say where they begin
        if size == self._at:
            return
        if size < self._at:  # the replica has emptied it: a shell does, with > /dev/stderr
            self._freed = self._at = 0
        self._at = max(self._at, size - UNREAD_BYTES)
        while self._at < size and (data := os.pread(self._fd, min(_READ_BYTES, size - self._at), self._at)):
            self._at += len(data)
            self._transcript.add(data)
        if self._at - TAIL_BYTES - self._freed >= _FREE_BYTES:
            self._freed = (self._at - TAIL_BYTES) // _PAGE * _PAGE
            _punch_hole(self._fd, self._freed)

    def finish(self) -> str:
        """Take what is left, close it, and return the end of all. Safe to call twice."""
        if self._fd >= 0:
            self._rounds.discard(self)
            self.look()
            os.close(self._fd)
            self._fd = -1
        return self._transcript.finish()


class Rounds:
    """Looks at all files of a driver, by one timer, which runs while there are any."""

    def __init__(self, every: float = _LOOK_EVERY) -> None:
        self._every = every
        self._files: set[Output] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, loop: asyncio.AbstractEventLoop, file: Output) -> None:
        self._files.add(file)
        if self._timer is None:
            self._timer = loop.call_later(self._every, self._go, loop)

    def discard(self, file: Output) -> None:
        self._files.discard(file)
        if not self._files and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._every, self._go, loop)
        for file in list(self._files):
            file.look()


def _first_data(fd: int) -> int:
    """Where the holes at the beginning end."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # there is nothing in it
        return 0


def _punch_hole(fd: int, length: int) -> None:
    """From the beginning. Where that is not possible the file goes on growing."""
    import ctypes  # here, since scripts do not need it

    ctypes.CDLL(None).fallocate(fd, _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(length))
