"""A service: a station that clients come to, so that pools stay warm from one script to the next.

One runs for a user on a machine, in the foreground (``samovar serve``) or in the background (``samovar start``). A lock
tells whether one does; who holds it owns the socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from samovar import collector, config, errors
from samovar.engine.engine import OnLog
from samovar.host.ending import REST, Ending
from samovar.host.entrance import AS_SET, Entrance, Wanted
from samovar.host.memory import Memory
from samovar.host.office import Office
from samovar.host.places import OUTLIVE, ServicePlaces
from samovar.host.premises import OpenWeb, Premises, Web, no_web
from samovar.host.remote import RemoteHost, no_answer
from samovar.host.station import Station
from samovar.ports import Report

START_SECONDS = 20.0
"""How long a service in the background may take until it answers."""

STOP_GRACE = 0.5  # seconds that replicas have for a clean end

_LOOK = 0.02  # seconds
_LATER = 5.0  # seconds after which a service that has had its time does not end by itself


def serve(say: Callable[[str], None], driver: str = "", wanted: Wanted = AS_SET, open_web: OpenWeb = no_web) -> None:
    """Serve until a signal or a client ends it. InitializationError: one runs already, or a setting is wrong."""
    address = config.socket_path()
    with _alone(address):
        entrance = _entrance(wanted, say)

        def report(line: str) -> None:
            say(line)
            with station.turn:
                station.engine.clients.note(line)
                station.engine.flush()

        where = config.journal()
        memory = Memory(where, say) if where else None
        station = _station(say, report, driver, memory)
        station.trace(say)
        office = Office(station, memory, say)
        web = _opened(open_web, office.premises(str(address)), report)
        ending = Ending(say)
        ending.listen()
        clients = station.engine.clients
        clients.driver = station.driver
        clients.on_shutdown = ending.ask
        with station.turn:
            station.engine.hub.listen(str(address), "client")
        collector.spare_what_is_there()
        say(f"serving at {address}, driver {station.driver}, process {os.getpid()}")
        if web is not None:
            say(web.about)
        if entrance is not None:
            entrance.open(station)
        try:
            office.begin()
            grace = ending.wait()
            with station.turn:
                clients.refuse()
                station.engine.flush()
            if station.engine.is_busy:
                say(f"finishing what runs, for at most {grace:g} s; once more ends it at once")
            ending.until(lambda: not station.engine.is_busy, grace)
        finally:
            address.unlink(missing_ok=True)
            if web is not None:
                web.shut()
            _close(ending, station, office, entrance, memory)
        ending.finish()


def _close(ending: Ending, station: Station, office: Office, entrance: Entrance | None, memory: Memory | None) -> None:
    """In this order: large values that the journal names lie in the station's folder."""
    if entrance is not None:
        entrance.shut()
    with station.turn:
        station.engine.fall_silent()
    if memory is not None:
        ending.step("writing the journal", memory.flush, 0.4)
    ending.step("stopping replicas", lambda _: station.close(STOP_GRACE), 0.7)
    ending.step("closing the desk and the archive", lambda _: office.close(), 0.5)
    if entrance is not None:
        ending.step("closing connections of other hosts", lambda _: entrance.close(), 0.5)
    if memory is not None:
        ending.step("closing the journal", memory.close)


def _opened(open_web: OpenWeb, premises: Premises, say: Report) -> Web | None:
    """The pages, where clients get to know of them. Without them the service ends as it began."""
    try:
        web = open_web(premises, say)
    except BaseException:
        premises.station.close(0.0)
        raise
    if web is not None:
        clients = premises.station.engine.clients
        clients.web, clients.web_for_others = web.url, web.url_for_others
    return web


def _station(say: Report, report: Report, driver: str, memory: Memory | None) -> Station:
    """In places where the next service finds what this one leaves behind when it is killed."""

    def on_log(label: str, _: str, text: str) -> None:
        _say_lines(say, label, text)

    places = ServicePlaces()
    succession = places.succession(OUTLIVE if memory is not None else 0.0)
    remembers = memory.remembers if memory is not None else None
    return Station(report, on_log, places, driver, remembers, succession)


def start(driver: str = "", wanted: Wanted = AS_SET, web: str = "") -> RemoteHost:
    """Start a service in the background and connect to it; ``web``: where its pages are.

    InitializationError, with the end of its log: it does not answer.
    """
    log = log_path()
    options = [*(["--driver", driver] if driver else []), *(["--web", web] if web else []), *wanted.options()]
    command = [sys.executable, "-m", "samovar", "serve", *options]
    with open(log, "ab") as file:
        began = file.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd=Path.home()
        )
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if (service := find()) is not None:
            return service
        time.sleep(_LOOK)
    process.kill()
    with open(log, errors="replace") as file:
        file.seek(began)
        said = file.read()[-2000:].strip()
    raise errors.InitializationError("InitializationError", f"the service has not started; its log {log} says:\n{said}")


def find() -> RemoteHost | None:
    """A connection to the service of this user; None: none runs. InitializationError: one of another version does."""
    with contextlib.suppress(OSError):
        return RemoteHost(str(config.socket_path()), lambda _: None, lambda *_: None)
    return None


def at(endpoint: str, report: Report = lambda line: None, on_log: OnLog = lambda *log: None) -> RemoteHost | None:
    """A connection to the service that is named here, or set, or else of this user; None: none runs.

    InitializationError: the endpoint is wrong, or none answers where one is named or set.
    """
    where = config.service_at(endpoint)
    if where == config.NO_ENDPOINT:
        return None
    try:
        return RemoteHost(where or str(config.socket_path()), report, on_log)
    except OSError as error:
        if not where:
            return None
        raise no_answer(where, error) from error


def stop(service: RemoteHost, grace: float) -> bool:
    """End a service: what runs has ``grace`` seconds. False: it has not ended."""
    service.shut_down(grace)
    end = time.monotonic() + grace + REST + _LATER
    while not service.is_gone and time.monotonic() < end:
        time.sleep(_LOOK)
    with contextlib.suppress(TimeoutError):
        _await_unlock(end)
        return True
    return False


def _entrance(wanted: Wanted, say: Callable[[str], None]) -> Entrance | None:
    wanted = wanted.settled()
    return Entrance(wanted, say) if wanted.listen else None


def log_path() -> Path:
    return config.state_folder() / "service.log"


@contextlib.contextmanager
def _alone(address: Path) -> Iterator[None]:
    """Hold the lock. InitializationError: another service does."""
    with open(_lock_path(address), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.InitializationError(
                "InitializationError", f"a service of this user runs already, at {address}; `samovar stop` ends it"
            ) from None
        yield


def _await_unlock(end: float) -> None:
    """TimeoutError: the lock is still held."""
    with open(_lock_path(config.socket_path()), "a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError from None
                time.sleep(_LOOK)


def _lock_path(address: Path) -> Path:
    return address.with_suffix(".lock")


def _say_lines(say: Callable[[str], None], label: str, text: str) -> None:
    for line in text.splitlines():
        say(f"[{label}] {line}")
