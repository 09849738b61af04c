"""What a user has set for all programs: environment variables first, then a file.

The file is TOML: ``$SAMOVAR_CONFIG``, else ``samovar/config.toml`` below ``$XDG_CONFIG_HOME`` (``~/.config``).

    driver = "container"   # SAMOVAR_DRIVER: auto, process, container
    endpoint = "none"      # SAMOVAR_ENDPOINT: the Unix socket of a service, samovar://TOKEN@HOST:PORT#FINGERPRINT on
                           # another host, or none: always an engine of one's own
    access_token = "…"     # SAMOVAR_ACCESS_TOKEN: the token, where the endpoint has none
    listen = "0.0.0.0:7266"  # SAMOVAR_LISTEN: where a service takes clients of other hosts; off where it is not set
    tls_cert = "/…/cert.pem"  # SAMOVAR_TLS_CERT, SAMOVAR_TLS_KEY: the service's certificate, and its key; one is made
    tls_key = "/…/key.pem"    # where none is set
    journal = "none"       # SAMOVAR_JOURNAL: where a service writes: a file, postgresql://…, or none
    keep_days = 7          # SAMOVAR_KEEP_DAYS: how long after its end a run stays in the journal
    keep_runs = 1000       # SAMOVAR_KEEP_RUNS: how many that have ended stay in it, the newest
    lease = 10             # SAMOVAR_LEASE: seconds without a sign of life after which a replica is given up
    progress = "off"       # SAMOVAR_PROGRESS: auto, off: the line that scripts show on a terminal while they wait
    loop_patience = 1      # SAMOVAR_LOOP_PATIENCE: seconds after which a task that blocks its event loop is named
    traces_per_second = 0  # SAMOVAR_TRACES_PER_SECOND: actions that are traced, where an exporter is named; 0: all
    web = "127.0.0.1:7870" # SAMOVAR_WEB: where a service has its pages: HOST:PORT, or none
    max_queued = 10000     # SAMOVAR_MAX_QUEUED: actions that may wait in one pool; whoever asks for more waits

Read when an engine starts. Everything that is wrong in it is an InitializationError that says where and what.
"""

from __future__ import annotations

import math
import os
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from samovar import endpoint
from samovar.core.pools import BOUNDS
from samovar.endpoint import Endpoint, Remote
from samovar.errors import InitializationError

NO_ENDPOINT = endpoint.NONE
"""The endpoint of whoever wants no service."""

NO_WEB = "none"
"""Where whoever wants no pages has them."""

WEB_PORT = 7870
"""Of the pages, where none is given."""

NO_JOURNAL = "none"
"""The journal of whoever keeps none."""

SHORTEST_LEASE = 2.0
"""Seconds; replicas give a sign of life every second."""


class Secret(str):
    """A text that is not shown by accident."""

    def __repr__(self) -> str:
        return "'…'"


class Settings(NamedTuple):
    driver: str = "auto"
    endpoint: Endpoint = ""  # "": the service of this user, where it runs
    access_token: str = Secret("")
    listen: str = ""  # HOST:PORT; "": nowhere
    tls_cert: str = ""
    tls_key: str = ""
    journal: str = ""  # "": a file below ``state_folder``
    lease: float = BOUNDS.lease  # seconds
    max_queued: int = BOUNDS.max_queued
    keep_days: float = 30.0
    keep_runs: int = 100_000
    loop_patience: float = 1.0  # seconds
    progress: str = "auto"
    traces_per_second: float = 100.0
    web: str = ""  # HOST:PORT; "": a port of this host that is free


def load() -> Settings:
    """The settings of this user and this process. InitializationError."""
    path, found = _file()
    unknown = sorted(set(found) - set(Settings._fields))
    if unknown:
        raise _wrong(f"{path}: there is no setting {', '.join(unknown)}; there are {', '.join(Settings._fields)}")
    given: dict[str, tuple[str, Any]] = {name: (f"{path}: {name}", value) for name, value in found.items()}
    for name in Settings._fields:
        variable = f"SAMOVAR_{name.upper()}"
        if os.environ.get(variable):
            given[name] = (variable, os.environ[variable])
    if "access_token" in found or "@" in str(found.get("endpoint")):
        _check_privacy(path)
    read: dict[str, Any] = {name: _READ[name](*value) for name, value in given.items()}
    return Settings(**read)


def service_at(text: str = "") -> Endpoint:
    """Where the service is that is named here, or else set; "": wherever one of this user runs. InitializationError."""
    settings = load()
    where = _endpoint("the endpoint", text) if text else settings.endpoint
    if isinstance(where, Remote) and not where.token:
        where = replace(where, token=str(settings.access_token))
    return where


def listening(text: str) -> str:
    """Where a service is to listen, as it is named here; "": not here. InitializationError."""
    return _listen("--listen", text) if text else ""


def web(text: str = "") -> str:
    """Where a service has its pages, as it is named here or else set: HOST:PORT, "none", or "": where there is room on
    this host. InitializationError."""
    return _web("--web", text) if text else load().web


def folder() -> Path:
    """The folder of the user's settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "samovar"


def state_folder() -> Path:
    """The folder of what a service leaves behind on purpose: its log, its journal, the code of clients."""
    home = os.environ.get("XDG_STATE_HOME")
    path = (Path(home) if home else Path.home() / ".local" / "state") / "samovar"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def logs_folder() -> Path:
    """Where a service stores what tasks print."""
    return state_folder() / "logs"


def journal() -> str:
    """Where the journal is; "": none is kept."""
    where = load().journal
    return "" if where == NO_JOURNAL else where or str(state_folder() / "journal.db")


def runtime_folder() -> Path:
    """The folder of what belongs to a running service; private to this user, and gone after a restart of the machine.

    InitializationError: somebody else has it.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(given) / "samovar" if given else Path(tempfile.gettempdir()) / f"samovar-{os.getuid()}-service"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
        raise _wrong(f"{path} must belong to this user alone; remove it, or set XDG_RUNTIME_DIR to another folder")
    return path


def socket_path() -> Path:
    """Where the service of this user listens."""
    return runtime_folder() / "service.sock"


def _text(where: str, value: Any) -> str:
    return str(value)


def _endpoint(where: str, value: Any) -> Endpoint:
    try:
        return endpoint.parse(str(value))
    except ValueError as error:
        raise _wrong(f"{where}={endpoint.shown(str(value))!r}: {error}") from None


def _access_token(where: str, value: Any) -> Secret:
    try:
        return Secret(endpoint.parse_token(str(value)))
    except ValueError as error:
        raise _wrong(f"{where}: {error}") from None


def _listen(where: str, value: Any) -> str:
    try:
        return endpoint.join(*endpoint.host_and_port(str(value)))
    except ValueError as error:
        raise _wrong(f"{where}={value!r}: {error}") from None


def _web(where: str, value: Any) -> str:
    text = str(value)
    if text == NO_WEB:
        return text
    try:
        return endpoint.join(*endpoint.host_and_port(text, WEB_PORT))
    except ValueError as error:
        raise _wrong(f"{where}={text!r}: {error}, or {NO_WEB!r}") from None


def _check_privacy(path: Path) -> None:
    """Of a file with a token in it."""
    if path.stat().st_mode & 0o077:
        raise _wrong(f"{path} holds a token, and others can read it: chmod 600 {path}")


def _file() -> tuple[Path, dict[str, Any]]:
    named = os.environ.get("SAMOVAR_CONFIG")
    path = Path(named) if named else folder() / "config.toml"
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise _wrong(f"SAMOVAR_CONFIG names {path}, which is not there") from None
        return path, {}
    except (OSError, ValueError) as error:
        raise _wrong(f"{path} cannot be read: {error}") from error


def _lease(where: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds >= SHORTEST_LEASE:
        raise _wrong(f"{where}={value!r}: it must be a number of seconds, {SHORTEST_LEASE:g} or more")
    return seconds


def _positive(where: str, value: Any, unit: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not number > 0:
        raise _wrong(f"{where}={value!r}: it must be a number of {unit}, more than 0")
    return number


def _loop_patience(where: str, value: Any) -> float:
    return _positive(where, value, "seconds")


def _traces_per_second(where: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < math.inf:
        raise _wrong(f"{where}={value!r}: it must be a number of actions, or 0 for all")
    return number


def _progress(where: str, value: Any) -> str:
    if value not in ("auto", "off"):
        raise _wrong(f"{where}={value!r}: it must be 'auto' or 'off'")
    return str(value)


def _max_queued(where: str, value: Any) -> int:
    return _whole(where, value, "actions")


def _keep_days(where: str, value: Any) -> float:
    return _positive(where, value, "days")


def _keep_runs(where: str, value: Any) -> int:
    return _whole(where, value, "runs")


def _whole(where: str, value: Any, what: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise _wrong(f"{where}={value!r}: it must be a whole number of {what}, 1 or more")
    return number


def _wrong(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)


_READ: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(Settings._fields, _text),
    "endpoint": _endpoint,
    "access_token": _access_token,
    "listen": _listen,
    "lease": _lease,
    "loop_patience": _loop_patience,
    "progress": _progress,
    "traces_per_second": _traces_per_second,
    "max_queued": _max_queued,
    "keep_days": _keep_days,
    "keep_runs": _keep_runs,
    "web": _web,
}
"""How what was given for a setting is read: as text, but for these."""
