"""Folders that a process has for itself as long as it lives.

A lock in each shows that it is in use, so that what a killed process has left goes when the next one comes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from typing import Any


def shared_memory() -> str:
    """Where large values lie: in memory, where the system has a place for that."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def own_folder(base: str) -> tuple[str, Any]:
    """A new folder, with a lock that shows it is in use; what dead processes have left beside it goes."""
    prefix = f"samovar-{os.getuid()}-"
    for name in os.listdir(base):
        if name.startswith(prefix):
            _sweep(os.path.join(base, name))
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    lock = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 - held as long as the process lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _sweep(folder: str) -> None:
    try:
        if time.time() - os.stat(folder).st_mtime < 1:
            return  # just made, perhaps not locked yet
        with open(os.path.join(folder, "lock"), "r+") as lock:  # what has none is nobody's own
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
