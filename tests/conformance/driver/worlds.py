"""The drivers that the suite runs over, each with the same few programs for its replicas to run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from samovar.drivers.choice import AutoDriver
from samovar.drivers.container import ContainerDriver
from samovar.drivers.container_api import replicas
from samovar.drivers.container_spec import Shared
from samovar.drivers.fake import FakeDriver, OnStart
from samovar.drivers.output import OnOutput
from samovar.drivers.process import ProcessDriver
from samovar.errors import InitializationError
from samovar.images import dockerapi
from samovar.model import Environment, Exit
from samovar.ports import Driver

SECONDS = 60  # the bound of every wait
VARIABLES = ("PLAIN", "IMAGE", "BOOT", "PASSWORD")


D = TypeVar("D", bound=Driver)


class World(Generic[D]):
    """A driver, the lines that its replicas have written, and how to find those that it has left."""

    def __init__(self, make: Callable[[World[D]], D], left: Callable[[D], Awaitable[list[str]]]) -> None:
        self._lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.driver = make(self)
        self._left = left

    async def left(self) -> list[str]:
        """The replicas that are there, found from outside of the driver: by their labels, or what stands for these."""
        return sorted(await self._left(self.driver))

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
    "polite": (  # sigwait: a handler that runs just before sleep begins would not end it
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
        "print('ready', flush=True); signal.sigwait([signal.SIGTERM]); sys.exit(5)"
    ),
    "stubborn": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);print('ready', flush=True); time.sleep(600)"
    ),
    "variables": f"import os\nfor name in {VARIABLES!r}: print(name, os.environ.get(name), flush=True)",
    "greedy": (
        "import time\ntaken = []\nwhile True:\n    taken.append(bytearray(b'x') * 2**23)\n    time.sleep(0.005)"
    ),
    "secret": (
        "import os\npath = os.environ['CERTIFICATE']\nprint(open(path).read(), oct(os.stat(path).st_mode & 0o777),"
        "path if path.startswith('/samovar-test') else 'elsewhere')"
    ),
    "talk": "for number in range(5000): print('line', number)",
}


def process(program: str, hear: OnOutput | None = None, home: Path | None = None) -> World[ProcessDriver]:
    command = ("-c", PROGRAMS.get(program, program))
    return World(lambda world: ProcessDriver(command=command, on_output=hear or world.hear, home=home), _processes)


async def _processes(driver: Driver) -> list[str]:
    """By what its boot has told each: the environment of this process's children."""
    found = []
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in children.read_text().split():
            given = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            found += [entry.removeprefix(b"REPLICA=").decode() for entry in given if entry.startswith(b"REPLICA=")]
    return found


def fake(program: str) -> World[FakeDriver]:
    def make(world: World[FakeDriver]) -> FakeDriver:
        driver = FakeDriver(on_output=world.hear)
        driver.on_start = _script(driver, program)
        return driver

    return World(make, _fakes)


async def _fakes(driver: FakeDriver) -> list[str]:
    return [name for name, replica in driver.replicas.items() if not replica.ended.done()]


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
        if program == "secret":
            (content,) = driver.replicas[replica].files.values()
            driver.say(replica, f"{content.decode()} 0o400 {driver.replicas[replica].variables['CERTIFICATE']}")
        if program == "greedy":
            driver.crash(replica, Exit(signal=signal.SIGKILL, out_of_memory=environment.limits.memory is not None))
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


def container(program: str, shared: Shared | None = None, home: Path | None = None) -> World[ContainerDriver]:
    """Needs the API of a container engine at SAMOVAR_CONTAINER_SOCKET, and the id of an image in CONTAINER_IMAGE."""

    async def ensure(docker: object, image: object, report: object) -> str:
        return os.environ["CONTAINER_IMAGE"]

    command = ("-c", PROGRAMS.get(program, program))
    return World(lambda world: ContainerDriver(shared or Shared(), command, world.hear, ensure, home), _containers)


async def _containers(driver: ContainerDriver) -> list[str]:
    async with dockerapi.opened() as docker:
        return list((await replicas(docker, driver.id)).values())


def auto(program: str) -> World[AutoDriver]:
    """As it is where there is no container engine."""

    async def nobody() -> str:
        raise InitializationError("InitializationError", "no container engine answers")

    def make(world: World[AutoDriver]) -> AutoDriver:
        return AutoDriver(process(program, world.hear).driver, FakeDriver, nobody)

    return World(make, _processes)


def _lasting_process(program: str, home: Path, folder: str) -> World[ProcessDriver]:
    return process(program, home=home)


def _sampled_process(program: str, home: Path, folder: str) -> World[ProcessDriver]:
    """As it is where there are no cgroups."""
    command = ("-c", PROGRAMS.get(program, program))
    return World(lambda world: ProcessDriver(command, world.hear, None, home), _processes)


def _lasting_container(program: str, home: Path, folder: str) -> World[ContainerDriver]:
    return container(program, Shared(blobs=folder), home)


def _lasting_auto(program: str, home: Path, folder: str) -> World[AutoDriver]:
    async def nobody() -> str:
        raise InitializationError("InitializationError", "no container engine answers")

    def make(world: World[AutoDriver]) -> AutoDriver:
        return AutoDriver(process(program, world.hear, home).driver, FakeDriver, nobody)

    return World(make, _processes)


LASTING = {
    "auto": _lasting_auto,
    "container": _lasting_container,
    "process": _lasting_process,
    "sampled process": _sampled_process,
}
"""Those whose replicas outlive them: takes the program, the home, and a folder that replicas may write to."""

WORLDS = {"auto": auto, "container": container, "fake": fake, "process": process}
