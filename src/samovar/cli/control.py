"""``samovar abort`` and ``samovar pool``: runs and pools are changed by hand."""

from __future__ import annotations

import re

import click

from samovar.cli.source import NO_POOLS, opened
from samovar.wire.frames import Verb

DONE: dict[Verb, str] = {
    "scale": "{pool}: {low} to {high} replicas",
    "drain": "{pool}: finishing what it has; its replicas end then",
    "stop": "{pool}: its replicas end; what ran on them is queued again",
}


def abort(run: str, action: str, reason: str, endpoint: str) -> None:
    with opened(endpoint) as source:
        host = source.host
        if host is None:
            raise click.ClickException("no service runs, and so no run that could be aborted")
        number = 0
        if action:
            going = source.action(run, action)
            if going is None:
                raise click.ClickException(
                    f"no action {action!r} of run {run!r} is on its way; `samovar get actions {run}` lists them"
                )
            number = going.number
        if not host.abort_run(run, reason, number):
            gone = f"run {run!r} has ended, or there is none of this name" if not action else f"{action} has ended"
            raise click.ClickException(f"nothing to abort: {gone}; `samovar get runs --phase running` lists what runs")
    click.echo(f"aborting {f'action {action} of ' if action else ''}{run}")


def change(pool: str, verb: Verb, endpoint: str, low: int = 0, high: int = 0) -> None:
    with opened(endpoint) as source:
        host = source.host
        if host is None:
            raise click.ClickException(NO_POOLS)
        name = host.control(pool, verb, low, high)
    click.echo(DONE[verb].format(pool=name, low=low, high=high))


def range_of(text: str) -> tuple[int, int]:
    """Of ``2``, ``1,5`` or ``1:5``. BadParameter."""
    found = re.fullmatch(r"(\d+)(?:[,:](\d+))?", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no range; write MIN,MAX, MIN:MAX or one number", param_hint="--replicas")
    low = int(found[1])
    return low, int(found[2]) if found[2] is not None else low
