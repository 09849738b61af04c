"""Replicas outlive a service that is killed, and the next one goes on with what they run: nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.entries import ActionQuery, RunQuery, RunSummary, Settled
from samovar.journal.choice import open_journal
from samovar.wire import payload
from samovar.wire.blobs import Blobs

from . import services
from .conftest import until
from .test_service import is_alive

SECONDS = 120
MANY = 10_000

PROGRAM = """
import asyncio, os, pathlib, time
import samovar as flyte
many = flyte.TaskEnvironment(name="many", reusable=flyte.ReusePolicy(replicas=2, concurrency=50, idle_ttl=600))
lone = flyte.TaskEnvironment(name="lone", reusable=flyte.ReusePolicy(replicas=(0, 2), concurrency=1, idle_ttl=600))
other = flyte.TaskEnvironment(name="other", reusable=flyte.ReusePolicy(replicas=1, concurrency=4, idle_ttl=600))

def note(path: str, line: str) -> None:
    fd = os.open(os.path.join(path, "notes"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{line} {os.getpid()}\\n".encode())
    os.close(fd)

def is_there(path: str, name: str) -> bool:
    return (pathlib.Path(path) / name).exists()

async def gate(path: str, name: str) -> None:
    while not is_there(path, name):
        await asyncio.sleep(0.02)

loads = 0

@other.task
async def load(path: str) -> int:
    global loads
    loads += 1
    return loads

@many.task
async def child(path: str, x: int) -> int:
    if x >= 5_000:
        await gate(path, "rest")
    note(path, f"child {x}")
    return x

@many.task
async def crowd(path: str, n: int) -> int:
    note(path, "crowd")
    return sum(await asyncio.gather(*(child(path, x) for x in range(n))))

@lone.task
def leaf(path: str, name: str) -> str:
    note(path, f"leaf {name}")
    while not is_there(path, f"go {name}"):
        time.sleep(0.02)
    return name

@lone.task
def middle(path: str, name: str) -> str:
    note(path, f"middle {name}")
    return leaf(path, name) + leaf(path, name * 2)

@other.task
async def tree(path: str) -> str:
    note(path, "tree")
    return " ".join(await asyncio.gather(middle.aio(path, "a"), middle.aio(path, "b")))

@other.task
async def fails(path: str) -> int:
    note(path, "fails")
    await gate(path, "go")
    raise ValueError("no good")

@other.task
async def twice(path: str) -> str:
    same = await asyncio.gather(fails(path), fails(path), return_exceptions=True)
    return " ".join(type(one).__name__ for one in same)

@other.task
async def large(path: str, x: int) -> bytearray:
    note(path, f"large {x}")
    if x:
        await gate(path, "go")
    return bytearray(1_000_000)

@other.task
async def sizes(path: str) -> int:
    found = await asyncio.gather(*(large(path, x) for x in range(3)))
    return sum(len(one) for one in found)

@other.task
async def blocks_loop(path: str) -> str:
    note(path, "blocks")
    while not is_there(path, "go"):
        time.sleep(0.02)
    return "done"
"""


class World(services.Home):
    """A user with a service that is killed and started again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, PROGRAM)
        self.service, _ = services.begin(path)
        self.client: subprocess.Popen[str] | None = None

    def start(self, task: str, *arguments: str) -> None:
        self.client = self.begin(task, "--path", str(self.path), *arguments, name="r")

    def kill(self) -> None:
        """The service, and its client, which would wait for it."""
        self.service.kill()
        self.service.communicate(timeout=SECONDS)
        if self.client is not None:
            self.client.kill()
            self.client.communicate(timeout=SECONDS)
            self.client = None

    def serve(self, **variables: str) -> None:
        self.service, _ = services.begin(self.path, **variables)

    def result(self) -> Any:
        """Of the run, once it has ended."""
        assert self.ends().phase == "succeeded"
        root = next(entry for entry in self.settled() if entry.action == "root")
        return payload.decode(root.result, (), Blobs(""), consume=False)

    def close(self) -> str:
        for process in (self.client, self.service):
            if process is not None:
                process.terminate()
                _, said = process.communicate(timeout=SECONDS)
        return said

    def go(self, name: str = "go") -> None:
        (self.path / name).touch()

    def notes(self) -> list[str]:
        """What began, in order."""
        return [line.rpartition(" ")[0] for line in self._lines()]

    def pids(self) -> set[int]:
        return {int(line.rpartition(" ")[2]) for line in self._lines()}

    def _lines(self) -> list[str]:
        file = self.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def settled(self) -> list[Settled]:
        journal = open_journal(str(self.path / "state" / "samovar" / "journal.db"))
        try:
            return list(journal.settled(run="r"))
        finally:
            journal.close(5)

    def pid_of(self, note: str) -> int:
        return next(int(line.rpartition(" ")[2]) for line in self._lines() if line.startswith(f"{note} "))

    def count(self) -> int:
        """Actions that are written down, as far as one page shows."""
        journal = open_journal(str(self.path / "state" / "samovar" / "journal.db"))
        try:
            return len(journal.find(ActionQuery(run="r", limit=1000)).items)
        finally:
            journal.close(5)

    def run(self) -> RunSummary | None:
        journal = open_journal(str(self.path / "state" / "samovar" / "journal.db"))
        try:
            return next(iter(journal.find(RunQuery(run="r")).items), None)
        finally:
            journal.close(5)

    def ends(self) -> RunSummary:
        until(lambda: (run := self.run()) is not None and run.ended is not None, SECONDS)
        found = self.run()
        assert found is not None
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def assert_once(world: World) -> None:
    """Whatever began has begun once, and is written down once."""
    counts = Counter(world.notes())
    assert {note: count for note, count in counts.items() if count > 1} == {}
    written = Counter(entry.action for entry in world.settled())
    assert {action: count for action, count in written.items() if count > 1} == {}


def test_killed_in_the_middle_of_ten_thousand_actions(world: World) -> None:
    world.start("crowd", "--n", str(MANY))
    until(lambda: world.count() >= 500 and len(world.pids()) == 2, SECONDS)
    world.kill()
    pids = world.pids()
    assert len(set(world.notes())) <= 1 + MANY // 2
    (world.path / "rest").touch()
    world.serve()
    assert world.ends().phase == "succeeded"
    assert world.ends().actions == MANY + 1
    assert_once(world)
    assert set(world.notes()) == {"crowd", *(f"child {x}" for x in range(MANY))}
    assert len(world.settled()) == MANY + 1
    assert world.pids() == pids
    assert all(is_alive(pid) for pid in pids)


def test_killed_twice(world: World) -> None:
    world.start("crowd", "--n", "2000")
    for settled in (200, 700):
        until(lambda least=settled: world.count() >= least, SECONDS)
        world.kill()
        world.serve()
    assert world.result() == sum(range(2000))
    assert world.ends().actions == 2001
    assert_once(world)


def test_killed_while_replicas_start(world: World) -> None:
    register = world.path / "run" / "samovar" / "register"
    world.start("crowd", "--n", "200")
    until(lambda: world.run() and list(register.iterdir()), SECONDS)
    world.kill()
    world.serve()
    assert world.result() == sum(range(200))
    assert len(world.settled()) == 201


def test_nested_calls_of_sync_tasks_some_of_which_end_while_nobody_is_there(world: World) -> None:
    world.start("tree")
    until(lambda: {"leaf a", "leaf b"} <= set(world.notes()), SECONDS)
    pids = world.pids()
    world.kill()
    world.go("go a")
    world.serve()
    until(lambda: "leaf aa" in world.notes(), SECONDS)
    assert "leaf bb" not in world.notes()
    for name in ("go b", "go aa", "go bb"):
        world.go(name)
    assert world.result() == "aaa bbb"
    assert_once(world)
    assert len(world.settled()) == 7
    assert world.pids() == pids


def test_a_replica_that_dies_while_nobody_is_there(world: World) -> None:
    """What it ran is run again, and goes on with what others have run for it meanwhile."""
    world.start("tree")
    until(lambda: {"leaf a", "leaf b"} <= set(world.notes()), SECONDS)
    world.kill()
    lost = world.pid_of("tree")
    os.kill(lost, signal.SIGKILL)
    until(lambda: not is_alive(lost))
    world.go("go a")
    world.serve()
    for name in ("go b", "go aa", "go bb"):
        world.go(name)
    assert world.result() == "aaa bbb"
    counts = Counter(world.notes())
    assert counts.pop("tree") == 2
    assert set(counts.values()) == {1}, "what lived on was run again"
    assert len(world.settled()) == 7


def test_the_same_call_twice_and_an_error(world: World) -> None:
    world.start("twice")
    until(lambda: world.notes().count("fails") == 2, SECONDS)
    world.kill()
    world.go()
    world.serve()
    assert world.result() == "RuntimeUserError RuntimeUserError"
    assert world.notes().count("fails") == 2
    assert Counter(entry.phase for entry in world.settled()) == {"failed": 2, "succeeded": 1}


def test_large_results_on_their_way(world: World) -> None:
    world.start("sizes")
    until(lambda: {"large 1", "large 2"} <= set(world.notes()) and world.count() == 1, SECONDS)
    world.kill()
    world.go()
    world.serve()
    assert world.result() == 3_000_000
    assert_once(world)
    assert len(world.settled()) == 4


def test_a_replica_whose_event_loop_is_blocked(world: World) -> None:
    world.start("blocks_loop")
    until(lambda: "blocks" in world.notes(), SECONDS)
    world.kill()
    world.serve()
    world.go()
    assert world.result() == "done"
    assert_once(world)


def test_an_adopted_replica_that_stops_is_given_up_and_its_late_result_is_refused(world: World) -> None:
    world.start("blocks_loop")
    until(lambda: "blocks" in world.notes(), SECONDS)
    world.kill()
    world.serve(SAMOVAR_LEASE="3")
    stopped = world.pid_of("blocks")
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: world.notes().count("blocks") == 2, SECONDS)
    until(lambda: not is_alive(stopped), SECONDS)
    world.go()
    assert world.result() == "done"
    assert len(world.settled()) == 1


def test_a_pool_stays_warm_though_nothing_ran(world: World) -> None:
    for expected in ("1", "2"):
        assert world.samovar("run", str(world.script), "load", "--path", "").stdout == f"{expected}\n"
        world.kill()
        world.serve()
    status = json.loads(world.samovar("status", "-o", "json").stdout)
    assert [(pool["ready"], pool["starting"]) for pool in status["pools"]] == [(1, 0)]
