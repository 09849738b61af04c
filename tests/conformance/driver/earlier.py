"""A driver in a process of its own that is killed, and leaves its replicas behind in its home."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

_PROGRAM = f"""
import asyncio, json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.conformance.driver.earlier import keep
asyncio.run(keep(json.loads(sys.argv[1])))
"""


class Earlier:
    """Starts replicas, each of which must print a line, and is killed when told."""

    def __init__(
        self, kind: str, home: Path, program: str, names: Sequence[str] = ("r",), folder: str = "", **limits: Any
    ) -> None:
        """``folder`` can be written to by replicas."""
        told = {"kind": kind, "home": str(home), "program": program, "names": names, "folder": folder, "limits": limits}
        command = [sys.executable, "-c", _PROGRAM, json.dumps(told)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.said: dict[str, str] = {}  # by replica
        for _ in names:
            name, text = json.loads(self._process.stdout.readline())
            self.said[name] = text

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
        print(json.dumps(await world.line()), flush=True)
    await asyncio.get_running_loop().create_future()
