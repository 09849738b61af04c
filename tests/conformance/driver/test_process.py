"""What only processes can do wrong: grandchildren, memory, directories, limits of the machine."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from samovar.drivers import limits
from samovar.drivers import process as process_module
from samovar.drivers.limits import Groups
from samovar.drivers.process import ProcessDriver
from samovar.errors import ReplicaStartError
from samovar.model import Bundle, Environment, ImageSpec, Limits

from .worlds import SECONDS, process

PLAIN = Environment("plain")
PARENT = (
    "import os, subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(os.getpid(), child.pid, flush=True); time.sleep(600)"
)
SLEEP = ("-c", "import time; print('ready', flush=True); time.sleep(600)")
FORKS = (
    "import os\ntaken = bytearray(b'x') * (100 << 20)\n"
    "for _ in range(4):\n    if os.fork() == 0: break\n"
    "os.write(1, b'ready\\n')\nimport time; time.sleep(600)"
)


def run(test):
    asyncio.run(asyncio.wait_for(test, 3 * SECONDS))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


def assert_ends(watched: int) -> None:
    """The process of this pidfd ends; an event, so nothing is polled."""
    assert select.select([watched], [], [], SECONDS)[0]
    os.close(watched)


@pytest.mark.parametrize("end", ["stop", "kill", "close", "by itself"])
def test_grandchildren_go_too(end):
    async def test():
        world = process(PARENT)
        await world.driver.start("r", PLAIN, {})
        parent, child = map(int, (await world.line())[1].split())
        watched = os.pidfd_open(child)
        if end == "close":
            await soon(world.driver.close())
        elif end == "by itself":
            os.kill(parent, signal.SIGTERM)
        else:
            await soon(world.driver.stop("r", SECONDS if end == "stop" else 0))
        await soon(world.driver.wait("r"))
        assert_ends(watched)
        await world.driver.close()

    run(test())


def test_memory_that_forks_share_counts_once():
    async def test():
        heard: asyncio.Queue[str] = asyncio.Queue()
        driver = ProcessDriver(("-c", FORKS), lambda _, line: heard.put_nowait(line), groups=None)
        await driver.start("r", Environment("forks", limits=Limits(memory=250 << 20)), {})
        for _ in range(5):
            assert await soon(heard.get()) == "ready"
        members = driver._sampler._members()[driver._replicas["r"].pid]
        assert sum(map(limits._resident, members)) > 250 << 20
        driver._sampler._sample()
        await soon(driver.stop("r", SECONDS))
        assert not (await soon(driver.wait("r"))).out_of_memory
        await driver.close()

    run(test())


@pytest.mark.skipif(Groups.find() is None, reason="no cgroup of this machine is ours to divide")
def test_a_replica_is_in_its_group_which_is_gone_afterwards():
    async def test():
        heard: asyncio.Queue[str] = asyncio.Queue()
        driver = ProcessDriver(SLEEP, lambda _, line: heard.put_nowait(line), Groups.find())
        await driver.start("r", Environment("e", limits=Limits(cpu=0.5, memory=1 << 30)), {})
        await soon(heard.get())
        replica = driver._replicas["r"]
        directories = replica.group._directories
        assert directories
        for directory in directories:
            assert (directory / "cgroup.procs").read_text().split() == [str(replica.pid)]
        await soon(driver.stop("r", 0))
        assert not any(directory.exists() for directory in directories)
        await driver.close()

    run(test())


def test_it_starts_in_the_directory_of_the_bundle(tmp_path):
    async def test():
        world = process("import os; print(os.getcwd())")
        await world.driver.start("r", Environment("e", bundle=Bundle(cwd=str(tmp_path))), {})
        assert (await world.line())[1] == str(tmp_path)
        await world.driver.start("s", Environment("e", bundle=Bundle(cwd=str(tmp_path / "gone"))), {})
        assert (await world.line())[1] == os.getcwd()
        await world.driver.close()

    run(test())


def test_samovar_and_what_it_needs_can_be_imported():
    async def test():
        world = process("import samovar.model, msgspec, cloudpickle; print('yes')")
        await world.driver.start("r", PLAIN, {})
        assert (await world.line())[1] == "yes"
        await world.driver.close()

    run(test())


def test_a_python_that_is_not_there_says_so():
    async def test():
        driver = ProcessDriver()
        driver._pythons[ImageSpec()] = "/nowhere/python"
        with pytest.raises(ReplicaStartError, match="'plain': /nowhere/python does not start"):
            await driver.start("r", PLAIN, {})
        await driver.close()

    run(test())


def test_without_pidfd_a_thread_watches(monkeypatch):
    def refuse(pid: int) -> int:
        raise OSError("forbidden")

    monkeypatch.setattr(process_module.os, "pidfd_open", refuse)

    async def test():
        world = process("fail")
        await world.driver.start("r", PLAIN, {})
        assert (await soon(world.driver.wait("r"))).code == 7
        await world.driver.close()

    run(test())


def test_a_loop_in_another_thread():
    ends = []

    async def test():
        world = process("fail")
        await world.driver.start("r", PLAIN, {})
        ends.append(await soon(world.driver.wait("r")))
        await world.driver.close()

    thread = threading.Thread(target=run, args=(test(),))
    thread.start()
    thread.join(3 * SECONDS)
    assert [how.code for how in ends] == [7]


def test_on_uvloop():
    uvloop = pytest.importorskip("uvloop")

    async def test():
        world = process("polite")
        await world.driver.start("r", PLAIN, {})
        await world.line()
        await soon(world.driver.stop("r", SECONDS))
        assert (await soon(world.driver.wait("r"))).code == 5
        await world.driver.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


def test_a_gpu_that_is_not_there_is_said_once(monkeypatch):
    monkeypatch.setattr(process_module.glob, "glob", lambda pattern: [])
    lines: list[str] = []

    async def test():
        driver = ProcessDriver()
        for _ in range(2):
            await driver.prepare(Environment("e", limits=Limits(gpu="T4:1")), lines.append)
        await driver.close()

    run(test())
    assert lines == ["environment 'e' asks for gpu 'T4:1', but this machine shows none; going on without"]


def test_an_on_output_that_fails_does_not_hide_the_end():
    failures: list[str] = []

    def fail(replica: str, line: str) -> None:
        raise ValueError(line)

    async def test():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
        driver = ProcessDriver(command=("-c", "print('spilt', end='')"), on_output=fail)
        await driver.start("r", PLAIN, {})
        assert (await soon(driver.wait("r"))).output == "spilt"
        await driver.close()

    run(test())
    assert failures == ["spilt"]


def test_the_groups_of_a_dead_engine_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    stale, live = tmp_path / f"{dead.pid}-r1", tmp_path / f"{os.getpid()}-r1"
    stale.mkdir()
    live.mkdir()
    limits._remove_stale(tmp_path)
    assert (stale.exists(), live.exists()) == (False, True)


@pytest.mark.parametrize(
    ("unified", "expected"),
    [
        (True, {"memory.max": "1024", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "50000 100000"}),
        (
            False,
            {
                "memory.limit_in_bytes": "1024",
                "memory.memsw.limit_in_bytes": "1024",
                "cpu.cfs_period_us": "100000",
                "cpu.cfs_quota_us": "50000",
            },
        ),
    ],
)
def test_what_is_written_into_a_group(tmp_path, unified, expected):
    group = Groups({"memory": tmp_path, "cpu": tmp_path}, unified).create("a/b", Limits(cpu=0.5, memory=1024), 4242)
    (directory,) = tmp_path.iterdir()
    assert directory.name == f"{os.getpid()}-a_b"
    assert {file.name: file.read_text() for file in directory.iterdir()} == {**expected, "cgroup.procs": "4242"}
    assert group.bounds_memory
    assert not group.ran_out_of_memory()
    (directory / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.ran_out_of_memory()


@pytest.mark.skipif(Groups.find() is None, reason="no cgroup of this machine is ours to divide")
def test_a_cancelled_start_leaves_neither_process_nor_group():
    async def test():
        groups = Groups.find()
        driver = ProcessDriver(SLEEP, groups=groups)
        starting = asyncio.create_task(driver.start("r", Environment("e", limits=Limits(cpu=0.5)), {}))
        while "r" not in driver._replicas:
            await asyncio.sleep(0)
        watched = os.pidfd_open(driver._replicas["r"].pid)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        await soon(driver.close())
        assert_ends(watched)
        assert not [path for home in groups._homes.values() for path in home.glob(f"{os.getpid()}-*")]

    run(test())
