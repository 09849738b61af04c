"""Where the runs of a process are carried out: the composition root of scripts and of the command.

``open_host`` gives the one host of this process: a client of the service that is set or running (``remote``), or else
an engine of its own (``embedded``).
"""

from __future__ import annotations

import atexit
import sys
import threading
from typing import TYPE_CHECKING

from samovar import config, errors
from samovar.engine.engine import OnLog
from samovar.host import progress
from samovar.host.handle import Handle
from samovar.host.host import Host
from samovar.host.progress import Progress
from samovar.host.remote import RemoteHost, no_answer
from samovar.ports import Report
from samovar.sdk import ctx

if TYPE_CHECKING:
    from samovar.host.premises import OpenWeb

__all__ = ["Handle", "Host", "RemoteHost", "open_host"]

_host: Host | None = None
_lock = threading.Lock()


def open_host(
    *,
    report: Report | None = None,
    on_log: OnLog | None = None,
    driver: str = "",
    endpoint: str = "",
    open_web: OpenWeb | None = None,
) -> Host:
    """Made at the first call and closed at exit.

    ``report`` takes lines of progress and ``on_log`` what tasks print; both go to stderr unless told otherwise.
    ``driver``, ``endpoint``: "" as ``init(…)`` and the settings say. Whoever names a driver has an engine of his own.
    ``open_web``: gives such an engine a dashboard; a service has its own.
    InitializationError: what was named, or is set, is wrong or is not there.
    """
    global _host
    with _lock:
        if _host is None:
            driver = driver or str(ctx.settings.get("driver") or "")
            endpoint = endpoint or str(ctx.settings.get("endpoint") or "")
            shown = _progress() if report is None and on_log is None else None
            if shown is not None:
                report, on_log = shown.say, shown.log
            _host = _open(report or _print_report, on_log or _print_log, driver, endpoint, open_web)
            atexit.register(_host.close)
            if shown is not None:
                shown.follow(_host)
                atexit.register(shown.close)  # called first
        return _host


def _progress() -> Progress | None:
    """None: stderr is no place for it, or it is not wanted."""
    if config.load().progress == "off" or not progress.suits(sys.stderr):
        return None
    return Progress(sys.stderr)


def _open(report: Report, on_log: OnLog, driver: str, endpoint: str, open_web: OpenWeb | None) -> Host:
    if driver and endpoint not in ("", config.NO_ENDPOINT):
        raise errors.InitializationError(
            "InitializationError", "a service has a driver already: give --driver or an endpoint, not both"
        )
    named = config.NO_ENDPOINT if driver else config.service_at(endpoint)
    if named == config.NO_ENDPOINT:
        return _embedded(report, on_log, driver, open_web)
    try:
        return RemoteHost(named or str(config.socket_path()), report, on_log)
    except OSError as error:
        if not named:
            return _embedded(report, on_log, "", open_web)
        raise no_answer(named, error) from error


def _embedded(report: Report, on_log: OnLog, driver: str, open_web: OpenWeb | None) -> Host:
    from samovar.host.embedded import EmbeddedHost  # only here: a client of a service needs neither engine nor driver

    if open_web is None:
        return EmbeddedHost(report, on_log, driver)
    return EmbeddedHost(report, on_log, driver, open_web)


def _print_report(line: str) -> None:
    print(f"samovar: {line}", file=sys.stderr)


def _print_log(label: str, stream: str, text: str) -> None:
    for line in text.splitlines():
        print(f"[{label}] {line}", file=sys.stderr)
