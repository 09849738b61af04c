"""Images that are built and run for real: what is in them, what is not, and what is said when one cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import samovar as flyte
from samovar.errors import ImageBuildError
from samovar.images import dockerapi, oci, own, store
from samovar.model import ImageSpec

SECONDS = 300
MARK = "h0st-s3cret"
OTHER_PYTHON = "3.12" if own.python() != "3.12" else "3.11"

LOOK = """
import importlib.metadata as m, json, os, sys, msgspec, samovar.runtime.main
names = sorted(d.name.lower() for d in m.distributions())
print(json.dumps(dict(names=names, cwd=os.getcwd(), env=dict(os.environ), python=sys.executable,
    samovar=samovar.__file__, msgspec=m.version("msgspec"), uid=os.getuid())))
"""


@pytest.fixture(scope="module")
def empty(container_engine):
    """The engine, with a base to start from and without images of these tests."""
    container_engine.base()
    remove_images(container_engine)
    yield container_engine
    remove_images(container_engine)


def remove_images(engine) -> None:
    if tags := engine.cli(
        "images", "--filter", "reference=samovar/t-*", "--format", "{{.Repository}}:{{.Tag}}"
    ).split():
        engine.cli("rmi", "--force", *tags)


@pytest.fixture
def images(empty, monkeypatch):
    """The same, for samovar to find."""
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(empty.socket))
    return empty


@pytest.fixture
def leaf(tmp_path) -> str:
    return wheel(tmp_path, "leaf")


def wheel(folder: Path, name: str) -> str:
    """The path of a small wheel, which needs no building and no index."""
    path, about = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "TEA = 'assam'\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": f"{name}.py,,\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return str(path)


def made(image: flyte.Image | ImageSpec, times: int = 1) -> tuple[str, list[str]]:
    """(tag, reported lines); asked for so many times at once."""
    spec = image if isinstance(image, ImageSpec) else image.spec()
    lines: list[str] = []

    async def ensure() -> str:
        async with dockerapi.opened() as docker, asyncio.timeout(SECONDS):
            asked = [oci.ensure(docker, spec, lines.append) for _ in range(times)]
            (tag,) = set(await asyncio.gather(*asked))
            return tag

    return asyncio.run(ensure()), lines


def refused(image: flyte.Image) -> str:
    with pytest.raises(ImageBuildError) as caught:
        made(image)
    return str(caught.value)


def builds(lines: list[str]) -> int:
    return sum("image: building" in line for line in lines)


def run(images, tag: str, *command: str) -> str:
    """As replicas run: as nobody in particular, with a root that is read only."""
    return images.cli("run", "--rm", "--network=none", "--read-only", "--user=64198:64198", tag, *command)


def look(images, tag: str) -> dict:
    labels = json.loads(images.cli("image", "inspect", tag))[0]["Config"]["Labels"]
    return json.loads(run(images, tag, labels["samovar.python"], "-P", "-c", LOOK))


def image(name: str = "test", **options) -> flyte.Image:
    return flyte.Image.from_debian_base(name=f"T {name}", **options)


def test_every_step_is_in_the_image(images, leaf, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "sub" / "run.sh").chmod(0o700)
    (tmp_path / "requirements.txt").write_text("./leaf-1.0-py3-none-any.whl\nunionai-reuse>=0.1\n")
    tag, lines = made(
        image("Every Step")
        .with_requirements(tmp_path / "requirements.txt")
        .with_pip_packages("six", "unionai-reuse")
        .with_apt_packages("tree")
        .with_env_vars({"TEA": 'it\'s "$HOME"', "N": "1"})
        .with_workdir("/srv/tea")
        .with_commands(["echo $N > n; cd /", "tree --version >> n", "exit 0"])
        .with_source_folder(folder)
        .with_source_folder(folder, "flat", copy_contents_only=True)
        .with_source_file(tmp_path / "requirements.txt", "renamed.txt")
    )
    assert tag.startswith("samovar/t-every-step:")
    assert builds(lines) == 1
    assert any("apt: tree" in line for line in lines)
    seen = look(images, tag)
    assert {"leaf", "six"} <= set(seen["names"])
    assert "unionai-reuse" not in seen["names"]
    assert (seen["env"]["TEA"], seen["cwd"], seen["uid"]) == ('it\'s "$HOME"', "/srv/tea", 64198)
    assert seen["python"] == "/opt/venv/bin/python"
    assert seen["samovar"].startswith("/opt/samovar/")
    assert f"msgspec=={seen['msgspec']}" in own.pins()
    compiled = "find /opt/samovar/samovar -name 'session.*.pyc' -printf '%f\\n'"
    program = f"cat n; folder/sub/run.sh; flat/sub/run.sh; cat renamed.txt; {compiled}"
    said = run(images, tag, "sh", "-c", program)
    assert said.startswith("1\ntree v")
    assert "ran\nran\n./leaf" in said
    assert said.rstrip().endswith(".pyc")


def test_an_image_that_is_there_is_found_without_a_word(images, leaf):
    wanted = image().with_pip_packages(leaf)
    first, _ = made(wanted)
    assert made(wanted) == (first, [])
    assert made(image("other").with_pip_packages(leaf))[0].rpartition(":")[2] == first.rpartition(":")[2]


def test_other_content_is_another_image(images, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("1")
    wanted = image().with_source_file(file)
    first, _ = made(wanted)
    file.write_text("2")
    second, lines = made(wanted)
    assert (second != first, builds(lines)) == (True, 1)
    assert run(images, second, "cat", "a.txt") == "2"


def test_many_at_once_build_once(images, tmp_path):
    (tmp_path / "now.txt").write_text(os.urandom(8).hex())
    _, lines = made(image().with_source_file(tmp_path / "now.txt"), times=4)
    assert builds(lines) == 1


def test_two_processes_at_once_build_once(images, tmp_path):
    (tmp_path / "now.txt").write_text(os.urandom(8).hex())
    program = tmp_path / "program.py"
    program.write_text(
        "import flyte\n"
        f"image = flyte.Image.from_debian_base(name='t-both').with_source_file({str(tmp_path / 'now.txt')!r})\n"
        "env = flyte.TaskEnvironment('both', image=image)\n"
        "@env.task\ndef f(): ...\n"
    )
    command = [sys.executable, "-m", "samovar", "images", "build", str(program)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [process.communicate(timeout=SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert ends[0][0] == ends[1][0]
    assert sum("image: building" in progress for _, progress in ends) == 1


def test_a_step_that_fails_is_named_with_its_output(images):
    said = refused(image().with_commands(["echo first", "echo why >&2; exit 3"]))
    assert "the step 'command: echo first; echo why >&2; exit 3' failed" in said
    assert "why" in said.splitlines()
    assert "It ended with exit status 3." in said
    missing = refused(image().with_pip_packages("samovar-has-no-such-package==99"))
    assert "the step 'pip: samovar-has-no-such-package==99' failed" in missing
    assert "samovar-has-no-such-package" in missing.partition("\n")[2]


def test_a_uv_project_with_a_lock_and_without_one(images, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n')
    subprocess.run([str(own.uv()), "lock", "--quiet"], cwd=tmp_path, check=True, timeout=SECONDS)
    assert "six" in look(images, made(image().with_uv_project(project))[0])["names"]
    (tmp_path / "uv.lock").unlink()
    project.write_text(project.read_text().replace('["six"]', '["idna", "unionai-reuse>=0.1"]'))
    names = look(images, made(image().with_uv_project(project))[0])["names"]
    assert "idna" in names
    assert not {"p", "unionai-reuse"} & set(names)


def test_a_script_with_inline_metadata(images, tmp_path):
    script = tmp_path / "s.py"
    script.write_text('# /// script\n# dependencies = ["six", "unionai-reuse"]\n# ///\n')
    names = look(images, made(flyte.Image.from_uv_script(script, name="t-script"))[0])["names"]
    assert "six" in names
    assert "unionai-reuse" not in names


def test_pip_installs_where_uv_does_not_run(images, leaf, monkeypatch):
    monkeypatch.setattr(own, "uv", lambda: None)
    tag, _ = made(image().with_pip_packages(leaf))
    assert {"leaf", "pip"} <= set(look(images, tag)["names"])


def test_what_the_runtime_needs_is_installed_where_the_engines_own_does_not_fit(images, monkeypatch):
    monkeypatch.setattr(own, "abi", lambda: "another")
    tag, lines = made(image("needs"))
    assert any(f"pip: {', '.join(own.pins())}" in line for line in lines)
    where = run(images, tag, "python", "-P", "-c", "import msgspec, samovar.model; print(msgspec.__file__)")
    assert where.startswith("/opt/venv/")


def test_an_image_of_samovars_is_a_base_like_any_other(images, leaf):
    first, _ = made(image().with_commands("echo below > /below"))
    second, _ = made(flyte.Image.from_base(first).clone(name="t-above").with_pip_packages(leaf))
    assert "leaf" in look(images, second)["names"]
    assert run(images, second, "cat", "/below") == "below\n"


@pytest.fixture
def dockerfile(images, tmp_path) -> Path:
    """A folder with a Dockerfile that copies all of it."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        'FROM samovar/base:bookworm\nRUN echo "$PIP_INDEX_URL" | wc -c > /reached && \\\n    test -s /reached\n'
        'COPY . /srv/\nWORKDIR /srv\nUSER nobody\nENTRYPOINT ["/bin/false"]\n'
    )
    (folder / ".dockerignore").write_text("*.log\n")
    (folder / "a.log").touch()
    (folder / "a.txt").touch()
    return folder / "Dockerfile"


def test_a_dockerfile_is_built_in_its_folder(images, dockerfile):
    tag, lines = made(flyte.Image.from_dockerfile(dockerfile, name="t-docker").with_commands("id -u > /by"))
    assert builds(lines) == 2
    ours = {".dockerignore", ".samovar-containerfile"} if images.kind == "docker" else set()  # as docs/images.md says
    assert set(run(images, tag, "ls", "-A", "/srv").split()) == {"Dockerfile", "a.txt"} | ours
    assert run(images, tag, "cat", "/by") == "0\n"
    assert json.loads(images.cli("image", "inspect", tag))[0]["Config"]["User"] == "nobody"
    assert look(images, tag)["cwd"] == "/srv"
    (dockerfile.parent / "b.log").touch()
    assert made(flyte.Image.from_dockerfile(dockerfile, name="t-docker").with_commands("id -u > /by")) == (tag, [])


@pytest.fixture
def marked(monkeypatch, tmp_path) -> None:
    """Settings of the machine that can be looked for."""
    (tmp_path / "ca.pem").write_text(MARK)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / f"{MARK}.txt").write_text(MARK)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_INDEX_URL", f"https://user:{MARK}@index.invalid/simple")
    monkeypatch.setenv("UV_INDEX_TEA_PASSWORD", MARK)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("https_proxy", f"http://{MARK}@proxy.invalid:1")


REACHED = (
    f"case $PIP_INDEX_URL$UV_DEFAULT_INDEX in *{MARK[:4]}*{MARK[:4]}*) ;; *) exit 11;; esac; "
    f"grep -q {MARK[:4]} $SSL_CERT_FILE $PIP_CERT $REQUESTS_CA_BUNDLE || exit 12; "
    f"case $https_proxy in *{MARK[:4]}*) ;; *) exit 13;; esac; "
    "ls $UV_FIND_LINKS/*.txt > /dev/null || exit 14"
)


def test_settings_of_the_machine_reach_the_steps_and_do_not_stay(images, marked, tmp_path):
    tag, _ = made(image("marked").with_commands(REACHED))
    assert not_kept(images, tag, tmp_path)


def test_settings_reach_a_dockerfile_and_do_not_stay(images, marked, dockerfile, tmp_path):
    text = dockerfile.read_text().replace("COPY", f"RUN {REACHED}\nCOPY")
    dockerfile.write_text(text)
    tag, _ = made(flyte.Image.from_dockerfile(dockerfile, name="t-docker"))
    assert int(run(images, tag, "cat", "/reached")) > 10
    assert not_kept(images, tag, tmp_path)
    assert not [line for line in images.cli("images", "--all").splitlines() if "samovar/settings" in line]


def not_kept(images, tag: str, folder: Path) -> bool:
    """Whether the mark is neither in a layer, nor in the history or the configuration, nor anywhere in the store."""
    archive = folder / "image.tar"
    images.save(tag, archive)
    images.forget_builds()
    about = images.cli("image", "inspect", tag) + images.cli("history", "--no-trunc", tag)
    places = [str(archive), str(images.store)]
    found = subprocess.run(["grep", "-rl", MARK, *places], capture_output=True, text=True, timeout=SECONDS)
    assert found.stdout == ""
    return MARK not in about


def test_a_base_without_the_python_that_is_asked_for(images):
    wanted = flyte.Image.from_base("samovar/base:bookworm").clone(python_version=(3, 99))
    said = refused(wanted)
    assert "samovar/base:bookworm has Python 3.11, and python_version asks for 3.99" in said
    assert "leave python_version away" in said


def test_a_base_without_any_python(images, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM samovar/base:bookworm\nRUN rm /usr/bin/python3*\n")
    assert "has no Python; choose one" in refused(flyte.Image.from_dockerfile(tmp_path / "Dockerfile", name="t-bare"))


def test_a_base_that_cannot_be_had(images):
    said = refused(flyte.Image.from_base("samovar-has-no-such/image:1"))
    assert "the base image is not in the local store, and samovar-has-no-such/image:1 cannot be pulled: " in said
    assert "What to do" in said


def test_a_python_that_is_too_old_or_that_nobody_has(images):
    assert "samovar needs Python 3.11 or later" in refused(image(python_version=(3, 9)))
    said = refused(image(python_version=(3, 99)))
    assert "python:3.99-slim cannot be pulled" in said
    assert "no Debian has Python 3.99: python_version can be 3.11 (bookworm) or 3.13 (trixie)" in said


def test_only_samovars_images_are_listed(images, leaf):
    tag, _ = made(image().with_pip_packages(leaf))

    async def listed():
        async with dockerapi.opened() as docker:
            return await store.listed(docker)

    found = {tag: stored for stored in asyncio.run(listed()) for tag in stored.tags}
    assert (found[tag].kind, found[tag].python, found[tag].containers) == ("image", "/opt/venv/bin/python", 0)
    assert found[tag].size > 50_000_000
