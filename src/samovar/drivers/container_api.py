"""What the container driver asks of the Docker API, which may go away and come back.

A request that finds nobody is made again until somebody answers; so each request here is one that may be made twice.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiodocker
import aiohttp

from samovar.drivers import container_spec as spec

AWAY_SECONDS = 8.0
"""How long a start, a stop and ``close`` wait for an API that does not answer. What is left then is removed when it
answers again, or when the next engine starts."""
START_SECONDS = 120.0
"""How long a container may take to start."""

GONE = 404
"""The status that says: there is no such container, or no such image."""

_CAUSE_SECONDS = 5.0  # for the question whether memory was why PID 1 was killed
_RETRY_SECONDS = (0.05, 1.0)  # the first wait for an API that is away, and the longest
_AWAY = (aiodocker.DockerError, aiohttp.ClientError, OSError)
_CONFLICT = 409

T = TypeVar("T")


class Api:
    """The API, which may go away and come back."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self.docker = docker

    async def ask(self, call: Callable[[], Awaitable[T]], patience: float = math.inf) -> T:
        """The answer to a request that may be made twice. Raises what the request raises, after ``patience`` seconds
        where that is for want of an answer."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        delay, longest = _RETRY_SECONDS
        while True:
            try:
                return await call()
            except _AWAY as error:
                if not is_away(error) or loop.time() > until:
                    raise
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)

    async def create_and_start(self, name: str, asked: dict[str, Any]) -> None:
        """Raises what the client raises; TimeoutError: it has not begun after START_SECONDS."""

        async def create() -> None:
            try:
                await self.docker.containers.create(asked, name=name)
            except aiodocker.DockerError as error:
                if error.status != _CONFLICT:  # names are not used twice: an earlier try has made it
                    raise

        async with asyncio.timeout(START_SECONDS):
            await self.ask(create, AWAY_SECONDS)
            await self.ask(lambda: self.docker.containers.container(name).start(), AWAY_SECONDS)

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Send it, also to a paused container, which goes on then; nothing where there is none that runs."""
        container = self.docker.containers.container(name)

        async def done(call: Callable[[], Awaitable[None]]) -> bool:
            try:
                await self.ask(call)
            except aiodocker.DockerError:
                return False
            return True

        kill = functools.partial(container.kill, signal=number.name)
        sent = await done(kill)
        if await done(container.unpause) and not sent:
            await done(kill)

    async def end(self, name: str) -> None:
        """Kill it and remove it. At once: a removal alone would ask it first, and wait."""
        await self.signal(name, signal.SIGKILL)
        await self.remove(name)

    async def remove(self, name: str) -> None:
        """Remove it, dead or not; nothing where there is none."""
        container = self.docker.containers.container(name)
        for delay in (0.1, 0.3, 1.0, None):
            try:
                await self.ask(lambda: container.delete(force=True, v=True))
                return
            except aiodocker.DockerError as error:
                if error.status == GONE:
                    return
                if delay is None:
                    context = {"message": f"the container {name} cannot be removed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
                    return
            await asyncio.sleep(delay)

    async def code(self, name: str) -> int | None:
        """Wait until it has ended; None where there is none."""
        try:
            found = await self.ask(lambda: self.docker.containers.container(name).wait(timeout=None))
            return int(found["StatusCode"])
        except (aiodocker.DockerError, KeyError):
            return None

    async def ran_out_of_memory(self, name: str) -> bool:
        """Of a container that has ended; False where that cannot be known soon."""
        try:
            async with asyncio.timeout(_CAUSE_SECONDS):
                await self.code(name)
                found = await self.ask(lambda: self.docker.containers.container(name).show())
            return bool(found["State"]["OOMKilled"])
        except (aiodocker.DockerError, TimeoutError, KeyError):
            return False


async def replicas(docker: aiodocker.Docker, engine: str = "") -> dict[str, str]:
    """The replicas whose containers are there, found by their labels: container → replica.

    ``engine`` is the ``id`` of a driver; "": of all engines.
    """
    wanted = {spec.ENGINE: engine} if engine else {}
    return {name: labels.get(spec.REPLICA, "") for name, labels in await labelled(docker, wanted)}


async def labelled(docker: aiodocker.Docker, wanted: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """(name, labels) of each container of samovar."""
    labels = [spec.ENGINE, *(f"{name}={value}" for name, value in wanted.items())]
    found = await docker.containers.list(all=True, filters=json.dumps({"label": labels}))
    return [(container["Names"][0].lstrip("/"), container["Labels"]) for container in found]


def is_away(error: BaseException) -> bool:
    """Nobody answers, as opposed to: the answer is no. 900 is how the client says so."""
    return not isinstance(error, aiodocker.DockerError) or error.status == 900
