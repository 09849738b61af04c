"""Runs outlive their service: what had ended is not done again, what had not is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from . import services
from .conftest import until

SECONDS = services.SECONDS
STEPS = 400

PROGRAM = """
import asyncio, pathlib
import samovar as flyte
env = flyte.TaskEnvironment(name="long", reusable=flyte.ReusePolicy(replicas=2, concurrency=20, idle_ttl=600))

def note(path: str, line: str) -> None:
    with open(pathlib.Path(path) / "notes", "a") as file:
        file.write(line + "\\n")

@env.task
async def step(path: str, x: int) -> int:
    note(path, f"step {x}")
    await asyncio.sleep(0.02)
    if x % 100 == 99:
        raise ValueError(x)
    if x == 200:
        while not (pathlib.Path(path) / "go").exists():
            await asyncio.sleep(0.01)
    return x

@env.task
async def main(path: str, n: int) -> int:
    note(path, "main")
    found = await asyncio.gather(*(step(path, x) for x in range(n)), return_exceptions=True)
    total = sum(x for x in found if isinstance(x, int))
    note(path, f"total {total} failed {sum(isinstance(x, flyte.errors.RuntimeUserError) for x in found)}")
    return total
"""


class Home(services.Home):
    def get(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.samovar("get", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def settled(self, run: str) -> list[dict[str, Any]]:
        """Its actions that have ended."""
        return [action for action in self.get("actions", run, "-n", "10000") if action["ended"] is not None]

    def run(self, name: str) -> subprocess.Popen[str]:
        return self.begin("main", "--path", str(self.path), "--n", str(STEPS), name=name)

    def notes(self) -> list[str]:
        file = self.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def phase(self, name: str) -> str:
        return next(str(run["phase"]) for run in self.get("runs") if run["run"] == name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, PROGRAM)


class HalfDone(NamedTuple):
    """Most steps of the run r are written down as settled."""

    home: Home
    service: subprocess.Popen[str]
    client: subprocess.Popen[str]


@pytest.fixture
def half_done(home: Home) -> Iterator[HalfDone]:
    service, _ = services.begin(home.path)
    client = home.run("r")
    until(lambda: home.get("runs"), SECONDS)
    until(lambda: len(home.settled("r")) >= STEPS // 2, SECONDS)
    yield HalfDone(home, service, client)
    for process in (service, client):
        process.kill()
        process.communicate(timeout=SECONDS)


def assert_ended_once(home: Home, settled: int) -> None:
    """The run r has ended well; of its steps only those that were not written down as settled ran again."""
    until(lambda: home.phase("r") == "succeeded", SECONDS)
    total = sum(x for x in range(STEPS) if x % 100 != 99)
    assert home.notes()[-1] == f"total {total} failed {STEPS // 100}"
    actions = home.settled("r")
    assert len(actions) == STEPS + 1
    assert len({action["action"] for action in actions}) == STEPS + 1
    assert sum(action["phase"] == "failed" for action in actions) == STEPS // 100
    steps = [note for note in home.notes() if note.startswith("step")]
    assert len(set(steps)) == STEPS
    assert len(steps) <= STEPS + (STEPS - settled)


def test_kill_9_of_the_service_in_the_middle_of_a_run(half_done: HalfDone) -> None:
    home, service, client = half_done
    service.kill()
    service.communicate(timeout=SECONDS)
    settled = len(home.settled("r"))
    (home.path / "go").touch()
    process, _ = services.begin(home.path)
    assert_ended_once(home, settled)
    assert client.wait(SECONDS) == 0
    said = services.end(process)
    assert f"resuming run r of long.main: {settled} actions are done" in said
    assert "adopted 2 replicas: long@" in said
    assert Counter(home.notes()).most_common(1)[0][1] == 1, "something ran twice"


def test_the_machine_is_started_again(half_done: HalfDone) -> None:
    """No process is left, and nothing of what lay in memory."""
    home, service, client = half_done
    services.kill(home.path, service)
    for folder in (
        home.path / "run",
        *Path("/dev/shm").glob(f"samovar-service-{os.getuid()}-{shared_name(home.path)}"),
    ):
        shutil.rmtree(folder)
    settled = len(home.settled("r"))
    (home.path / "go").touch()
    with services.running(home.path):
        assert_ended_once(home, settled)
        assert client.wait(SECONDS) == 0


def shared_name(home: Path) -> str:
    """Of the folder in memory that a service of this home has its large values in."""
    return hashlib.blake2b(str(home / "run" / "samovar").encode(), digest_size=6).hexdigest()


def test_what_does_not_end_within_the_grace_goes_on_with_the_next_service(half_done: HalfDone) -> None:
    home, _, client = half_done
    assert home.samovar("stop", "--grace", "0").stdout == "stopped\n"
    assert client.wait(SECONDS) == 1
    assert home.phase("r") == "running"
    settled = len(home.settled("r"))
    (home.path / "go").touch()
    with services.running(home.path):
        assert_ended_once(home, settled)


def test_a_run_is_aborted_by_name_and_stays_so(half_done: HalfDone) -> None:
    home, service, client = half_done
    assert home.samovar("abort", "r").stdout == "aborting r\n"
    _, said = client.communicate(timeout=SECONDS)
    assert "aborted by hand" in said
    until(lambda: home.phase("r") == "aborted", SECONDS)
    unknown = home.samovar("abort", "r")
    assert unknown.returncode == 1
    assert "nothing to abort: run 'r' has ended" in unknown.stderr
    services.end(service)
    process, _ = services.begin(home.path)
    assert "resuming" not in services.end(process)


def test_the_name_of_a_run_is_taken_once(half_done: HalfDone) -> None:
    home, _, client = half_done
    second = home.run("r")
    _, said = second.communicate(timeout=SECONDS)
    assert second.returncode == 1
    assert "a run named 'r' is on its way; choose another name" in said
    (home.path / "go").touch()
    assert client.wait(SECONDS) == 0
    third = home.run("r")
    _, said = third.communicate(timeout=SECONDS)
    assert third.returncode == 1
    assert "a run named 'r' is recorded already; choose another name" in said


def test_what_is_written_down_can_be_read(half_done: HalfDone) -> None:
    home, _, client = half_done
    assert home.phase("r") == "running"
    (home.path / "go").touch()
    assert client.wait(SECONDS) == 0
    table = home.samovar("get", "runs", "--task", "long.main").stdout.splitlines()
    assert table[0].split() == ["RUN", "TASK", "PHASE", "STARTED", "TOOK", "ACTIONS"]
    assert table[1].split()[:3] == ["r", "long.main", "succeeded"]
    assert table[1].split()[-1] == str(STEPS + 1)
    failed = home.get("actions", "r", "--phase", "failed")
    assert {action["task"] for action in failed} == {"long.step"}
    assert all(action["error"].startswith("ValueError") for action in failed)
    starts = [action["cold"] for action in home.settled("r")]
    assert 0 < sum(starts) < len(starts) / 2
    assert len(home.get("actions", "r", "-n", "7")) == 7
    missing = home.samovar("get", "actions", "nobody")
    assert (missing.returncode, "there is no run 'nobody'" in missing.stderr) == (1, True)


def test_without_a_journal_nothing_is_written(home: Home) -> None:
    home.variables["SAMOVAR_JOURNAL"] = "none"
    process, _ = services.begin(home.path, SAMOVAR_JOURNAL="none")
    (home.path / "go").touch()
    client = home.run("r")
    client.communicate(timeout=SECONDS)
    assert client.returncode == 0
    services.end(process)
    assert not list(home.path.rglob("journal.db"))
    done = home.samovar("get", "runs")
    assert (done.returncode, "no journal is kept" in done.stderr) == (1, True)
