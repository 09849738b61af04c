"""Images that a run depends on: made when it starts, and no fault of the run where they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samovar.engine.keeper import Keeper
from samovar.engine.turn import Turn
from samovar.errors import ImageBuildError
from samovar.model import Environment

SECONDS = 30


class Driver:
    """Makes images when it is let; those named "bad" not at all."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = asyncio.Event()

    async def prepare(self, environment: Environment, report: Callable[[str], None]) -> None:
        self.begun.append(environment.name)
        await self.gate.wait()
        if environment.name == "bad":
            raise ImageBuildError("there is no such package")
        report(f"made {environment.name}")

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        self.begun.append(replica)

    async def wait(self, replica: str) -> None:
        await asyncio.Event().wait()

    async def stop(self, replica: str, grace: float) -> None: ...

    async def close(self) -> None: ...


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0)


def test_images_are_made_at_the_same_time_and_once() -> None:
    async def check() -> None:
        said: list[str] = []
        driver = Driver()
        keeper = Keeper(driver, asyncio.get_running_loop(), Turn(), said.append)  # type: ignore[arg-type]
        for name in ("one", "bad", "two"):
            keeper.prepare(Environment(name))
        await _until(lambda: driver.begun == ["one", "bad", "two"])
        keeper.start("one-1", Environment("one"), {}, None)  # type: ignore[arg-type]
        driver.gate.set()
        await _until(lambda: len(said) == 3 and "one-1" in driver.begun)
        assert "made one" in said
        assert "made two" in said
        assert "environment 'bad' is depended on and cannot be made yet: there is no such package" in said
        assert driver.begun.count("one") == 1
        await keeper.close(0)

    asyncio.run(check())
