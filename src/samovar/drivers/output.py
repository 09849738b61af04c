"""What a replica writes to stdout and stderr outside of tasks, read on the engine's loop.

Called by drivers whose replicas write into a pipe of this machine. The end of it is kept for the replica's Exit; whole
lines are handed on as they come.
"""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable

TAIL_BYTES = 8 * 1024
"""How much of a replica's output is kept for its Exit."""

OnOutput = Callable[[str, str], None]
"""Takes the replica and one line of what it wrote, without the newline."""

_READ_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024  # a longer line is handed on in pieces
_DRAIN_READS = 64  # after the end; a process that escaped the kill might write for ever


class Output:
    """Reads what a replica writes: keeps the end of it and hands on whole lines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, sink: Callable[[str], None] | None) -> None:
        self._loop = loop
        self._fd = fd
        self._sink = sink
        self._tail = bytearray()
        self._line = ""
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def finish(self) -> str:
        """Take what is left in the pipe, close it, and return the end of all."""
        for _ in range(_DRAIN_READS):
            if not self._read():
                break
        self._close()
        if self._line and self._sink is not None:
            self._give(self._line, self._sink)
        return self._tail.decode("utf-8", errors="replace")

    def _read(self) -> bool:
        """False: nothing there now, or ever."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close()
            return False
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        if self._sink is not None:
            self._hand_on(self._decode(data), self._sink)
        return True

    def _hand_on(self, text: str, sink: Callable[[str], None]) -> None:
        *lines, self._line = (self._line + text).split("\n")
        if len(self._line) > _LINE_BYTES:
            lines.append(self._line)
            self._line = ""
        for line in lines:
            self._give(line.removesuffix("\r"), sink)

    def _give(self, line: str, sink: Callable[[str], None]) -> None:
        """A sink that fails must not keep a death from being seen."""
        try:
            sink(line)
        except Exception as error:
            self._loop.call_exception_handler({"message": "on_output of a driver failed", "exception": error})

    def _close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
