"""What lies in the local files that a requirement names: a path alone does not tell that its package has changed.

Called by what builds images, for the digest by which a built image is found again. What tools leave behind in a
project does not count, or each build would call for the next.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

EDITABLE = ("-e", "--editable")

_EXTRAS = re.compile(r"\[[^\]]*\]$")
_NAMED_URL = re.compile(r"[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*(?=file:)")


def digest(arguments: Sequence[str]) -> str:
    """Of all files and directories that these arguments of pip name; what cannot be read counts as empty."""
    found = hashlib.blake2b(digest_size=16)
    for path in _paths(arguments):
        for name, file in _files(path):
            found.update(f"{len(name)}:{name}".encode(errors="surrogateescape"))
            found.update(_content(file))
    return found.hexdigest()


def _paths(arguments: Sequence[str]) -> Iterator[str]:
    """A directory without a slash is the name of a package, as for pip, unless it is to be editable."""
    for option, word in zip(("", *arguments), arguments, strict=False):
        flag, _, value = word.partition("=") if word.startswith("--") else (option, "", word)
        path = _EXTRAS.sub("", _NAMED_URL.sub("", value).split(";")[0].strip())
        if path.startswith("file:"):
            path = unquote(urlsplit(path).path)
        is_project = os.path.isdir(path) and (os.sep in path or path in (".", "..") or flag in EDITABLE)
        if is_project or os.path.isfile(path):
            yield path


def _files(path: str) -> Iterator[tuple[str, str]]:
    """(name, path) in an order that does not depend on the machine."""
    if os.path.isfile(path):
        yield os.path.basename(path), path
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not _is_left_behind(folder, name, folder == path))
        for name in sorted(files):
            file = os.path.join(folder, name)
            if os.path.isfile(file) and not name.endswith(".pyc"):  # no pipe, no socket: reading one can block
                yield os.path.relpath(file, path), file


def _is_left_behind(folder: str, name: str, is_top: bool) -> bool:
    """True for what version control, caches, builds and virtual environments put into a project."""
    return (
        name.startswith(".")
        or name == "__pycache__"
        or name.endswith(".egg-info")
        or (is_top and name in ("build", "dist"))
        or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
    )


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "blake2b").digest()
    except OSError:
        return b""  # pip will say what is wrong with it
