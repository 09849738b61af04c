"""From an ImageSpec to the text of a Containerfile: pure, so that what an image will be can be read and tested.

Called by ``oci``. Layers come in the order of the steps, between what changes least (a virtual environment on the
base's Python) and what changes most (samovar itself). Steps that run commands see the settings of the machine in a
folder that is mounted while they run, which needs BuildKit or Buildah; no layer keeps it. Whatever a layer is made
of stands in its text, by a digest where it is a file: builders find their cached layers by text alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from samovar.errors import ImageBuildError
from samovar.images.settings import LINKS_MOUNT, MOUNT
from samovar.light import msgspec
from samovar.model import ImageSpec, ImageStep

VENV = "/opt/venv"
RUNTIME = "/opt/samovar"
"""Where an image has samovar, behind its own packages on the path and before the base's."""

HOME = "/home/samovar"
"""The home of a replica."""

TEMPORARY = ("/tmp", "/var/tmp", HOME)
"""Where a replica may write: each is a tmpfs, which with Docker has the mode of the folder that the image has there."""

_IN_FILE = re.compile(r"(--index-url|-i|--extra-index-url|--find-links|-f|--trusted-host|--no-index)\b")
_LOCAL = re.compile(r"(?:-e |[\w.-]+ ?@ ?file://)?(?P<path>/[^\[\s]+)(?P<extras>\[[^]]*\])?")
_ARCHIVES = (".whl", ".tar.gz", ".zip")
_STEP = "/run/samovar-step"  # where an installing step sees its own files
_PROVIDED = "unionai-reuse"
_WITHOUT_PROVIDED = f"{_PROVIDED}; python_version < '0'\n"  # met by samovar's runtime, also where a package asks for it

Place = Callable[[str], str]
"""Takes a path of this machine and gives the place of its copy in the context: a folder's only entry."""


class Base(msgspec.Struct, frozen=True):
    """What an image starts from, and the Python that was found in it."""

    name: str  # as FROM takes it
    id: str
    python: str  # its path
    version: str  # "3.12"
    abi: str  # for which its compiled modules are made
    libc: str  # "glibc"; "" for any other
    machine: str  # "x86_64"
    site: str  # where its packages are
    is_venv: bool = False
    has_pip: bool = False  # ensurepip, to be exact: a venv can have pip
    is_users: bool = False  # the user named it, so what is installed in it counts
    user: str = ""
    workdir: str = ""


class Kit(NamedTuple):
    """What the engine brings along."""

    pins: tuple[str, ...]  # what the runtime needs, as requirements
    has_uv: bool  # and it runs in the image
    has_needs: bool  # the installed files of ``pins`` fit the image's Python


class Layer(NamedTuple):
    instruction: str
    title: str = ""  # for people; "" for what is not worth a word


class Recipe(NamedTuple):
    layers: tuple[Layer, ...]
    python: str  # the path of the image's Python
    texts: dict[str, str]  # files of the context that are made here

    @property
    def text(self) -> str:
        return "".join(f"{layer.instruction}\n" for layer in self.layers)


def recipe(spec: ImageSpec, base: Base, kit: Kit, place: Place) -> Recipe:
    """How the image is made. ImageBuildError: a step that cannot be on this base."""
    return _Writer(base, kit, place).write(spec)


class _Writer:
    def __init__(self, base: Base, kit: Kit, place: Place) -> None:
        self.base, self.kit, self.place = base, kit, place
        self.home = str(PurePosixPath(base.python).parents[1]) if base.is_venv else VENV
        self.python = base.python if base.is_venv else f"{VENV}/bin/python"
        self.site = base.site if base.is_venv else f"{VENV}/lib/python{base.version}/site-packages"
        self.layers: list[Layer] = []
        self.texts: dict[str, str] = {}

    def write(self, spec: ImageSpec) -> Recipe:
        self._add(f"FROM {self.base.name}")
        if self.base.user not in ("", "root", "0"):
            self._add("USER root")
        if not self.base.is_venv:
            pip = "" if self.base.has_pip else " --without-pip"
            venv = f"{shlex.quote(self.base.python)} -m venv --system-site-packages{pip} {VENV}"
            self._run(venv, "virtual environment")
            self._add(f'ENV VIRTUAL_ENV={VENV} PATH="{VENV}/bin:$PATH"')
        if not self.kit.has_needs:
            self._install(ImageStep("pip", self.kit.pins))
        if self.base.workdir in ("", "/"):
            self._add("WORKDIR /app")
        for step in spec.steps:
            self._step(step)
        self._add(f"COPY {_words('runtime/', f'{RUNTIME}/')}", "samovar")
        path = shlex.quote(f"{self.site}/samovar.pth")
        compiled = f"{self.python} -m compileall -q --invalidation-mode unchecked-hash {RUNTIME}"
        imported = f"{self.python} -P -c 'import samovar.runtime.main'"
        folders = " ".join(TEMPORARY)
        writable = f"mkdir -p {folders} && chmod 1777 {folders}"
        self._add(_exec(f"echo {RUNTIME} > {path} && {compiled} && {imported} && {writable}"), "samovar's modules")
        if self.base.user not in ("", "root", "0"):
            self._add(f"USER {self.base.user}")
        self._add("ENTRYPOINT []")
        self._add(f"CMD {_words(self.python)}")
        return Recipe(tuple(self.layers), self.python, self.texts)

    def _add(self, instruction: str, title: str = "") -> None:
        self.layers.append(Layer(instruction, title))

    def _run(self, script: str, title: str, mounts: Sequence[tuple[str, str]] = ()) -> None:
        """Run it with the machine's settings; ``mounts`` are (folder of the context, where the script sees it)."""
        self._add(_exec(f". {MOUNT}/env\n{script}", [("host", MOUNT), *mounts]), title)

    def _step(self, step: ImageStep) -> None:
        arguments = step.arguments
        match step.kind:
            case "pip":
                self._install(step)
            case "uv_project":
                self._project(step)
            case "apt":
                self._run(_apt(arguments), f"apt: {', '.join(arguments)}")
            case "command":
                script = " && ".join(f"(\n{command}\n)" for command in arguments)
                self._run(script, f"command: {'; '.join(arguments)}", [("links", LINKS_MOUNT)])
            case "file" | "folder" | "contents":
                self._copy(step.kind, *arguments)
            case "workdir":
                self._add(f"WORKDIR {_escaped(arguments[0])}")
            case "env":
                self._add(f"ENV {' '.join(map(_assignment, arguments))}")
            case kind:
                raise ImageBuildError(f"an image has no steps of the kind {kind!r}")

    def _copy(self, kind: str, source: str, target: str) -> None:
        placed = self.place(source)
        if kind == "contents":
            words = _words(f"{placed}/", f"{target.rstrip('/') or target}/")
        elif kind == "folder" or target in (".", "./") or target.endswith("/"):
            words = _words(f"{placed.rpartition('/')[0]}/", f"{target.rstrip('/') or target}/")
        else:
            words = _words(placed, target)
        self._add(f"COPY {words}", f"copy {source}")

    def _install(self, step: ImageStep) -> None:
        """One run of the installer, from a file of requirements that is named by what it says."""
        in_file = [option for option in step.options if _IN_FILE.match(option)]
        words = [word for option in step.options if option not in in_file for word in shlex.split(option)]
        mounts: list[tuple[str, str]] = []
        copies: list[str] = []
        words = self._constrained(words, mounts)
        lines = [self._local(requirement, mounts, copies) for requirement in step.arguments]
        files = {
            "requirements.txt": "".join(f"{line}\n" for line in (*in_file, *lines)),
            "constraints.txt": "".join(f"{pin}\n" for pin in self.kit.pins),
            "overrides.txt": _WITHOUT_PROVIDED,
        }
        folder = f"steps/{hashlib.blake2b(json.dumps(files).encode(), digest_size=8).hexdigest()}"
        self.texts |= {f"{folder}/{name}": text for name, text in files.items()}
        mounts += [(folder, _STEP), ("links", LINKS_MOUNT)]
        command = [*self._installer(), "-c", f"{_STEP}/constraints.txt", *words]
        install = shlex.join([*command, "-r", f"{_STEP}/requirements.txt"])
        script = " && ".join([*(f"cp -r {source} {target}" for source, target in map(str.split, copies)), install])
        if copies:
            script += " && rm -rf /tmp/samovar-local-*"
        self._run(script, f"pip: {', '.join(step.arguments)}", mounts)

    def _installer(self) -> list[str]:
        """uv, unless the user's base has packages of its own: pip counts these, uv installs them once more."""
        prefers_pip = self.base.is_users and self.base.has_pip
        if self.kit.has_uv and not prefers_pip:
            return self._uv()
        if self.base.has_pip:
            return [self.python, "-m", "pip", "install"]
        raise ImageBuildError(
            f"no Python packages can be installed in {self.base.name}: it has no pip, and the engine's uv does not run "
            "in it; choose a base image with pip"
        )

    def _constrained(self, words: list[str], mounts: list[tuple[str, str]]) -> list[str]:
        """The same words, with files of constraints where the step sees them."""
        for index, word in enumerate(words[:-1]):
            if word in ("-c", "--constraint") and words[index + 1].startswith("/"):
                words[index + 1] = self._seen(words[index + 1], mounts)
        return words

    def _local(self, requirement: str, mounts: list[tuple[str, str]], copies: list[str]) -> str:
        """The same requirement, where the step sees it; a source tree is copied, since building writes into it."""
        found = _LOCAL.fullmatch(requirement)
        if found is None:
            return requirement
        path = self._seen(found["path"], mounts)
        if not path.endswith(_ARCHIVES):
            target = path.replace("/run/", "/tmp/", 1)
            copies.append(f"{PurePosixPath(path).parent} {PurePosixPath(target).parent}")
            path = target
        return f"{path}{found['extras'] or ''}"

    def _seen(self, path: str, mounts: list[tuple[str, str]]) -> str:
        folder, _, name = self.place(path).rpartition("/")
        target = f"/run/samovar-local-{len(mounts)}"
        mounts.append((folder, target))
        return f"{target}/{name}"

    def _project(self, step: ImageStep) -> None:
        if not self.kit.has_uv:
            raise ImageBuildError(
                f"a uv project is installed with uv, and the engine's uv does not run in {self.base.name}; choose a "
                "base with glibc and this machine's architecture, or list the packages with with_pip_packages"
            )
        mounts: list[tuple[str, str]] = []
        project, *lock = [self._seen(path, mounts) for path in step.arguments]
        here = "/tmp/samovar-project"
        script = [f"mkdir {here}", f"cp {shlex.quote(project)} {here}/pyproject.toml"]
        options = [word for option in step.options for word in shlex.split(option)]
        if lock:
            script.append(f"cp {shlex.quote(lock[0])} {here}/uv.lock")
            command = [f"{MOUNT}/uv", "sync", "--frozen", "--no-dev", "--no-install-project", "--inexact", "--active"]
            command += ["--project", here, "--compile-bytecode", "--no-install-package", _PROVIDED, *options]
        else:
            self.texts["steps/project/overrides.txt"] = _WITHOUT_PROVIDED
            mounts.append(("steps/project", _STEP))
            command = [*self._uv(), *options, "-r", f"{here}/pyproject.toml"]
        script += [f"VIRTUAL_ENV={self.home} {shlex.join(command)}", f"rm -rf {here}"]
        self._run(" && ".join(script), f"uv project: {step.arguments[0]}", [*mounts, ("links", LINKS_MOUNT)])

    def _uv(self) -> list[str]:
        overrides = ["--override", f"{_STEP}/overrides.txt"]
        return [f"{MOUNT}/uv", "pip", "install", "--python", self.python, "--compile-bytecode", *overrides]


def _apt(packages: Sequence[str]) -> str:
    return (
        "command -v apt-get > /dev/null || { echo 'this base has no apt-get: apt packages need Debian or Ubuntu' >&2; "
        "exit 127; }\n"
        f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {shlex.join(packages)} && "
        "rm -rf /var/lib/apt/lists/*"
    )


def _exec(script: str, mounts: Sequence[tuple[str, str]] = ()) -> str:
    """In the form that no shell of the base's choice sees first."""
    flags = "".join(f"--mount=type=bind,source={source},target={target} " for source, target in mounts)
    return f"RUN {flags}{json.dumps(['/bin/sh', '-c', script])}"


def _escaped(word: str) -> str:
    """So that the builder puts in no variables."""
    return word.replace("\\", "\\\\").replace("$", "\\$")


def _words(*words: str) -> str:
    return json.dumps([_escaped(word) for word in words], ensure_ascii=False)


def _assignment(item: str) -> str:
    name, _, value = item.partition("=")
    if "\n" in value:
        raise ImageBuildError(
            f"the image's environment variable {name} has a line break, which an image cannot hold; give it to the "
            "task environment: TaskEnvironment(env_vars=…)"
        )
    quoted = _escaped(value).replace('"', '\\"')
    return f'{name}="{quoted}"'
