"""What the containers of an environment are made of, written as a chain of steps.

An image is immutable: each step returns a new one, and steps take effect in the order in which they were written.
Files that it names (requirements, a script with inline
metadata) are read when the engine asks for the ``spec``, not when the module is imported: in a replica they
need not be there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samovar import errors
from samovar.model import ImageSpec, ImageStep

_MERGED = {"pip", "apt", "command", "env"}
_PROVIDED = {"unionai-reuse"}  # samovar's own runtime is what this package is for
_SCRIPT_METADATA = re.compile(r"(?m)^# /// script\s*$\s(?P<content>(^#(| .*)$\s)+)^# ///\s*$")


@dataclass(frozen=True)
class Image:
    """Start with ``from_debian_base``, ``from_base``, ``from_dockerfile``, ``from_uv_script``; add by ``with_…``."""

    base: str = "auto"
    dockerfile: str = ""
    name: str | None = None
    registry: str | None = None
    python_version: tuple[int, int] | None = None
    platform: str = ""
    steps: tuple[ImageStep, ...] = ()

    @classmethod
    def from_debian_base(
        cls,
        python_version: tuple[int, int] | None = None,
        flyte_version: str | None = None,
        install_flyte: bool = True,
        registry: str | None = None,
        registry_secret: Any = None,
        name: str | None = None,
        platform: str | tuple[str, ...] | None = None,
    ) -> Image:
        """A plain Python; what concerns Flyte itself and registries is accepted and needs nothing here."""
        return cls("auto", "", name, registry, _version(python_version), _platform(platform))

    @classmethod
    def from_base(cls, image_uri: str) -> Image:
        """An image that exists; it needs Python."""
        if not image_uri:
            raise ValueError("Image.from_base needs the name of an image")
        return cls(base=image_uri)

    @classmethod
    def from_ref_name(cls, name: str) -> Image:
        """An image that exists, by name."""
        return cls.from_base(name)

    @classmethod
    def from_dockerfile(
        cls,
        file: str | Path,
        registry: str | None = None,
        name: str | None = None,
        platform: str | tuple[str, ...] | None = None,
    ) -> Image:
        """An image that is built from a Dockerfile, in its folder; it needs Python."""
        return cls("", str(Path(file).absolute()), name, registry, None, _platform(platform))

    @classmethod
    def from_uv_script(
        cls,
        script: str | Path,
        *,
        name: str | None = None,
        registry: str | None = None,
        registry_secret: Any = None,
        python_version: tuple[int, int] | None = None,
        platform: str | tuple[str, ...] | None = None,
        **pip: Any,
    ) -> Image:
        """A plain Python with the ``dependencies`` that the script states inline (PEP 723)."""
        start = cls("auto", "", name, registry, _version(python_version), _platform(platform))
        return start._add("uv_script", [_absolute(script)], _pip_options(pip))

    def with_pip_packages(self, *packages: str | Sequence[str], **pip: Any) -> Image:
        """Python packages; ``index_url``, ``extra_index_urls``, ``pre`` and ``extra_args`` as for pip."""
        return self._add("pip", _flat(packages), _pip_options(pip))

    def with_requirements(self, file: str | Path, secret_mounts: Any = None) -> Image:
        """The packages of a requirements file."""
        return self._add("requirements", [_absolute(file)])

    def with_uv_project(
        self,
        pyproject_file: str | Path,
        uvlock: str | Path | None = None,
        project_install_mode: str = "dependencies_only",
        **pip: Any,
    ) -> Image:
        """The packages that a project needs, as its uv.lock says where there is one, beside the project or given.

        The project itself is not installed: tasks get their code from the machine that runs them.
        """
        if project_install_mode != "dependencies_only":
            raise errors.NotSupportedError(
                f"Image.with_uv_project: project_install_mode={project_install_mode!r} is not part of samovar; "
                "with_source_folder copies the project into the image"
            )
        project = Path(pyproject_file).absolute()
        lock = Path(uvlock).absolute() if uvlock is not None else project.parent / "uv.lock"
        locked = [str(lock)] if uvlock is not None or lock.exists() else []
        return self._add("uv_project", [str(project), *locked], _pip_options(pip))

    def with_apt_packages(self, *packages: str | Sequence[str], secret_mounts: Any = None) -> Image:
        """Packages of Debian."""
        return self._add("apt", _flat(packages))

    def with_commands(self, commands: str | Sequence[str], secret_mounts: Any = None) -> Image:
        """Shell commands, in this order."""
        return self._add("command", _flat([commands]))

    def with_source_file(self, src: str | Path | Sequence[str | Path], dst: str = ".") -> Image:
        """Copy one file, or several, into the image; ``dst`` is a directory, or relative to the working directory."""
        image = self
        for file in [src] if isinstance(src, str | Path) else src:
            image = image._add("file", [_absolute(file), dst])
        return image

    def with_source_folder(self, src: str | Path, dst: str = ".", copy_contents_only: bool = False) -> Image:
        """Copy a folder, or only what is in it, into the image; ``dst`` as for ``with_source_file``."""
        return self._add("contents" if copy_contents_only else "folder", [_absolute(src), dst])

    def with_workdir(self, workdir: str) -> Image:
        """The working directory of the steps that follow, and of replicas."""
        return self._add("workdir", [workdir])

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Image:
        """Environment variables, for the steps that follow and for replicas; a later value wins."""
        return self._add("env", [f"{key}={value}" for key, value in env_vars.items()])

    def clone(
        self,
        registry: str | None = None,
        registry_secret: Any = None,
        name: str | None = None,
        python_version: tuple[int, int] | None = None,
        **options: Any,
    ) -> Image:
        """The same under another name, registry or Python."""
        return replace(
            self,
            registry=registry or self.registry,
            name=name or self.name,
            python_version=_version(python_version) or self.python_version,
        )

    def spec(self) -> ImageSpec:
        """The same as the engine knows it. ValueError: a file that it names cannot be read."""
        return ImageSpec(
            base=self.base,
            dockerfile=self.dockerfile,
            python_version=".".join(map(str, self.python_version)) if self.python_version else None,
            steps=_merged(_resolved(step) for step in self.steps),
            platform=self.platform,
            name=self.name or "",
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise errors.NotSupportedError(f"Image.{name} is not part of samovar")

    def _add(self, kind: str, arguments: Sequence[str], options: Sequence[str] = ()) -> Image:
        return replace(self, steps=(*self.steps, ImageStep(kind, tuple(arguments), tuple(options))))


def _resolved(step: ImageStep) -> ImageStep:
    """With the packages in place of the file that lists them, and without what the runtime already meets."""
    if step.kind == "uv_script":
        packages, options = _script_dependencies(Path(step.arguments[0])), list(step.options)
    elif step.kind == "requirements":
        packages, options = _requirements(Path(step.arguments[0]))
    elif step.kind == "pip":
        packages, options = list(step.arguments), list(step.options)
    else:
        return step
    needed = (_anchored(package, Path.cwd()) for package in packages if _project(package) not in _PROVIDED)
    return ImageStep("pip", tuple(dict.fromkeys(needed)), tuple(options))


def _merged(steps: Iterable[ImageStep]) -> tuple[ImageStep, ...]:
    """Neighbours of one kind with the same options as one step: one layer in place of many."""
    merged: list[ImageStep] = []
    for step in steps:
        if not step.arguments:
            continue
        last = merged[-1] if merged else None
        if last and step.kind in _MERGED and (last.kind, last.options) == (step.kind, step.options):
            both = (*last.arguments, *step.arguments)
            merged[-1] = ImageStep(
                step.kind, both if step.kind == "command" else tuple(dict.fromkeys(both)), step.options
            )
        else:
            merged.append(step)
    return tuple(merged)


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())


def _anchored(requirement: str, folder: Path) -> str:
    """A requirement that is a path, absolute: the engine has another working directory."""
    return str((folder / requirement).resolve()) if requirement.startswith(("./", "../")) else requirement


def _flat(values: Iterable[str | Sequence[str]]) -> list[str]:
    return [item for value in values for item in ([value] if isinstance(value, str) else value)]


def _version(version: tuple[int, int] | None) -> tuple[int, int] | None:
    if version is None:
        return None
    if len(version) != 2 or not all(isinstance(part, int) for part in version):
        raise ValueError(f"Image: python_version must be a pair like (3, 12), not {version!r}")
    return (version[0], version[1])


def _platform(platform: str | tuple[str, ...] | None) -> str:
    """The first of several: an image is built for the machine that runs it."""
    return platform if isinstance(platform, str) else platform[0] if platform else ""


def _pip_options(pip: Mapping[str, Any]) -> list[str]:
    """Options as pip takes them, one or more words each; TypeError for an unknown one."""
    unknown = set(pip) - {"index_url", "extra_index_urls", "pre", "extra_args", "secret_mounts"}
    if unknown:
        raise TypeError(f"Image: unknown option {', '.join(sorted(unknown))}")
    options: list[str] = []
    if pip.get("index_url"):
        options.append(f"--index-url={pip['index_url']}")
    options += [f"--extra-index-url={url}" for url in _flat([pip.get("extra_index_urls") or ()])]
    if pip.get("pre"):
        options.append("--pre")
    if pip.get("extra_args"):
        options.append(str(pip["extra_args"]))
    return options


def _project(requirement: str) -> str:
    """The normalised name of the project that a requirement asks for."""
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", found[1]).rstrip("-").lower() if found else ""


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"Image: the {what} {path} cannot be read: {error.strerror}") from error


def _script_dependencies(script: Path) -> list[str]:
    found = _SCRIPT_METADATA.search(_read(script, "script"))
    if found is None:
        return []
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in found["content"].splitlines()]
    try:
        return [str(package) for package in tomllib.loads("\n".join(lines)).get("dependencies", [])]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"Image: the inline metadata of {script} is not TOML: {error}") from error


def _requirements(file: Path) -> tuple[list[str], list[str]]:
    """(packages, options for pip); files that it includes are followed, and what they name by path is absolute."""
    packages: list[str] = []
    options: list[str] = []
    for raw in _read(file, "requirements file").replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        option = re.match(r"(-r|--requirement|-c|--constraint|-e|--editable)[ =]?\s*(\S+)", line)
        if option and option[1] in ("-r", "--requirement"):
            more, more_options = _requirements(file.parent / option[2])
            packages += more
            options += more_options
        elif option and "://" not in option[2]:
            path = str((file.parent / option[2]).resolve())
            if option[1] in ("-e", "--editable"):
                packages.append(f"-e {path}")
            else:
                options.append(f"--constraint {path}")
        elif line.startswith("-"):
            options.append(line)
        elif line:
            packages.append(_anchored(line, file.parent))
    return packages, options
