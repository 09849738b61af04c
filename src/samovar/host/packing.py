"""Packing: which files of this process are the user's code, and what they are called in a bundle.

A bundle is addressed by what is in it: the relative paths and the bytes of its files. Where they lie does not matter,
so two checkouts of the same code are one bundle. ``shipping`` brings it to a service, ``bundles`` keeps it there.
"""

from __future__ import annotations

import glob
import hashlib
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from samovar import errors
from samovar.light import msgspec
from samovar.model import Bundle
from samovar.sdk import bundle, ctx
from samovar.sdk.environment import included
from samovar.wire.frames import Piece

MAX_BYTES = 256 * 2**20
"""Of all files of a bundle."""

MAX_FILES = 50_000

PARCEL_BYTES = 8 * 2**20
"""Of files, before they are compressed, that travel together."""

_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")  # a folder with one of these is a project
_LEFT_OUT = ("__pycache__", "node_modules", "venv")  # of "all", beside what is hidden
_ELSEWHERE = ".elsewhere"  # the folder of what lies outside of the project; nothing hidden is packed beside it
_BIGGEST = 5
_GIT_SECONDS = 30


class File(NamedTuple):
    digest: str
    is_executable: bool


Manifest = dict[str, File]
"""The files of a bundle by relative path."""


class Cargo(NamedTuple):
    bundle: Bundle  # packed
    files: dict[str, str]  # relative path → where the file lies
    project: str  # where it comes from: the machine and the folder

    def has_module(self, name: str) -> bool:
        """Whether a replica finds the module in it; one that this process did not import from a file it never will."""
        file = getattr(sys.modules.get(name), "__file__", None)
        return name == self.bundle.main_name or file is None or os.path.realpath(file) in self.sources

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(self.files.values())


def pack(style: str) -> Cargo:
    """The code of this process by now. ``style``: "loaded_modules" or "all". InitializationError: it cannot be packed,
    OSError: a file has gone.
    """
    code = bundle.current()
    roots = bundle.loaded()
    if code.main:
        roots.setdefault(code.main, code.sys_path[0])
    project = _project(code.sys_path[0])
    chosen = {path: root for path, root in roots.items() if _is_importable(path, root, code, project)}
    wanted = {*chosen, *_included(project)}
    if style == "all":
        wanted.update(_below(project, _ignored(project)))
    layout = _Layout(project, [*code.sys_path, *chosen.values()])
    files = {layout.name(path): path for path in sorted(wanted)}
    _check_size(files, style)
    manifest = {name: _read(name, path) for name, path in files.items()}
    packed = msgspec.structs.replace(
        code,
        main=layout.name(code.main) if code.main else "",
        sys_path=layout.search_path(files),
        digest=digest_of(manifest),
        is_packed=True,
    )
    return Cargo(packed, files, f"{socket.gethostname()}:{project}")


def digest_of(manifest: Manifest) -> str:
    encoded = msgspec.msgpack.encode(sorted((name, *file) for name, file in manifest.items()))
    found = hasher()
    found.update(encoded)
    return found.hexdigest()


def hasher() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def parcels(files: dict[str, str]) -> Iterator[tuple[tuple[Piece, ...], bool]]:
    """The files in pieces, as many together as one parcel takes, and whether it is the last. OSError: one cannot be
    read any more.
    """
    pieces: list[Piece] = []
    room = PARCEL_BYTES
    for name, path in files.items():
        is_executable = os.access(path, os.X_OK)
        with open(path, "rb") as file:
            while True:
                data = file.read(room)
                pieces.append(Piece(name, zlib.compress(data, 1), is_executable))
                room -= len(data)
                if room > 0:
                    break
                yield tuple(pieces), False
                pieces, room = [], PARCEL_BYTES
    yield tuple(pieces), True


class _Layout:
    """What files are called in a bundle: as in the project, and below a folder of its own each root elsewhere."""

    def __init__(self, project: str, roots: Iterable[str]) -> None:
        self._roots = list(dict.fromkeys(root for root in roots if root))
        above = [root for root in self._roots if _is_below(project, root)]
        self._base = min((project, *above), key=len)  # packages are imported from there
        self._elsewhere: list[str] = []
        for root in self._roots:
            if not _is_below(root, self._base) and not any(_is_below(root, other) for other in self._elsewhere):
                self._elsewhere = [other for other in self._elsewhere if not _is_below(other, root)] + [root]

    def name(self, path: str) -> str:
        """With "/", whatever file or folder it is."""
        if _is_below(path, self._base):
            return os.path.relpath(path, self._base)
        number, root = next((n, root) for n, root in enumerate(self._elsewhere) if _is_below(path, root))
        return os.path.normpath(f"{_ELSEWHERE}/{number}/{os.path.relpath(path, root)}")

    def search_path(self, files: Iterable[str]) -> tuple[str, ...]:
        """Names of the roots that have files; samovar's own, where it is not installed, as it is."""
        names = {root: self.name(root) for root in self._roots}
        filled = {str(folder) for file in files for folder in Path(file).parents}
        own = os.path.dirname(os.path.dirname(os.path.realpath(errors.__file__)))
        return (*(name for name in names.values() if name in filled), *([own] if own in names else []))


def _project(start: str) -> str:
    """What ``init(root_dir=…)`` says, or the nearest folder from ``start`` upwards that looks like a project."""
    if (given := ctx.settings.get("root_dir")) is not None:
        root = os.path.realpath(str(given))
        if not _is_below(start, root):
            raise _refusal(f"init(root_dir={str(given)!r}): the script is imported from {start}, which is not below it")
        return root
    for folder in (Path(start), *Path(start).parents):
        if folder in (Path.home(), Path("/")):
            break
        if any((folder / mark).exists() for mark in _MARKS):
            return str(folder)
    return start


def _is_importable(path: str, root: str, code: Bundle, project: str) -> bool:
    """What is neither in the project nor on the search path nor says by its name where it is imported from was loaded
    by hand, and no replica would find it."""
    return bool(root) or _is_below(path, project) or any(_is_below(path, entry) for entry in code.sys_path)


def _included(project: str) -> Iterator[str]:
    for environment, folder, pattern in included():
        found = [os.path.abspath(path) for path in glob.glob(os.path.join(folder, pattern), recursive=True)]
        said = f"environment {environment!r}: include={pattern!r}"
        if not found:
            raise _refusal(f"{said} names nothing that is there, seen from {folder}")
        for path in found:
            if not _is_below(path, project):
                raise _refusal(
                    f"{said} names {path}, outside of the project {project}; set init(root_dir=…) above both"
                )
            yield from _below(path) if os.path.isdir(path) else (path,)


def _below(folder: str, ignored: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every file, but of hidden folders, caches and virtual environments; what a link names only where it is a file."""
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _LEFT_OUT
            and (path := os.path.join(here, name)) not in ignored
            and not _is_venv(path)
        ]
        for name in names:
            path = os.path.join(here, name)
            if not name.startswith(".") and not name.endswith(".pyc") and path not in ignored and os.path.isfile(path):
                yield path


def _ignored(project: str) -> frozenset[str]:
    """Files and whole folders that Git is told to ignore, where the project is Git's and Git is installed."""
    command = ["git", "-C", project, "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(os.path.join(project, os.fsdecode(name).rstrip("/")) for name in done.stdout.split(b"\0") if name)


def _is_venv(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def _check_size(files: dict[str, str], style: str) -> None:
    sizes = {name: os.stat(path).st_size for name, path in files.items()}
    total = sum(sizes.values())
    if total <= MAX_BYTES and len(files) <= MAX_FILES:
        return
    biggest = sorted(sizes, key=lambda name: -sizes[name])[:_BIGGEST]
    listed = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MiB)" for name in biggest)
    instead = "copy_style='loaded_modules' with TaskEnvironment(include=…)" if style == "all" else "less in include"
    raise _refusal(
        f"the code is too large to ship: {total / 2**20:.0f} MiB in {len(files)} files; {MAX_BYTES / 2**20:.0f} MiB in "
        f"{MAX_FILES} files are allowed. The biggest are {listed}; use {instead}, or pass data to tasks as inputs"
    )


def _read(name: str, path: str) -> File:
    try:
        name.encode()
        with open(path, "rb") as file:
            return File(hashlib.file_digest(file, hasher).hexdigest(), os.access(path, os.X_OK))
    except (OSError, UnicodeError) as error:
        raise _refusal(f"{path!r} cannot be shipped: {error}") from error


def _is_below(path: str, folder: str) -> bool:
    """Or is the folder itself."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _refusal(message: str) -> errors.InitializationError:
    return errors.InitializationError("InitializationError", message)
