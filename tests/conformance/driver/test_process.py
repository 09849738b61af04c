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
from samovar.model import Bundle, Environment, Exit, ImageSpec, Limits

from .worlds import SECONDS, process

PLAIN = Environment("plain")
PARENT = (
    "import os, subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(os.getpid(), child.pid, flush=True); time.sleep(600)"
)
STRAYS = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True)
leave = "import subprocess as s, sys; print(s.Popen(sys.argv[1:], stdout=s.DEVNULL, start_new_session=True).pid)"
orphan = int(subprocess.check_output([sys.executable, "-W", "ignore", "-c", leave, *sleep]))
print(os.getpid(), child.pid, orphan, flush=True)
time.sleep(600)
"""
GREEDY = "import time\ntaken = []\nwhile True:\n    taken.append(bytearray(b'x') * 2**23)\n    time.sleep(0.005)"
BURST = """
import re
try:
    taken = b"x" * (2 << 30)
except MemoryError:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], flush=True)
    raise
"""
WHEN_TOLD = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
"""
HONEST = """
import mmap, threading
reserved = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
done = threading.Event()
threads = [threading.Thread(target=done.wait) for _ in range(100)]
for thread in threads: thread.start()
done.set()
"""
SLEEP = ("-c", "import time; print('ready', flush=True); time.sleep(600)")
FORKS = (
    "import os\ntaken = bytearray(b'x') * (100 << 20)\n"
    "for _ in range(4):\n    if os.fork() == 0: break\n"
    "os.write(1, b'ready\\n')\nimport time; time.sleep(600)"
)


def can_bound(asked: Limits) -> bool:
    groups = Groups.find()
    return groups is not None and groups.can_bound(asked)


def run(test):
    asyncio.run(asyncio.wait_for(test, 3 * SECONDS))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


def assert_ends(watched: int) -> None:
    """The process of this pidfd ends; an event, so nothing is polled."""
    assert select.select([watched], [], [], SECONDS)[0]
    os.close(watched)


async def bounded(program: str, memory: int) -> tuple[Exit, list[str]]:
    """How a replica without a cgroup ends under this limit, and what was reported."""
    lines: list[str] = []
    driver = ProcessDriver(("-c", program), groups=None)
    environment = Environment("e", limits=Limits(memory=memory))
    await driver.prepare(environment, lines.append)
    await driver.start("r", environment, {})
    how = await soon(driver.wait("r"))
    await driver.close()
    return how, lines


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


@pytest.mark.parametrize("end", ["stop", "kill", "close", "by itself"])
def test_what_left_the_session_goes_too(end):
    async def test():
        world = process(STRAYS)
        await world.driver.start("r", PLAIN, {})
        parent, *strays = map(int, (await world.line())[1].split())
        watched = [os.pidfd_open(stray) for stray in strays]
        assert all(os.getsid(stray) != parent for stray in strays)
        if end == "close":
            await soon(world.driver.close())
        elif end == "by itself":
            os.kill(parent, signal.SIGKILL)
        else:
            await soon(world.driver.stop("r", SECONDS if end == "stop" else 0))
        await soon(world.driver.wait("r"))
        await soon(world.driver.close())
        for stray in watched:
            assert_ends(stray)

    run(test())


def test_one_family_leaves_another_alone():
    async def test():
        world = process(STRAYS)
        await world.driver.start("r", PLAIN, {})
        _, *strays = map(int, (await world.line())[1].split())
        await world.driver.start("s", PLAIN, {})
        await world.line()
        watched = [os.pidfd_open(stray) for stray in strays]
        await soon(world.driver.stop("s", 0))
        assert select.select(watched, [], [], 0)[0] == []
        await soon(world.driver.close())
        for stray in watched:
            assert_ends(stray)

    run(test())


def test_over_its_memory_a_replica_is_killed_and_it_shows():
    async def test():
        how, lines = await bounded(GREEDY, 200 << 20)
        assert (how.out_of_memory, how.signal) == (True, signal.SIGKILL)
        assert str(how) == "went over its memory limit and was killed"
        assert lines == []

    run(test())


def test_memory_that_forks_share_counts_once():
    async def test():
        heard: asyncio.Queue[str] = asyncio.Queue()
        driver = ProcessDriver(("-c", FORKS), lambda _, line: heard.put_nowait(line), groups=None)
        await driver.start("r", Environment("forks", limits=Limits(memory=250 << 20)), {})
        for _ in range(5):
            assert await soon(heard.get()) == "ready"
        members = driver._sampler._members()[driver.replicas["r"].pid]
        assert sum(map(limits._resident, members)) > 250 << 20
        driver._sampler._sample()
        await soon(driver.stop("r", SECONDS))
        assert not (await soon(driver.wait("r"))).out_of_memory
        await driver.close()

    run(test())


def test_a_burst_is_refused_before_it_is_there():
    async def test():
        how, _ = await bounded(BURST, 256 << 20)
        assert (how.code, how.out_of_memory) == (1, True)
        assert int(how.output.split()[0]) < 64 << 10  # KiB, at its highest
        assert how.output.rstrip().endswith("MemoryError")

    run(test())


def test_a_late_sampler_does_not_let_memory_grow_for_ever(monkeypatch):
    monkeypatch.setattr(limits.Sampler, "_sample", lambda self: None)

    async def test():
        how, _ = await bounded("taken = []\nwhile True: taken.append(bytearray(2**22))", 256 << 20)
        assert (how.code, how.out_of_memory) == (1, True)

    run(test())


def test_reserved_memory_and_many_threads_are_no_use_of_memory():
    async def test():
        how, _ = await bounded(HONEST, 256 << 20)
        assert how == Exit(code=0)

    run(test())


@pytest.mark.parametrize(
    ("program", "out_of_memory"),
    [
        ("raise MemoryError('Unable to allocate 2.00 GiB')", True),
        ('import os; os.write(2, b"  what():  std::bad_alloc\\n"); os.abort()', True),
        ("import os; os.write(2, b'memory allocation of 9 bytes failed\\n'); os.abort()", True),
        ("print('MemoryError')", False),  # and went on
        ("try: raise MemoryError\nfinally: raise ValueError", False),
        ("print('MemoryError', flush=True); import os; os.kill(os.getpid(), 15)", False),
    ],
)
def test_who_dies_of_refused_memory_is_out_of_memory(program, out_of_memory):
    async def test():
        how, _ = await bounded(program, 256 << 20)
        assert how.out_of_memory == out_of_memory

    run(test())


def test_a_memory_error_without_a_limit_is_the_programs_own():
    async def test():
        world = process("raise MemoryError")
        await world.driver.start("r", PLAIN, {})
        how = await soon(world.driver.wait("r"))
        assert (how.code, how.out_of_memory) == (1, False)
        await world.driver.close()

    run(test())


@pytest.mark.skipif(not can_bound(Limits(memory=1)), reason="no memory cgroup of this machine is ours to divide")
def test_the_kernel_kills_a_replica_through_its_group():
    async def test():
        heard: asyncio.Queue[str] = asyncio.Queue()
        driver = ProcessDriver(("-c", WHEN_TOLD + BURST), lambda _, line: heard.put_nowait(line), Groups.find())
        await driver.start("r", Environment("e", limits=Limits(memory=200 << 20)), {})
        assert await soon(heard.get()) == "ready"
        assert driver.replicas["r"].group.bounds == {"memory"}
        assert driver._sampler._watched == {}
        os.kill(driver.replicas["r"].pid, signal.SIGUSR1)
        how = await soon(driver.wait("r"))
        assert (how.signal, how.out_of_memory) == (signal.SIGKILL, True)
        await driver.close()

    run(test())


@pytest.mark.skipif(not can_bound(Limits(memory=1)), reason="no memory cgroup of this machine is ours to divide")
def test_a_kill_by_hand_in_a_group_is_no_lack_of_memory():
    async def test():
        driver = ProcessDriver(SLEEP, groups=Groups.find())
        await driver.start("r", Environment("e", limits=Limits(memory=200 << 20)), {})
        os.kill(driver.replicas["r"].pid, signal.SIGKILL)
        how = await soon(driver.wait("r"))
        assert (how.signal, how.out_of_memory) == (signal.SIGKILL, False)
        await driver.close()

    run(test())


def test_a_cpu_limit_that_does_not_hold_is_said_once():
    lines: list[str] = []

    async def test():
        driver = ProcessDriver(SLEEP, groups=None)
        environment = Environment("e", limits=Limits(cpu=0.5))
        await driver.prepare(environment, lines.append)
        for name in ("r", "s"):
            await driver.start(name, environment, {})
        await driver.close()

    run(test())
    assert lines == ["environment 'e' asks for cpu 0.5, which does not hold as a limit: no cgroup can be made here"]


def test_a_group_that_is_refused_is_said_once_and_memory_is_sampled(tmp_path):
    (tmp_path / "memory").mkdir()
    groups = Groups({"memory": tmp_path / "memory", "cpu": tmp_path / "gone"}, unified=False)
    (tmp_path / "memory" / f"samovar-{os.getpid()}-r").touch()  # in the way
    lines: list[str] = []

    async def test():
        driver = ProcessDriver(("-c", GREEDY), groups=groups)
        environment = Environment("e", limits=Limits(cpu=1, memory=200 << 20))
        await driver.prepare(environment, lines.append)
        for _ in range(2):
            await driver.start("r", environment, {})
            how = await soon(driver.wait("r"))
            assert (how.signal, how.out_of_memory) == (signal.SIGKILL, True)
        await driver.close()

    run(test())
    assert lines == [
        "environment 'e': its memory is only sampled: a memory cgroup is refused (File exists)",
        "environment 'e' asks for cpu 1, which does not hold as a limit: "
        "a cpu cgroup is refused (No such file or directory)",
    ]


@pytest.mark.skipif(Groups.find() is None, reason="no cgroup of this machine is ours to divide")
def test_a_replica_is_in_its_group_which_is_gone_afterwards():
    async def test():
        heard: asyncio.Queue[str] = asyncio.Queue()
        driver = ProcessDriver(SLEEP, lambda _, line: heard.put_nowait(line), Groups.find())
        await driver.start("r", Environment("e", limits=Limits(cpu=0.5, memory=1 << 30)), {})
        await soon(heard.get())
        replica = driver.replicas["r"]
        directories = replica.group.directories
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


def test_a_network_that_a_process_cannot_have_is_said_once():
    lines: list[str] = []

    async def test():
        driver = ProcessDriver()
        for network in ("none", "none", "host", ""):
            await driver.prepare(Environment(network or "plain", network=network), lines.append)
        await driver.close()

    run(test())
    assert lines == ["environment 'none' asks for network 'none', but a process has the machine's own"]


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
    stale, live = tmp_path / f"samovar-{dead.pid}-r1", tmp_path / f"samovar-{os.getpid()}-r1"
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
    group = Groups({"memory": tmp_path, "cpu": tmp_path}, unified).create(
        limits.group_name("a/b"), Limits(cpu=0.5, memory=1024), 4242
    )
    (directory,) = tmp_path.iterdir()
    assert directory.name == f"samovar-{os.getpid()}-a_b"
    assert {file.name: file.read_text() for file in directory.iterdir()} == {**expected, "cgroup.procs": "4242"}
    assert group.bounds == {"memory", "cpu"}
    assert not group.ran_out_of_memory()
    (directory / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.ran_out_of_memory()


@pytest.mark.skipif(Groups.find() is None, reason="no cgroup of this machine is ours to divide")
def test_a_cancelled_start_leaves_neither_process_nor_group():
    async def test():
        groups = Groups.find()
        driver = ProcessDriver(SLEEP, groups=groups)
        starting = asyncio.create_task(driver.start("r", Environment("e", limits=Limits(cpu=0.5)), {}))
        while "r" not in driver.replicas:
            await asyncio.sleep(0)
        watched = os.pidfd_open(driver.replicas["r"].pid)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        await soon(driver.close())
        assert_ends(watched)
        assert not [path for parent in groups._parents.values() for path in parent.glob(f"samovar-{os.getpid()}-*")]

    run(test())


def test_the_old_hierarchies_are_divided_below_the_group_we_are_in(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_own_groups", lambda: {"memory": "/a/b", "cpu": "/", "cpuset": "/", "": "/"})
    for directory in ("memory/a/b", "cpu", "cpuset"):
        (tmp_path / directory).mkdir(parents=True)
    assert Groups.find(tmp_path)._parents == {"memory": tmp_path / "memory/a/b", "cpu": tmp_path / "cpu"}
    monkeypatch.setattr(limits, "_own_groups", lambda: {"memory": "/seen/from/outside"})
    assert Groups.find(tmp_path) is None
