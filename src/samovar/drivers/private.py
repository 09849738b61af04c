"""A driver's own folder on a tmpfs, for what replicas are given and nobody else may read: secrets, tokens, pipes.

Only this user can look into it, and nothing of it reaches a disk where /dev/shm is there. A lock that is held as long
as the driver lives tells its folder, and what is labelled with it, from what a dead one left behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_LOCK = "lock"


class PrivateFolder:
    """Made when it is first used; ``close`` removes it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._held = -1

    @property
    def lock(self) -> Path:
        """The file that is locked while this folder is in use."""
        return self._made() / _LOCK

    def make(self, prefix: str) -> Path:
        """A new folder in it, of mode 0700."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self._made()))

    def close(self) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._held)
            self._path = None

    def _made(self) -> Path:
        if self._path is None:
            path = Path(tempfile.mkdtemp(prefix=_prefix(), dir=_base()))
            self._held = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._held, fcntl.LOCK_EX)
            self._path = path
        return self._path


def is_in_use(lock: Path) -> bool:
    """Whether somebody holds the lock of a private folder. True where that cannot be known."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def remove_unused(lock: Path) -> None:
    """Remove the private folder of this lock, if nobody uses it and it is one of this user's."""
    folder = lock.parent
    if folder.parent == _base() and folder.name.startswith(_prefix()) and not is_in_use(lock):
        shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    return Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())


def _prefix() -> str:
    return f"samovar-{os.getuid()}-"
