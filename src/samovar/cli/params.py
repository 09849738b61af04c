"""Options and arguments that several commands share, and what a shell completes them with.

Only click is imported here: what looks for names is imported when a shell asks.
"""

from __future__ import annotations

import os
import re
import time

import click
from click.shell_completion import CompletionItem

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _seconds_ago(_context: click.Context, _param: click.Parameter, value: str) -> float | None:
    """A time, in seconds since 1970, from how long ago it is."""
    if not value:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no length of time; write 90s, 10m, 1h, 2d or 1w")
    return time.time() - float(found[1]) * _UNITS[found[2]]


def complete_run(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from samovar.cli import completion  # only here and below: most commands complete nothing

    return completion.runs(incomplete)


def complete_pool(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from samovar.cli import completion

    return completion.pools(incomplete)


def _without_token(_context: click.Context, _param: click.Parameter, value: str) -> str:
    if value.startswith("samovar:") and "@" in value:
        raise click.BadParameter(
            "a token on a command line can be seen by everybody on this machine: put the endpoint into "
            "SAMOVAR_ENDPOINT or the config file, or the token alone into SAMOVAR_ACCESS_TOKEN"
        )
    return value


def _absolute(_context: click.Context, _param: click.Parameter, value: str) -> str:
    """A service in the background lives in another folder than the command that starts it."""
    return os.path.abspath(value) if value else ""


ENDPOINT = click.option(
    "--endpoint",
    default="",
    metavar="ENDPOINT",
    callback=_without_token,
    help="The service to use: the path of its Unix socket, samovar://HOST:PORT#FINGERPRINT, or none.  "
    "[default: SAMOVAR_ENDPOINT, the config file, the service of this user where it runs]",
)
DRIVER = click.option(
    "--driver",
    type=click.Choice(["auto", "process", "container"]),
    default=None,
    help="What replicas are.  [default: SAMOVAR_DRIVER, the config file, auto]",
)
LISTEN = click.option(
    "--listen",
    default="",
    metavar="HOST:PORT",
    help="Take clients of other hosts there, with TLS and tokens; see `samovar token`.  "
    "[default: SAMOVAR_LISTEN, the config file, nowhere]",
)
WEB = click.option(
    "--web",
    default="",
    metavar="HOST:PORT|none",
    help="Where the dashboard is; other hosts need a token of `samovar token` for it.  "
    "[default: SAMOVAR_WEB, the config file, 127.0.0.1:7870 or the next port that is free]",
)
TLS_CERT = click.option(
    "--tls-cert",
    default="",
    metavar="FILE",
    callback=_absolute,
    help="The certificate of --listen, as PEM; else one is made once.",
)
TLS_KEY = click.option("--tls-key", default="", metavar="FILE", callback=_absolute, help="Its key, as PEM.")
OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json"]),
    default="table",
    show_default=True,
    help="A table, one with more columns, or JSON.",
)
TEXT_OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Text, or JSON."
)
RESULT = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the result is written to stdout; json: the outputs alone.",
)
WATCH = click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Go on until Ctrl-C: on a terminal in place, else whenever something has changed.",
)
LIMIT = click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
TASK = click.option("--task", default="", help="Of this task, as environment.function.")
SINCE = click.option(
    "--since", default="", metavar="TIME", callback=_seconds_ago, help="Not older than this: 90s, 10m, 1h, 2d, 1w."
)
POOL = click.option(
    "--pool", default="", shell_complete=complete_pool, help="Of this pool: its name, or the beginning of it."
)
RUN = click.argument("run", metavar="RUN", shell_complete=complete_run)
POOL_ARGUMENT = click.argument("pool", metavar="POOL", shell_complete=complete_pool)
