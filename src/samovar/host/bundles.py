"""The bundles of a service: the code that clients have sent, each in a folder that is named by its digest.

What must stay true: a folder that has its name is complete. It is filled under another name, checked, and renamed; and
once in the life of a service it is checked again, as a machine may have lost its power. Whatever a sender says, no file
is made outside of the folder that was made for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from samovar.host.packing import MAX_BYTES, MAX_FILES, PARCEL_BYTES, File, Manifest, digest_of, hasher
from samovar.light import msgspec
from samovar.wire.frames import Piece

KEEP_SECONDS = 14 * 86400.0
"""After the last use."""

KEEP_MOST = 200
"""Bundles; those that are used are kept beside."""

_RECENT = 3600.0  # seconds for which a bundle is kept however many there are: whoever asked for it may come soon
_UNFINISHED = "unfinished-"
_MANIFEST = "manifest"
_FILES = "files"
_DIGEST = re.compile(r"[0-9a-f]{32}")


class Refused(ValueError):
    """What a client sent cannot be kept."""


class Bundles:
    """The folder of all bundles; one service has it. Safe to call from any thread."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.RLock()  # not held while files are read: the engine's turn asks as well
        self._known: dict[str, Manifest] = {}  # that are there and were checked
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):  # behind by a service that was killed
            shutil.rmtree(left, ignore_errors=True)

    def has(self, digest: str) -> bool:
        """Whether it is there, whole; it counts as used then."""
        if digest not in self._known and not self._check(digest):
            return False
        with contextlib.suppress(OSError):
            os.utime(self._folder / digest, (self._clock(), self._clock()))
        return True

    def files(self, digest: str) -> str:
        """Where its files are."""
        return str(self._folder / digest / _FILES)

    def begin(self, digest: str) -> Delivery:
        """Refused: that is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise Refused(f"{digest!r} is no digest")
        return Delivery(digest, Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder)))

    def complete(self, delivery: Delivery) -> None:
        """All of it has come. Refused: it is not what was announced."""
        manifest = delivery.finish()
        if self.has(delivery.digest):  # another client was quicker
            delivery.discard()
            return
        with self._lock:
            os.rename(delivery.folder, self._folder / delivery.digest)
            self._known[delivery.digest] = manifest

    def differ(self, one: str, other: str) -> bool:
        """Whether a file is in both and is not the same."""
        mine, others = self._known.get(one, {}), self._known.get(other, {})
        return any(others.get(name, file) != file for name, file in mine.items())

    def sweep(self, in_use: set[str]) -> list[str]:
        """Remove what nobody needs any more; what was removed."""
        with self._lock:
            now = self._clock()
            used = {path.name: path.stat().st_mtime for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name)}
            for digest in used.keys() & in_use:
                os.utime(self._folder / digest, (now, now))
            idle = sorted(used.keys() - in_use, key=lambda digest: -used[digest])
            old = [digest for digest in idle if now - used[digest] > KEEP_SECONDS]
            many = [digest for digest in idle[KEEP_MOST:] if now - used[digest] > _RECENT]
            gone = sorted({*old, *many})
            for digest in gone:
                self._remove(digest)
            return gone

    def _check(self, digest: str) -> bool:
        """Whether all of its files are as they came; what is damaged goes."""
        folder = self._folder / digest
        if not _DIGEST.fullmatch(digest) or not folder.exists():
            return False
        try:
            manifest = msgspec.msgpack.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
            good = digest_of(manifest) == digest and all(
                _digest_of_file(folder / _FILES / name) == file.digest for name, file in manifest.items()
            )
        except (OSError, ValueError):
            good = False
        with self._lock:
            if good:
                self._known[digest] = manifest
            else:
                self._remove(digest)
        return good

    def _remove(self, digest: str) -> None:
        """Whole under its name, or not at all."""
        self._known.pop(digest, None)
        aside = tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder)
        with contextlib.suppress(OSError):
            os.rename(self._folder / digest, os.path.join(aside, digest))
        shutil.rmtree(aside, ignore_errors=True)


class Delivery:
    """A bundle on its way: files come in pieces, one after another."""

    def __init__(self, digest: str, folder: Path) -> None:
        self.digest = digest
        self.folder = folder
        self._files = folder / _FILES
        self._manifest: Manifest = {}
        self._open: _Writing | None = None
        self._bytes = 0
        _make_folder(self._files)

    def add(self, piece: Piece) -> None:
        """Refused: it cannot be part of a bundle. OSError: the disk does not take it."""
        if self._open is None or self._open.path != piece.path:
            self._begin_file(piece)
        assert self._open is not None
        data = _decompressed(piece)
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise Refused(f"it has more than {MAX_BYTES} bytes")
        self._open.write(data)

    def finish(self) -> Manifest:
        """Refused: the files are not those that the digest stands for."""
        self._end_file()
        found = digest_of(self._manifest)
        if found != self.digest:
            raise Refused("its files have changed while they were sent; run it again")
        (self.folder / _MANIFEST).write_bytes(msgspec.msgpack.encode(self._manifest))
        return self._manifest

    def discard(self) -> None:
        if self._open is not None:
            self._open.file.close()
            self._open = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin_file(self, piece: Piece) -> None:
        self._end_file()
        if piece.path in self._manifest:
            raise Refused(f"{piece.path!r} comes twice")
        if len(self._manifest) >= MAX_FILES:
            raise Refused(f"it has more than {MAX_FILES} files")
        parts = _parts(piece.path)
        folder = self._files
        for part in parts[:-1]:
            folder /= part
            _make_folder(folder)
        self._open = _Writing(piece, folder / parts[-1])

    def _end_file(self) -> None:
        if self._open is not None:
            self._manifest[self._open.path] = self._open.finish()
            self._open = None


class _Writing:
    """The file that is being written. Everybody may read it, nobody is to change it."""

    def __init__(self, piece: Piece, path: Path) -> None:
        self.path = piece.path
        self._is_executable = piece.is_executable
        self._hash = hasher()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError as error:
            raise Refused(f"{piece.path!r} is a folder too") from error
        self.file: Any = open(descriptor, "wb")  # noqa: SIM115 - for the next pieces

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self.file.write(data)

    def finish(self) -> File:
        os.fchmod(self.file.fileno(), 0o555 if self._is_executable else 0o444)
        self.file.close()
        return File(self._hash.hexdigest(), self._is_executable)


def _parts(path: str) -> tuple[str, ...]:
    """Of a path that stays in its folder. Refused: it does not."""
    parts = PurePosixPath(path).parts
    if not parts or "/".join(parts) != path or ".." in parts or "\0" in path:
        raise Refused(f"{path!r} is no path of a file in a bundle")
    return parts


def _make_folder(path: Path) -> None:
    """Writable for the service's user alone: caches of bytecode are made beside the files."""
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise Refused(f"{path.name!r} is a file too") from None
    else:
        path.chmod(0o755)


def _decompressed(piece: Piece) -> bytes:
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(piece.data, PARCEL_BYTES + 1)
    except zlib.error as error:
        raise Refused(f"{piece.path!r} does not decompress: {error}") from error
    if len(data) > PARCEL_BYTES or not inflate.eof:
        raise Refused(f"a piece of {piece.path!r} is too large, or cut off")
    return data


def _digest_of_file(path: Path) -> str:
    found = hasher()
    with open(path, "rb") as file:
        while data := file.read(2**20):
            found.update(data)
    return found.hexdigest()
