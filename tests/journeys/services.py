"""A service of the tests' own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SECONDS = 60


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


class Home:
    """A user's home with a program in it, and the command. ``__HOME__`` in a program stands for its path: a service
    runs a copy of the program that lies elsewhere."""

    def __init__(self, path: Path, program: str) -> None:
        self.path = path
        self.script = path / "program.py"
        self.script.write_text(program.replace("__HOME__", str(path)))
        self.variables = variables(path)

    def python(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """``more``: variables."""
        command, environment = [sys.executable, *arguments], {**self.variables, **more}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)

    def samovar(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "samovar", *arguments, **more)

    def begin(self, task: str, *arguments: str, name: str = "") -> subprocess.Popen[str]:
        """``samovar run`` of a task of the program."""
        return self.popen("run", "--name", name, str(self.script), task, *arguments)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "samovar", *arguments]
        return subprocess.Popen(command, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
