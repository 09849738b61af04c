"""An image for a process: a virtual environment with the image's packages, and samovar in it.

Called by the process driver. Venvs are found by a digest of what they are made of, and made in place, since a
venv cannot be moved; a marker that is written last tells a finished one from what a crash left behind. A file
lock lets any number of engines ask for the same one at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from samovar.errors import ImageBuildError
from samovar.images import contents
from samovar.model import ImageSpec
from samovar.ports import Report

OUTPUT_CHARS = 2000
"""How much of uv's output an error carries."""

OLDEST_PYTHON = (3, 11)  # what samovar itself needs

_INSTALLING = ("-r", "--requirement", *contents.EDITABLE)  # options that bring packages
_COMPLETE = ".complete"
_LOCK_POLL = 0.05  # seconds
_TO_UV = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", " "),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", " "),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", ","),
)  # pip's name, uv's name, what uv puts between several
_UV_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}

_warned = False  # once a process


async def ensure(image: ImageSpec, report: Report) -> str:
    """The path of the Python for this image, made first if it is not there; an image without wishes gets ours.

    ImageBuildError, with the end of uv's output: a package or a Python cannot be had.
    """
    _warn_of_layers(image, report)
    wishes = _wishes(image)
    if not wishes and image.python_version in (None, _running()):
        return sys.executable
    _refuse_old_python(image)
    home = _cache() / await asyncio.to_thread(_digest, image, wishes)
    if not _is_complete(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        async with _locked(home.with_suffix(".lock")):
            if not _is_complete(home):  # another engine may have made it while we waited
                await _build(home, image, wishes, report)
    return str(_python_of(home))


async def _build(home: Path, image: ImageSpec, wishes: Sequence[str], report: Report) -> None:
    began = time.monotonic()
    shutil.rmtree(home, ignore_errors=True)  # what a crash left behind
    uv = _find_uv()
    count = len(image.packages)
    python = image.python_version
    wanted = sys.executable if python in (None, _running()) else str(python)
    report(f"image: resolving Python {python or _running()} and {count} packages")
    try:
        await _run([uv, "venv", "--python", wanted, str(home)], image)
        report(f"image: installing {count} packages")
        install = [uv, "pip", "install", "--python", str(_python_of(home)), *_own_needs()]
        await _run(install, image)  # first, and without the image's options: its index need not have them
        if wishes:
            await _run([*install, *wishes], image)
        _link_samovar(home)
        (home / _COMPLETE).touch()
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    report(f"image: done in {time.monotonic() - began:.1f} s")


async def _run(command: list[str], image: ImageSpec) -> None:
    """Run uv; a cancelled wait ends it. A plain Popen: the loop may run in any thread."""
    process = subprocess.Popen(
        command,
        env=_uv_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    reading = asyncio.ensure_future(asyncio.to_thread(process.communicate))
    try:
        output, _ = await asyncio.shield(reading)
    except asyncio.CancelledError:
        process.kill()
        await asyncio.wait([reading])
        raise
    if process.returncode != 0:
        raise ImageBuildError(_failure(command, image, output))


def _failure(command: list[str], image: ImageSpec, output: str) -> str:
    if command[1] == "venv":
        what = f"there is no Python {image.python_version or _running()} to make it with"
        hint = "install that Python on this machine, or ask for another python_version"
    else:
        what = "its packages do not install"
        hint = "check their names and versions, and that the package index can be reached"
    packages = ", ".join(image.packages) or "none"
    return (
        f"the image with the packages {packages} cannot be made: {what}\n"
        f"{output.strip()[-OUTPUT_CHARS:]}\nWhat to do: {hint}."
    )


def _wishes(image: ImageSpec) -> list[str]:
    """Arguments of ``uv pip install`` for what the image adds."""
    found: list[str] = []
    for kind, argument in image.layers:
        if kind == "pip_option":
            found += shlex.split(argument)
        elif kind == "uv_project":
            found += ["-r", argument]
    for package in image.packages:
        found += shlex.split(package) if package.startswith("-") else [package]
    if not image.packages and not any(word.partition("=")[0] in _INSTALLING for word in found):
        return []  # options alone install nothing
    return found


def _warn_of_layers(image: ImageSpec, report: Report) -> None:
    global _warned
    kinds = {kind for kind, _ in image.layers} - {"pip_option", "uv_project", "uv_lock", "platform"}
    if image.base not in ("auto", ""):
        kinds.add(f"base {image.base}")
    if kinds and not _warned:
        _warned = True
        report(f"image: a process cannot have {', '.join(sorted(kinds))}; going on without (containers have them)")


def _refuse_old_python(image: ImageSpec) -> None:
    version = image.python_version
    if version is not None and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise ImageBuildError(f"samovar needs Python {oldest} or later; the image asks for {version}")


def _running() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samovar" / "venvs"


def _digest(image: ImageSpec, wishes: Sequence[str]) -> str:
    python = image.python_version or _running()
    base = [sys.base_prefix, sys.version] if python == _running() else []
    parts = [list(wishes), contents.digest(wishes), python, base, str(_samovar()), _own_needs()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _own_needs() -> list[str]:
    """What the runtime needs, in the versions that the engine has: both ends speak the same."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("msgspec", "cloudpickle")]


def _samovar() -> Path:
    return Path(__file__).resolve().parents[1]


def _link_samovar(home: Path) -> None:
    """By a link, not as a package: the engine's own samovar, also when it runs from a checkout."""
    (packages,) = home.glob("lib/python*/site-packages")
    link = packages / "samovar"
    if link.is_symlink() or link.exists():  # a package of the image brought one along
        shutil.rmtree(link)
    link.symlink_to(_samovar(), target_is_directory=True)


def _python_of(home: Path) -> Path:
    return home / "bin" / "python"


def _is_complete(home: Path) -> bool:
    return (home / _COMPLETE).exists() and _python_of(home).exists()


def _find_uv() -> str:
    if importlib.util.find_spec("uv") is not None:
        import uv  # here, since it is optional: only images with packages need it

        with contextlib.suppress(FileNotFoundError):
            return str(uv.find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise ImageBuildError(
            'an image with packages is made with uv, which is not here: pip install "samovar[engine]"'
        )
    return found


def _uv_environment() -> dict[str, str]:
    """pip's settings of where packages come from hold for uv as well, unless uv has its own."""
    found = dict(os.environ)
    for pip, uv, separator in _TO_UV:
        if found.get(pip) and uv not in found and _UV_OLD_NAMES.get(uv, uv) not in found:
            found[uv] = separator.join(found[pip].split())
    return found


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock of this file, against other processes and against other tasks of this one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _try_lock(fd):
            await asyncio.sleep(_LOCK_POLL)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
