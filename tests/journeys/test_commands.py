"""The command beside a service: runs are left to it and found again, lists, stored lines, and changes by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import services
from .conftest import until

PROGRAM = """
import asyncio, pathlib
from dataclasses import dataclass
import samovar as flyte
env = flyte.TaskEnvironment(name="tea", reusable=flyte.ReusePolicy(replicas=(1, 2), concurrency=4, idle_ttl=600))

@dataclass
class Cup:
    size: int

async def gate(path: str, name: str) -> None:
    (pathlib.Path(path) / f"{name}.began").touch()
    while not (pathlib.Path(path) / f"{name}.go").exists():
        await asyncio.sleep(0.01)

@env.task
async def step(path: str, x: int) -> int:
    print(f"step {x} begins")
    await gate(path, f"step{x}")
    print(f"step {x} ends")
    return x

@env.task
async def main(path: str, n: int) -> int:
    print("main begins")
    found = await asyncio.gather(*(step(path, x) for x in range(n)), return_exceptions=True)
    print("main ends")
    return sum(x if isinstance(x, int) else 100 for x in found)

@env.task
async def fails(text: str) -> None:
    raise ValueError(text)

@env.task
async def cup(size: int) -> Cup:
    return Cup(size)
"""


class Home(services.Home):
    def detach(self, task: str, *arguments: str, name: str = "") -> str:
        """The run that the service has taken."""
        done = self.samovar("run", "--detach", "--name", name, str(self.script), task, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def main(self, n: int, name: str = "") -> str:
        """A run of ``main``, all of whose steps have begun."""
        run = self.detach("main", "--path", str(self.path), "--n", str(n), name=name)
        until(lambda: len(list(self.path.glob("*.began"))) >= n)
        return run

    def go(self, *steps: int) -> None:
        for step in steps:
            (self.path / f"step{step}.go").touch()

    def json(self, *arguments: str) -> Any:
        done = self.samovar(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        """Why a command did not do it."""
        done = self.samovar(*arguments)
        assert done.returncode in (1, 2), done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def attach(self, run: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.samovar("attach", *options, run)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, PROGRAM)


# runs that are left to the service


def test_a_run_is_left_to_the_service_and_found_again(served: Home) -> None:
    run = served.main(2)
    attached = [served.popen("attach", "-o", "json", run) for _ in range(2)]
    for watcher in attached:
        assert watcher.stderr is not None
        assert watcher.stderr.readline() == f"samovar: attached to run {run} of tea.main\n"
    served.go(0, 1)
    for watcher in attached:
        result, said = watcher.communicate(timeout=services.SECONDS)
        assert (watcher.returncode, result) == (0, "1\n"), said
        assert f"[tea.step {run}-2] step 0 ends" in said
        assert f"run {run} succeeded" in said
    late = served.attach(run)
    assert (late.returncode, late.stdout) == (0, "1\n"), late.stderr
    (found,) = served.json("get", "runs")
    assert (found["run"], found["phase"], found["actions"]) == (run, "succeeded", 3)


def test_what_a_detached_run_is_called(served: Home) -> None:
    done = served.samovar(
        "run", "--detach", "-o", "json", "--name", "mine", str(served.script), "fails", "--text", "no"
    )
    assert json.loads(done.stdout) == {"run": "mine", "task": "tea.fails"}
    assert "`samovar attach mine` shows it" in done.stderr
    until(lambda: served.json("get", "runs", "--phase", "failed"))
    late = served.attach("mine")
    assert (late.returncode, late.stdout) == (1, "")
    assert "samovar: run mine failed: RuntimeUserError: ValueError: no" in late.stderr
    again = served.samovar("run", "--detach", "--name", "mine", str(served.script), "fails", "--text", "no")
    assert (again.returncode, again.stdout) == (2, "")
    assert "a run named 'mine' is recorded already; choose another name" in again.stderr


def test_ctrl_c_leaves_a_run_that_is_attached_to(served: Home) -> None:
    run = served.main(1)
    watcher = served.popen("attach", run)
    assert watcher.stderr is not None
    assert "attached to" in watcher.stderr.readline()
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=services.SECONDS)
    assert watcher.returncode == 130
    assert f"run {run} goes on; `samovar abort {run}` ends it" in said
    served.go(0)
    assert served.attach(run).stdout == "0\n"


def test_a_result_of_a_class_of_ones_own_needs_its_code(served: Home) -> None:
    run = served.detach("cup", "--size", "3")
    until(lambda: served.json("get", "runs", "--phase", "succeeded"))
    without = served.samovar("attach", run)
    assert without.returncode == 1
    assert (
        f"its result cannot be read here: No module named 'program'; `samovar attach --code FILE {run}`"
        in without.stderr
    )
    assert served.attach(run, "--code", str(served.script), "-o", "json").stdout == '{"size": 3}\n'


def test_a_script_gets_a_run_by_its_name(served: Home) -> None:
    run = served.main(2)
    script = served.path / "script.py"
    script.write_text(f"import samovar as flyte\nrun = flyte.Run.get({run!r})\nprint(run)\nprint(run.result())\n")
    reader = subprocess.Popen([sys.executable, script], env=served.variables, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == f"<Run {run} of tea.main: running>\n"
    served.go(0, 1)
    assert reader.communicate(timeout=services.SECONDS)[0] == "1\n"


def test_without_a_service_there_is_nobody_to_leave_a_run_to(home: Home) -> None:
    detached = home.refused("run", "--detach", str(home.script), "cup", "--size", "1")
    assert "no service is in use, and only a service has runs for others; `samovar start` starts one" in detached
    assert "no service is in use" in home.refused("attach", "r")
    assert "no service answers at /nowhere: No such file" in home.refused("attach", "--endpoint", "/nowhere", "r")
    assert "no service runs" in home.refused("abort", "r")
    assert "no service runs" in home.refused("pool", "drain", "p")
    assert home.samovar("get", "pools").stdout == "no service runs, and so no pools; `samovar start` starts one\n"
    assert home.json("get", "replicas") == []
    assert home.samovar("get", "runs").stdout == "no runs\n"
    assert "'r' is no run, and no action" in home.refused("logs", "r")


def test_a_run_that_nobody_knows(served: Home) -> None:
    for command in (
        ("attach", "r17"),
        ("logs", "r17"),
        ("abort", "r17"),
        ("get", "actions", "r17"),
    ):
        unknown = served.samovar(*command)
        assert (unknown.returncode, unknown.stdout, "r17" in unknown.stderr) == (1, "", True), unknown.stderr
    assert "there is no run named 'r17'; `samovar get runs` lists them" in served.refused("attach", "r17")
    assert "--detach leaves the run to the service" in served.refused(
        "run", "--detach", "--driver", "process", str(served.script), "cup", "--size", "1"
    )


# lists


def test_actions_on_their_way_are_listed_before_those_that_have_ended(served: Home) -> None:
    run = served.main(3)
    served.go(1)
    until(lambda: [action["phase"] for action in served.json("get", "actions", run)].count("succeeded") == 1)
    found = served.json("get", "actions", run)
    assert [(a["task"], a["phase"]) for a in found] == [
        ("tea.step", "running"),
        ("tea.step", "running"),
        ("tea.main", "running"),
        ("tea.step", "succeeded"),
    ]
    assert {frozenset(action) for action in found} == {frozenset(found[0])}
    assert [action["ended"] is None for action in found] == [True, True, True, False]
    assert [a["action"] for a in served.json("get", "actions", "--phase", "running", "--task", "tea.main")] == ["root"]
    assert len(served.json("get", "actions", "-n", "2")) == 2
    assert len(served.json("get", "actions", "--pool", "tea@", "--since", "1h")) == 4
    assert served.json("get", "actions", "--replica", "elsewhere") == []
    rows = served.samovar("get", "actions", run).stdout.splitlines()
    columns = ["ACTION", "NUMBER", "TASK", "PHASE", "WAITED", "RAN", "ATTEMPTS", "START", "REPLICA", "ERROR"]
    assert rows[0].split() == columns
    assert served.samovar("get", "actions").stdout.startswith("RUN ")
    served.go(0, 2)
    assert served.attach(run).stdout == "3\n"


def test_pools_and_replicas(served: Home) -> None:
    run = served.main(2)
    (pool,) = served.json("get", "pools")
    assert (pool["state"], pool["active"], pool["parked"]) == ("awake", 2, 1)
    assert pool["settings"]["concurrency"] == 4
    until(lambda: all(replica["rss"] for replica in served.json("get", "replicas")))
    replicas = served.json("get", "replicas", "--pool", "tea")
    assert {replica["state"] for replica in replicas} == {"ready"}
    assert sorted(label for replica in replicas for label in replica["runs"]) == [
        f"tea.main {run}-1",
        f"tea.step {run}-2",
        f"tea.step {run}-3",
    ]
    for replica in replicas:
        os.kill(replica["pid"], 0)
    assert served.json("get", "replicas", "--pool", "coffee") == []
    for listing in ("pools", "replicas"):
        heads, first, *_ = served.samovar("get", listing, "-o", "wide").stdout.splitlines()
        assert heads.index("STATE") == first.index(" awake " if listing == "pools" else " ready ") + 1
    served.go(0, 1)
    assert served.attach(run).returncode == 0


def test_a_watch_tells_what_changes(served: Home) -> None:
    watch = served.popen("get", "actions", "--watch", "-o", "json")
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline()) == []
    run = served.main(1)
    phases = [action["phase"] for action in json.loads(watch.stdout.readline())]
    assert set(phases) <= {"running", "queued"}
    served.go(0)
    served.attach(run)
    assert any('"succeeded"' in line for line in iter(watch.stdout.readline, ""))
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=services.SECONDS)
    assert watch.returncode == 130


# what tasks print


def test_what_tasks_print_can_be_read_by_run_and_by_action(served: Home) -> None:
    run = served.main(2, name="black-tea")
    follower = served.popen("logs", "--follow", run)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "[tea.main 1] main begins\n"
    served.go(0, 1)
    rest = follower.stdout.read()
    follower.communicate(timeout=services.SECONDS)
    assert follower.returncode == 0
    assert rest.splitlines()[-1] == "[tea.main 1] main ends"
    whole = served.samovar("logs", run).stdout
    assert whole == f"[tea.main 1] main begins\n{rest}"
    (line,) = served.samovar("logs", run, "--tail", "1", "-o", "json").stdout.splitlines()
    assert json.loads(line)["text"] == "main ends"
    assert set(json.loads(line)) == {"at", "action", "number", "task", "stream", "text"}
    of_step = [text for text in whole.splitlines() if text.startswith("[tea.step 2]")]
    assert served.samovar("logs", "black-tea-2").stdout.splitlines() == of_step
    assert served.samovar("logs", run, "--action", "2").stdout.splitlines() == of_step
    first = served.samovar("logs", run, "--action", "2", "-o", "json").stdout.splitlines()[0]
    assert served.samovar("logs", json.loads(first)["action"]).stdout.splitlines() == of_step
    assert len(served.samovar("logs", run, "--task", "tea.step").stdout.splitlines()) == 4
    stamped = served.samovar("logs", run, "--timestamps", "--tail", "1").stdout
    assert stamped[4] == stamped[7] == "-"
    assert stamped.endswith(" [tea.main 1] main ends\n")


def test_an_action_that_has_written_nothing_and_one_that_there_is_not(served: Home) -> None:
    run = served.main(2)
    served.go(1)
    until(lambda: served.json("get", "actions", run, "--phase", "succeeded"))
    quiet = served.detach("cup", "--size", "1")
    served.attach(quiet, "--code", str(served.script))
    for target in ((run, "--action", "99"), (run, "--action", "rot"), (f"{run}-99",), ("-f", run, "--action", "rot")):
        unknown = served.samovar("logs", *target)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert f"run '{run}' has no action '{'99' if '99' in ''.join(target) else 'rot'}'" in unknown.stderr
    for action in ("1", "root"):
        silent = served.samovar("logs", quiet, "--action", action)
        assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")
    served.go(0)
    assert served.attach(run).stdout == "1\n"


def test_lines_and_runs_are_read_when_no_service_runs(home: Home) -> None:
    with services.running(home.path):
        home.go(0)
        run = home.main(1)
        home.attach(run)
        before = home.samovar("logs", run).stdout
    assert before.count("\n") == 4
    assert home.samovar("logs", "-f", run).stdout == before
    assert [found["run"] for found in home.json("get", "runs")] == [run]
    assert len(home.json("get", "actions", run)) == 2
    assert list((home.path / "state" / "samovar" / "logs").rglob("*.gz"))


def test_a_log_cannot_be_followed_while_its_service_is_away_and_says_so(home: Home) -> None:
    process, _ = services.begin(home.path)
    run = home.main(1)
    services.kill(home.path, process)
    followed = home.samovar("logs", "-f", run)
    assert followed.returncode == 0
    assert "no service runs, so no line follows; the run goes on when one does" in followed.stderr


# by hand


def test_one_action_is_aborted(served: Home) -> None:
    run = served.main(2)
    (one,) = served.json("get", "actions", run, "-n", "1")
    aborted = served.samovar("abort", run, "--action", one["action"])
    assert aborted.stdout == f"aborting action {one['action']} of {run}\n"
    served.go(0, 1)
    done = served.attach(run)
    assert (done.returncode, int(done.stdout) >= 100) == (0, True), done.stderr
    assert f"no action '{one['action']}' of run '{run}' is on its way" in served.refused(
        "abort", run, "--action", one["action"]
    )
    assert f"run '{run}' has ended" in served.refused("abort", run)


def test_a_pool_is_scaled_stopped_and_drained(served: Home) -> None:
    run = served.main(2)
    (pool,) = served.json("get", "pools")
    scaled = served.samovar("pool", "scale", "tea", "--replicas", "2:3")
    assert scaled.stdout == f"{pool['name']}: 2 to 3 replicas\n"
    until(lambda: served.json("get", "pools")[0]["ready"] == 2)
    served.go(5)
    other = served.detach("cup", "--size", "1")  # the same settings again are no new word
    assert served.attach(other, "--code", str(served.script)).returncode == 0
    assert served.json("get", "pools")[0]["settings"]["max_replicas"] == 3
    pids = {replica["pid"] for replica in served.json("get", "replicas")}
    assert served.samovar("pool", "stop", "tea").returncode == 0
    served.go(0, 1)
    assert served.attach(run).stdout == "1\n"
    until(lambda: not pids & {replica["pid"] for replica in served.json("get", "replicas")})
    assert served.samovar("pool", "drain", pool["name"][:5]).returncode == 0
    until(lambda: served.json("get", "replicas") == [])
    assert served.json("get", "pools")[0]["state"] == "drained"
    assert "3 to 2 replicas" in served.refused("pool", "scale", "tea", "--replicas", "3,2")
    assert "there is no pool 'milk'" in served.refused("pool", "stop", "milk")
    assert "write MIN,MAX" in served.refused("pool", "scale", "tea", "--replicas", "many")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(home: Home, shell: str) -> None:
    done = home.samovar("completion", shell)
    assert done.returncode == 0
    assert "_SAMOVAR_COMPLETE" in done.stdout


def complete(home: Home, *words: str) -> list[str]:
    """What bash offers for the last word."""
    asked = {
        "_SAMOVAR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("samovar", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = home.samovar(**asked)
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_names_are_completed(served: Home) -> None:
    served.go(0)
    run = served.main(1)
    served.attach(run)
    (pool,) = served.json("get", "pools")
    assert complete(served, "attach", run[:2]) == [run]
    assert complete(served, "logs", "nope") == []
    assert complete(served, "pool", "drain", "te") == [pool["name"]]
    assert "scale" in complete(served, "pool", "s")
    assert complete(served, "get", "replicas", "--pool", "te") == [pool["name"]]
