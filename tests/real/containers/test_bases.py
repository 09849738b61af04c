"""Where a plain Python comes from, and what the command does with images, in a store that starts empty."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from samovar.errors import ImageBuildError
from samovar.images import base, cache, dockerapi, dockerfile, oci, store
from samovar.images.build import build
from samovar.images.settings import HostSettings
from samovar.model import ImageSpec, ImageStep

from .engine import Podman

SECONDS = 300
VERSION, SUITE = next(iter(base.SUITES.items()))
PLAIN = ImageSpec(python_version=VERSION, name="plain")


@pytest.fixture(scope="module")
def empty_engine(container_engine, tmp_path_factory):
    if container_engine.kind != "podman":
        pytest.skip("it wants a second engine beside that of all tests")
    folder = tmp_path_factory.mktemp("store")
    engine = Podman(folder, folder)
    engine.start()
    yield engine
    engine.cli("rmi", "--all", "--force", timeout=SECONDS)
    engine.stop()


@pytest.fixture
def filled(empty_engine, monkeypatch):
    """A store with whatever the tests before have left, for samovar to find."""
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(empty_engine.socket))
    return empty_engine


@pytest.fixture
def fresh(filled):
    """The same, without a single image."""
    filled.cli("rmi", "--all", "--force", timeout=SECONDS)
    return filled


def found(times: int = 1, spec: ImageSpec = PLAIN) -> tuple[str, list[str]]:
    """(name of the base, reported lines); asked for so many times at once."""
    lines: list[str] = []

    async def ask() -> str:
        async with dockerapi.opened() as docker, asyncio.timeout(SECONDS):
            bases = await asyncio.gather(*(base.plain(docker, spec, lines.append) for _ in range(times)))
            assert {found.version for found in bases} == {VERSION}
            (name,) = {found.name for found in bases}
            return name

    return asyncio.run(ask()), lines


def refused(spec: ImageSpec = PLAIN) -> str:
    with pytest.raises(ImageBuildError) as caught:
        found(spec=spec)
    return str(caught.value)


def tagged(name: str, repository: str, tag: str) -> None:
    async def call() -> None:
        async with dockerapi.opened() as docker:
            await docker.images.tag(name, repository, tag=tag)

    asyncio.run(call())


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """A folder of programs that alone can make a Debian; nothing has been made yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(base.shutil, "which", lambda name: str(folder / name) if (folder / name).exists() else None)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def test_the_store_comes_first_then_a_pull_then_a_debian_that_is_made(fresh):
    name, lines = found()
    assert name == f"samovar/base:{SUITE}"
    assert lines[0] == f"image: pulling python:{VERSION}-slim"
    assert lines[-1] == f"image: loading Debian {SUITE}"
    assert found() == (name, [])
    tagged(name, "python", f"{VERSION}-slim")
    assert found() == (f"python:{VERSION}-slim", [])


@pytest.fixture(scope="module")
def debian() -> Path:
    """The archive of a Debian, which stays between runs."""
    archive = cache.folder("bases") / f"{SUITE}-{platform.machine()}.tar"
    assert archive.exists() or asyncio.run(base._bootstrap(SUITE, archive, print)) == ""
    return archive


def test_a_debian_is_made_once_however_many_ask(debian, fresh, programs):
    program(programs, "mmdebstrap", f'echo made >> {programs}/log\nfor last; do :; done\ncp {debian} "$last"')
    _, lines = found(times=3)
    assert (programs / "log").read_text() == "made\n"
    assert sum("making Debian" in line for line in lines) == 1


def test_without_any_way_each_reason_is_told(fresh, programs):
    said = refused()
    assert f"there is no base image with Python {VERSION}" in said
    assert f"- python:{VERSION}-slim cannot be pulled: " in said
    assert "- neither mmdebstrap nor debootstrap is installed to make one" in said
    assert "What to do: load" in said


def test_a_debian_that_cannot_be_made_shows_why(fresh, programs):
    program(programs, "mmdebstrap", "echo E: no mirror; exit 1")
    said = refused()
    assert "- mmdebstrap failed:\nE: no mirror" in said
    assert not list((programs.parent / "cache").rglob("*.tar"))


def test_a_debian_for_another_machine_is_not_made_here(fresh, programs):
    assert "a Debian for linux/riscv64 cannot be made on this machine" in refused(
        ImageSpec(python_version=VERSION, platform="linux/riscv64")
    )


def test_debootstrap_does_it_too_from_the_mirror_that_is_set(programs, monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_DEBIAN_MIRROR", "file:///mirror")
    program(programs, "debootstrap", 'mkdir -p "$4/etc" && echo "$1 $3 $5" > "$4/etc/made"')
    reason = asyncio.run(base._bootstrap(SUITE, tmp_path / "debian.tar", lambda line: None))
    assert reason == ""
    with tarfile.open(tmp_path / "debian.tar") as archive:
        member = archive.extractfile("./etc/made")
        assert member is not None
        assert member.read().decode() == f"--variant=minbase {SUITE} file:///mirror\n"


def samovar(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "samovar", "images", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


PROGRAM = f"""
import flyte

first = flyte.Image.from_debian_base(python_version=({VERSION.replace(".", ", ")}), name="first")
one = flyte.TaskEnvironment("one", image=first)
two = flyte.TaskEnvironment("two", image=first.with_commands("STEP"), depends_on=[one])

@two.task
def f(): ...

@one.task
def g(): ...
"""


def test_the_command_builds_lists_removes_and_prunes(fresh, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.replace("STEP", "true"))
    built = samovar("build", str(file))
    tags = built.stdout.split()
    assert len(set(tags)) == 2
    assert "samovar: image: building samovar/first:" in built.stderr
    again = samovar("build", str(file))
    assert (again.stdout, again.stderr) == (built.stdout, "")

    listed = json.loads(samovar("ls", "-o", "json").stdout)
    assert {(image["name"], image["kind"]) for image in listed} == {
        *((tag, "image") for tag in tags),
        (f"samovar/base:{SUITE}", "base"),
    }
    table = samovar("ls").stdout.splitlines()
    assert table[0].split() == ["IMAGE", "KIND", "ID", "SIZE", "AGE", "CONTAINERS"]
    assert len(table) == 4

    fresh.cli("create", "--name=user", tags[0], "true")
    assert "is used by 1 containers" in samovar("rm", tags[0], status=1).stderr
    assert samovar("prune").stdout.split() == [tags[1]]
    assert samovar("rm", "--force", tags[0]).stdout.split() == [tags[0]]
    assert samovar("prune").stdout == ""
    assert samovar("prune", "--all").stdout.split() == [f"samovar/base:{SUITE}"]
    assert json.loads(samovar("ls", "-o", "json").stdout) == []


def test_the_command_names_the_environment_that_cannot_be_built(filled, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.replace("STEP", "exit 7"))
    said = samovar("build", "--quiet", str(file), status=1)
    assert said.stderr.startswith("Error: environment 'two': the image cannot be made: the step 'command: exit 7'")
    leftovers = [image for image in json.loads(samovar("ls", "-o", "json").stdout) if image["kind"] == "leftover"]
    pruned = samovar("prune").stdout.split()
    assert {image["name"] for image in leftovers} <= set(pruned)


def test_bad_input_of_the_command(filled, tmp_path):
    (tmp_path / "none.py").write_text("")
    assert "has no tasks" in samovar("build", str(tmp_path / "none.py"), status=2).stderr
    assert "does not exist" in samovar("build", str(tmp_path / "nowhere.py"), status=2).stderr
    assert "Missing argument" in samovar("rm", status=2).stderr
    assert "samovar has no image nope" in samovar("rm", "nope", status=1).stderr
    for command in ([], ["build"], ["ls"], ["rm"], ["prune"]):
        assert "Usage: samovar images" in samovar(*command, "--help").stdout


def test_nobody_answers_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "nobody"))
    assert "Error: no container engine answers" in samovar("ls", status=1).stderr


def test_what_a_crash_left_behind_is_pruned(filled):
    async def settings() -> str:
        order = dockerfile.settings_order(HostSettings({}, {}))
        async with dockerapi.opened() as docker:
            await build(docker, order, HostSettings({}, {}), lambda line: None)
        return order.tag

    left = asyncio.run(settings())
    assert left in samovar("prune").stdout.split()
    found()
    labelled = f"{store.PROBE_LABEL}=1"
    filled.cli("run", f"--label={labelled}", "--network=none", f"samovar/base:{SUITE}", "true")
    samovar("prune")
    assert filled.cli("ps", "--all", "--quiet", "--filter", f"label={labelled}") == ""


def test_an_image_that_has_gone_is_built_again(filled):
    async def twice() -> tuple[str, str]:
        spec = ImageSpec(python_version=VERSION, steps=(ImageStep("command", ("true",)),))
        async with dockerapi.opened() as docker, asyncio.timeout(SECONDS):
            first = await oci.ensure(docker, spec, lambda line: None)
            await store.remove(docker, await store.find(docker, first))
            return first, await oci.ensure(docker, spec, lambda line: None)

    first, second = asyncio.run(twice())
    assert first == second
