"""The log of a service: its standard error. As the file of one that runs in the background it is kept small."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

LOG_BYTES = 16 * 1024 * 1024
"""Of the file; as much that is older lies beside it."""


class Log:
    """``path``: the file that ``samovar start`` makes; any other standard error is somebody else's to look after."""

    def __init__(self, path: Path, bound: int = LOG_BYTES) -> None:
        self._path = path
        self._bound = bound
        self._lock = threading.RLock()  # a signal may come in the middle of a line

    def say(self, line: str) -> None:
        """Any thread may."""
        with self._lock:
            print(f"samovar: {line}", file=sys.stderr, flush=True)
            try:
                self._begin_anew_if_full(sys.stderr.fileno())
            except OSError:  # a stream without a file, or a disk without room: what is said is said
                return

    def _begin_anew_if_full(self, fd: int) -> None:
        """Emptied, not renamed: others have it open too, and all append."""
        status = os.fstat(fd)
        if status.st_size > self._bound and os.path.samestat(status, self._path.stat()):
            shutil.copyfile(self._path, self._path.with_name(f"{self._path.name}.1"))
            os.ftruncate(fd, 0)
