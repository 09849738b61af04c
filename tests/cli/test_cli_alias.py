"""``import flyte`` is samovar, and a script run by ``python -m samovar`` is a script."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import samovar
from samovar import errors
from samovar.sdk import alias


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    alias.install()
    yield
    alias.uninstall()


def test_flyte_is_samovar() -> None:
    flyte = importlib.import_module("flyte")
    assert flyte is samovar
    alias.install()
    assert importlib.import_module("flyte") is samovar


def test_a_submodule_is_the_same_module() -> None:
    spec = errors.__spec__
    assert importlib.import_module("flyte.errors") is errors
    assert errors.__spec__ is spec
    assert sys.modules["samovar.errors"] is errors


@pytest.mark.parametrize("name", ["flyte.no_such_thing", "flyte.cli", "flyte.engine.x", "flyte.sdk"])
def test_what_samovar_does_not_have_is_named(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"does not have '{name.replace('.x', '')}") as caught:
        importlib.import_module(name)
    assert caught.value.name
    assert name.startswith(caught.value.name)


def test_other_imports_are_left_alone() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'flytekit_'"):
        importlib.import_module("flytekit_")


def python_m(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    source = str(Path(alias.__file__).parents[2])
    env = os.environ | {"PYTHONPATH": source}
    return subprocess.run(
        [sys.executable, "-m", "samovar", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )


def test_python_m_runs_a_file_as_a_script(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "beside.py").write_text("VALUE = 5\n")
    (tmp_path / "code" / "program.py").write_text(
        "import sys, beside, flyte\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv, beside.VALUE, flyte.__name__, __file__)\n"
        "    print(sys.modules['__main__'].__dict__ is globals())\n"
        "    sys.exit(7)\n"
    )
    done = python_m("code/program.py", "--flag", "run", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    path = tmp_path / "code" / "program.py"
    assert done.stdout == f"['code/program.py', '--flag', 'run'] 5 samovar {path}\nTrue\n"


def test_a_script_that_fails_shows_its_own_frames(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1 / 0\n")
    done = python_m("program.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("  File ") == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_python_m_is_the_command_too(tmp_path: Path) -> None:
    assert python_m("--version", cwd=tmp_path).stdout.startswith("samovar ")
    assert "FILE" in python_m("run", "--help", cwd=tmp_path).stdout
    missing = python_m("nowhere.py", cwd=tmp_path)
    assert missing.returncode == 2
    assert "cannot run 'nowhere.py': No such file" in missing.stderr
