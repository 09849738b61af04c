"""Venvs of images, with real packages that are made here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from samovar.drivers.process import ProcessDriver
from samovar.errors import ImageBuildError
from samovar.images import cache, settings, venv
from samovar.model import Environment, ImageSpec, ImageStep


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """An empty cache, and no memory of warnings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(venv, "_warned", False)


@pytest.fixture
def leaf(tmp_path) -> str:
    """The path of a small wheel, which needs no building."""
    path = tmp_path / "leaf-1.0-py3-none-any.whl"
    metadata = "leaf-1.0.dist-info"
    files = {
        "leaf.py": "TEA = 'assam'\n",
        f"{metadata}/METADATA": "Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "leaf.py,,\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return str(path)


def packages(*requirements: str) -> ImageSpec:
    return ImageSpec(steps=(ImageStep("pip", requirements),))


def ensure(image: ImageSpec) -> tuple[str, list[str]]:
    """(python, reported lines)"""
    lines: list[str] = []
    return asyncio.run(asyncio.wait_for(venv.ensure(image, lines.append), 100)), lines


def test_without_wishes_it_is_the_running_python():
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert ensure(ImageSpec()) == (sys.executable, [])
    assert ensure(ImageSpec(python_version=running)) == (sys.executable, [])


def test_a_package_is_installed_once_and_samovar_is_there(leaf):
    image = packages(leaf)
    python, lines = ensure(image)
    assert [line.split()[1] for line in lines] == ["resolving", "installing", "done"]
    code = "import leaf, samovar, samovar.model, cloudpickle; print(leaf.TEA, samovar.__path__[0])"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run([python, "-P", "-c", code], env=clean, capture_output=True, text=True, check=True)
    tea, samovar = found.stdout.split()
    assert tea == "assam"
    assert Path(samovar).resolve() == Path(venv.__file__).resolve().parents[1]
    assert ensure(image) == (python, [])


def test_a_replica_runs_in_it(leaf):
    async def test():
        driver = ProcessDriver(command=("-c", "import leaf, os; print(leaf.TEA, os.environ['VIRTUAL_ENV'])"))
        environment = Environment("e", image=packages(leaf))
        await driver.prepare(environment, lambda line: None)
        await driver.start("r", environment, {})
        how = await asyncio.wait_for(driver.wait("r"), 20)
        await driver.close()
        return how.output.split()

    tea, home = asyncio.run(test())
    assert tea == "assam"
    assert (Path(home) / "pyvenv.cfg").exists()


def test_two_at_once_build_once(leaf):
    image = packages(leaf)
    lines: list[str] = []

    async def both():
        return await asyncio.gather(venv.ensure(image, lines.append), venv.ensure(image, lines.append))

    first, second = asyncio.run(asyncio.wait_for(both(), 100))
    assert first == second
    assert len([line for line in lines if "done" in line]) == 1


def test_what_a_crash_left_behind_is_made_anew(leaf):
    image = packages(leaf)
    python, _ = ensure(image)
    home = Path(python).parents[1]
    (home / ".complete").unlink()
    (home / "half").touch()
    again, lines = ensure(image)
    assert again == python
    assert "done" in lines[-1]
    assert not (home / "half").exists()


def test_a_package_that_does_not_exist_names_the_environment_and_what_to_do(tmp_path):
    missing = str(tmp_path / "no-such-1.0-py3-none-any.whl")
    environment = Environment("brew", image=packages(missing))

    async def test():
        driver = ProcessDriver()
        try:
            await driver.prepare(environment, lambda line: None)
        finally:
            await driver.close()

    with pytest.raises(ImageBuildError, match="'brew'") as caught:
        asyncio.run(test())
    assert missing in str(caught.value)
    assert "What to do: check their names" in str(caught.value)
    assert len(str(caught.value)) < venv.OUTPUT_CHARS + 1000
    left = [path for path in cache.folder("venvs").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_a_python_that_cannot_be_had_says_so(monkeypatch):
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(ImageBuildError, match=r"no Python 3\.99"):
        ensure(ImageSpec(python_version="3.99"))
    with pytest.raises(ImageBuildError, match=r"needs Python 3\.11"):
        ensure(ImageSpec(python_version="3.9"))


def test_layers_that_a_process_cannot_have_are_said_once():
    steps = (ImageStep("apt", ("curl",)), ImageStep("command", ("make tea",)), ImageStep("pip", (), ("--pre",)))
    image = ImageSpec(steps=steps)
    lines = [*ensure(image)[1], *ensure(image)[1]]
    assert lines == ["image: a process cannot have apt, command; going on without (containers have them)"]


def test_settings_of_pip_hold_for_uv(monkeypatch):
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://one.invalid")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.invalid  https://three.invalid")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a /b")
    monkeypatch.setenv("UV_INDEX_URL", "https://own.invalid")
    found = settings.for_uv()
    assert "UV_DEFAULT_INDEX" not in found  # uv's own, older name is set
    assert found["UV_INDEX"] == "https://two.invalid https://three.invalid"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    monkeypatch.delenv("UV_INDEX_URL")
    assert settings.for_uv()["UV_DEFAULT_INDEX"] == "https://one.invalid"
