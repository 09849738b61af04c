"""What this machine says about networks and package indexes, for whatever installs packages for an image.

pip's settings hold for uv as well. A build gets them all, and keeps none: proxies are build arguments that every
builder knows and forgets, the rest lies in a folder that is mounted while a step runs. Settings that point to this
machine itself (a proxy on its loopback) are reached only if the build shares the machine's network.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MOUNT = "/run/samovar-host"
"""Where a step that runs commands finds the folder of settings."""

LINKS_MOUNT = "/run/samovar-links"
"""Where a step that installs finds the folders of packages that ``--find-links`` names."""

_TO_UV = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", " "),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", " "),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", ","),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST", " "),
    ("PIP_NO_INDEX", "UV_NO_INDEX", " "),
)  # pip's name, uv's name, what uv puts between several
_UV_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
_KEPT = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|NO_INDEX|DEFAULT_TIMEOUT|TIMEOUT|RETRIES)|UV_(DEFAULT_INDEX|INDEX|"
    r"INDEX_URL|EXTRA_INDEX_URL|INSECURE_HOST|NO_INDEX|INDEX_STRATEGY|HTTP_TIMEOUT|OFFLINE|INDEX_\w+_(USERNAME|PASSWORD))"
)
_FIND_LINKS = {"PIP_FIND_LINKS": " ", "UV_FIND_LINKS": ","}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")  # the first that is there
_READERS = (*_CERTIFICATES, "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
_OURS = {
    "UV_LINK_MODE": "copy",
    "UV_NO_CACHE": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "DEBIAN_FRONTEND": "noninteractive",
}
_LOOPBACK = re.compile(r"//(?:[^/@]*@)?(?:localhost|127\.[\d.]+|\[::1\])(?=[:/]|$)")


class HostSettings(NamedTuple):
    proxies: dict[str, str]
    variables: dict[str, str]
    certificates: Path | None = None
    links: tuple[Path, ...] = ()  # folders of packages
    uv_config: Path | None = None

    @property
    def on_loopback(self) -> bool:
        """Whether something here can be reached from this machine's own network only."""
        return any(_LOOPBACK.search(value) for value in (*self.proxies.values(), *self.variables.values()))

    def files(self, ours: bool = True) -> dict[str, Path | str]:
        """The files of the mounted folder by name: a path to copy, or the text itself.

        Steps that samovar wrote (``ours``) are also told to keep no caches and to ask nothing.
        """
        found: dict[str, Path | str] = {}
        variables = {**(_OURS if ours else {}), **self.variables}
        if self.certificates is not None:
            found["ca.pem"] = self.certificates
            found["apt.conf"] = f'Acquire::https::CaInfo "{MOUNT}/ca.pem";\n'
            variables |= dict.fromkeys(_READERS, f"{MOUNT}/ca.pem") | {"APT_CONFIG": f"{MOUNT}/apt.conf"}
        if self.uv_config is not None:
            found["uv.toml"] = self.uv_config
            variables["UV_CONFIG_FILE"] = f"{MOUNT}/uv.toml"
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
        found["env"] = "".join(lines)
        return found


def for_uv() -> dict[str, str]:
    """The environment for uv on this machine: pip's settings hold for uv as well, unless uv has its own."""
    return _with_uv(dict(os.environ))


def gather(environ: Mapping[str, str] | None = None) -> HostSettings:
    """What a build on this machine has to know. Settings of pip's files count where no variable says otherwise."""
    given = os.environ if environ is None else environ
    merged = {**_pip_files(given), **given}
    links: list[Path] = []
    for name, separator in _FIND_LINKS.items():
        places = (_place(item, links) for item in re.split(r"[,\s]+", merged.pop(name, "")) if item)
        if found := [place for place in places if place]:
            merged[name] = separator.join(found)
    merged = _with_uv(merged)
    bundles = (Path(merged[name]) for name in _CERTIFICATES if merged.get(name))
    uv_config = given.get("UV_CONFIG_FILE") or f"{_config_home(given)}/uv/uv.toml"
    return HostSettings(
        proxies={name: given[name] for key in _PROXIES for name in (key, key.lower()) if given.get(name)},
        variables={name: value for name, value in merged.items() if value and _is_kept(name)},
        certificates=next((bundle for bundle in bundles if bundle.is_file()), None),
        links=tuple(links),
        uv_config=Path(uv_config) if Path(uv_config).is_file() else None,
    )


def _is_kept(name: str) -> bool:
    return name in _FIND_LINKS or _KEPT.fullmatch(name) is not None


def _place(link: str, links: list[Path]) -> str:
    """Where a step finds this place of packages: a folder is in the mount; "" for one that is not there."""
    if "://" in link and not link.startswith("file://"):
        return link
    folder = Path(link.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        return ""
    if folder not in links:
        links.append(folder)
    return f"{LINKS_MOUNT}/{links.index(folder)}"


def _with_uv(found: dict[str, str]) -> dict[str, str]:
    for pip, uv, separator in _TO_UV:
        if found.get(pip) and uv not in found and _UV_OLD_NAMES.get(uv, uv) not in found:
            found[uv] = separator.join(found[pip].split())
    return found


def _pip_files(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's configuration files as the variables that say the same."""
    home = environ.get("HOME", "")
    usual = ["/etc/pip.conf", f"{home}/.pip/pip.conf", f"{_config_home(environ)}/pip/pip.conf"]
    if given := environ.get("PIP_CONFIG_FILE"):
        usual = [] if given == os.devnull else [*usual, given]
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(usual, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}  # pip itself will say what is wrong with it
    sections = [section for section in ("global", "install") if parser.has_section(section)]
    items = (item for section in sections for item in parser.items(section))
    return {f"PIP_{name.upper().replace('-', '_')}": " ".join(value.split()) for name, value in items}


def _config_home(environ: Mapping[str, str]) -> str:
    return environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
