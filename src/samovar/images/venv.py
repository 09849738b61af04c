"""An image for a process: a virtual environment with the image's packages, and samovar in it.

Called by the process driver. Venvs are found by a digest of what they are made of, and made in place, since a
venv cannot be moved; a marker that is written last tells a finished one from what a crash left behind. A file
lock lets any number of engines ask for the same one at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from samovar.errors import ImageBuildError
from samovar.images import cache, contents, needs, own, settings
from samovar.images.command import run
from samovar.model import ImageSpec
from samovar.ports import Report

OUTPUT_CHARS = 2000
"""How much of uv's output an error carries."""

_INSTALLING = ("-r", "--requirement", *contents.EDITABLE)  # options that bring packages
_COMPLETE = ".complete"

_warned = False  # once a process


async def ensure(image: ImageSpec, report: Report) -> str:
    """The path of the Python for this image, made first if it is not there; an image without wishes gets ours.

    ImageBuildError, with the end of uv's output: a package or a Python cannot be had.
    """
    _warn_of_layers(image, report)
    wishes = _wishes(image)
    if not wishes and image.python_version in (None, own.python()):
        return sys.executable
    _refuse_old_python(image)
    home = cache.folder("venvs") / await asyncio.to_thread(_digest, image, wishes)
    if not _is_complete(home):
        async with cache.locked(home.with_suffix(".lock")):
            if not _is_complete(home):  # another engine may have made it while we waited
                await _build(home, image, wishes, report)
    return str(_python_of(home))


async def _build(home: Path, image: ImageSpec, wishes: Sequence[str], report: Report) -> None:
    began = time.monotonic()
    shutil.rmtree(home, ignore_errors=True)  # what a crash left behind
    uv = _find_uv()
    count = len(_packages(image))
    packages = f"{count} package{'' if count == 1 else 's'}"
    python = image.python_version
    wanted = sys.executable if python in (None, own.python()) else str(python)
    report(f"image: resolving Python {python or own.python()} and {packages}")
    try:
        await _run([uv, "venv", "--python", wanted, str(home)], image)
        report(f"image: installing {packages}")
        install = [uv, "pip", "install", "--python", str(_python_of(home))]
        await _run(
            [*install, *own.pins()], image
        )  # first, and without the image's options: its index need not have them
        if wishes:
            await _run([*install, *own.pins(), *wishes], image)
        _link_samovar(home)
        (home / _COMPLETE).touch()
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    report(f"image: done in {time.monotonic() - began:.1f} s")


async def _run(command: list[str], image: ImageSpec) -> None:
    status, output = await run(command, settings.for_uv())
    if status != 0:
        raise ImageBuildError(_failure(command, image, output))


def _failure(command: list[str], image: ImageSpec, output: str) -> str:
    if command[1] == "venv":
        what = f"there is no Python {image.python_version or own.python()} to make it with"
        hint = "install that Python on this machine, or ask for another python_version"
    else:
        what = "its packages do not install"
        hint = "check their names and versions, and that the package index can be reached"
    packages = ", ".join(_packages(image)) or "none"
    return (
        f"the image with the packages {packages} cannot be made: {what}\n"
        f"{output.strip()[-OUTPUT_CHARS:]}\nWhat to do: {hint}."
    )


def _packages(image: ImageSpec) -> list[str]:
    return [package for step in image.steps if step.kind == "pip" for package in step.arguments]


def _wishes(image: ImageSpec) -> list[str]:
    """Arguments of ``uv pip install`` for what the image adds."""
    found: list[str] = []
    for step in image.steps:
        if step.kind in needs.INSTALLED:
            options = [word for option in step.options for word in shlex.split(option)]
            wanted = _words(step.arguments) if step.kind == "pip" else ["-r", step.arguments[0]]
            if wanted or any(
                word.partition("=")[0] in _INSTALLING for word in options
            ):  # options alone install nothing
                found += [*options, *wanted]
    return found


def _words(requirements: Sequence[str]) -> list[str]:
    """A requirements file takes ``-e path`` as one line, a command as two words."""
    return [word for item in requirements for word in (shlex.split(item) if item.startswith("-") else [item])]


def _warn_of_layers(image: ImageSpec, report: Report) -> None:
    global _warned
    kinds = needs.beyond(image)
    if kinds and not _warned:
        _warned = True
        report(f"image: a process cannot have {', '.join(kinds)}; going on without (containers have them)")


def _refuse_old_python(image: ImageSpec) -> None:
    version = image.python_version
    if version is not None and own.too_old(version):
        oldest = ".".join(map(str, own.OLDEST_PYTHON))
        raise ImageBuildError(f"samovar needs Python {oldest} or later; the image asks for {version}")


def _digest(image: ImageSpec, wishes: Sequence[str]) -> str:
    python = image.python_version or own.python()
    base = [sys.base_prefix, sys.version] if python == own.python() else []
    parts = [list(wishes), contents.digest(wishes), python, base, str(own.package()), own.pins()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _link_samovar(home: Path) -> None:
    """By a link, not as a package: the engine's own samovar, also when it runs from a checkout."""
    (packages,) = home.glob("lib/python*/site-packages")
    link = packages / "samovar"
    if link.is_symlink() or link.exists():  # a package of the image brought one along
        shutil.rmtree(link)
    link.symlink_to(own.package(), target_is_directory=True)


def _python_of(home: Path) -> Path:
    return home / "bin" / "python"


def _is_complete(home: Path) -> bool:
    return (home / _COMPLETE).exists() and _python_of(home).exists()


def _find_uv() -> str:
    found = own.uv()
    if found is None:
        raise ImageBuildError(
            'an image with packages is made with uv, which is not here: pip install "samovar[engine]"'
        )
    return found
