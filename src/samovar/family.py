"""A replica and all that it has started, also what has left its session and what has lost its parent.

The process driver ends the family of a replica that has ended, where no cgroup holds its processes together; a replica
ends its own when its engine is gone. A signal to the process group misses a child that called setsid, and once the
replica is dead the kernel gives its children another parent, so they cannot be found by descent. What they keep is
the environment they were started with: each replica has a mark in it that no other has. Only a program that is given
an empty environment escapes.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "SAMOVAR_FAMILY"


def new() -> str:
    """A mark, to be the value of the variable."""
    return os.urandom(8).hex()


def kill(mark: str) -> bool:
    """Kill all that carry the mark, but not this process. False: there are none.

    It reads the environment of every process, which takes milliseconds.
    """
    sought = f"{VARIABLE}={mark}".encode()
    found = False
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and sought in _environment(name):
            found = True
            try:
                os.kill(int(name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    return found


def _environment(pid: str) -> bytes:
    """Empty for the dead and for processes of others."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""
