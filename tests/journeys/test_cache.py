"""Results that are kept: over calls, runs, clients, scripts, and the death of a service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.vault import ORPHANED, Cellar
from samovar.entries import Keep
from samovar.host.memory import prune
from samovar.journal.choice import open_journal

from . import services
from .conftest import until

SECONDS = services.SECONDS

PROGRAM = """
import asyncio, os, pathlib, signal, sys
import numpy as np
import samovar as flyte

env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=2, concurrency=20, idle_ttl=600))
HOME = pathlib.Path("__HOME__")

def note(line: str) -> None:
    with open(HOME / "notes", "a") as file:
        file.write(line + "\\n")

async def gate(name: str) -> None:
    note(f"at {name}")
    while not (HOME / name).exists():
        await asyncio.sleep(0.01)

@env.task(cache="auto")
async def double(x: int) -> int:
    note(f"double {x}")
    return 2 * x

@env.task(cache=flyte.Cache("auto", ignored_inputs="who"))
async def same(x: int, who: str) -> str:
    note(f"same {who}")
    return who

@env.task(cache=flyte.Cache("auto", serialize=True))
async def alone(x: int, fails: bool = False) -> int:
    note(f"alone {x}")
    await gate("go")
    if fails and not (HOME / "failed").exists():
        (HOME / "failed").touch()
        raise ValueError("once")
    return x

@env.task(cache="auto")
async def broken(x: int) -> int:
    note("broken")
    raise ValueError(x)

@env.task(cache="auto")
async def large(n: int) -> np.ndarray:
    note(f"large {n}")
    return np.arange(n)

@env.task
async def twice(x: int) -> int:
    return await double(x) + await double(x)

@env.task
async def together(n: int, fails: bool = False) -> int:
    found = await asyncio.gather(*(alone(7, fails) for _ in range(n)), return_exceptions=True)
    return sum(x for x in found if isinstance(x, int)) + 1000 * sum(isinstance(x, Exception) for x in found)

@env.task
async def slow() -> int:
    await double(4)
    await gate("never")
    return 1

@env.task
async def sizes(n: int) -> int:
    first, second = await large(n), await large(n)
    first[:] = 0
    return int(second.sum())

@env.task
async def overridden(x: int) -> int:
    await double.override(cache="disable")(x)
    return await double.override(cache=flyte.Cache("override", version_override="mine"))(x)
"""


class Home(services.Home):
    def run(self, task: str, *arguments: str, options: tuple[str, ...] = (), **more: str) -> str:
        done = self.samovar("run", "-q", *options, str(self.script), task, *arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def script_of(self, body: str, **more: str) -> str:
        """What a script with the program's tasks prints."""
        (self.path / "script.py").write_text(
            "import samovar as flyte\nfrom program import *\n"
            f"if __name__ == '__main__':\n{textwrap.indent(body, '    ')}"
        )
        done = self.python(str(self.path / "script.py"), **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def notes(self) -> list[str]:
        file = self.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.samovar("get", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    @property
    def blobs(self) -> list[str]:
        folder = self.path / "state" / "samovar" / "blobs"
        return os.listdir(folder) if folder.exists() else []


@pytest.fixture(params=["service", "embedded"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """Whose commands are clients of a service, or have engines of their own."""
    made = Home(tmp_path, PROGRAM)
    if request.param == "embedded":
        yield made
        return
    with services.running(tmp_path):
        yield made


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path, PROGRAM)
    with services.running(tmp_path):
        yield made


def test_a_result_is_there_for_the_next_call_and_the_next_process(home: Home) -> None:
    assert home.run("twice", "--x", "3") == "12"
    assert home.notes() == ["double 3"]
    assert home.run("double", "--x", "3") == "6"
    assert home.run("double", "--x", "4") == "8"
    assert home.notes() == ["double 3", "double 4"]


def test_other_code_is_another_version(home: Home) -> None:
    assert home.run("double", "--x", "3") == "6"
    home.write(PROGRAM.replace("return 2 * x", "return 20 * x"))
    assert home.run("double", "--x", "3") == "60"
    home.write(PROGRAM.replace("return 2 * x", "return 2  *  x  # a comment"))
    assert home.run("double", "--x", "3") == "6"
    assert home.notes() == ["double 3"] * 2


def test_no_cache_and_overwrite_cache(home: Home) -> None:
    assert home.run("same", "--x", "1", "--who", "a") == "a"
    assert home.run("same", "--x", "1", "--who", "b", options=("--no-cache",)) == "b"
    assert home.run("same", "--x", "1", "--who", "c") == "a"
    assert home.run("same", "--x", "1", "--who", "d", options=("--overwrite-cache",)) == "d"
    assert home.run("same", "--x", "1", "--who", "e") == "d"


def test_the_options_of_a_run_and_override(home: Home) -> None:
    said = home.script_of(
        "print(flyte.with_runcontext(disable_run_cache=True).run(twice, 1).result())\n"
        "print(flyte.with_runcontext(overwrite_cache=True).run(twice, 1).result())\n"
        "print(flyte.run(twice, 1).result(), flyte.run(overridden, 1).result(), flyte.run(overridden, 1).result())\n"
    )
    assert said.split() == ["4", "4", "4", "2", "2"]
    assert len(home.notes()) == 2 + 2 + 0 + 2 + 1


def test_a_failure_is_not_kept(home: Home) -> None:
    for _ in range(2):
        assert "ValueError: 1" in home.samovar("run", "-q", str(home.script), "broken", "--x", "1").stderr
    assert home.notes() == ["broken"] * 2


def test_large_results_are_kept_and_belong_to_each_caller(home: Home) -> None:
    expected = str(sum(range(100_000)))
    assert home.run("sizes", "--n", "100000") == expected
    assert home.run("sizes", "--n", "100000") == expected
    assert home.notes() == ["large 100000"]
    assert len(home.blobs) == 1


def test_a_script_meets_what_a_service_has_kept(served: Home) -> None:
    assert served.run("double", "--x", "3") == "6"
    assert served.run("double", "--x", "3", options=("--endpoint", "none")) == "6"
    assert served.notes() == ["double 3"]


def test_without_a_journal_a_result_is_kept_by_its_engine_alone(tmp_path: Path) -> None:
    home = Home(tmp_path, PROGRAM)
    for _ in range(2):
        assert home.run("twice", "--x", "3", SAMOVAR_JOURNAL="none") == "12"
        assert home.run("sizes", "--n", "100000", SAMOVAR_JOURNAL="none") == str(sum(range(100_000)))
    assert home.notes() == ["double 3", "large 100000"] * 2
    assert not (tmp_path / "state").exists()


def test_a_script_without_cached_tasks_opens_no_journal(tmp_path: Path) -> None:
    home = Home(tmp_path, PROGRAM.replace('(cache="auto")', ""))
    assert home.run("twice", "--x", "3") == "12"
    assert not (tmp_path / "state").exists()


def test_one_of_several_at_a_time_runs_and_the_others_wait(served: Home) -> None:
    runs = [served.begin("together", "--n", "5", name=f"r{number}") for number in range(2)]
    until(lambda: served.notes().count("at go") == 1, SECONDS)
    (served.path / "go").touch()
    assert [run.communicate(timeout=SECONDS)[0].strip() for run in runs] == ["35", "35"]
    assert served.notes() == ["alone 7", "at go"]


def test_the_next_one_runs_when_it_fails(served: Home) -> None:
    (served.path / "go").touch()
    assert served.run("together", "--n", "4", "--fails") == "1021"
    assert served.notes().count("alone 7") == 2


def test_the_next_one_runs_when_it_is_aborted(served: Home) -> None:
    first = served.begin("alone", "--x", "1", name="first")
    until(lambda: "at go" in served.notes(), SECONDS)
    second = served.begin("alone", "--x", "1", name="second")
    until(lambda: any(run["run"] == "second" for run in served.get("runs")), SECONDS)
    assert served.samovar("abort", "first").returncode == 0
    first.communicate(timeout=SECONDS)
    until(lambda: served.notes().count("at go") == 2, SECONDS)
    (served.path / "go").touch()
    assert second.communicate(timeout=SECONDS)[0].strip() == "1"


def test_a_parent_that_waits_for_a_twin_holds_no_slot(tmp_path: Path) -> None:
    narrow = PROGRAM.replace("replicas=2, concurrency=20", "replicas=1, concurrency=1")
    home = Home(tmp_path, narrow)
    (tmp_path / "go").touch()
    with services.running(tmp_path):
        runs = [home.begin("together", "--n", "3", name=f"r{number}") for number in range(3)]
        assert [run.communicate(timeout=SECONDS)[0].strip() for run in runs] == ["21"] * 3
    assert home.notes().count("alone 7") == 1


def test_a_hit_is_an_action_that_has_not_run(served: Home) -> None:
    served.run("double", "--x", "3", options=("--name", "first"))
    served.run("twice", "--x", "3", options=("--name", "second"))
    found = [action for action in served.get("actions", "second") if action["task"] == "kept.double"]
    assert [(a["attempts"], a["replica"], a["phase"]) for a in found] == [(0, "", "succeeded")] * 2
    assert "cached" in served.samovar("get", "actions", "second").stdout


def test_inputs_that_have_no_key_run_and_that_is_said_once(home: Home) -> None:
    program = PROGRAM + textwrap.dedent("""
    @env.task(cache="auto")
    async def takes(x: object) -> int:
        note("takes")
        return 1

    @env.task
    async def gives() -> int:
        return await takes(lambda: 1) + await takes(lambda: 1)
    """)
    home.write(program)
    done = home.samovar("run", str(home.script), "gives")
    assert done.stdout.strip() == "2"
    assert done.stderr.count("is not cached for some of its calls") == 1
    assert home.notes() == ["takes"] * 2


def test_the_runs_of_a_script_that_was_killed_are_ended_by_the_next(tmp_path: Path) -> None:
    home = Home(tmp_path, PROGRAM)
    (home.path / "script.py").write_text(
        "import samovar as flyte\nfrom program import *\n"
        "if __name__ == '__main__':\n"
        "    flyte.run(double, 3).result()\n"
        "    flyte.run(slow).result()\n"
    )
    script = subprocess.Popen([sys.executable, str(home.path / "script.py")], env=home.variables)
    until(lambda: "at never" in home.notes(), SECONDS)
    until(lambda: len(home.get("runs")) == 2, SECONDS)
    script.kill()
    script.wait(SECONDS)
    assert {run["phase"] for run in home.get("runs")} == {"succeeded", "running"}
    assert home.run("double", "--x", "4") == "8"
    assert {run["phase"] for run in home.get("runs", "--task", "kept.slow")} == {"aborted"}
    assert home.notes().count("double 4") == 1


# large values that outlive a service

RESUMED = """
import asyncio, pathlib
import numpy as np
import samovar as flyte
env = flyte.TaskEnvironment(name="long", reusable=flyte.ReusePolicy(replicas=2, concurrency=20, idle_ttl=600))
HOME = pathlib.Path("__HOME__")

def note(line: str) -> None:
    with open(HOME / "notes", "a") as file:
        file.write(line + "\\n")

@env.task
async def part(n: int) -> np.ndarray:
    note(f"part {n}")
    return np.full(100_000, n)

@env.task
async def wait() -> int:
    note("waiting")
    while not (HOME / "go").exists():
        await asyncio.sleep(0.01)
    return 1

@env.task
async def main(values: np.ndarray) -> int:
    note("main")
    parts = await asyncio.gather(*(part(n) for n in range(3)))
    await wait()
    again = await part(0)
    return int(values.sum()) + sum(int(each.sum()) for each in parts) + int(again.sum())

if __name__ == "__main__":
    print(flyte.with_runcontext(name="r").run(main, np.ones(100_000)).result())
"""


def test_kill_9_of_a_service_whose_run_has_large_inputs_and_results(tmp_path: Path) -> None:
    home = Home(tmp_path, RESUMED)
    service, _ = services.begin(home.path)
    client = subprocess.Popen([sys.executable, str(home.script)], env=home.variables, stderr=subprocess.DEVNULL)
    until(lambda: "waiting" in home.notes(), SECONDS)
    until(lambda: [action["phase"] for action in home.get("actions", "r")].count("succeeded") == 3, SECONDS)
    assert len(home.blobs) == 4
    services.kill(home.path, service)
    client.kill()
    client.wait(SECONDS)
    (home.path / "go").touch()
    with services.running(home.path):
        until(lambda: home.get("runs")[0]["phase"] != "running", SECONDS)
        (run,) = home.get("runs")
        (root,) = (action for action in home.get("actions", "r") if action["action"] == "root")
        assert (run["phase"], root["error"]) == ("succeeded", "")
    notes = home.notes()
    assert (notes.count("main"), notes.count("part 1"), notes.count("part 2")) == (2, 1, 1)
    assert notes.count("part 0") == 2, "it is called twice, and each time it has run"


def test_large_values_go_with_the_runs_that_name_them(tmp_path: Path) -> None:
    home = Home(tmp_path, PROGRAM)
    home.run("sizes", "--n", "100000")
    folder = tmp_path / "state" / "samovar" / "blobs"
    (kept,) = home.blobs
    (folder / "orphan").write_bytes(b"of a crash")
    (folder / "young").write_bytes(b"to be named soon")
    old = time.time() - ORPHANED - 1
    for name in (kept, "orphan"):
        os.utime(folder / name, (old, old))
    journal, cellar = open_journal(str(folder.parent / "journal.db")), Cellar(lambda: folder)
    prune(journal, cellar, Keep())
    assert sorted(home.blobs) == sorted([kept, "young"])
    prune(journal, cellar, Keep(runs=0))
    assert home.blobs == ["young"]
    journal.close(SECONDS)
    home.run("sizes", "--n", "100000")
    assert home.notes() == ["large 100000"] * 2
