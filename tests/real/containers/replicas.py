"""Replicas of the container driver for tests: a program in, what became of it out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from samovar.drivers.container import ContainerDriver
from samovar.drivers.container_spec import Shared
from samovar.model import Environment, Exit
from tests.conformance.driver.worlds import SECONDS, World, container

ALONE = Environment("alone", network="none")
NOTHING_SHARED = Shared()


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test, 4 * SECONDS))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


@contextlib.asynccontextmanager
async def world(program: str, shared: Shared = NOTHING_SHARED) -> AsyncIterator[World[ContainerDriver]]:
    """A world whose driver is closed at the end."""
    here = container(program, shared)
    try:
        yield here
    finally:
        await here.driver.close()


async def ended(program: str, environment: Environment = ALONE, shared: Shared = NOTHING_SHARED) -> Exit:
    """How a replica that runs this program ended."""
    async with world(program, shared) as here:
        await here.driver.start("r", environment, {"TOKEN": "of-the-replica"})
        return await soon(here.driver.wait("r"))


def output(program: str, environment: Environment = ALONE, shared: Shared = NOTHING_SHARED) -> str:
    """What the program printed; it must succeed."""
    ends: list[Exit] = []

    async def test() -> None:
        ends.append(await ended(program, environment, shared))

    run(test())
    assert ends[0].code == 0, ends[0].output
    return ends[0].output
