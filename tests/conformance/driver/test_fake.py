"""What a test can make the fake driver do."""

from __future__ import annotations

import asyncio

import pytest

from samovar.drivers.fake import FakeDriver
from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit

PLAIN = Environment("plain")


def test_a_crash_ends_the_replica_as_told():
    async def test():
        driver = FakeDriver()
        await driver.start("r", PLAIN, {})
        driver.crash("r", Exit(signal=9, out_of_memory=True))
        assert await driver.wait("r") == Exit(signal=9, out_of_memory=True)
        with pytest.raises(KeyError):
            driver.crash("r", Exit(code=1))

    asyncio.run(test())


def test_starts_fail_as_often_as_told():
    async def test():
        driver = FakeDriver()
        driver.fail_next_start("no room")
        with pytest.raises(ReplicaStartError, match="'plain': no room"):
            await driver.start("r", PLAIN, {})
        await driver.start("r", PLAIN, {})
        assert driver.started == ["r"]
        await driver.close()

    asyncio.run(test())


def test_a_script_that_raises_is_a_replica_that_fails():
    async def script(replica, environment, boot):
        raise ValueError(boot["ADDRESS"])

    async def test():
        driver = FakeDriver(script)
        await driver.start("r", PLAIN, {"ADDRESS": "spilt"})
        how = await driver.wait("r")
        assert how.code == 1
        assert how.output.endswith("ValueError: spilt\n")

    asyncio.run(test())
