"""Who gets containers and who gets processes."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from samovar.drivers.choice import AutoDriver, open_driver
from samovar.drivers.fake import FakeDriver
from samovar.drivers.process import ProcessDriver
from samovar.errors import InitializationError
from samovar.model import Environment, ImageSpec, ImageStep
from tests.conformance.driver.earlier import Earlier
from tests.conformance.driver.worlds import SECONDS

PLAIN = Environment("plain", image=ImageSpec(steps=(ImageStep("pip", ("numpy",)), ImageStep("env", ("A=1",)))))
APT = Environment("apt", image=ImageSpec(steps=(ImageStep("apt", ("git",)),)))
BASE = Environment("base", image=ImageSpec(base="debian"))
FILE = Environment("file", image=ImageSpec(dockerfile="/code/Dockerfile"))


class Auto:
    """An auto driver over two fakes. ``engine``: who answers; "" for nobody."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.asked = 0
        self.processes, self.containers = FakeDriver(), FakeDriver()
        self.said: list[str] = []
        self.driver = AutoDriver(self.processes, lambda: self.containers, self._answering)

    async def _answering(self) -> str:
        self.asked += 1
        if not self.engine:
            raise InitializationError("InitializationError", "no container engine answers\nWhat to do: install one")
        return self.engine

    async def start(self, *environments: Environment) -> tuple[list[str], list[str]]:
        """(those that are in processes, those that are in containers)"""
        for environment in environments:
            await self.driver.prepare(environment, self.said.append)
            await self.driver.start(f"of-{environment.name}", environment, {})
        started = (list(self.processes.started), list(self.containers.started))
        await self.driver.close()
        assert all(
            replica.ended.done() for fake in (self.processes, self.containers) for replica in fake.replicas.values()
        )
        return started


def test_containers_where_an_engine_answers_and_the_image_asks_for_more_than_packages():
    auto = Auto("Podman 4")
    assert asyncio.run(auto.start(PLAIN, APT, BASE, FILE)) == (["of-plain"], ["of-apt", "of-base", "of-file"])
    assert auto.said == [
        "environment 'apt' runs in containers of Podman 4: its image asks for apt",
        "environment 'base' runs in containers of Podman 4: its image asks for base debian",
        "environment 'file' runs in containers of Podman 4: its image asks for base /code/Dockerfile",
    ]


def test_processes_where_no_engine_answers_and_it_says_what_they_lack():
    auto = Auto("")
    assert asyncio.run(auto.start(PLAIN, APT)) == (["of-plain", "of-apt"], [])
    assert auto.said == ["environment 'apt' runs in processes, without apt of its image: no container engine answers"]


def test_who_needs_no_container_asks_nobody():
    auto = Auto("Podman 4")
    asyncio.run(auto.start(PLAIN))
    assert (auto.asked, auto.said) == (0, [])


def test_it_says_so_once():
    async def test() -> None:
        for _ in range(3):
            await auto.driver.prepare(APT, auto.said.append)

    auto = Auto("Podman 4")
    asyncio.run(test())
    assert len(auto.said) == 1


def test_drivers_by_name():
    for name, kind in (("process", "ProcessDriver"), ("container", "ContainerDriver"), ("auto", "AutoDriver")):
        driver = open_driver(name, "/engine", "/blobs")
        assert type(driver).__name__ == kind
        asyncio.run(driver.close())
    assert isinstance(open_driver("process", "", ""), ProcessDriver)
    with pytest.raises(InitializationError, match=r"no driver 'docker'; choose one of auto, process, container"):
        open_driver("docker", "/engine", "/blobs")


@pytest.mark.parametrize("name", ["auto", "container", "process"])
def test_survivors_are_found_whatever_the_driver_is_now(name, tmp_path):
    earlier = Earlier("process", tmp_path / "processes", "sleep", ("a", "b"))
    earlier.kill()

    async def test() -> None:
        driver = open_driver(name, "/engine", "/blobs", home=tmp_path)
        waiting = asyncio.create_task(driver.wait("a"))
        await driver.stop("a", SECONDS)
        assert (await waiting).output == "ready\n"
        await driver.close()

    asyncio.run(asyncio.wait_for(test(), 3 * SECONDS))
    assert not any(tmp_path.iterdir())


def test_one_of_two_kinds_has_the_survivor():
    async def test() -> None:
        for driver in (auto.processes, auto.containers):
            await driver.start(f"of-{id(driver)}", PLAIN, {})
        auto.driver.containers()
        for driver in (auto.processes, auto.containers):
            waiting = asyncio.create_task(auto.driver.wait(f"of-{id(driver)}"))
            await auto.driver.stop(f"of-{id(driver)}", 1)
            assert (await waiting).signal == signal.SIGTERM
        with pytest.raises(LookupError, match="no replica 'nobody'"):
            await auto.driver.wait("nobody")
        await auto.driver.close()

    auto = Auto("Podman 4")
    asyncio.run(test())


@pytest.mark.parametrize(("name", "expected"), [("process", (["r"], [])), ("container", ([], ["r"]))])
def test_with_survivors_of_the_other_kind_a_name_still_says_what_is_started(name, expected):
    processes, containers = FakeDriver(), FakeDriver()

    async def nobody() -> str:
        raise AssertionError("asked without need")

    async def test() -> None:
        driver = AutoDriver(processes, lambda: containers, nobody, name)
        await driver.start("r", APT, {})
        await driver.close()

    asyncio.run(test())
    assert (processes.started, containers.started) == expected


def test_containers_without_their_library_say_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("samovar.drivers.container")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiodocker", None)
    with pytest.raises(InitializationError, match=r'pip install "samovar\[containers\]"'):
        open_driver("container", "/engine", "/blobs")
