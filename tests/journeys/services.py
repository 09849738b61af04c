"""A service of the tests' own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SECONDS = 60

KEPT = """
loads = 0

@env.task
async def load() -> int:
    global loads
    loads += 1
    return loads

@env.task
async def mark(path: str) -> None:
    (pathlib.Path(path) / "began").touch()
    while not (pathlib.Path(path) / "go").exists():
        await asyncio.sleep(0.01)
    (pathlib.Path(path) / "ended").touch()
"""
"""Tasks of an environment ``env``: one that counts in its replica, one that waits. They need asyncio and pathlib."""


def variables(home: Path) -> dict[str, str]:
    """The environment of a user who has nothing but this folder. Pages are a matter of ``tests/web``."""
    (home / "run").mkdir(mode=0o700, exist_ok=True)
    own = {key: value for key, value in os.environ.items() if not key.startswith("SAMOVAR_")}
    return {**own, "SAMOVAR_WEB": "none", "XDG_RUNTIME_DIR": str(home / "run"), "XDG_STATE_HOME": str(home / "state")}


def begin(home: Path, within: tuple[str, ...] = (), **more: str) -> tuple[subprocess.Popen[str], str]:
    """``samovar serve`` that serves, and where. ``within``: what makes it one of another host; ``more``: variables."""
    command = [*within, sys.executable, "-m", "samovar", "serve"]
    process = subprocess.Popen(command, env={**variables(home), **more}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "serving at" in line, line + process.stderr.read()
    return process, str(home / "run" / "samovar" / "service.sock")


def replicas(home: Path) -> list[int]:
    """Process ids of the replicas of whatever services this home has had, as long as they live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_ours = f"XDG_RUNTIME_DIR={home / 'run'}\0".encode() in (folder / "environ").read_bytes()
            if is_ours and b"samovar.runtime" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)


def kill(home: Path, service: subprocess.Popen[str]) -> None:
    """The service, and its replicas: one that lived on would not run anything again."""
    service.kill()
    service.communicate(timeout=SECONDS)
    for replica in replicas(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(replica, signal.SIGKILL)


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
        self.write(program)
        self.variables = variables(path)

    def write(self, program: str) -> None:
        self.script.write_text(program.replace("__HOME__", str(self.path)))

    def python(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """``more``: variables."""
        command, environment = [sys.executable, *arguments], {**self.variables, **more}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)

    @contextlib.contextmanager
    def python_beside(self, **more: str) -> Iterator[subprocess.Popen[str]]:
        """The program as a script, with pipes; it has ended well when the block has."""
        command, environment = [sys.executable, str(self.script)], {**self.variables, **more}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
            try:
                yield process
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()

    def samovar(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "samovar", *arguments, **more)

    def begin(self, task: str, *arguments: str, name: str = "") -> subprocess.Popen[str]:
        """``samovar run`` of a task of the program."""
        return self.popen("run", "--name", name, str(self.script), task, *arguments)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "samovar", *arguments]
        return subprocess.Popen(command, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
