"""The limits of an environment as the kernel holds them."""

from __future__ import annotations

import os
import signal

import pytest

from samovar.drivers import container_spec as spec
from samovar.model import Environment, Limits
from tests.conformance.driver.worlds import SECONDS

from .replicas import ended, output, run, soon, world

CGROUP = """
import os
def read(*paths):
    for path in paths:
        if os.path.exists(path): return open(path).read().split()
"""
TAKE = "taken = bytearray(b'x') * (400 << 20)"


def environment(**limits: float) -> Environment:
    return Environment("bounded", limits=Limits(**limits), network="none")


def test_memory_and_no_swap():
    said = output(
        CGROUP + "print(*read('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'))",
        environment(memory=100 << 20),
    )
    assert said.split() == [str(100 << 20)]
    program = (
        CGROUP + "print(*read('/sys/fs/cgroup/memory.swap.max', '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'))"
    )
    assert output(program, environment(memory=100 << 20)).split() in (["0"], [str(100 << 20)])


def test_cpu():
    program = CGROUP + (
        "found = read('/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us')\n"
        "print(int(found[0]) / int((found + read('/sys/fs/cgroup/cpu/cpu.cfs_period_us', '/dev/null'))[1]))"
    )
    assert float(output(program, environment(cpu=0.5))) == 0.5
    assert float(output(program, environment(cpu=1000))) == os.cpu_count()


def test_pids():
    program = CGROUP + "print(*read('/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max'))"
    assert output(program, environment(pids=33)) == "33\n"
    assert output(program, environment()) == f"{spec.PIDS}\n"


def test_shared_memory_and_disk():
    program = "import os\nfor f in ('/dev/shm', '/tmp'): s = os.statvfs(f); print(s.f_blocks * s.f_frsize)"
    assert output(program, environment(shm=16 << 20, disk=32 << 20)).split() == [str(16 << 20), str(32 << 20)]
    assert output(program, environment()).split()[1] == str(spec.TMP_BYTES)


@pytest.mark.parametrize(
    "program",
    [
        TAKE,
        f"import os\nif os.fork() == 0:\n    {TAKE}\nraise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]) != 0)",
    ],
    ids=["the main process", "a child of it"],
)
def test_over_its_memory(program):
    async def test():
        how = await ended(program, environment(memory=100 << 20))
        assert how.out_of_memory
        assert (how.signal, how.code) in ((signal.SIGKILL, None), (None, 1))

    run(test())


def test_a_child_that_is_killed_for_memory_is_no_reason_where_the_main_process_goes_on():
    program = f"import os\nif os.fork() == 0:\n    {TAKE}\nos.wait()"

    async def test():
        how = await ended(program, environment(memory=100 << 20))
        assert (how.code, how.out_of_memory) == (0, False)

    run(test())


def test_memory_is_the_cause_also_where_a_stop_was_asked_for_meanwhile():
    wait = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\nprint('ready', flush=True)\nsignal.pause()\n"

    async def test():
        async with world(wait + TAKE) as here:
            await here.driver.start("r", environment(memory=100 << 20), {})
            await here.line()
            await soon(here.driver.stop("r", SECONDS))
            assert (await soon(here.driver.wait("r"))).out_of_memory

    run(test())
