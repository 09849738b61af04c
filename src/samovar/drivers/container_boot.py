"""How a replica in a container is booted, and what it says: no secret is seen, and no exit is missed.

Each replica has a folder on a tmpfs of the host that is mounted read-only into its container:

- ``boot``     environment variables that ``inspect`` must not show: the token, secrets
- ``output``   a file for stdout and stderr, mounted to be written
- ``life``     a named pipe that PID 1 holds open: one line when it runs, one when the main process has ended, and then
  the end of the pipe, which the kernel brings about whatever happens to the container
- ``secrets/`` the secrets that are files; each is mounted where it belongs

So the driver sees output and death by itself, without a request, also while nobody answers the container engine's API.
PID 1 is the first half of the same Python program: it forks the main process, passes signals on, reaps, and knows an
exit code of 137 from a SIGKILL, which no container engine does. It goes on where nobody listens, and whoever opens the
pipe of life again sees by that alone whether it lives.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from samovar.drivers import container_spec as spec
from samovar.drivers.output import Output, Rounds, Sink
from samovar.errors import ReplicaStartError
from samovar.model import SecretSpec

FOLDER = "/run/samovar"
"""Where the container has it."""

_LIFE_BYTES = 1024

_INIT = f"""\
def boot():
    import os, signal
    life = os.open("{FOLDER}/life", os.O_WRONLY | os.O_NONBLOCK)
    def say(words):
        try:
            os.write(life, words)
        except OSError:
            pass
    output = os.open("{FOLDER}/output", os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with open("{FOLDER}/boot", encoding="utf-8", errors="surrogateescape") as file:
        os.environ.update(entry.split("=", 1) for entry in file.read().split("\\0") if entry)
    asked = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, *asked])
    main = os.fork()
    if not main:
        os.close(life)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD, *asked])
        return
    say(b"runs\\n")
    status = None
    while status is None:
        number = signal.sigwait([signal.SIGCHLD, *asked])
        if number != signal.SIGCHLD:
            try:
                os.killpg(main, number)
            except ProcessLookupError:
                os.kill(main, number)
            continue
        child = 1
        while child and status is None:
            child, found = os.waitpid(-1, os.WNOHANG)
            if child == main:
                status = os.waitstatus_to_exitcode(found)
    kills = "0"
    for path in "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control":
        try:
            with open(path) as file:
                kills = dict(line.split() for line in file).get("oom_kill", kills)
        except OSError:
            pass
    say(f"{{status}} {{kills}}\\n".encode())
    os._exit(status if status >= 0 else 128 - status)
boot()
del boot
"""


class Ended(NamedTuple):
    """What PID 1 said of the main process."""

    status: int  # exit code, or minus the signal
    memory_kills: int  # processes that the kernel has killed for the container's memory


def command(python: str, arguments: tuple[str, ...]) -> list[str]:
    """What the container runs: ``arguments``, which end with ``-c`` and a program, after the boot."""
    *options, program = arguments
    return [python, *options, f"{_INIT}{program}"]


class Boot:
    """The host's side of one folder. ``running`` and ``ended`` come from the pipe of life."""

    def __init__(self, folder: Path, owner: tuple[int, int] | None, rounds: Rounds) -> None:
        """``owner``: (user, group) of the container's user where that is not this process's own. Its output is looked
        at on ``rounds``."""
        self.folder = folder
        self.running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        self.output: Output | None = None
        self._owner = owner
        self._rounds = rounds
        self._loop = asyncio.get_running_loop()
        self._life = -1
        self._said = b""
        if owner is not None:
            os.chown(folder, -1, owner[1])
            folder.chmod(0o750)

    def write(self, variables: Mapping[str, str]) -> None:
        """The variables for ``boot``. ReplicaStartError: one cannot be a variable."""
        for name, value in variables.items():
            if not name or "=" in name or "\0" in name + value:
                raise ReplicaStartError(f"{name!r} cannot be an environment variable of a replica")
        text = "\0".join(f"{name}={value}" for name, value in variables.items())
        self._file(self.folder / "boot", text.encode(errors="surrogateescape"))

    def add_secret(self, secret: SecretSpec, value: bytes) -> spec.File:
        """Write a file for it."""
        secrets = self.folder / "secrets"
        if not secrets.exists():
            secrets.mkdir(0o700)
            self._own(secrets)
        file = secrets / str(len(list(secrets.iterdir())))
        self._file(file, value)
        return spec.File(str(file), secret.path)

    def listen(self, sink: Sink | None) -> list[spec.File]:
        """Make what the container speaks into, and read it on this loop; ``sink`` takes lines of output. Returns what
        the container is to have of the folder."""
        shown = [spec.File(str(self.folder), FOLDER)]
        output = self.folder / "output"
        self._file(output, b"", 0o600)
        self.output = Output(self._loop, output, sink, self._rounds)
        shown.append(spec.File(str(output), f"{FOLDER}/output", writable=True))
        self._hear(self._pipe("life"))
        return shown

    def listen_again(self, sink: Sink | None) -> bool:
        """Listen to what another driver has booted. False: it has ended, or never ran."""
        try:
            life = _reader(self.folder / "life")
        except FileNotFoundError:
            return False
        self.output = Output(self._loop, self.folder / "output", sink, self._rounds)
        self._hear(life)
        self._read()
        if self.ended.done():
            self.output.finish()
            return False
        if not self.running.done():
            self.running.set_result(None)
        return True

    def close(self) -> str:
        """Remove the folder; returns the end of the output. Safe to call twice."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)
        return "" if self.output is None else self.output.finish()

    def _pipe(self, name: str) -> int:
        path = self.folder / name
        os.mkfifo(path, 0o600)
        self._own(path)
        return _reader(path)

    def _hear(self, life: int) -> None:
        self._life = life
        self._loop.add_reader(life, self._read)

    def _file(self, path: Path, content: bytes, mode: int = 0o400) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, *self._owner)

    def _read(self) -> None:
        try:
            data = os.read(self._life, _LIFE_BYTES)
        except BlockingIOError:
            return
        if not self.running.done():
            self.running.set_result(None)
        self._said = (self._said + data)[-_LIFE_BYTES:]
        if not data:
            self._end()

    def _end(self) -> None:
        if self._life >= 0:
            self._loop.remove_reader(self._life)
            os.close(self._life)
            self._life = -1
        if not self.ended.done():
            self.ended.set_result(_ended(self._said))


def _reader(pipe: Path) -> int:
    return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _ended(said: bytes) -> Ended | None:
    """None: PID 1 was killed before it could say anything. Code of the user may have written here as well."""
    last = said.splitlines()[-1:]
    try:
        status, kills = last[0].split()
        return Ended(int(status), int(kills))
    except (IndexError, ValueError):
        return None
