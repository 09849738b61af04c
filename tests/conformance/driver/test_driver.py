"""What every driver promises: the port's docstrings, as tests."""

from __future__ import annotations

import asyncio
import signal

import pytest

from samovar.drivers.process import variables
from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit, ImageSpec, ImageStep, Limits, SecretSpec

from .worlds import SECONDS

PLAIN = Environment("plain", network="none")


def run(test):
    asyncio.run(asyncio.wait_for(test, 3 * SECONDS))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


async def ended(world, environment=PLAIN, boot=None) -> Exit:
    await world.driver.start("r", environment, boot or {})
    how = await soon(world.driver.wait("r"))
    await world.driver.close()
    return how


@pytest.mark.parametrize(
    ("program", "how"),
    [("succeed", Exit(code=0)), ("fail", Exit(code=7)), ("die", Exit(signal=signal.SIGSEGV))],
)
def test_wait_says_how_a_replica_ended(world, program, how):
    async def test():
        assert await ended(world(program)) == how

    run(test())


@pytest.mark.parametrize(
    ("program", "grace", "code", "number"),
    [
        ("sleep", SECONDS, None, signal.SIGTERM),
        ("polite", SECONDS, 5, None),
        ("stubborn", 0.1, None, signal.SIGKILL),
        ("polite", 0, None, signal.SIGKILL),
    ],
)
def test_stop_asks_waits_and_kills(world, program, grace, code, number):
    async def test():
        here = world(program)
        await here.driver.start("r", PLAIN, {})
        assert await here.line() == ("r", "ready")
        waiting = asyncio.create_task(here.driver.wait("r"))
        await soon(here.driver.stop("r", grace))
        how = await soon(waiting)
        assert (how.code, how.signal, how.out_of_memory) == (code, number, False)
        await here.driver.close()

    run(test())


def test_wait_after_stop_still_says_how(world):
    async def test():
        here = world("sleep")
        await here.driver.start("r", PLAIN, {})
        await here.line()
        await soon(here.driver.stop("r", SECONDS))
        assert (await soon(here.driver.wait("r"))).signal == signal.SIGTERM
        await here.driver.close()

    run(test())


def test_a_cancelled_wait_leaves_the_replica_alone(world):
    async def test():
        here = world("polite")
        await here.driver.start("r", PLAIN, {})
        await here.line()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await soon(here.driver.stop("r", SECONDS))
        assert (await soon(here.driver.wait("r"))).code == 5
        await here.driver.close()

    run(test())


def test_stop_of_an_unknown_or_ended_replica_does_nothing(world):
    async def test():
        here = world("succeed")
        await soon(here.driver.stop("nobody", 1))
        await here.driver.start("r", PLAIN, {})
        await soon(here.driver.wait("r"))
        await soon(here.driver.stop("r", SECONDS))
        await here.driver.close()

    run(test())


def test_two_stops_at_once(world):
    async def test():
        here = world("sleep")
        await here.driver.start("r", PLAIN, {})
        await here.line()
        await soon(asyncio.gather(here.driver.stop("r", SECONDS), here.driver.stop("r", SECONDS)))
        assert (await soon(here.driver.wait("r"))).signal == signal.SIGTERM
        await here.driver.close()

    run(test())


def test_many_at_once(world):
    async def test():
        here = world("polite")
        names = [f"r{number}" for number in range(20)]
        await asyncio.gather(*(here.driver.start(name, PLAIN, {}) for name in names))
        assert {(await here.line())[0] for _ in names} == set(names)
        waiting = [asyncio.create_task(here.driver.wait(name)) for name in names]
        await soon(asyncio.gather(*(here.driver.stop(name, SECONDS) for name in names)))
        assert {how.code for how in await soon(asyncio.gather(*waiting))} == {5}
        await here.driver.close()

    run(test())


def test_a_name_is_free_again_after_its_end_was_waited_for(world):
    async def test():
        here = world("fail")
        for _ in range(2):
            await here.driver.start("r", PLAIN, {})
            with pytest.raises(ReplicaStartError, match="already"):
                await here.driver.start("r", PLAIN, {})
            assert (await soon(here.driver.wait("r"))).code == 7
        with pytest.raises(LookupError):
            await here.driver.wait("r")
        await here.driver.close()

    run(test())


def test_variables_of_image_environment_secret_and_boot(world, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "tea")
    environment = Environment(
        "e",
        image=ImageSpec(steps=(ImageStep("env", ("IMAGE=i", "PLAIN=overridden")),)),
        env_vars=(("PLAIN", "p"), ("BOOT", "overridden")),
        secrets=(SecretSpec("PASSWORD", "db_password"),),
    )

    async def test():
        how = await ended(world("variables"), environment, {"BOOT": "b"})
        assert how.output.splitlines() == ["PLAIN p", "IMAGE i", "BOOT b", "PASSWORD tea"]

    run(test())


def test_the_engines_own_settings_stay_behind(monkeypatch):
    monkeypatch.setenv("SAMOVAR_TOKEN", "mine")
    assert "SAMOVAR_TOKEN" not in variables(PLAIN, {})
    assert variables(PLAIN, {"SAMOVAR_TOKEN": "its"})["SAMOVAR_TOKEN"] == "its"


def test_an_absent_secret_refuses_the_start(world, monkeypatch):
    monkeypatch.delenv("DB_PASSWORD", raising=False)

    async def test():
        here = world("succeed")
        with pytest.raises(ReplicaStartError, match=r"environment 'e' needs the secret 'db_password'.*DB_PASSWORD"):
            await here.driver.start("r", Environment("e", secrets=(SecretSpec("PASSWORD", "db_password"),)), {})
        await here.driver.start("r", PLAIN, {})  # the name was not taken
        await soon(here.driver.wait("r"))
        await here.driver.close()

    run(test())


def test_the_end_of_the_output_is_kept(world):
    async def test():
        how = await ended(world("talk"))
        assert how.output.endswith("line 4998\nline 4999\n")
        assert len(how.output) == 8 * 1024

    run(test())


def test_output_is_handed_on_line_by_line(world):
    async def test():
        here = world("talk")
        await here.driver.start("r", PLAIN, {})
        for number in range(5000):
            assert await here.line() == ("r", f"line {number}")
        await here.driver.close()

    run(test())


def test_close_kills_all_and_ends_every_wait(world):
    async def test():
        here = world("stubborn")
        names = ["a", "b", "c"]
        for name in names:
            await here.driver.start(name, PLAIN, {})
            await here.line()
        waiting = [asyncio.create_task(here.driver.wait(name)) for name in names]
        await asyncio.sleep(0)
        await soon(here.driver.close())
        assert {how.signal for how in await soon(asyncio.gather(*waiting))} == {signal.SIGKILL}
        with pytest.raises(ReplicaStartError, match="closed"):
            await here.driver.start("d", PLAIN, {})

    run(test())


def test_a_secret_as_a_file(world, monkeypatch, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "certificate").write_text("leaf")
    monkeypatch.setenv("SAMOVAR_SECRETS_DIR", str(tmp_path))
    environment = Environment("e", secrets=(SecretSpec("CERTIFICATE", "web/certificate", "/samovar-test/tls"),))

    async def test():
        content, mode, path = (await ended(world("secret"), environment)).output.split()
        assert (content, mode) == ("leaf", "0o400")
        assert path in ("/samovar-test/tls/certificate", "elsewhere")

    run(test())


def test_over_its_memory_a_replica_is_killed_and_it_shows(world):
    async def test():
        how = await ended(world("greedy"), Environment("greedy", limits=Limits(memory=200 << 20), network="none"))
        assert (how.out_of_memory, how.signal) == (True, signal.SIGKILL)
        assert str(how) == "went over its memory limit and was killed"

    run(test())


def test_within_its_limits_a_replica_is_left_alone(world):
    async def test():
        limits = Limits(cpu=1, memory=500 << 20, shm=8 << 20, disk=8 << 20, pids=50)
        assert await ended(world("fail"), Environment("modest", limits=limits, network="none")) == Exit(code=7)

    run(test())


def test_what_a_driver_has_left_is_found_from_outside(world):
    async def test():
        here = world("sleep")
        for name in ("a", "b"):
            await here.driver.start(name, PLAIN, {"REPLICA": name})
            await here.line()
        assert await here.left() == ["a", "b"]
        await soon(here.driver.stop("a", 0))
        await soon(here.driver.wait("a"))
        assert await here.left() == ["b"]
        await here.driver.close()
        assert await here.left() == []

    run(test())
