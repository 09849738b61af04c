"""Whoever waits runs the engine: threads, event loops and signals, alone and together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvloop

import samovar as flyte
from samovar.host import Host

from . import program, services
from .conftest import until


def test_nobody_waits_and_the_work_is_done(host: Host) -> None:
    runs = [flyte.run(program.square, x=i) for i in range(100)]
    until(lambda: all(run.done() for run in runs))
    assert [run.result() for run in runs] == [i * i for i in range(100)]


def test_many_threads_wait_at_once(host: Host) -> None:
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        results[number] = [flyte.run(program.square, x=number * 1000 + i).result() for i in range(50)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(services.SECONDS)
    assert results == {n: [(n * 1000 + i) ** 2 for i in range(50)] for n in range(8)}


def test_a_wait_that_is_too_short_says_so_and_the_next_one_has_it(host: Host) -> None:
    run = flyte.run(program.slow_square, x=3, seconds=0.3)
    with pytest.raises(TimeoutError, match=run.name):
        run._handle.wait(0.01)
    assert run.result() == 9


def test_a_thread_waits_for_what_another_thread_aborts(host: Host) -> None:
    run = flyte.run(program.slow_square, x=3, seconds=600.0)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            run.wait()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: run.phase.value == "running")
    run.abort("enough")
    for thread in threads:
        thread.join(services.SECONDS)
    assert [type(error) for error in raised] == [flyte.errors.ActionAbortedError] * 2


def test_a_thread_that_waits_for_long_delays_nobody(host: Host) -> None:
    slow = flyte.run(program.slow_square, x=3, seconds=600.0)

    def wait() -> None:
        with contextlib.suppress(flyte.errors.ActionAbortedError):
            slow.wait()

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: slow.phase.value == "running")
    for _ in range(3):
        quick = flyte.run(program.square, x=4)
        until(quick.done)
        assert quick.result() == 16
    slow.abort()
    waiting.join(services.SECONDS)
    assert not waiting.is_alive()


async def several(base: int) -> list[int]:
    runs = await asyncio.gather(*[flyte.run.aio(program.square, x=base + i) for i in range(200)])
    return [outputs[0] for outputs in await asyncio.gather(*[run.outputs.aio() for run in runs])]


def test_event_loops_in_threads(host: Host) -> None:
    results: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda base=base: results.update({base: asyncio.run(several(base))}))
        for base in (0, 1000, 2000)
    ]
    for thread in threads:
        thread.start()
    assert [flyte.run(program.square, x=i).result() for i in range(50)] == [i * i for i in range(50)]
    for thread in threads:
        thread.join(services.SECONDS)
    assert results == {base: [(base + i) ** 2 for i in range(200)] for base in (0, 1000, 2000)}


def test_a_loop_that_is_not_asyncios_own(host: Host) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(several(0)) == [i * i for i in range(200)]


def test_calls_are_futures_and_coroutines(host: Host) -> None:
    async def script() -> list[object]:
        first = await flyte.run.aio(program.square, x=1)
        second = await asyncio.create_task(flyte.run.aio(program.square, x=2))
        async with asyncio.TaskGroup() as group:
            third = group.create_task(second.result.aio())
        waited = await asyncio.wait_for(first.outputs.aio(), services.SECONDS)
        cancelled = asyncio.ensure_future(first.result.aio())
        cancelled.cancel()
        return [waited, third.result(), asyncio.iscoroutine(first.result.aio())]

    assert asyncio.run(script()) == [(1,), 4, True]
    assert asyncio.run(flyte.run.aio(program.square, x=5)).result() == 25


def test_a_loop_that_is_blocked_does_not_stop_the_engine(host: Host) -> None:
    async def script() -> int:
        run = await flyte.run.aio(program.squares, n=200)  # its calls all pass the engine
        outputs = run.outputs.aio()
        await asyncio.sleep(0)
        until(run.done)  # blocks this loop
        return len((await outputs)[0])

    assert asyncio.run(script()) == 200


def test_a_loop_that_is_gone_is_no_trouble(host: Host) -> None:
    async def script() -> flyte.Run:
        run = await flyte.run.aio(program.slow_square, x=4, seconds=0.3)
        run.outputs.aio()
        return run

    run = asyncio.run(script())
    assert run.result() == 16


SAMOVAR = f"{Path(flyte.__file__).parent}{os.sep}"


class Interrupted(BaseException):
    pass


def one_call(x: int) -> None:
    assert flyte.run(program.square, x=x).result() == x * x


def instructions(call: Callable[[], object], at: int = 0) -> int:
    """How many of samovar's own there are in a call. A signal comes at one of them, counted from 1."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(SAMOVAR):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            count += 1
            if count == at:
                signal.raise_signal(signal.SIGHUP)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_a_signal_at_any_instruction_of_a_call_tears_nothing(host: Host) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    one_call(2)
    before = signal.signal(signal.SIGHUP, interrupt)
    try:
        interrupts = 0
        for at in range(1, instructions(lambda: one_call(2)), 2):
            try:
                instructions(lambda: one_call(3), at)
            except Interrupted:
                interrupts += 1
            one_call(at)
        assert interrupts > 10
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_in_the_middle_of_calls_tear_nothing(host: Host) -> None:
    is_armed = False  # so that nothing is raised but inside of calls

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            raise Interrupted

    def shoot() -> None:
        while not stop.wait(0.002):
            os.kill(os.getpid(), signal.SIGHUP)

    one_call(2)
    runs: list[tuple[int, flyte.Run]] = []
    interrupts = 0
    stop = threading.Event()
    before = signal.signal(signal.SIGHUP, interrupt)
    shooter = threading.Thread(target=shoot, daemon=True)
    shooter.start()
    try:
        for x in range(3000):
            try:
                is_armed = True
                runs.append((x, flyte.run(program.square, x=x)))
                if x % 10 == 0:
                    runs[-1][1].wait()
                is_armed = False
            except Interrupted:
                interrupts += 1
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop.set()
        shooter.join(services.SECONDS)
        signal.signal(signal.SIGHUP, before)
    assert interrupts
    assert len(runs) >= 3000 - interrupts
    for x, run in runs:
        assert run.result() == x * x


STOPPED = """
import os, signal, samovar as flyte
env = flyte.TaskEnvironment(name="stopped", reusable=flyte.ReusePolicy(replicas=1))
@env.task
async def pid() -> int:
    return os.getpid()
if __name__ == "__main__":
    first = flyte.run(pid).result()
    os.kill(first, signal.SIGSTOP)
    print(flyte.run(pid).result() != first)
"""


def test_a_replica_that_is_stopped_loses_its_lease(tmp_path: Path) -> None:
    home = services.Home(tmp_path, STOPPED)
    done = home.python(str(home.script), SAMOVAR_LEASE="2.5")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    bad = home.python(str(home.script), SAMOVAR_LEASE="soon")
    assert bad.returncode == 1
    assert "SAMOVAR_LEASE='soon': it must be a number of seconds" in bad.stderr


BUSY = """
import os, samovar as flyte
env = flyte.TaskEnvironment(name="busy", reusable=flyte.ReusePolicy(replicas=1))
@env.task
async def pid() -> int:
    return os.getpid()
@env.task
async def computes() -> int:
    sum(range(2 * 10**8))  # one call of C code, which holds the lock for several seconds
    return os.getpid()
if __name__ == "__main__":
    print(flyte.run(pid).result() == flyte.run(computes).result() == flyte.run(pid).result())
"""


def test_a_replica_that_computes_without_a_beat_keeps_its_lease(tmp_path: Path) -> None:
    home = services.Home(tmp_path, BUSY)
    done = home.python(str(home.script), SAMOVAR_LEASE="2.5")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
