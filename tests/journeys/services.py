"""A service of the tests' own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SECONDS = 20


def variables(home: Path) -> dict[str, str]:
    """The environment of a user who has nothing but this folder."""
    (home / "run").mkdir(mode=0o700, exist_ok=True)
    own = {key: value for key, value in os.environ.items() if not key.startswith("SAMOVAR_")}
    return {**own, "XDG_RUNTIME_DIR": str(home / "run"), "XDG_STATE_HOME": str(home / "state")}


def begin(home: Path, **more: str) -> tuple[subprocess.Popen[str], str]:
    """``samovar serve`` that serves, and where. ``more``: variables of its own."""
    command = [sys.executable, "-m", "samovar", "serve"]
    process = subprocess.Popen(command, env={**variables(home), **more}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "serving at" in line, line + process.stderr.read()
    return process, str(home / "run" / "samovar" / "service.sock")


def end(process: subprocess.Popen[str]) -> str:
    """What it has said since."""
    process.terminate()
    _, said = process.communicate(timeout=SECONDS)
    return said


@contextlib.contextmanager
def running(home: Path) -> Iterator[str]:
    """The address of a service, for as long as the block."""
    process, address = begin(home)
    try:
        yield address
    finally:
        end(process)
    assert process.returncode == 0
