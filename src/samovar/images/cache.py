"""Where what was made for images is kept, and the lock under which it is made: once, however many ask at once.

Called by everything in this room that makes something slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

_POLL = 0.05  # seconds between two looks at a lock that another process may hold


def folder(name: str) -> Path:
    """A folder of the user's cache, made if it is not there."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = home / "samovar" / name
    found.mkdir(parents=True, exist_ok=True)
    return found


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock of this file, against other processes and against other tasks of this one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _try_lock(fd):
            await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
