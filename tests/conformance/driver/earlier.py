"""A driver in a process of its own that is killed, and leaves its replicas behind in its home."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

_MIDDLE = f"""
import asyncio, importlib, json, os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from samovar.model import Environment, Limits
from tests.conformance.driver.worlds import LASTING
kind, home, step = json.loads(sys.argv[1])
module, owner, method = step.split(":")
owner = getattr(importlib.import_module(module), owner)
done = getattr(owner, method)

def then_die(self, *arguments):
    found = done(self, *arguments)
    if not asyncio.iscoroutine(found):
        os.kill(os.getpid(), signal.SIGKILL)
    async def awaited():
        await found
        os.kill(os.getpid(), signal.SIGKILL)
    return awaited()

setattr(owner, method, then_die)
limits = Limits(memory=1 << 30, cpu=1)
asyncio.run(LASTING[kind]("stubborn", Path(home), "").driver.start("r", Environment("e", limits=limits), {{}}))
"""
_PROGRAM = f"""
import asyncio, json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.conformance.driver.earlier import keep
asyncio.run(keep(json.loads(sys.argv[1])))
"""


def killed_in_the_middle(kind: str, home: Path, step: str) -> None:
    """A driver that is killed in the middle of a start: after this step of it, ``class.method`` of its room."""
    process = subprocess.run([sys.executable, "-c", _MIDDLE, json.dumps([kind, str(home), step])], check=False)
    assert process.returncode == -signal.SIGKILL


class Earlier:
    """Starts replicas, each of which must print a line, and is killed when told."""

    def __init__(
        self, kind: str, home: Path, program: str, names: Sequence[str] = ("r",), folder: str = "", **limits: Any
    ) -> None:
        """``folder`` can be written to by replicas."""
        told = {"kind": kind, "home": str(home), "program": program, "names": names, "folder": folder, "limits": limits}
        command = [sys.executable, "-c", _PROGRAM, json.dumps(told)]
        given = {**os.environ, "SURVIVORS_SECRET": "tea"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given)
        assert self._process.stdout is not None
        for _ in names:
            assert self._process.stdout.readline(), f"it ended with {self._process.wait()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


async def keep(told: dict[str, Any]) -> None:
    from samovar.model import Environment, Limits, SecretSpec

    from .worlds import LASTING

    world = LASTING[told["kind"]](told["program"], Path(told["home"]), told["folder"])
    secret = SecretSpec("SECRET", "SURVIVORS_SECRET", "/samovar-test")
    environment = Environment("e", limits=Limits(**told["limits"]), secrets=(secret,), network="none")
    for name in told["names"]:
        await world.driver.start(name, environment, {"REPLICA": name})
    for _ in told["names"]:
        print(*await world.line(), flush=True)
    await asyncio.get_running_loop().create_future()
