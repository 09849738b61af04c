"""The life of a process that leads a replica: seen to its end, signalled, and never taken for another of its number.

The process driver's own children, and those that an earlier driver had started: these are told from other processes
by the moment of their birth, and how they ended the kernel tells their parent alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_LOOK_EVERY = 0.1  # seconds, where the kernel does not tell


class Life(Protocol):
    pid: int

    def watch(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Call once on the loop when it is over."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Signal its process group; nothing where its number may be another's by now."""
        ...

    def status(self) -> int | None:
        """Of one that is over: exit code, or minus the signal; None: that is not known."""
        ...


class Child:
    """A process that this one has started. It is left unreaped, so that its number stays its own, until ``status``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process

    def watch(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:  # an old kernel, or a sandbox that forbids it
            _in_a_thread(self._await, loop, call)
        else:
            _on_end(loop, fd, call)

    def signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            _signal_group(self.pid, number)

    def status(self) -> int | None:
        return self._process.wait()  # does not block: it is over, and this reaps it

    def _await(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


class Orphan:
    """A process whose parent, an earlier engine, is gone."""

    def __init__(self, pid: int, birth: str) -> None:
        self.pid = pid
        self._birth = birth

    @property
    def is_over(self) -> bool:
        return birth(self.pid) != self._birth

    def watch(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            loop.call_soon(call)
        except OSError:
            _in_a_thread(self._await, loop, call)
        else:
            if self.is_over:  # the descriptor is another's
                os.close(fd)
                loop.call_soon(call)
            else:
                _on_end(loop, fd, call)

    def signal(self, number: signal.Signals) -> None:
        if not self.is_over:
            _signal_group(self.pid, number)

    def status(self) -> int | None:
        return None

    def _await(self) -> None:
        while not self.is_over:
            time.sleep(_LOOK_EVERY)


def birth(pid: int) -> str:
    """When this process began, as a text that no other process of its number has; "": it is over."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # what stands before may have blanks and parentheses in it
    return "" if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _on_end(loop: asyncio.AbstractEventLoop, pidfd: int, call: Callable[[], None]) -> None:
    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        call()

    loop.add_reader(pidfd, ended)


def _in_a_thread(wait: Callable[[], None], loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    def work() -> None:
        wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(call)

    threading.Thread(target=work, daemon=True).start()
