"""What a user has set for all programs: environment variables first, then a file.

The file is TOML: ``$SAMOVAR_CONFIG``, else ``samovar/config.toml`` below ``$XDG_CONFIG_HOME`` (``~/.config``).

    driver = "container"   # SAMOVAR_DRIVER: auto, process, container
    endpoint = "none"      # SAMOVAR_ENDPOINT: the Unix socket of a service; none: always an engine of one's own
    journal = "none"       # SAMOVAR_JOURNAL: where a service writes: a file, postgresql://…, or none
    keep_days = 7          # SAMOVAR_KEEP_DAYS: how long after its end a run stays in the journal
    keep_runs = 1000       # SAMOVAR_KEEP_RUNS: how many that have ended stay in it, the newest
    lease = 10             # SAMOVAR_LEASE: seconds without a sign of life after which a replica is given up

Read when an engine starts. Everything that is wrong in it is an InitializationError that says where and what.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from samovar.core.pools import LEASE
from samovar.errors import InitializationError

NO_ENDPOINT = "none"
"""The endpoint of whoever wants no service."""

NO_JOURNAL = "none"
"""The journal of whoever keeps none."""

SHORTEST_LEASE = 2.0
"""Seconds; replicas give a sign of life every second."""


class Settings(NamedTuple):
    driver: str = "auto"
    endpoint: str = ""  # "": the service of this user, where it runs
    journal: str = ""  # "": a file below ``state_folder``
    lease: float = LEASE  # seconds
    keep_days: float = 30.0
    keep_runs: int = 100_000


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
    settings = Settings()
    if "driver" in given:
        settings = settings._replace(driver=str(given["driver"][1]))
    if "journal" in given:
        settings = settings._replace(journal=str(given["journal"][1]))
    if "endpoint" in given:
        settings = settings._replace(endpoint=_endpoint(*given["endpoint"]))
    if "lease" in given:
        settings = settings._replace(lease=_lease(*given["lease"]))
    if "keep_days" in given:
        settings = settings._replace(keep_days=_keep_days(*given["keep_days"]))
    if "keep_runs" in given:
        settings = settings._replace(keep_runs=_keep_runs(*given["keep_runs"]))
    return settings


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


def _endpoint(where: str, value: Any) -> str:
    text = str(value).removeprefix("unix://")
    if text != NO_ENDPOINT and not text.startswith("/"):
        raise _wrong(f"{where}={value!r}: it must be the path of a Unix socket, or {NO_ENDPOINT!r}")
    return text


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


def _keep_days(where: str, value: Any) -> float:
    try:
        days = float(value)
    except (TypeError, ValueError):
        days = 0.0
    if not days > 0:
        raise _wrong(f"{where}={value!r}: it must be a number of days, more than 0")
    return days


def _keep_runs(where: str, value: Any) -> int:
    try:
        runs = int(str(value))
    except ValueError:
        runs = 0
    if runs < 1:
        raise _wrong(f"{where}={value!r}: it must be a whole number of runs, 1 or more")
    return runs


def _wrong(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)
