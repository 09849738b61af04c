"""The drivers that the suite runs over, each with the same few programs for its replicas to run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from samovar.drivers.container import ContainerDriver
from samovar.drivers.container_spec import Shared
from samovar.drivers.fake import FakeDriver, OnStart
from samovar.drivers.process import ProcessDriver
from samovar.model import Environment, Exit
from samovar.ports import Driver

SECONDS = 20  # the bound of every wait
VARIABLES = ("PLAIN", "IMAGE", "BOOT", "PASSWORD")


class World:
    """A driver, and the lines that its replicas have written."""

    def __init__(self, make: Callable[[World], Driver]) -> None:
        self._lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.driver = make(self)

    def hear(self, replica: str, line: str) -> None:
        self._lines.put_nowait((replica, line))

    async def line(self) -> tuple[str, str]:
        """The next line: (replica, text)."""
        return await asyncio.wait_for(self._lines.get(), SECONDS)


PROGRAMS = {
    "sleep": "import time; print('ready', flush=True); time.sleep(600)",
    "succeed": "pass",
    "fail": "import sys; sys.exit(7)",
    "die": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "polite": (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
        "print('ready', flush=True); time.sleep(600)"
    ),
    "stubborn": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);print('ready', flush=True); time.sleep(600)"
    ),
    "variables": f"import os\nfor name in {VARIABLES!r}: print(name, os.environ.get(name), flush=True)",
    "talk": "for number in range(5000): print('line', number)",
}


def process(program: str) -> World:
    command = ("-c", PROGRAMS.get(program, program))
    return World(lambda world: ProcessDriver(command=command, on_output=world.hear))


def fake(program: str) -> World:
    def make(world: World) -> Driver:
        driver = FakeDriver(on_output=world.hear)
        driver.on_start = _script(driver, program)
        return driver

    return World(make)


def _script(driver: FakeDriver, program: str) -> OnStart:
    async def run(replica: str, environment: Environment, boot: dict[str, str]) -> int | None:
        if program in ("sleep", "polite", "stubborn"):
            driver.say(replica, "ready")
            return await _sleep(program)
        if program == "variables":
            for name in VARIABLES:
                driver.say(replica, f"{name} {driver.replicas[replica].variables.get(name)}")
        if program == "talk":
            for number in range(5000):
                driver.say(replica, f"line {number}")
        if program == "die":
            driver.crash(replica, Exit(signal=signal.SIGSEGV))
        return 7 if program == "fail" else 0

    return run


async def _sleep(program: str) -> int:
    for_ever = asyncio.get_running_loop().create_future()
    try:
        await for_ever
    except asyncio.CancelledError:
        if program == "sleep":
            raise
        if program == "stubborn":
            await asyncio.get_running_loop().create_future()
    return 5


def container(program: str) -> World:
    """Needs the API of a container engine at SAMOVAR_CONTAINER_SOCKET, and the id of an image in CONTAINER_IMAGE."""

    async def ensure(docker: object, image: object, report: object) -> str:
        return os.environ["CONTAINER_IMAGE"]

    command = ("-c", PROGRAMS.get(program, program))
    return World(lambda world: ContainerDriver(Shared(), ensure, command, world.hear))


WORLDS = {"container": container, "fake": fake, "process": process}
