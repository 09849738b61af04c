"""``samovar token``: who may use this user's service from other hosts."""

from __future__ import annotations

import itertools
import json
import re
import time
from urllib.parse import urlsplit

import click

from samovar import config
from samovar.cli.service import errors_are_messages
from samovar.endpoint import Remote, host_and_port, parse
from samovar.errors import InitializationError
from samovar.host import certificate, service
from samovar.host.entrance import Wanted, name_for_others, tokens
from samovar.host.tokens import Token

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def make(name: str, expires: str, address: str, output: str) -> None:
    with errors_are_messages():
        seconds = _seconds(expires)
        where = None if not address and _is_for_pages_alone() else _where(address)
        name = name or _free_name()
        made = tokens().make(name, seconds)
    full = Remote(where.host, where.port, where.fingerprint, made).in_full if where is not None else ""
    ends = None if seconds is None else time.time() + seconds
    if output == "json":
        about = {"name": name, "expires": ends, "endpoint": full, "token": made}
        about["fingerprint"] = where.fingerprint if where is not None else ""
        click.echo(json.dumps(about, indent=2))
        return
    until = "for ever" if ends is None else f"until {_date(ends)}"
    then = "On the other host set SAMOVAR_ENDPOINT to:" if full else "The dashboard asks for it:"
    click.echo(f"Token {name!r}, good {until}. It is shown this once. {then}", err=True)
    click.echo(full or made)


def show(output: str) -> None:
    with errors_are_messages():
        found = tokens().all()
    now = time.time()
    if output == "json":
        rows = [
            {"name": token.name, "state": _state(token, now), "created": token.created, "expires": token.expires}
            for token in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found:
        click.echo("no tokens; `samovar token` makes one")
    width = max((len(token.name) for token in found), default=0)
    for token in found:
        until = "never expires" if token.expires is None else f"expires {_date(token.expires)}"
        click.echo(f"{token.name.ljust(width)}  {_state(token, now).ljust(7)}  made {_date(token.created)}  {until}")


def revoke(name: str) -> None:
    with errors_are_messages():
        if not tokens().revoke(name):
            raise click.ClickException(f"there is no token {name!r} that is good; `samovar token list` lists them")
    click.echo(f"revoked {name}")


def _is_for_pages_alone() -> bool:
    """Whether other hosts may see the service's pages, and have no other way in."""
    running = service.find()
    if running is None:
        return False
    about = running.service
    running.close()
    host = urlsplit(about.web).hostname or "localhost"
    return not about.gate and host not in ("localhost", "127.0.0.1", "::1")


def _where(address: str) -> Remote:
    """How the service is reached from other hosts. InitializationError: nothing says so."""
    running = service.find()
    gate = running.service.gate if running is not None else ""
    if running is not None:
        running.close()
    if gate:
        known = parse(gate)
        assert isinstance(known, Remote)
    else:
        known = _expected(address)
    if not address:
        return known
    host, port = _address(address)
    return Remote(host, port if ":" in address else known.port, known.fingerprint)


def _expected(address: str) -> Remote:
    """Of a service that does not listen for other hosts yet."""
    wanted = Wanted(address).settled()
    if not wanted.listen:
        raise InitializationError(
            "InitializationError",
            "no service listens for other hosts. Start it with `samovar start --listen HOST:PORT`, set listen in the "
            "config file, or say with --address where one will",
        )
    found = certificate.find(config.state_folder(), wanted.tls_cert, wanted.tls_key)
    host, port = _address(wanted.listen)
    return Remote(name_for_others(host), port, found.fingerprint if found.is_own else "")


def _address(text: str) -> tuple[str, int]:
    try:
        return host_and_port(text)
    except ValueError as error:
        raise click.ClickException(f"--address {text!r}: {error}") from error


def _seconds(text: str) -> float | None:
    if text == "never":
        return None
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{text!r} is no time: 12h, 30d, 2w, or never", param_hint="--expires")
    return int(found[1]) * _UNITS[found[2]]


def _free_name() -> str:
    taken = {token.name for token in tokens().all()}
    return next(name for number in itertools.count(1) if (name := f"token-{number}") not in taken)


def _state(token: Token, now: float) -> str:
    if not token.why_not(now):
        return "good"
    return "revoked" if token.revoked is not None else "expired"


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
