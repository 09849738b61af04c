"""Blobs: large values as files of one folder, which both ends map.

A folder on a tmpfs makes of this one copy a hop. Most of what such a copy costs is the kernel's search for pages, so
the process of a script keeps files that have them: one that a result came in belongs to whoever consumes it, and
when the last array that lies on it is gone nobody maps it, and it may be written over. Replicas keep none, as it
would outlive their death.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref

KEPT_BYTES = 128 * 1024 * 1024
"""Bytes of spare files that are kept at most."""

_COPIED_BYTES = 1 << 30  # by one call


class Blobs:
    """The blobs of ``folder``; ``spares``: keep consumed files for the next writes."""

    def __init__(self, folder: str, spares: bool = False) -> None:
        self.folder = folder
        self._spares: list[tuple[str, int]] = []  # (path, bytes)
        self._keeps = spares
        self._forks = 0
        if spares:
            os.register_at_fork(before=self._forking)

    def write(self, view: memoryview) -> str:
        """Write a new blob; gives its name. OSError: the file system is full."""
        name = os.urandom(8).hex()
        path = os.path.join(self.folder, name)
        fd = self._create(path)
        try:
            with view.cast("B") as rest:
                done = 0
                while done < rest.nbytes:
                    done += os.write(fd, rest[done:])
                os.truncate(fd, done)  # a spare may have been longer
        except BaseException:
            unlink(path)
            raise
        finally:
            os.close(fd)
        return name

    def map(self, name: str, consume: bool) -> mmap.mmap:
        """The bytes of a blob on private pages. ``consume``: the blob is ours alone, and goes with the map."""
        path = os.path.join(self.folder, name)
        fd = os.open(path, os.O_RDONLY)
        try:
            mapped = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(fd)
        if consume and self._keeps:
            weakref.finalize(mapped, self._unmapped, path, len(mapped), self._forks).atexit = False
        elif consume:
            os.unlink(path)
        return mapped

    def remove(self, names: tuple[str, ...]) -> None:
        """Nobody will read them."""
        for name in names:
            unlink(os.path.join(self.folder, name))

    def _create(self, path: str) -> int:
        while self._spares:
            spare, _ = self._spares.pop()
            with contextlib.suppress(OSError):  # not ours to write to: a new one then
                fd = os.open(spare, os.O_WRONLY)
                if os.fstat(fd).st_nlink == 1:
                    os.rename(spare, path)
                    return fd
                os.close(fd)  # an engine keeps what is in it, under another name
                unlink(spare)
        return _new(path)

    def _unmapped(self, path: str, size: int, forks: int) -> None:
        """Called by the collector, in any thread."""
        if forks == self._forks and sum(kept for _, kept in self._spares) + size <= KEPT_BYTES:
            self._spares.append((path, size))
        else:
            unlink(path)

    def _forking(self) -> None:
        """The child maps what we map, for as long as it likes."""
        self._forks += 1
        spares, self._spares = self._spares, []
        for path, _ in spares:
            unlink(path)


def adopt(folder: str, name: str) -> None:
    """Put a copy in the place of a blob. The kernel counts pages as memory of the one who wrote them first, for as
    long as they are there: a replica with a bound would pay for results that others keep.

    Called by engines, which trust no replica: a link to somewhere else is not followed. OSError: it is no blob, or the
    file system is full; it is left as it was.
    """
    path = os.path.join(folder, os.path.basename(name))
    duplicate(path, path)


def duplicate(source: str, target: str, durable: bool = False) -> None:
    """Put a copy of a blob in the place ``target``, whole or not at all; ``durable``: it is on the disk then.

    A link to somewhere else is not followed. OSError: there is no such blob, or the file system is full.
    """
    copy = f"{target}.copy"
    read = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        unlink(copy)  # of a process that died
        fd = _new(copy)
        try:
            while os.sendfile(fd, read, None, _COPIED_BYTES):
                pass
            if durable:
                os.fsync(fd)
            os.rename(copy, target)
        except BaseException:
            unlink(copy)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(read)


def share(folder: str, name: str) -> str:
    """The same blob under one more name, which lives for itself; gives the name. OSError: it is not there."""
    shared = os.urandom(8).hex()
    os.link(os.path.join(folder, os.path.basename(name)), os.path.join(folder, shared), follow_symlinks=False)
    return shared


def _new(path: str) -> int:
    """Open a new file. Its group reads it whatever the umask: a replica may be another user."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(fd, 0o640)
    return fd


def unlink(path: str) -> None:
    """Whether it is there or not."""
    with contextlib.suppress(FileNotFoundError):  # the folder is gone with its engine
        os.unlink(path)
