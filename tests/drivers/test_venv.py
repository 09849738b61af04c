"""Venvs of images, with real packages that are made here."""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from samovar.drivers.process import ProcessDriver
from samovar.errors import ImageBuildError
from samovar.images import cache, contents, settings, venv
from samovar.model import Environment, ImageSpec, ImageStep
from samovar.sdk.image import Image

PYPROJECT = """
[project]
name = "leaf"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import os, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    return build(directory, "leaf.py", open("leaf.py").read())

def build_editable(directory, config_settings=None, metadata_directory=None):
    return build(directory, "leaf.pth", os.getcwd())

def build(directory, name, text):
    os.makedirs("build", exist_ok=True)
    open("build/log", "a").write("built once more")
    with zipfile.ZipFile(f"{directory}/leaf-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(name, text)
        wheel.writestr("leaf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: leaf\\nVersion: 1.0\\n")
        tags = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("leaf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\n" + tags)
        wheel.writestr("leaf-1.0.dist-info/RECORD", f"{name},,\\n")
    return "leaf-1.0-py3-none-any.whl"
"""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """An empty cache, and no memory of warnings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(venv, "_warned", False)


@pytest.fixture
def leaf(tmp_path) -> str:
    """The path of a small wheel, which needs no building."""
    return make_wheel(tmp_path, "assam")


def make_wheel(directory: Path, tea: str, version: str = "1.0") -> str:
    path = directory / f"leaf-{version}-py3-none-any.whl"
    metadata = f"leaf-{version}.dist-info"
    files = {
        "leaf.py": f"TEA = {tea!r}\n",
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: leaf\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "leaf.py,,\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return str(path)


def packages(*requirements: str) -> ImageSpec:
    return ImageSpec(steps=(ImageStep("pip", requirements),))


def options(option: str, *requirements: str) -> ImageSpec:
    return ImageSpec(steps=(ImageStep("pip", requirements, (option,)),))


def ensure(image: ImageSpec) -> tuple[str, list[str]]:
    """(python, reported lines)"""
    lines: list[str] = []
    return asyncio.run(asyncio.wait_for(venv.ensure(image, lines.append), 100)), lines


def tea_in(python: str) -> str:
    """What the package in the venv of this Python says."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-P", "-c", "import leaf; print(leaf.TEA)"]
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout.strip()


def make_project(directory: Path, tea: str) -> None:
    """A source tree that brings its own build backend, so that a build fetches nothing."""
    directory.mkdir(exist_ok=True)
    (directory / "leaf.py").write_text(f"TEA = {tea!r}\n")
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (directory / "backend.py").write_text(BACKEND)


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
        how = await asyncio.wait_for(driver.wait("r"), 60)
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


def shelve(here: Path, tea: str) -> None:
    """Another wheel beside those that are there: pip takes the newest."""
    shelf = here / "wheels"
    shelf.mkdir(exist_ok=True)
    make_wheel(shelf, tea, f"{1 + len(list(shelf.iterdir()))}.0")


@pytest.mark.parametrize(
    ("image", "make"),
    [
        (packages("./leaf-1.0-py3-none-any.whl"), make_wheel),
        (packages("./leaf"), lambda here, tea: make_project(here / "leaf", tea)),
        (packages("-e ./leaf"), lambda here, tea: make_project(here / "leaf", tea)),
        (
            ImageSpec(steps=(ImageStep("pip", (), ("--editable=leaf",)),)),
            lambda here, tea: make_project(here / "leaf", tea),
        ),
        (options("--no-index -f ./wheels", "leaf"), shelve),
    ],
    ids=["wheel", "project", "editable", "editable option", "find links"],
)
def test_a_local_package_that_has_changed_is_installed_anew(tmp_path, monkeypatch, image, make):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "assam")
    first, _ = ensure(image)
    assert tea_in(first) == "assam"
    assert ensure(image) == (first, [])  # what the build has left behind does not count
    make(tmp_path, "darjeeling")
    second, _ = ensure(image)
    assert second != first
    assert tea_in(second) == "darjeeling"


@pytest.mark.parametrize(
    "argument",
    [
        "./leaf",
        "leaf/../leaf",
        "./leaf[milk]",
        "leaf @ file://{}/leaf",
        "leaf[milk] @ file://{}/leaf",
        "./leaf; os_name",
    ],
)
def test_every_way_to_name_a_local_package(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    argument = argument.format(tmp_path)
    make_project(tmp_path / "leaf", "assam")
    before = contents.digest([argument])
    assert contents.digest([argument]) == before
    (tmp_path / "leaf" / "deep").mkdir()
    (tmp_path / "leaf" / "deep" / "er.txt").touch()
    added = contents.digest([argument])
    (tmp_path / "leaf" / "deep" / "er.txt").rename(tmp_path / "leaf" / "deep" / "est.txt")
    assert len({before, added, contents.digest([argument])}) == 3


def test_what_is_no_part_of_a_package_does_not_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path / "leaf", "assam")
    arguments = ["./leaf", "leaf", "leaf==1.0", "--index-url=https://index.invalid/leaf", "./nowhere"]
    before = contents.digest(arguments)
    for left in (".git/HEAD", "build/x.py", "dist/x.whl", "src/leaf.egg-info/PKG-INFO", "__pycache__/leaf.pyc"):
        (tmp_path / "leaf" / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "leaf" / left).touch()
    for text in ("pyvenv.cfg", "lib.py"):
        (tmp_path / "leaf" / "env").mkdir(exist_ok=True)
        (tmp_path / "leaf" / "env" / text).touch()
    os.mkfifo(tmp_path / "leaf" / "pipe")
    assert contents.digest(arguments) == before
    assert contents.digest(["leaf"]) == contents.digest([])  # the name of a package, not the directory


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The address of a package index that has one package, leaf, and nothing of samovar's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shelf = tmp_path / "simple" / "leaf"
    shelf.mkdir(parents=True)
    wheel = Path(make_wheel(shelf, "assam")).name
    (shelf / "index.html").write_text(f"<!DOCTYPE html><html><body><a href='{wheel}'>{wheel}</a></body></html>")

    class Shelf(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Not to the output of the tests."""

    serve = functools.partial(Shelf, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


def test_a_package_comes_from_the_index_of_the_image(index):
    python, lines = ensure(Image.from_debian_base().with_pip_packages("leaf", index_url=index).spec())
    assert tea_in(python) == "assam"
    assert "done" in lines[-1]


def test_a_package_that_the_index_does_not_have_is_named(index):
    image = Image.from_debian_base().with_pip_packages("leaf", "no-such-tea>=2", index_url=index).spec()
    with pytest.raises(ImageBuildError, match=r"packages leaf, no-such-tea>=2 cannot be made") as caught:
        ensure(image)
    assert "no-such-tea was not found" in str(caught.value)
    assert "What to do: check their names" in str(caught.value)


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
