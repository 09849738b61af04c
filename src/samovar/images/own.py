"""What the engine itself has and an image gets from it: samovar's own package, what that needs, and uv.

Called by all that makes images. Nothing here is downloaded, so an image's samovar is the engine's, also when the
engine runs from a checkout.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

NEEDS = ("msgspec", "cloudpickle")
"""What the runtime needs beside the standard library."""

OLDEST_PYTHON = (3, 11)


def python() -> str:
    """The Python that runs the engine, as "3.12"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def abi() -> str:
    """For which Python and platform this one's compiled modules are made."""
    return str(sysconfig.get_config_var("SOABI"))


def too_old(version: str) -> bool:
    """Whether samovar does not run on this Python."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_PYTHON


def package() -> Path:
    """The folder of samovar's own package."""
    return Path(__file__).resolve().parents[1]


def pins() -> list[str]:
    """What the runtime needs, in the versions that the engine has: both ends speak the same."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in NEEDS]


def needed_files() -> dict[str, Path]:
    """The installed files of what the runtime needs, by their path under site-packages."""
    found: dict[str, Path] = {}
    for name in NEEDS:
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                found[str(file)] = Path(str(file.locate()))
    return found


def uv() -> str | None:
    """The path of uv; None where there is none."""
    if importlib.util.find_spec("uv") is not None:
        import uv  # here, since it is optional: only images with packages need it

        with contextlib.suppress(FileNotFoundError):
            return str(uv.find_uv_bin())
    return shutil.which("uv")
