"""Which driver keeps the replicas of an environment: processes, containers, or the one that its image needs.

Called by the composition root, which knows drivers by these names alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from samovar.drivers.process import ProcessDriver
from samovar.errors import InitializationError, ReplicaStartError
from samovar.images import needs
from samovar.model import Environment, Exit, ImageSpec
from samovar.ports import Driver, Report

NAMES = ("auto", "process", "container")


def open_driver(name: str, folder: str, blobs: str, home: Path | None = None) -> Driver:
    """The driver of this name. ``folder`` has the engine's socket, ``blobs`` its blobs: containers get both.

    ``home`` is the folder of a service whose replicas are to outlive it (``drivers.home``). Those that an earlier one
    has left there are taken over by ``wait`` or ``stop``, whatever the name, and ended when nobody has wanted them for
    ``ADOPTION_SECONDS``. None: no replica may outlive this process.

    InitializationError: there is none of this name, what it needs is not installed, or the home is in use. Whether a
    container engine answers is seen when the first environment is prepared.
    """
    if name not in NAMES:
        raise InitializationError(
            "InitializationError",
            f"there is no driver {name!r}; choose one of {', '.join(NAMES)} (--driver, SAMOVAR_DRIVER)",
        )
    of_processes = None if home is None else home / "processes"
    of_containers = None if home is None else home / "containers"

    def processes() -> Driver:
        return ProcessDriver(home=of_processes)

    def containers() -> Driver:
        return _containers(folder, blobs, of_containers)

    if name == "process" and not _has_survivors(of_containers):
        return processes()
    if name == "container" and not _has_survivors(of_processes):
        return containers()
    driver = AutoDriver(processes(), containers, _answering, name)
    if name == "container" or _has_survivors(of_containers):
        driver.containers()
    return driver


class AutoDriver:
    """Implements ``samovar.ports.Driver`` by two others: containers for images that ask for more than Python packages
    where a container engine answers, and else processes. Replicas that outlived their engine may be of either."""

    def __init__(
        self,
        processes: Driver,
        containers: Callable[[], Driver],
        answering: Callable[[], Awaitable[str]],
        name: str = "auto",
    ) -> None:
        """``answering`` names the container engine, or raises InitializationError; neither is called without need.
        ``name``: "process" or "container" for one kind whatever an image asks for."""
        self._name = name
        self._processes = processes
        self._make_containers = containers
        self._answering = answering
        self._containers: Driver | None = None
        self._chosen: dict[ImageSpec, Driver] = {}
        self._keepers: dict[str, Driver] = {}  # by replica

    async def prepare(self, environment: Environment, report: Report) -> None:
        driver = await self._choose(environment, report)
        await driver.prepare(environment, report)

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        driver = await self._choose(environment, _nowhere)
        if replica in self._keepers:
            message = f"environment {environment.name!r}: there is a replica {replica!r} already"
            raise ReplicaStartError(message, replica)
        self._keepers[replica] = driver
        try:
            await driver.start(replica, environment, boot)
        except BaseException:
            del self._keepers[replica]
            raise

    async def wait(self, replica: str) -> Exit:
        """LookupError: there is none of this name, or its end was waited for before."""
        for driver in self._keepers_of(replica):
            with contextlib.suppress(LookupError):
                how = await driver.wait(replica)
                self._keepers.pop(replica, None)
                return how
        raise LookupError(f"there is no replica {replica!r}")

    async def stop(self, replica: str, grace: float) -> None:
        """``grace`` 0: kill without asking."""
        for driver in self._keepers_of(replica):
            await driver.stop(replica, grace)

    async def close(self) -> None:
        await self._processes.close()
        if self._containers is not None:
            await self._containers.close()

    def containers(self) -> Driver:
        """The one for containers, opened when it is first asked for. InitializationError: its library is missing."""
        if self._containers is None:
            self._containers = self._make_containers()
        return self._containers

    def _keepers_of(self, replica: str) -> list[Driver]:
        """Where it may be: of one that was not started here that is not known."""
        if replica in self._keepers:
            return [self._keepers[replica]]
        return [self._processes] if self._containers is None else [self._processes, self._containers]

    async def _choose(self, environment: Environment, report: Report) -> Driver:
        chosen = self._chosen.get(environment.image)
        if chosen is None:
            chosen = await self._choice(environment, report)
            self._chosen[environment.image] = chosen
        return chosen

    async def _choice(self, environment: Environment, report: Report) -> Driver:
        if self._name == "container":
            return self.containers()
        wishes = ", ".join(needs.beyond(environment.image))
        if not wishes or self._name == "process":
            return self._processes
        try:
            name = await self._answering()
            containers = self.containers()
        except InitializationError as error:
            why = str(error).splitlines()[0]
            report(f"environment {environment.name!r} runs in processes, without {wishes} of its image: {why}")
            return self._processes
        report(f"environment {environment.name!r} runs in containers of {name}: its image asks for {wishes}")
        return containers


def _has_survivors(home: Path | None) -> bool:
    return home is not None and home.is_dir() and any(home.iterdir())


def _containers(folder: str, blobs: str, home: Path | None) -> Driver:
    try:  # here, since it needs an extra
        from samovar.drivers.container import ContainerDriver
        from samovar.drivers.container_spec import Shared
    except ModuleNotFoundError as missing:
        raise InitializationError(
            "InitializationError", f'containers need {missing.name}: pip install "samovar[containers]"'
        ) from missing
    return ContainerDriver(Shared(folder, blobs), home=home)


async def _answering() -> str:
    from samovar.images import dockerapi  # here, since it needs an extra

    async with dockerapi.opened() as docker:
        return str(await dockerapi.server(docker))


def _nowhere(_: str) -> None:
    """A report that nobody reads."""
