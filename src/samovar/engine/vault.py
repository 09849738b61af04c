"""The large values of an engine: files on a tmpfs that go when they are consumed, and what is kept of them.

A value that is to outlive its consumer is *held*: a second link to the same file, which costs no copy. What the journal
names is copied from there to a folder on a disk, the *cellar*, by the journal's thread and before the journal commits
the name; then the link goes. So a name in the journal always has its file, and a file without a name is swept.

A name is never used for a second value: whoever gets a kept value back gets a copy under a new name, and consumes that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samovar.entries import Entry, RunStarted, Settled
from samovar.errors import JournalAwayError, JournalError
from samovar.wire.blobs import adopt, duplicate, unlink

if TYPE_CHECKING:
    from samovar.engine.keeper import Keeper

Names = tuple[str, ...]

ORPHANED = 86400.0
"""Seconds after which a file that no entry names is nobody's: one that is about to be named is younger."""


class Cellar:
    """The folder that ``find`` gives has the values that a journal names. To be called in any thread but the engine's
    turn, save ``awaits``."""

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find
        self._waiting: dict[str, str] = {}  # name → the link from which it is to be copied

    @functools.cached_property
    def folder(self) -> Path:
        return self._find()

    def awaits(self, name: str, link: str) -> None:
        """An entry that names it will be recorded."""
        self._waiting[name] = link

    def store(self, group: Sequence[Entry]) -> None:
        """Before a group is committed: see that what it names is here (``samovar.journal.writer.Before``)."""
        if not self._waiting:
            return
        named: list[str] = []
        for entry in group:
            if type(entry) is Settled:
                named += entry.result_blobs
            elif type(entry) is RunStarted:
                named += entry.input_blobs
        links = {name: self._waiting[name] for name in named if name in self._waiting}
        if links:
            self._store(links)

    def fetch(self, name: str, target: str) -> None:
        """OSError: it is not here, or the file system of ``target`` is full."""
        duplicate(str(self.folder / name), target)

    def names(self) -> list[str]:
        """Of files that are old enough to be named by something."""
        horizon = time.time() - ORPHANED
        found = []
        with contextlib.suppress(FileNotFoundError):
            for file in os.scandir(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    if file.stat().st_mtime < horizon and file.name not in self._waiting:
                        found.append(file.name)
        return found

    def sweep(self, names: Iterable[str]) -> None:
        for name in names:
            (self.folder / os.path.basename(name)).unlink(missing_ok=True)

    def _store(self, links: Mapping[str, str]) -> None:
        """By name. JournalAwayError: the disk is full. JournalError: a value is gone."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, link in links.items():
                self._copy(name, link)
            self._sync()
        except OSError as error:
            raise JournalAwayError(
                f"large values cannot be kept in {self.folder}: {error.strerror}; make room there"
            ) from error
        for name, link in links.items():
            del self._waiting[name]
            unlink(link)

    def _copy(self, name: str, link: str) -> None:
        try:
            duplicate(link, str(self.folder / os.path.basename(name)), durable=True)
        except FileNotFoundError as error:
            raise JournalError(f"its large value {name} is gone") from error

    def _sync(self) -> None:
        """The folder's entries are on the disk as well."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class Vault:
    """``folder``: of the engine's blobs. ``cellar``: where the journal's are; None: no journal is kept."""

    def __init__(self, keeper: Keeper, folder: str, cellar: Cellar | None) -> None:
        self.folder = folder
        self.cellar = cellar
        self._keeper = keeper

    # in a turn

    def discard(self, names: Names) -> None:
        """Soon, and out of the way: giving back the memory of a large file takes a while."""
        if names:
            self._keeper.do(lambda: self._unlink(names))

    def adopt(self, names: Names, then: Callable[[], None]) -> None:
        """They count no longer as memory of the replica that wrote them; ``then`` follows in a turn of its own."""
        self._keeper.apart(lambda: self._adopt(names), lambda _: then())

    def hold(self, names: Names) -> None:
        """Keep them whatever their consumer does. One that is not there is seen when it is wanted."""
        for name in names:
            with contextlib.suppress(OSError):
                try:
                    os.link(self._path(name), self._link(name), follow_symlinks=False)
                except PermissionError:  # the file of a replica that is another user
                    adopt(self.folder, name)
                    os.link(self._path(name), self._link(name), follow_symlinks=False)

    def hold_for_journal(self, names: Names) -> None:
        """Hold them until the entry that names them, and is recorded next, is committed."""
        self.hold(names)
        if self.cellar is not None:
            for name in names:
                self.cellar.awaits(name, self._link(name))

    def release(self, names: Names) -> None:
        """Hold them no longer."""
        self.discard(tuple(f"{os.path.basename(name)}.held" for name in names))

    def size(self, names: Names) -> int:
        """Bytes."""
        with contextlib.suppress(OSError):
            return sum(os.stat(self._path(name)).st_size for name in names)
        return 0

    def fetch(self, names: Names, then: Callable[[Names | None], None]) -> None:
        """Copies of what was held, for a new consumer; None: they are gone."""
        self._keeper.apart(lambda: self.copies(names), then)

    # in a thread

    def places(self, name: str) -> list[str]:
        """Where a large value may lie, for whoever only looks at it."""
        found = [self._path(name), self._link(name)]
        return found if self.cellar is None else [*found, str(self.cellar.folder / os.path.basename(name))]

    def copies(self, names: Names) -> Names | None:
        """See ``fetch``."""
        made: list[str] = []
        try:
            for name in names:
                made.append(os.urandom(8).hex())
                self._copy(name, self._path(made[-1]))
        except OSError:
            self._unlink(tuple(made))
            return None
        return tuple(made)

    def _copy(self, name: str, target: str) -> None:
        """No link to what is held: a script may write over the file of a value that it is done with."""
        try:
            duplicate(self._link(name), target)
        except FileNotFoundError:
            if self.cellar is None:
                raise
            self.cellar.fetch(os.path.basename(name), target)

    def _adopt(self, names: Names) -> None:
        for name in names:
            with contextlib.suppress(OSError):  # whoever reads it will see what is wrong
                adopt(self.folder, name)

    def _unlink(self, names: Names) -> None:
        for name in names:
            unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, os.path.basename(name))

    def _link(self, name: str) -> str:
        return f"{self._path(name)}.held"
