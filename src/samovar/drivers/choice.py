"""Which driver keeps the replicas of an environment: processes, containers, or the one that its image needs.

Called by the composition root, which knows drivers by these names alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from samovar.drivers.output import OnOutput
from samovar.drivers.process import ProcessDriver
from samovar.errors import InitializationError, ReplicaStartError
from samovar.images import needs
from samovar.model import Environment, Exit, ImageSpec
from samovar.ports import Driver, Report

NAMES = ("auto", "process", "container")


def open_driver(name: str, folder: str, blobs: str, on_output: OnOutput | None = None) -> Driver:
    """The driver of this name. ``folder`` has the engine's socket, ``blobs`` its blobs: containers get both.

    InitializationError: there is none of this name, or what it needs is not installed. Whether a container engine
    answers is seen when the first environment is prepared.
    """
    if name == "process":
        return ProcessDriver(on_output=on_output)
    if name == "container":
        return _containers(folder, blobs, on_output)
    if name == "auto":
        processes = ProcessDriver(on_output=on_output)
        return AutoDriver(processes, lambda: _containers(folder, blobs, on_output), _answering)
    raise InitializationError(
        "InitializationError",
        f"there is no driver {name!r}; choose one of {', '.join(NAMES)} (--driver, SAMOVAR_DRIVER)",
    )


class AutoDriver:
    """Implements ``samovar.ports.Driver`` by two others: containers for images that ask for more than Python packages
    where a container engine answers, and else processes."""

    def __init__(
        self, processes: Driver, containers: Callable[[], Driver], answering: Callable[[], Awaitable[str]]
    ) -> None:
        """``answering`` names the container engine, or raises InitializationError; neither is called without need."""
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
        if replica not in self._keepers:
            raise LookupError(f"there is no replica {replica!r}")
        how = await self._keepers[replica].wait(replica)
        self._keepers.pop(replica, None)
        return how

    async def stop(self, replica: str, grace: float) -> None:
        """``grace`` 0: kill without asking."""
        if replica in self._keepers:
            await self._keepers[replica].stop(replica, grace)

    async def close(self) -> None:
        await self._processes.close()
        if self._containers is not None:
            await self._containers.close()

    async def _choose(self, environment: Environment, report: Report) -> Driver:
        chosen = self._chosen.get(environment.image)
        if chosen is None:
            chosen = await self._choice(environment, report)
            self._chosen[environment.image] = chosen
        return chosen

    async def _choice(self, environment: Environment, report: Report) -> Driver:
        wishes = ", ".join(needs.beyond(environment.image))
        if not wishes:
            return self._processes
        try:
            name = await self._answering()
            if self._containers is None:
                self._containers = self._make_containers()
        except InitializationError as error:
            why = str(error).splitlines()[0]
            report(f"environment {environment.name!r} runs in processes, without {wishes} of its image: {why}")
            return self._processes
        report(f"environment {environment.name!r} runs in containers of {name}: its image asks for {wishes}")
        return self._containers


def _containers(folder: str, blobs: str, on_output: OnOutput | None) -> Driver:
    try:  # here, since it needs an extra
        from samovar.drivers.container import ContainerDriver
        from samovar.drivers.container_spec import Shared
    except ModuleNotFoundError as missing:
        raise InitializationError(
            "InitializationError", f'containers need {missing.name}: pip install "samovar[containers]"'
        ) from missing
    return ContainerDriver(Shared(folder, blobs), on_output=on_output)


async def _answering() -> str:
    from samovar.images import dockerapi  # here, since it needs an extra

    async with dockerapi.opened() as docker:
        return str(await dockerapi.server(docker))


def _nowhere(_: str) -> None:
    """A report that nobody reads."""
