"""Processes of the command that have imported everything already: each is forked from one that does nothing else.

A test of chaos starts four of them, and imports would be most of its time. ``Forge`` is what tests see; as a program
this file is the process that forks. It reads an order a line, and answers with a number.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

ARMED = Path(__file__).parent / "armed"


class Forged:
    """A process. ``wait`` and ``is_alive`` hold whoever its parent is."""

    def __init__(self, forge: Forge, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log
        self._forge = forge
        self._fd = os.pidfd_open(pid)
        self._status: int | None = None

    def fileno(self) -> int:
        return self._fd

    @property
    def is_alive(self) -> bool:
        return self._status is None and not select.select([self], [], [], 0)[0]

    def send(self, number: int) -> None:
        if self.is_alive:
            signal.pidfd_send_signal(self._fd, number)

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit code, or the negative number of the signal that killed it."""
        if self._status is None:
            if not select.select([self], [], [], seconds)[0]:
                self.send(signal.SIGUSR1)
                select.select([self], [], [], 1.0)  # until it has written where it stands
                self.send(signal.SIGKILL)
                raise AssertionError(f"process {self.pid} has not ended after {seconds:g} s:\n{self._log.read_text()}")
            self._status = os.waitstatus_to_exitcode(self._forge.order({"reap": self.pid}))
            os.close(self._fd)
        return self._status


class Forge:
    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, __file__], text=True, **pipes)

    def begin(self, arguments: list[str], variables: dict[str, str], log: Path) -> Forged:
        """``samovar ARGUMENTS``, whose output is added to a file."""
        pid = self.order({"arguments": arguments, "variables": variables, "log": str(log)})
        return Forged(self, pid, log)

    def order(self, what: dict[str, object]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def is_dead(pid: int) -> bool:
    """Within a second, or not at all."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 1.0)[0])
    finally:
        os.close(fd)


# the process that forks


def _import_all() -> None:
    import samovar.cli.attach
    import samovar.cli.main
    import samovar.cli.run
    import samovar.cli.service
    import samovar.drivers.process
    import samovar.host.service
    import samovar.journal.sql.journal  # noqa: F401


def _become(arguments: list[str], variables: dict[str, str], log: str) -> None:
    """The rest of the life of a fork: what ``python -m samovar`` does when it has imported."""
    import samovar.__main__ as command

    for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        fd = os.open(path, how, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    os.dup2(1, 2)
    faulthandler.register(signal.SIGUSR1)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["samovar", *arguments]
    sys.orig_argv = [sys.executable, "-m", "samovar", *arguments]
    sys.modules["__main__"] = command  # this file is no code of a user's
    sys.path.insert(0, str(ARMED))
    import sitecustomize

    del sys.path[0]
    sitecustomize.arm()
    command.main(arguments)


def _fork_for_ever() -> None:
    del sys.path[0]  # the folder of this file
    sys.modules.pop("sitecustomize", None)  # the system may have one of its own
    _import_all()
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "reap" in order:
            print(os.waitpid(order["reap"], 0)[1], flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _become(**order)
            return


if __name__ == "__main__":
    _fork_for_ever()
