"""A build's context: which files go to the builder, under which names, and the archive they travel in.

What a context holds decides what an image is. So files are named by a digest of what they are, times and owners are
left out, and every file can be read by everybody: a replica is not the user who wrote it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from samovar.errors import ImageBuildError

_LEFT_OUT = {"__pycache__"}  # changes with every run, and is made in the image


Keep = Callable[[str], bool]
"""Says of a path, relative to its folder, whether it counts."""


class _Tree(NamedTuple):
    path: Path
    keep: Keep | None = None


class Context:
    """Files by their path in the archive."""

    def __init__(self) -> None:
        self._entries: dict[str, _Tree | bytes] = {}

    def add(self, name: str, content: Path | str, keep: Keep | None = None) -> None:
        """A file, a folder (with all that is in it, or what is to be kept), or a text."""
        self._entries[name] = content.encode() if isinstance(content, str) else _Tree(content, keep)

    def place(self, source: str) -> str:
        """Take in this file or folder under a name that says what is in it; gives the name."""
        path = Path(source)
        if not path.exists():
            raise ImageBuildError(f"the image needs {source}, which is not there; correct the path, or create it")
        name = path.name if path.name not in ("", "..") else path.resolve().name
        folder = hashlib.blake2b(f"{name}\0{digest(path)}".encode(), digest_size=8).hexdigest()
        place = f"copied/{folder}/{name}"
        self.add(place, path)
        return place

    def write(self, file: IO[bytes]) -> None:
        """The archive, to this file."""
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, content in sorted(self._entries.items()):
                    if isinstance(content, bytes):
                        archive.addfile(_header(name, len(content)), io.BytesIO(content))
                    else:
                        _add(archive, name, *content)
        except OSError as error:
            raise ImageBuildError(f"the image's files cannot be read: {error}") from error


def digest(path: Path, keep: Keep | None = None) -> str:
    """Of a file's content and whether it is a program; of all that is in a folder, names and targets of links, too."""
    hashed = hashlib.blake2b(digest_size=8)
    try:
        for name, found in walk(path, keep):
            hashed.update(f"{name}\0{_kind(found if name else found.resolve())}\0".encode())
            if found.is_symlink() and name:
                hashed.update(os.readlink(found).encode())
            elif found.is_file():
                with found.open("rb") as file:
                    hashed.update(hashlib.file_digest(file, "blake2b").digest())
    except OSError as error:
        raise ImageBuildError(f"the image's files cannot be read: {error}") from error
    return hashed.hexdigest()


def walk(path: Path, keep: Keep | None = None) -> Iterator[tuple[str, Path]]:
    """(path relative to the folder, path) of all below it in a fixed order; a file is alone, with the name ""."""
    if not path.is_dir():
        yield "", path
        return
    if keep is None:
        yield ".", path
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for name in sorted([*folders, *files]):
            found = Path(folder, name)
            relative = str(found.relative_to(path))
            if _kind(found) and (keep is None or keep(relative)):
                yield relative, found


def ignoring(text: str) -> Keep:
    """What a .dockerignore with this text keeps: the last pattern that matches a path or a folder above it decides."""
    rules: list[tuple[bool, re.Pattern[str]]] = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").strip().strip("/").removeprefix("./")
        rules.append((line.startswith("!"), re.compile(_expression(pattern))))

    def keep(path: str) -> bool:
        kept = True
        for exception, pattern in rules:
            if kept != exception and pattern.match(path):
                kept = exception
        return kept

    return keep


def _expression(pattern: str) -> str:
    """A regular expression for the pattern of a .dockerignore; it matches what lies below, too."""
    found = ""
    for part in re.findall(r"\*\*/?|\*|\?|\[[^]]*\]|\\.|.", pattern):
        if part.startswith("**"):
            found += "(?:.*/)?" if part.endswith("/") else ".*"
        elif part == "*":
            found += "[^/]*"
        elif part == "?":
            found += "[^/]"
        elif part.startswith("[") and len(part) > 1:
            found += part
        else:
            found += re.escape(part.removeprefix("\\") or part)
    return f"{found}(?:/|$)" if pattern != "." else ""


def _kind(path: Path) -> str:
    """ "" for what no image can hold: sockets, pipes, devices."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "program" if mode & 0o111 else "file"
    return ""


def _add(archive: tarfile.TarFile, name: str, path: Path, keep: Keep | None = None) -> None:
    for relative, found in walk(path, keep):
        header = _header(name if relative in ("", ".") else f"{name}/{relative}")
        if found.is_symlink() and relative:
            header.type, header.linkname = tarfile.SYMTYPE, os.readlink(found)
            archive.addfile(header)
        elif found.is_dir():
            header.type, header.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(header)
        else:
            status = found.stat()
            header.size = status.st_size
            header.mode = 0o755 if status.st_mode & 0o111 else 0o644
            with found.open("rb") as file:
                archive.addfile(header, file)


def _header(name: str, size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header
