"""Code that a service has been sent: what is shipped, what a replica sees of it, and what becomes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import services
from .conftest import until

SECONDS = services.SECONDS

PROGRAM = """
import asyncio, os, pathlib, sys
import samovar as flyte
import helper

env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=1, idle_ttl=600), include=INCLUDE)
once = flyte.TaskEnvironment(name="once", depends_on=[env])
loads = 0

@env.task
async def load() -> int:
    global loads
    loads += 1
    return loads

@once.task
async def tell(x: int) -> str:
    return f"{helper.greeting} {x}"

@once.task
async def main(path: str) -> list[str]:
    (pathlib.Path(path) / "began").touch()
    first = await tell(1)
    while not (pathlib.Path(path) / "go").exists():
        await asyncio.sleep(0.01)
    return [first, await tell(2)]

@once.task
async def read(name: str) -> str:
    return (pathlib.Path(__file__).parent / name).read_text()

@once.task
async def where() -> str:
    return os.getcwd()

@once.task
async def late() -> str:
    import lazy
    return lazy.greeting

@once.task
async def boom() -> None:
    helper.boom()
"""
HELPER = """
greeting = "hello"

def boom():
    raise ValueError("no")
"""


class Home(services.Home):
    """A home with a project in it, and a service."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "")
        self.project = self.make("project")

    def make(self, name: str, include: str = "()") -> Path:
        """A checkout of the project; the script of it is run from here on."""
        project = self.path / name
        project.mkdir()
        (project / "pyproject.toml").touch()
        (project / "helper.py").write_text(HELPER)
        self.script = project / "program.py"
        self.script.write_text(PROGRAM.replace("INCLUDE", include))
        return project

    def run(self, task: str, *arguments: str, options: tuple[str, ...] = (), cwd: Path | None = None) -> Any:
        done = self.tried(task, *arguments, options=options, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def tried(
        self, task: str, *arguments: str, options: tuple[str, ...] = (), cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "samovar", "run", "-o", "json", *options, str(self.script), task, *arguments]
        return subprocess.run(
            command,
            env=self.variables,
            cwd=cwd or self.path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.samovar("get", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def pools(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.samovar("status", "-o", "json").stdout)["pools"]
        return found

    @property
    def bundles(self) -> list[Path]:
        return sorted((self.path / "state" / "samovar" / "bundles").iterdir())

    def files(self) -> set[str]:
        """Of the one bundle that is kept; caches of bytecode are not of it."""
        (bundle,) = self.bundles
        there = (path.relative_to(bundle / "files") for path in (bundle / "files").rglob("*") if path.is_file())
        return {str(path) for path in there if "__pycache__" not in path.parts}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_replicas_start_when_the_folder_of_the_client_has_gone(served: Home) -> None:
    command = [
        sys.executable,
        "-m",
        "samovar",
        "run",
        "-o",
        "json",
        str(served.script),
        "main",
        "--path",
        str(served.path),
    ]
    client = subprocess.Popen(command, env=served.variables, cwd=served.project, stdout=subprocess.PIPE, text=True)
    until(lambda: (served.path / "began").exists(), SECONDS)
    shutil.rmtree(served.project)
    (served.path / "go").touch()
    out, _ = client.communicate(timeout=SECONDS)
    assert json.loads(out) == ["hello 1", "hello 2"]


def test_a_run_finds_its_code_again_after_a_restart(home: Home) -> None:
    service, _ = services.begin(home.path)
    client = home.begin("main", "--path", str(home.path), name="r")
    until(lambda: (home.path / "began").exists(), SECONDS)
    service.kill()
    service.communicate(timeout=SECONDS)
    client.kill()
    client.communicate(timeout=SECONDS)
    home.script.write_text("this is no Python any more")
    (home.project / "helper.py").unlink()
    (home.path / "go").touch()
    with services.running(home.path):
        until(lambda: home.get("runs")[0]["phase"] == "succeeded", SECONDS)


def test_a_run_whose_code_is_damaged_fails_and_says_so(home: Home) -> None:
    service, _ = services.begin(home.path)
    client = home.begin("main", "--path", str(home.path), name="r")
    until(lambda: (home.path / "began").exists(), SECONDS)
    service.kill()
    service.communicate(timeout=SECONDS)
    client.kill()
    client.communicate(timeout=SECONDS)
    (bundle,) = home.bundles
    (bundle / "files" / "helper.py").unlink()
    service, _ = services.begin(home.path)
    until(lambda: home.get("runs")[0]["phase"] == "failed", SECONDS)
    assert home.run("tell", "--x", "3") == "hello 3"  # it is sent again
    assert f"not resuming run r of once.main: its code is lost or damaged: {bundle}" in services.end(service)


def test_what_loaded_modules_are(served: Home) -> None:
    (served.project / "unused.py").touch()
    (served.project / "data.txt").write_text("data")
    assert served.run("tell", "--x", "1") == "hello 1"
    assert served.files() == {"program.py", "helper.py"}
    done = served.tried("read", "--name", "data.txt")
    assert done.returncode == 1
    assert "TaskEnvironment(include=…), or use copy_style='all'" in done.stderr
    assert str(served.path / "state") not in done.stderr.partition("Error: ")[0]


def test_a_module_that_is_loaded_late_is_not_there_and_the_error_says_what_to_do(served: Home) -> None:
    (served.project / "lazy.py").write_text('greeting = "late"')
    done = served.tried("late")
    assert done.returncode == 1
    assert "No module named 'lazy'" in done.stderr
    assert "copy_style='all'" in done.stderr
    assert served.run("late", options=("--copy-style", "all")) == "late"


def test_modules_from_elsewhere_are_shipped_too(served: Home) -> None:
    elsewhere = served.path / "elsewhere"
    (elsewhere / "lib").mkdir(parents=True)
    (served.project / "helper.py").rename(elsewhere / "lib" / "inner.py")
    (elsewhere / "lib" / "__init__.py").touch()
    (served.project / "helper.py").write_text("from lib.inner import *")
    served.variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(elsewhere), os.environ.get("PYTHONPATH", "")]))
    assert served.run("tell", "--x", "1") == "hello 1"
    assert {name for name in served.files() if "lib" in name} == {
        ".elsewhere/0/lib/__init__.py",
        ".elsewhere/0/lib/inner.py",
    }


def test_what_environments_include_is_shipped(home: Home) -> None:
    shutil.rmtree(home.project)
    home.make("project", include="('data', '*.toml')")
    (home.project / "data").mkdir()
    (home.project / "data" / "a.txt").write_text("data")
    with services.running(home.path):
        assert home.run("read", "--name", "data/a.txt") == "data"
        assert home.files() == {"program.py", "helper.py", "data/a.txt", "pyproject.toml"}
        shutil.rmtree(home.project / "data")
        done = home.tried("load")
        assert done.returncode == 2
        assert "environment 'kept': include='data' names nothing that is there" in done.stderr


def test_all_is_every_file_but_what_nobody_wants(served: Home) -> None:
    for name in (
        "a.txt",
        ".git/x",
        ".env",
        "node_modules/x.js",
        "env/pyvenv.cfg",
        "env/x.py",
        "__pycache__/x.pyc",
        "b/c.txt",
    ):
        path = served.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert served.run("read", "--name", "b/c.txt", options=("--copy-style", "all")) == "b/c.txt"
    assert served.files() == {"program.py", "helper.py", "pyproject.toml", "a.txt", "b/c.txt"}


def test_all_leaves_out_what_git_ignores(served: Home) -> None:
    subprocess.run(["git", "init", "-q", str(served.project)], check=True)
    for name in ("data/a.bin", "data/deep/b.bin", "b/c.txt", "b/d.log", "b/kept.log"):
        path = served.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (served.project / ".gitignore").write_text("/data\n")
    (served.project / "b" / ".gitignore").write_text("*.log\n!kept.log\n")
    assert served.run("read", "--name", "b/c.txt", options=("--copy-style", "all")) == "b/c.txt"
    assert served.files() == {"program.py", "helper.py", "pyproject.toml", "b/c.txt", "b/kept.log"}


def test_all_of_100_mb_is_shipped_in_parcels_and_more_is_refused(served: Home) -> None:
    with open(served.project / "big", "wb") as file:
        file.write(b"begin")
        file.truncate(100 * 10**6)
    assert served.run("tell", "--x", "1", options=("--copy-style", "all")) == "hello 1"
    (bundle,) = served.bundles
    assert (bundle / "files" / "big").stat().st_size == 100 * 10**6
    with open(served.project / "big", "wb") as file:
        file.truncate(300 * 2**20)
    done = served.tried("tell", "--x", "1", options=("--copy-style", "all"))
    assert done.returncode == 2
    assert "the code is too large to ship: 300 MiB in 4 files" in done.stderr
    assert "The biggest are big (300.0 MiB), program.py" in done.stderr


def test_in_place_nothing_is_shipped(served: Home) -> None:
    assert served.run("tell", "--x", "1", options=("--copy-style", "none")) == "hello 1"
    assert served.bundles == []


def test_two_checkouts_share_a_pool_when_they_are_run_from_one_folder(served: Home) -> None:
    assert served.run("load") == 1
    served.make("second")
    assert served.run("load") == 2
    assert len(served.bundles) == 1
    actions = [action for run in served.get("runs") for action in served.get("actions", run["run"])]
    assert sorted(action["cold"] for action in actions) == [False, True]


def test_a_replica_is_where_its_client_is(served: Home) -> None:
    assert served.run("where", cwd=served.project) == str(served.project)
    assert served.run("where", cwd=served.path) == str(served.path)


def test_old_code_ends_and_the_code_of_others_does_not(served: Home) -> None:
    assert served.run("load") == 1
    first = served.script
    served.make("second")
    served.script.write_text(served.script.read_text().replace("loads += 1", "loads += 10"))
    assert served.run("load") == 10
    second, served.script = served.script, first
    assert served.run("load") == 2  # another checkout is no reason to end
    served.script = second
    second.write_text(second.read_text().replace("loads += 10", "loads += 100"))
    assert served.run("load") == 100
    until(lambda: len([pool for pool in served.pools() if pool["ready"]]) == 2)
    served.script = first
    assert served.run("load") == 3


def test_a_syntax_error_in_an_included_module(home: Home) -> None:
    shutil.rmtree(home.project)
    home.make("project", include="('lazy.py',)")
    (home.project / "lazy.py").write_text("def (:")
    with services.running(home.path):
        done = home.tried("late")
        assert done.returncode == 1
        assert 'File "lazy.py", line 1' in done.stderr
        assert "SyntaxError" in done.stderr


def test_tracebacks_name_files_as_they_are_called_in_the_project(served: Home) -> None:
    done = served.tried("boom")
    assert 'File "helper.py", line 5, in boom' in done.stderr
    assert "bundles" not in done.stderr


def test_two_clients_that_come_at_once(served: Home) -> None:
    clients = [served.begin("tell", "--x", str(number)) for number in range(3)]
    for client in clients:
        _, said = client.communicate(timeout=SECONDS)
        assert client.returncode == 0, said
    assert len(served.bundles) == 1


def test_a_service_that_is_killed_while_code_comes_uses_nothing_of_it(home: Home) -> None:
    with open(home.project / "big", "wb") as file:
        file.write(os.urandom(64 * 2**20))
    service, _ = services.begin(home.path)
    command = [sys.executable, "-m", "samovar", "run", "--copy-style", "all", str(home.script), "tell", "--x", "1"]
    client = subprocess.Popen(command, env=home.variables, stderr=subprocess.PIPE, text=True)
    until(lambda: any((bundle / "files" / "big").exists() for bundle in home.bundles), SECONDS)
    service.kill()
    service.communicate(timeout=SECONDS)
    _, said = client.communicate(timeout=SECONDS)
    assert (client.returncode, "the service is gone, and has not taken the code" in said) == (2, True), said
    (left,) = home.bundles
    assert left.name.startswith("unfinished-")
    with services.running(home.path):
        assert home.bundles == []
        assert home.run("tell", "--x", "1", options=("--copy-style", "all")) == "hello 1"
        assert len(home.bundles) == 1
