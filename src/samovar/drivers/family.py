"""A replica and all that it has started, also what has left its session and what has lost its parent.

Called by the process driver when a replica has ended and no cgroup holds its processes together. A signal to the
process group misses a child that called setsid, and once the replica is dead the kernel gives its children another
parent, so they cannot be found by descent. What they keep is the environment they were started with: each replica
has a mark in it that no other has. Only a program that is given an empty environment escapes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path

VARIABLE = "SAMOVAR_FAMILY"

_KILL_TRIES = 100
_KILL_EVERY = 0.02  # seconds: a process is gone a moment after its kill


class Family:
    """The processes that carry one mark; ``variables`` are what a replica needs in order to carry it on."""

    def __init__(self) -> None:
        name = secrets.token_hex(8)
        self.variables = {VARIABLE: name}
        self._mark = f"{VARIABLE}={name}".encode()

    async def end(self) -> None:
        """Kill all that are left, and again what they have started meanwhile; gives up quietly after 2 s."""
        for _ in range(_KILL_TRIES):
            if not await asyncio.to_thread(self._kill):
                return
            await asyncio.sleep(_KILL_EVERY)

    def _kill(self) -> bool:
        """False: there are none. It reads the environment of every process, which takes milliseconds."""
        found = False
        for name in os.listdir("/proc"):
            if name.isdigit() and self._mark in _environment(name):
                found = True
                try:
                    os.kill(int(name), signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
        return found


def _environment(pid: str) -> bytes:
    """Empty for the dead and for processes of others."""
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return b""
