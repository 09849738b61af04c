"""The options of tasks and runs, each by what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import services
from .conftest import until

SECONDS = services.SECONDS

PROGRAM = """
import asyncio, os, pathlib, signal, time
import samovar as flyte
from samovar import errors

env = flyte.TaskEnvironment(name="opts", reusable=flyte.ReusePolicy(replicas=2, concurrency=8, idle_ttl=600))
one = flyte.TaskEnvironment(name="one", reusable=flyte.ReusePolicy(replicas=1, idle_ttl=600))
HOME = pathlib.Path("__HOME__")

def note(line: str) -> None:
    with open(HOME / "notes", "a") as file:
        file.write(line + "\\n")

def times(line: str) -> int:
    return (HOME / "notes").read_text().splitlines().count(line) if (HOME / "notes").exists() else 0

async def gate(name: str) -> None:
    note(f"at {name}")
    while not (HOME / name).exists():
        await asyncio.sleep(0.01)

# retries, recall

@env.task
async def child(x: int) -> int:
    note(f"child {x}")
    return x

@env.task
async def flaky(x: int) -> int:
    note(f"flaky {x}")
    if times(f"flaky {x}") < 2:
        raise ValueError("not yet")
    return x

@flyte.trace
async def traced(x: int) -> int:
    note(f"traced {x}")
    return 10 * x

@flyte.trace
async def traced_flaky(x: int) -> int:
    note(f"traced flaky {x}")
    if times(f"traced flaky {x}") < 2:
        raise KeyError("not yet")
    return x

@flyte.trace
async def items(n: int):
    note("items")
    for x in range(n):
        yield x

@flyte.trace
def traced_sync(x: int) -> int:
    note(f"sync {x}")
    return x

@flyte.trace
async def always_fails() -> int:
    note("always fails")
    raise KeyError("always")

async def work() -> int:
    found = sum(await asyncio.gather(child(1), child(2), child(1)))
    found += await traced(1) + await traced(1) + traced_sync(5)
    found += sum([x async for x in items(3)])
    try:
        await always_fails()
    except KeyError:
        found += 100
    return found

@env.task(retries=flyte.RetryStrategy(2, flyte.Backoff(base=0.05, factor=2.0)))
async def retried() -> int:
    return await work() + await flaky(7) + await traced_flaky(8)

@one.task
async def lost() -> int:
    found = await work()
    if times("killed") < 1:
        note("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    return found

@env.task
async def waits() -> int:
    found = await work()
    await gate("go")
    return found

# timeouts

@env.task(timeout=flyte.Timeout(max_runtime=0.5), retries=1)
async def slow() -> None:
    note("slow")
    await asyncio.sleep(60)

@one.task(timeout=flyte.Timeout(deadline=0.3), retries=100)
async def late() -> None:
    raise ValueError("again")

@one.task
async def holds() -> None:
    await gate("free")

@one.task
async def quick() -> int:
    return 1

@env.task
async def bounds() -> list[str]:
    found = []
    held = asyncio.create_task(holds())
    while not times("at free"):
        await asyncio.sleep(0.01)
    for call in (
        slow(),
        slow.override(timeout=0.5, retries=0)(),
        late(),
        quick.override(timeout=flyte.Timeout(max_queued_time=0.2))(),
    ):
        try:
            await call
            found.append("returned")
        except errors.TaskTimeoutError as error:
            found.append(type(error).__name__)
            if type(error) is errors.MaxQueuedTimeExceededError or len(found) == 2:
                continue
    (HOME / "free").touch()
    await held
    return found

# contexts

@env.task
async def leaf() -> dict[str, str]:
    return flyte.get_custom_context()

@env.task
async def below() -> dict[str, str]:
    return await leaf()

@env.task
async def contexts() -> list[dict[str, str]]:
    found = [await below()]
    with flyte.custom_context(b="2", c="3"):
        found.append(await below())
        found.append(flyte.get_custom_context())
    found.append(await leaf())
    found.append(dict(flyte.ctx().custom_context))
    return found

# siblings

@env.task
async def endless(x: int) -> None:
    note(f"begins {x}")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        note(f"cancelled {x}")
        raise

@env.task
async def fails_when(n: int) -> None:
    while sum(times(f"begins {x}") for x in range(n)) < n:
        await asyncio.sleep(0.01)
    raise ValueError("enough")

@env.task
async def group(n: int) -> str:
    try:
        async with asyncio.TaskGroup() as tasks:
            for x in range(n):
                tasks.create_task(endless(x))
            tasks.create_task(fails_when(n))
    except ExceptionGroup as found:
        return str([error.code for error in found.exceptions])
    return "?"

@env.task
async def tree(depth: int) -> None:
    if depth == 0:
        await endless(0)
    else:
        await asyncio.gather(tree(depth - 1), endless(depth))
"""


class Home(services.Home):
    def run(self, task: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        done = self.samovar("run", "-q", "--name", "r", *options, str(self.script), task, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def notes(self) -> list[str]:
        file = self.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def actions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.samovar("get", "actions", "r", "-o", "json").stdout)
        return found

    def phase(self) -> str:
        runs: list[dict[str, str]] = json.loads(self.samovar("get", "runs", "-o", "json").stdout)
        return runs[0]["phase"] if runs else ""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, PROGRAM)


class Begin:
    """Starts services and clients that do not outlive the test."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.processes: list[subprocess.Popen[str]] = []

    def service(self) -> subprocess.Popen[str]:
        process, _ = services.begin(self._home.path)
        self.processes.append(process)
        return process

    def client(self, task: str, *arguments: str, name: str = "r") -> subprocess.Popen[str]:
        self.processes.append(self._home.begin(task, *arguments, name=name))
        return self.processes[-1]


@pytest.fixture
def begin(home: Home) -> Iterator[Begin]:
    made = Begin(home)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate(timeout=SECONDS)


WORK = 4 + 20 + 5 + 3 + 100


def assert_worked_once(home: Home) -> None:
    """What ``work`` calls and traces was done once, however often it was asked for."""
    notes = home.notes()
    counts = {what: notes.count(what) for what in ("child 1", "child 2", "traced 1", "sync 5", "items", "always fails")}
    assert counts == {"child 1": 2, "child 2": 1, "traced 1": 2, "sync 5": 1, "items": 1, "always fails": 1}


def test_a_parent_that_is_retried_keeps_what_has_succeeded_below_it(served: Home) -> None:
    assert served.run("retried") == str(WORK + 7 + 8)
    notes = served.notes()
    counts = {what: notes.count(what) for what in ("child 1", "child 2", "traced 1", "sync 5", "items")}
    assert counts == {"child 1": 2, "child 2": 1, "traced 1": 2, "sync 5": 1, "items": 1}
    assert notes.count("flaky 7") == 2, "what had failed is tried again with its parent"
    assert notes.count("traced flaky 8") == 2
    assert notes.count("always fails") == 3, "a failure is made again with every attempt that failed"
    actions = served.actions()
    assert len({action["action"] for action in actions}) == len(actions)
    flaky = [action["phase"] for action in actions if action["task"] == "opts.flaky"]
    assert sorted(flaky) == ["failed", "succeeded"]


def test_a_parent_whose_replica_is_lost_keeps_all_that_has_ended_below_it(served: Home) -> None:
    assert served.run("lost") == str(WORK)
    assert served.notes().count("killed") == 1
    assert_worked_once(served)


def test_kill_9_of_a_service_and_traced_calls(home: Home, begin: Begin) -> None:
    service = begin.service()
    client = begin.client("waits")
    until(lambda: "at go" in home.notes(), SECONDS)
    until(lambda: len(home.actions()) >= 8, SECONDS)
    services.kill(home.path, service)
    client.kill()
    client.communicate(timeout=SECONDS)
    (home.path / "go").touch()
    with services.running(home.path):
        until(lambda: home.phase() != "running", SECONDS)
    assert home.phase() == "succeeded"
    assert_worked_once(home)
    assert home.notes().count("at go") == 2


def test_without_a_journal_traced_calls_run_as_they_are(home: Home) -> None:
    assert home.run("lost", options=("--endpoint", "none")) == str(WORK)
    assert home.notes().count("traced 1") == 4
    assert home.notes().count("items") == 2


def test_timeouts_and_their_overrides(served: Home) -> None:
    expected = ["MaxRuntimeExceededError"] * 2 + ["DeadlineExceededError"] + ["MaxQueuedTimeExceededError"]
    assert served.run("bounds") == str(expected)
    assert served.notes().count("slow") == 3


def test_a_custom_context_is_that_of_all_below(served: Home) -> None:
    given = {"a": "1", "b": "1"}
    inside = {"a": "1", "b": "2", "c": "3"}
    options = ("--context", "a=1", "--context", "b=1", "-o", "json")
    assert json.loads(served.run("contexts", options=options)) == [given, inside, inside, given, given]


def test_siblings_of_a_failure_in_a_task_group_are_cancelled(served: Home) -> None:
    assert served.run("group", "--n", "4") == "['ValueError']"
    expected = [f"cancelled {x}" for x in range(4)]  # the group does not wait until they have heard of it
    until(lambda: sorted(note for note in served.notes() if note.startswith("cancelled")) == expected, SECONDS)


def test_a_run_is_aborted_with_all_below_it(served: Home, begin: Begin) -> None:
    client = begin.client("tree", "--depth", "3")
    until(lambda: len([note for note in served.notes() if note.startswith("begins")]) == 4, SECONDS)
    assert served.samovar("abort", "r").returncode == 0
    client.communicate(timeout=SECONDS)
    until(lambda: len([note for note in served.notes() if note.startswith("cancelled")]) == 4, SECONDS)
    assert served.phase() == "aborted"
    until(lambda: len(served.actions()) == 8, SECONDS)
    assert {action["phase"] for action in served.actions()} == {"aborted"}


def test_sigterm_lets_what_runs_end_and_admits_nothing(home: Home, begin: Begin) -> None:
    service = begin.service()
    client = begin.client("waits")
    until(lambda: "at go" in home.notes(), SECONDS)
    service.send_signal(signal.SIGTERM)
    assert service.stderr is not None
    assert any("finishing what runs" in line for line in iter(service.stderr.readline, ""))
    late = begin.client("quick", name="late")
    _, said = late.communicate(timeout=SECONDS)
    assert (late.returncode, "starts no run any more" in said) == (1, True), said
    (home.path / "go").touch()
    assert client.communicate(timeout=SECONDS)[0].strip() == str(WORK)
    assert service.wait(SECONDS) == 0
    assert home.phase() == "succeeded"


def test_what_has_not_ended_within_the_grace_is_run_by_the_next_service(home: Home, begin: Begin) -> None:
    service = begin.service()
    client = begin.client("waits")
    until(lambda: "at go" in home.notes(), SECONDS)
    service.send_signal(signal.SIGTERM)
    assert service.stderr is not None
    assert any("finishing what runs" in line for line in iter(service.stderr.readline, ""))
    service.send_signal(signal.SIGTERM)
    service.communicate(timeout=SECONDS)
    client.communicate(timeout=SECONDS)
    assert home.phase() == "running"
    (home.path / "go").touch()
    with services.running(home.path):
        until(lambda: home.phase() == "succeeded", SECONDS)
    assert_worked_once(home)


def test_a_full_disk_stops_the_record_and_says_so_and_nothing_is_lost(home: Home, begin: Begin, tmp_path: Path) -> None:
    """The folder of large values cannot be written to; then it can."""
    home.write(
        "import numpy as np\nimport samovar as flyte\n"
        "env = flyte.TaskEnvironment(name='big', reusable=flyte.ReusePolicy(replicas=1, idle_ttl=600))\n"
        "@env.task(cache='auto')\nasync def ones(n: int) -> np.ndarray:\n    return np.ones(n)\n"
        "@env.task\nasync def total(n: int) -> float:\n    return float((await ones(n)).sum())\n",
    )
    blobs = tmp_path / "state" / "samovar" / "blobs"
    blobs.parent.mkdir(parents=True)
    blobs.symlink_to("/dev/full/nowhere")
    service = begin.service()
    assert home.run("total", "--n", "100000") == "100000.0", "answers do not wait for the record"
    assert service.stderr is not None
    said = next(line for line in iter(service.stderr.readline, "") if "large values cannot be kept" in line)
    assert str(blobs) in said
    blobs.unlink()
    until(lambda: len(home.actions()) == 2, SECONDS)
    assert len(os.listdir(blobs)) == 1
