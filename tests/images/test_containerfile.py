"""What the steps of an image become, as text."""

from __future__ import annotations

import json

import pytest

from samovar.errors import ImageBuildError
from samovar.images.containerfile import Base, Kit, Recipe, recipe
from samovar.model import ImageSpec, ImageStep

HOST = "--mount=type=bind,source=host,target=/run/samovar-host"
LINKS = "--mount=type=bind,source=links,target=/run/samovar-links"
BASE = Base("tea:1", "f00", "/usr/bin/python3", "3.11", "cpython-311", "glibc", "x86_64", "/usr/lib/python3")
KIT = Kit(pins=("msgspec==1", "cloudpickle==2"), has_uv=True, has_needs=True)
UV = "/run/samovar-host/uv pip install --python /opt/venv/bin/python --compile-bytecode"


def changed(base: Base = BASE, **fields: object) -> Base:
    return Base(**{**{name: getattr(base, name) for name in base.__struct_fields__}, **fields})


def place(path: str) -> str:
    return f"copied/d{len(path)}/{path.rpartition('/')[2]}"


def made(*steps: ImageStep, base: Base = BASE, kit: Kit = KIT) -> Recipe:
    return recipe(ImageSpec(steps=steps), base, kit, place)


def between(found: Recipe) -> list[str]:
    """What stands between the beginning that every image has and its end."""
    lines = [layer.instruction for layer in found.layers]
    return lines[lines.index("WORKDIR /app") + 1 : lines.index('COPY ["runtime/", "/opt/samovar/"]')]


def script(instruction: str) -> str:
    """What a RUN runs, without the line that reads the settings."""
    settings, _, rest = json.loads(instruction[instruction.index("[") :])[2].partition("\n")
    assert settings == ". /run/samovar-host/env"
    return rest


def test_an_image_without_steps():
    assert [layer.instruction for layer in made().layers] == [
        "FROM tea:1",
        f'RUN {HOST} ["/bin/sh", "-c", ". /run/samovar-host/env\\n'
        '/usr/bin/python3 -m venv --system-site-packages --without-pip /opt/venv"]',
        'ENV VIRTUAL_ENV=/opt/venv PATH="/opt/venv/bin:$PATH"',
        "WORKDIR /app",
        'COPY ["runtime/", "/opt/samovar/"]',
        'RUN ["/bin/sh", "-c", "echo /opt/samovar > /opt/venv/lib/python3.11/site-packages/samovar.pth && '
        "/opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/samovar && "
        "/opt/venv/bin/python -P -c 'import samovar.runtime.main' && "
        'mkdir -p /tmp /var/tmp /home/samovar && chmod 1777 /tmp /var/tmp /home/samovar"]',
        "ENTRYPOINT []",
        'CMD ["/opt/venv/bin/python"]',
    ]
    assert made().python == "/opt/venv/bin/python"


@pytest.mark.parametrize(
    ("step", "instruction"),
    [
        (ImageStep("workdir", ("/srv/$x",)), "WORKDIR /srv/\\$x"),
        (ImageStep("env", ("A=1", "B=a b")), 'ENV A="1" B="a b"'),
        (ImageStep("env", ('A=$HOME \\ "x"=',)), 'ENV A="\\$HOME \\\\ \\"x\\"="'),
        (ImageStep("file", ("/a/b.txt", ".")), 'COPY ["copied/d8/", "./"]'),
        (ImageStep("file", ("/a/b.txt", "to/")), 'COPY ["copied/d8/", "to/"]'),
        (ImageStep("file", ("/a/b.txt", "c.txt")), 'COPY ["copied/d8/b.txt", "c.txt"]'),
        (ImageStep("folder", ("/a/b", "/srv")), 'COPY ["copied/d4/", "/srv/"]'),
        (ImageStep("contents", ("/a/b", "/")), 'COPY ["copied/d4/b/", "//"]'),
        (ImageStep("contents", ("/a/b", "sub/")), 'COPY ["copied/d4/b/", "sub/"]'),
    ],
)
def test_steps_that_run_nothing(step, instruction):
    assert between(made(step)) == [instruction]


def test_commands_run_one_by_one_with_the_settings_and_no_shell_of_the_bases():
    (run,) = between(made(ImageStep("command", ("make x", "cd /tmp; exit 0"))))
    assert run.startswith(f"RUN {HOST} {LINKS} [")
    assert script(run) == "(\nmake x\n) && (\ncd /tmp; exit 0\n)"


def test_apt_leaves_no_lists_and_says_where_there_is_none():
    (run,) = between(made(ImageStep("apt", ("git", "libc6=1;rm"))))
    assert "apt-get install -y -qq --no-install-recommends git 'libc6=1;rm' && rm -rf /var/lib/apt/lists/*" in run
    assert "apt packages need Debian or Ubuntu" in run


def test_packages_come_from_a_file_that_is_named_by_what_it_says():
    options = ("--index-url=https://user:password@i", "--pre", "--no-deps --only-binary :all:")
    found = made(ImageStep("pip", ("numpy", "six==1 --hash=sha256:0"), options))
    (run,) = between(found)
    (folder,) = {name.rpartition("/")[0] for name in found.texts}
    assert f"--mount=type=bind,source={folder},target=/run/samovar-step" in run
    assert script(run) == (
        f"{UV} --override /run/samovar-step/overrides.txt -c /run/samovar-step/constraints.txt "
        "--pre --no-deps --only-binary :all: -r /run/samovar-step/requirements.txt"
    )
    assert found.texts == {
        f"{folder}/requirements.txt": "--index-url=https://user:password@i\nnumpy\nsix==1 --hash=sha256:0\n",
        f"{folder}/constraints.txt": "msgspec==1\ncloudpickle==2\n",
        f"{folder}/overrides.txt": "unionai-reuse; python_version < '0'\n",
    }
    assert "password" not in found.text
    assert made(ImageStep("pip", ("numpy",), options)).texts.keys() != found.texts.keys()


@pytest.mark.parametrize(
    ("requirement", "line", "copies"),
    [
        ("/x/leaf-1.whl", "/run/samovar-local-0/leaf-1.whl", False),
        ("/x/leaf-1.whl[a,b]", "/run/samovar-local-0/leaf-1.whl[a,b]", False),
        ("leaf @ file:///x/leaf.zip", "/run/samovar-local-0/leaf.zip", False),
        ("/x/project", "/tmp/samovar-local-0/project", True),
        ("-e /x/project", "/tmp/samovar-local-0/project", True),
    ],
)
def test_packages_of_this_machine_are_brought_along(requirement, line, copies):
    found = made(ImageStep("pip", (requirement,)))
    (run,) = between(found)
    assert next(text for name, text in found.texts.items() if name.endswith("requirements.txt")) == f"{line}\n"
    assert ",target=/run/samovar-local-0 " in run
    assert ("cp -r /run/samovar-local-0 /tmp/samovar-local-0" in script(run)) == copies
    assert ("rm -rf /tmp/samovar-local-*" in script(run)) == copies


def test_files_of_constraints_are_brought_along():
    (run,) = between(made(ImageStep("pip", ("numpy",), ("--constraint /x/pins.txt",))))
    assert "--constraint /run/samovar-local-0/pins.txt" in script(run)
    assert "source=copied/d11,target=/run/samovar-local-0 " in run


def test_what_the_users_base_has_counts_so_pip_installs_there():
    (run,) = between(made(ImageStep("pip", ("numpy",)), base=changed(has_pip=True, is_users=True)))
    assert script(run).startswith("/opt/venv/bin/python -m pip install -c /run/samovar-step/constraints.txt -r")
    (run,) = between(made(ImageStep("pip", ("numpy",)), base=changed(has_pip=True)))
    assert script(run).startswith(UV)
    (run,) = between(made(ImageStep("pip", ("numpy",)), base=changed(has_pip=True), kit=KIT._replace(has_uv=False)))
    assert script(run).startswith("/opt/venv/bin/python -m pip install")


def test_a_venv_has_pip_where_the_base_does():
    assert "venv --system-site-packages /opt/venv" in made(base=changed(has_pip=True)).text


def test_a_uv_project_with_a_lock_is_synced_and_without_one_installed():
    locked, plain = between(
        made(
            ImageStep("uv_project", ("/p/pyproject.toml", "/p/uv.lock"), ("--pre",)), ImageStep("uv_project", ("/p/x",))
        )
    )
    assert script(locked) == (
        "mkdir /tmp/samovar-project && cp /run/samovar-local-0/pyproject.toml /tmp/samovar-project/pyproject.toml && "
        "cp /run/samovar-local-1/uv.lock /tmp/samovar-project/uv.lock && VIRTUAL_ENV=/opt/venv "
        "/run/samovar-host/uv sync --frozen --no-dev --no-install-project --inexact --active "
        "--project /tmp/samovar-project --compile-bytecode --no-install-package unionai-reuse --pre && "
        "rm -rf /tmp/samovar-project"
    )
    assert f"{UV} --override /run/samovar-step/overrides.txt -r /tmp/samovar-project/pyproject.toml" in script(plain)


def test_what_the_runtime_needs_is_installed_where_the_engines_own_does_not_fit():
    found = made(kit=KIT._replace(has_needs=False))
    assert [layer.title for layer in found.layers if layer.title.startswith("pip")] == [
        "pip: msgspec==1, cloudpickle==2"
    ]


def test_a_base_that_is_a_venv_is_used_as_it_is():
    venv = changed(is_venv=True, python="/env/bin/python", site="/env/lib/python3.11/site-packages", workdir="/srv")
    found = made(ImageStep("pip", ("six",)), base=venv)
    assert found.python == "/env/bin/python"
    assert "-m venv" not in found.text
    assert "WORKDIR" not in found.text
    assert "/env/lib/python3.11/site-packages/samovar.pth" in found.text


def test_steps_run_as_root_and_the_bases_user_comes_back():
    lines = made(base=changed(user="1000:1000")).text.splitlines()
    assert lines[1] == "USER root"
    assert lines[-3:] == ["USER 1000:1000", "ENTRYPOINT []", 'CMD ["/opt/venv/bin/python"]']
    assert "USER" not in made(base=changed(user="root")).text


def test_steps_keep_their_order():
    kinds = made(
        ImageStep("command", ("one",)),
        ImageStep("pip", ("two",)),
        ImageStep("apt", ("three",)),
        ImageStep("pip", ("four",)),
    )
    titles = [layer.title for layer in kinds.layers if layer.title]
    expected = ["command: one", "pip: two", "apt: three", "pip: four", "samovar", "samovar's modules"]
    assert titles == ["virtual environment", *expected]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (ImageStep("pip", ("numpy",)), "it has no pip"),
        (ImageStep("uv_project", ("/p/pyproject.toml",)), "installed with uv"),
        (ImageStep("env", ("A=1\n2",)), "variable A has a line break"),
        (ImageStep("brew", ("tea",)), "no steps of the kind 'brew'"),
    ],
)
def test_what_cannot_be_says_what_to_do(step, says):
    with pytest.raises(ImageBuildError, match=says):
        made(step, kit=KIT._replace(has_uv=False))
