"""The home of a driver whose replicas outlive it: a folder that stays when its process is killed.

A service gives one; a script does not, and what a script's engine has started ends with it. Each replica has a
folder in it, with a record of what a later driver needs to take it over, written before there is anything to lose.
The home is locked while a driver has it. ``close`` of the driver removes it, so what is in a home that is
opened has been left behind by a kill: replicas to be waited for, or else to be ended.

Secrets of replicas lie in it as well. So it belongs on a tmpfs, which also ends when they do: with the machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from samovar.errors import InitializationError
from samovar.light import msgspec

ADOPTION_SECONDS = 30.0
"""How long the next driver leaves a replica alone that has outlived its own; then it ends those that nobody wants."""

_RECORD = "record"
_JOIN_SECONDS = 10.0  # for an end that has begun before the driver was closed


class Record(msgspec.Struct, frozen=True):
    """What a driver needs to take a replica over; each driver adds its own."""

    replica: str


T = TypeVar("T", bound=Record)


class Home:
    """InitializationError: another engine has it, or others than this user may look into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = _lock(path)

    def make(self, prefix: str) -> Path:
        """A new folder in it, of mode 0700."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.path))

    def left(self, kind: type[T]) -> dict[Path, T]:
        """What earlier drivers have left: folder → record. A folder without a record was made for a replica that was
        never started; it goes."""
        found: dict[Path, T] = {}
        for folder in self.path.iterdir():
            try:
                found[folder] = msgspec.msgpack.decode((folder / _RECORD).read_bytes(), type=kind)
            except (OSError, msgspec.DecodeError):
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def write(folder: Path, record: Record) -> None:
    """Write the record of a replica, or another in its place: a reader finds a whole one."""
    new = folder / f"{_RECORD}.new"
    new.write_bytes(msgspec.msgpack.encode(record))
    new.replace(folder / _RECORD)


class Survivors(Generic[T]):
    """What a driver has found in its home, until each is claimed or ended.

    ``end`` ends one and removes its folder. It is awaited on a loop of the thread that counts the time, since a driver
    that is asked for nothing has no loop.
    """

    def __init__(self, found: Mapping[Path, T], end: Callable[[Path, T], Awaitable[None]]) -> None:
        self._left = dict(found)
        self._end = end
        self._lock = threading.Lock()
        self._timer = threading.Timer(ADOPTION_SECONDS, lambda: asyncio.run(self._end_all()))
        self._timer.daemon = True
        if self._left:
            self._timer.start()

    def claim(self, replica: str) -> tuple[Path, T] | None:
        """A folder and record of this name, once: what becomes of it is the caller's business from now on."""
        with self._lock:
            for folder, record in self._left.items():
                if record.replica == replica:
                    return folder, self._left.pop(folder)
        return None

    async def close(self) -> None:
        """End what nobody has claimed."""
        self._timer.cancel()
        await self._end_all()
        if self._timer.ident is not None:
            await asyncio.to_thread(self._timer.join, _JOIN_SECONDS)

    async def _end_all(self) -> None:
        with self._lock:
            ending, self._left = self._left, {}
        await asyncio.gather(*(self._end(folder, record) for folder, record in ending.items()))


def _lock(path: Path) -> int:
    """A descriptor of the folder, which is made where it is not there, that holds the lock on it."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        there = os.fstat(held)
        try:
            if there.st_uid != os.getuid() or there.st_mode & 0o077:
                raise _refused(f"{path} must belong to this user alone; remove it, or choose another folder")
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == there.st_ino:
                return held
        except BlockingIOError as error:
            os.close(held)
            raise _refused(f"{path} has the replicas of another engine that runs; stop it first") from error
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # it was removed by the one that had it before


def _refused(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)
