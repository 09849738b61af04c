"""``samovar serve``, ``start``, ``stop`` and ``status``: the service of this user on this machine."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import click

from samovar import config
from samovar.cli import table
from samovar.errors import InitializationError, RuntimeSystemError
from samovar.host import service
from samovar.host.entrance import Wanted
from samovar.host.log import Log
from samovar.host.remote import RemoteHost

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
            if wanted.listen and not running.service.gate:
                raise InitializationError(
                    "InitializationError",
                    "it does not listen for other hosts and cannot begin to: `samovar stop`, and start it again",
                )
            if web not in ("", config.NO_WEB) and not running.service.web:
                raise InitializationError(
                    "InitializationError", "it has no dashboard and cannot get one: `samovar stop`, and start it again"
                )
        running.close()


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
