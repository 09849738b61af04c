"""What a task writes past Python, to the descriptors 1 and 2: C code, ``os.write``, the processes that it starts.

The driver has made a file of both, which this process reads as well; it is handed on under the name of the one
execution that is active, or as shared where several are. It is read when an execution ends, before its outcome is
sent, and several times a second meanwhile. The driver reads the same file for the last words of a replica that dies.
"""

from __future__ import annotations

import codecs
import os
import stat
import threading
from collections.abc import Callable

UNREAD_BYTES = 1 << 20
"""How much that has come since the last look is handed on; of more, only the end."""

LONGEST_LINE = 64 * 1024
"""Characters of a line that are kept until its end comes; a longer one is handed on in parts."""

_READ_BYTES = 64 * 1024


class Descriptors:
    """``say`` takes text that ends with a newline, but for what an execution leaves without one, and long lines.

    Any thread may look. What must stay true: one that finds nothing costs a system call and nothing else.
    """

    def __init__(self, fd: int, say: Callable[[str], None]) -> None:
        self._fd = fd
        self._say = say
        self._at = 0
        self._rest = ""  # of a line
        self._lock = threading.Lock()
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def look(self, ends: bool = False) -> None:
        """``ends``: whoever has written this writes no more."""
        if os.lseek(self._fd, 0, os.SEEK_END) != self._at or (ends and self._rest):
            with self._lock:
                self._take(ends)

    def _take(self, ends: bool) -> None:
        size = os.lseek(self._fd, 0, os.SEEK_END)
        text = self._rest
        if size < self._at:  # somebody has emptied it: a shell does, with > /dev/stderr
            self._at = 0
        start = self._start(size)
        if start > self._at:
            text += f"({start - self._at} bytes were not kept: more was written than could be read)\n"
        self._at = start
        while self._at < size and (data := os.pread(self._fd, min(_READ_BYTES, size - self._at), self._at)):
            self._at += len(data)
            text += self._decode(data)
        lines, newline, self._rest = text.rpartition("\n")
        if self._rest and (ends or len(self._rest) > LONGEST_LINE):
            lines, newline, self._rest = text, "", ""
        if lines or newline:
            self._say(lines + newline)

    def _start(self, size: int) -> int:
        """Behind what is too much, and what the driver has read and freed."""
        start = max(self._at, size - UNREAD_BYTES)
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA)
        except OSError:  # there is nothing behind it
            return size


def of_this_process(say: Callable[[str], None]) -> Descriptors | None:
    """None: 1 and 2 are not the same file, or not one that may be read; what is written there stays nameless."""
    try:
        status, other = os.fstat(1), os.fstat(2)
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != (other.st_dev, other.st_ino):
            return None
        return Descriptors(os.open("/proc/self/fd/1", os.O_RDONLY | os.O_CLOEXEC), say)
    except OSError:
        return None
