"""More than fits into the queue, as a user meets it: everything is done, and takes longer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from . import services
from .services import Home

PROGRAM = """
import asyncio
import samovar

narrow = samovar.TaskEnvironment(name="narrow", reusable=samovar.ReusePolicy(replicas=1, concurrency=1))


@narrow.task
async def one(x: int) -> int:
    return x


@narrow.task
def one_in_a_thread(x: int) -> int:
    return x


@narrow.task
def in_a_thread(n: int) -> int:
    return sum(one_in_a_thread(x=1) for _ in range(n))


@narrow.task
async def many(n: int) -> int:
    return sum(await asyncio.gather(*[one(x=1) for _ in range(n)]))


@narrow.task
async def trees(n: int) -> int:
    return sum(await asyncio.gather(*[many(n=n) for _ in range(n)]))


@narrow.task
async def impatient(n: int) -> int:
    calls = [asyncio.create_task(many(n=n)) for _ in range(n)]
    done, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in pending:
        call.cancel()
    return len(done) + len(pending)


async def together(n):
    started = await asyncio.gather(*[samovar.run.aio(one, x=1) for _ in range(n)])
    return sum(await asyncio.gather(*[run.result.aio() for run in started]))


if __name__ == "__main__":
    print(samovar.run(many, n=50).result())
    print(samovar.run(trees, n=7).result())
    print(samovar.run(impatient, n=9).result())
    print(samovar.run(in_a_thread, n=5).result())
    runs = [samovar.run(one, x=1) for _ in range(300)]
    print(sum(run.result() for run in runs))
    print(asyncio.run(together(300)))
    runs = [samovar.run(many, n=9) for _ in range(40)]
    for run in runs[1:]:
        run.abort("enough")
    print(runs[0].result())
    right = 0
    for run in runs[1:]:
        try:
            right += run.result() == 9  # it had ended before
        except samovar.errors.ActionAbortedError:
            right += 1
    print(right)
"""
SAYS = [50, 49, 9, 5, 300, 300, 9, 39]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, PROGRAM)


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == SAYS


def test_an_engine_of_ones_own(home: Home) -> None:
    check(home.python(str(home.script), SAMOVAR_MAX_QUEUED="4", SAMOVAR_ENDPOINT="none"))


def test_a_service(home: Home) -> None:
    process, _ = services.begin(home.path, SAMOVAR_MAX_QUEUED="4")
    try:
        check(home.python(str(home.script)))
    finally:
        services.end(process)
