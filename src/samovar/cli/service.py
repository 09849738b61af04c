"""``samovar serve``, ``start``, ``stop`` and ``status``: the service of this user on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import click

from samovar import config, endpoint
from samovar.cli import table
from samovar.endpoint import Remote
from samovar.errors import InitializationError, RuntimeSystemError
from samovar.host import service
from samovar.host.entrance import Wanted, name_for_others
from samovar.host.log import Log
from samovar.host.remote import RemoteHost
from samovar.wire.frames import Joined

NOT_RUNNING = 3
"""Exit status of ``status`` where none runs, as for other services."""


def no_service(endpoint: str, so: str = "") -> str:
    """Why there is nothing to be asked, and so what; one may run all the same where none is wanted."""
    if config.service_at(endpoint) == config.NO_ENDPOINT:
        return f"no service is in use{so}: the endpoint is none, here or in SAMOVAR_ENDPOINT or the config file"
    return f"no service runs{so}; `samovar start` starts one"


def serve(driver: str, web: str, entrance: dict[str, str]) -> None:
    from samovar.web.server import opener  # only here: no other command has pages

    wanted = Wanted(**entrance)
    with errors_are_messages():
        service.serve(Log(service.log_path()).say, driver, wanted, opener(config.web(web)))


def start(driver: str, web: str, entrance: dict[str, str]) -> None:
    wanted = Wanted(**entrance)
    with errors_are_messages():
        running = service.find()
        if running is None:
            running = service.start(driver, wanted, web)
            click.echo(f"started: {_about(running)}; log {service.log_path()}")
            _say_where(running)
            _say_what_is_missing(running, web)
        else:
            click.echo(f"runs already: {_about(running)}")
            _say_where(running)
            if unmet := otherwise(running.service, driver, web, wanted):
                running.close()
                raise InitializationError(
                    "InitializationError",
                    f"not all is as asked: {'; '.join(unmet)}. A service that runs stays as it is: `samovar stop`, and "
                    "start it again",
                )
        running.close()


def otherwise(about: Joined, driver: str, web: str, wanted: Wanted) -> list[str]:
    """What a service that runs does not do as these options of ``samovar start`` ask, each as a clause."""
    found = []
    if driver not in ("", about.driver):
        found.append(f"its driver is {about.driver}, not {driver}")
    listen, gate = config.listening(wanted.listen), cast("Remote", endpoint.parse(about.gate)) if about.gate else None
    if listen and gate is None:
        found.append("it does not listen for other hosts")
    elif listen and gate is not None and not _is_at(listen, gate.host, gate.port):
        found.append(f"it listens for other hosts at {endpoint.join(gate.host, gate.port)}, not at {listen}")
    if wanted.tls_cert and gate is not None and gate.fingerprint:
        found.append(f"its certificate is one of its own, not {wanted.tls_cert}")
    page, asked = urlsplit(about.web), config.web(web) if web else ""
    if about.web and asked == config.NO_WEB:
        found.append(f"it has a dashboard at {about.web}")
    elif asked not in ("", config.NO_WEB) and not about.web:
        found.append("it has no dashboard")
    elif asked not in ("", config.NO_WEB) and not _is_at(asked, page.hostname or "", page.port or 0):
        found.append(f"its dashboard is at {about.web}, not at {asked}")
    return found


def _is_at(asked: str, host: str, port: int) -> bool:
    """Whether that is where HOST:PORT is; port 0 is any."""
    wanted_host, wanted_port = endpoint.host_and_port(asked)
    names = {wanted_host}
    with contextlib.suppress(OSError):
        names.add(str(socket.getaddrinfo(wanted_host, None)[0][4][0]))
    return wanted_port in (0, port) and host in names | {name_for_others(name).lower() for name in names}


def stop(grace: float) -> None:
    with errors_are_messages():
        running = service.find()
        if running is None:
            click.echo("no service runs")
            return
        pid = running.service.pid
        ended = service.stop(running, grace)
        running.close()
        if not ended:
            raise InitializationError("InitializationError", f"the service has not ended; end process {pid}")
        click.echo("stopped")


def status(context: click.Context, output: str, endpoint: str) -> None:
    from samovar.cli import get  # only here: it needs this module

    with errors_are_messages():
        running = service.at(endpoint)
        if running is None:
            click.echo("{}" if output == "json" else no_service(endpoint))
            context.exit(NOT_RUNNING)
        facts = [get.pool_fact(pool) for pool in running.stats()]
        about = running.service
        running.close()
    if output == "json":
        described = {"pid": about.pid, "driver": about.driver, "endpoint": running.engine.address, "gate": about.gate}
        described["web"] = about.web
        seconds = round(time.time() - about.started_at, 1)
        click.echo(json.dumps({**described, "seconds": seconds, "pools": facts}, indent=2))
        return
    click.echo(_about(running))
    if about.gate:
        click.echo(f"other hosts: {about.gate}")
    _say_where(running)
    click.echo(table.render(get.POOL_COLUMNS, facts) if facts else "no pools")


def _say_where(running: RemoteHost) -> None:
    if running.service.web:
        click.echo(f"dashboard: {running.service.web}")


def _say_what_is_missing(running: RemoteHost, web: str) -> None:
    """Why a service that should have pages has none: its own words about it are in its log."""
    from samovar.web.server import why_none  # only here, as above

    if not running.service.web and config.web(web) != config.NO_WEB and (why := why_none()):
        click.echo(why)


def _about(running: RemoteHost) -> str:
    about = running.service
    seconds = time.time() - about.started_at
    return f"process {about.pid}, driver {about.driver}, for {seconds:.0f} s, at {running.engine.address}"


@contextlib.contextmanager
def errors_are_messages() -> Iterator[None]:
    """What cannot be done is one message and exit status 1."""
    try:
        yield
    except (RuntimeSystemError, TimeoutError) as error:
        raise click.ClickException(str(error)) from error
