"""What the containers of an environment are made of, written as a chain of steps.

An image is immutable: each step returns a new one. Files that it names (requirements, a script with inline
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
from samovar.model import ImageSpec

_PROVIDED = {"unionai-reuse"}  # samovar's own runtime is what this package is for
_SCRIPT_METADATA = re.compile(r"(?m)^# /// script\s*$\s(?P<content>(^#(| .*)$\s)+)^# ///\s*$")


@dataclass(frozen=True)
class Image:
    """Start with ``from_debian_base``, ``from_base``, ``from_dockerfile``, ``from_uv_script``; add by ``with_…``."""

    base: str = "auto"
    name: str | None = None
    registry: str | None = None
    python_version: tuple[int, int] | None = None
    platform: tuple[str, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()  # (kind, argument)
    env_vars: tuple[tuple[str, str], ...] = ()

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
        return cls("auto", name, registry, _version(python_version), _platforms(platform))

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
        """An image that is built from a Dockerfile."""
        step = ("dockerfile", str(Path(file).absolute()))
        return cls("dockerfile", name, registry, None, _platforms(platform), (step,))

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
        start = cls("auto", name, registry, _version(python_version), _platforms(platform))
        return start._add([("uv_script", str(Path(script).absolute()))])._add(_pip_options(pip))

    def with_pip_packages(self, *packages: str | Sequence[str], **pip: Any) -> Image:
        """Python packages; ``index_url``, ``extra_index_urls``, ``pre`` and ``extra_args`` as for pip."""
        return self._add([("pip", package) for package in _flat(packages)])._add(_pip_options(pip))

    def with_requirements(self, file: str | Path, secret_mounts: Any = None) -> Image:
        """The packages of a requirements file."""
        return self._add([("requirements", str(Path(file).absolute()))])

    def with_uv_project(self, pyproject_file: str | Path, uvlock: str | Path | None = None, **options: Any) -> Image:
        """The packages of a project that uv manages."""
        lock = [("uv_lock", str(Path(uvlock).absolute()))] if uvlock is not None else []
        return self._add([("uv_project", str(Path(pyproject_file).absolute())), *lock])

    def with_apt_packages(self, *packages: str | Sequence[str], secret_mounts: Any = None) -> Image:
        """Packages of Debian."""
        return self._add([("apt", package) for package in _flat(packages)])

    def with_commands(self, commands: str | Sequence[str], secret_mounts: Any = None) -> Image:
        """Shell commands, in this order."""
        return self._add([("command", command) for command in _flat([commands])])

    def with_source_file(self, src: str | Path | Sequence[str | Path], dst: str = ".") -> Image:
        """Copy one file, or several, into the image."""
        files = [src] if isinstance(src, str | Path) else src
        return self._add([("source_file", f"{Path(file).absolute()}\n{dst}") for file in files])

    def with_source_folder(self, src: str | Path, dst: str = ".", copy_contents_only: bool = False) -> Image:
        """Copy a folder, or only what is in it, into the image."""
        kind = "source_contents" if copy_contents_only else "source_folder"
        return self._add([(kind, f"{Path(src).absolute()}\n{dst}")])

    def with_workdir(self, workdir: str) -> Image:
        """The working directory."""
        return self._add([("workdir", workdir)])

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Image:
        """Environment variables; a later value wins."""
        merged = {**dict(self.env_vars), **{str(key): str(value) for key, value in env_vars.items()}}
        return replace(self, env_vars=tuple(merged.items()))

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
        packages: list[str] = []
        layers: list[tuple[str, str]] = []
        for kind, argument in self.steps:
            if kind == "pip":
                packages.append(argument)
            elif kind == "uv_script":
                packages.extend(_script_dependencies(Path(argument)))
            elif kind == "requirements":
                found, options = _requirements(Path(argument))
                packages.extend(found)
                layers.extend(options)
            else:
                layers.append((kind, argument))
        layers.extend(("platform", platform) for platform in self.platform)
        return ImageSpec(
            base=self.base,
            python_version=".".join(map(str, self.python_version)) if self.python_version else None,
            packages=tuple(dict.fromkeys(package for package in packages if _project(package) not in _PROVIDED)),
            layers=tuple(layers),
            env_vars=self.env_vars,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise errors.NotSupportedError(f"Image.{name} is not part of samovar")

    def _add(self, steps: Iterable[tuple[str, str]]) -> Image:
        return replace(self, steps=(*self.steps, *steps))


def _flat(values: Iterable[str | Sequence[str]]) -> list[str]:
    return [item for value in values for item in ([value] if isinstance(value, str) else value)]


def _version(version: tuple[int, int] | None) -> tuple[int, int] | None:
    if version is None:
        return None
    if len(version) != 2 or not all(isinstance(part, int) for part in version):
        raise ValueError(f"Image: python_version must be a pair like (3, 12), not {version!r}")
    return (version[0], version[1])


def _platforms(platform: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if platform is None else (platform,) if isinstance(platform, str) else tuple(platform)


def _pip_options(pip: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Options that go to pip as they are; TypeError for an unknown one."""
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
    return [("pip_option", option) for option in options]


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


def _requirements(file: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """(packages, options for pip); files that it includes are followed."""
    packages: list[str] = []
    options: list[tuple[str, str]] = []
    for raw in _read(file, "requirements file").replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        included = re.match(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            more, more_options = _requirements(file.parent / included[1])
            packages += more
            options += more_options
        elif line.startswith("-"):
            options.append(("pip_option", line))
        elif line:
            packages.append(line)
    return packages, options
