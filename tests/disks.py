"""A small disk for a test: a tmpfs in a mount namespace of the process that fills it, with which all that it started
ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_on_a_small_disk(module: str, folder: Path, size: str, seconds: float) -> list[str]:
    """The lines that ``python -m MODULE FOLDER`` prints, where ``folder`` is a disk of ``size``."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare on this machine")
    own = ["unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child"]
    own += [] if os.getuid() == 0 else ["--map-root-user"]
    mount = f'mount -t tmpfs -o size={size} tmpfs "$1"'
    may = subprocess.run([*own, "sh", "-c", mount, "sh", str(folder)], capture_output=True, text=True)
    if may.returncode:
        pytest.skip(f"no disk can be mounted here: {may.stderr.strip()}")
    program = [*own, "sh", "-c", f'{mount} && "$2" -m "$3" "$1"', "sh", str(folder), sys.executable, module]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def fill(path: Path) -> None:
    """Write to a new file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
