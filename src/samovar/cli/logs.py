"""``samovar logs``: what tasks have printed, from the service's store, also while they go on printing."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from samovar.cli.source import SEARCHED_RUNS, Source, opened, unknown_run
from samovar.cli.table import INTERRUPTED
from samovar.entries import RunQuery
from samovar.errors import JournalError
from samovar.host.lines import LogLine, LogPage, LogQuery
from samovar.wire.frames import ENGINE_STREAM, SHARED_STREAM

PERIOD = 0.25  # seconds between two looks at a run that goes on


class Shown(NamedTuple):
    output: str = "text"
    timestamps: bool = False
    follow: bool = False


def logs(target: str, action: str, task: str, tail: int | None, endpoint: str, shown: Shown) -> None:
    with opened(endpoint, _say) as source:
        run, action = _meant(source, target, action)
        query = LogQuery(run=run, action=action, task=task, tail=tail)
        try:
            for line in (_following if shown.follow else _lines)(source, query):
                _print(line, shown)
        except KeyboardInterrupt:
            click.get_current_context().exit(INTERRUPTED)


def _meant(source: Source, target: str, action: str) -> tuple[str, str]:
    """The run and the action: TARGET is a run, RUN-NUMBER as live lines have it, or an action's id."""
    if source.run_exists(target) or source.find(LogQuery(run=target, limit=1)).lines:
        return target, _known(source, target, action)
    if action:
        raise unknown_run(target)
    run, dash, number = target.rpartition("-")
    if dash and number.isdigit() and source.run_exists(run):
        return run, _known(source, run, number)
    run = source.run_of(target)
    if not run:
        raise click.ClickException(
            f"{target!r} is no run, and no action of the newest {SEARCHED_RUNS} runs; `samovar get runs` lists runs, "
            "`samovar get actions RUN` the actions of one"
        )
    return run, target


def _known(source: Source, run: str, action: str) -> str:
    """The action, if one is named; it may have written nothing."""
    if not action or source.action(run, action) is not None:
        return action
    if any(True for _ in _lines(source, LogQuery(run=run, action=action, limit=1))):
        return action
    with contextlib.suppress(JournalError):  # nothing is written down, or it cannot be read: there may be one
        if not source.has_settled(run, action):
            raise click.ClickException(f"run {run!r} has no action {action!r}; `samovar get actions {run}` lists them")
    return action


def _lines(source: Source, query: LogQuery) -> Iterator[LogLine]:
    """Those that are there."""
    is_last = False
    while not is_last:
        page: Any = source.find(query)
        yield from page.lines
        query, is_last = query.behind(page), page.is_last


def _following(source: Source, query: LogQuery) -> Iterator[LogLine]:
    """The same, and those that come, also from a service that comes instead: where each page ends both know."""

    def look() -> tuple[bool, LogPage]:
        goes_on = _goes_on(source, query.run)  # asked first: what it printed last is there by now
        return goes_on, source.find(query)

    while True:
        goes_on, page = source.patiently(look)
        yield from page.lines
        query = query.behind(page)
        if page.is_last:
            if not goes_on:
                break
            sys.stdout.flush()
            time.sleep(PERIOD)
    if source.host is None and _is_unfinished(source, query.run):
        _say("no service runs, so no line follows; the run goes on when one does: `samovar start`")


def _say(line: str) -> None:
    click.echo(f"samovar: {line}", err=True)


def _goes_on(source: Source, run: str) -> bool:
    if source.host is None:
        return False
    return any(True for _ in source.underway(run=run, limit=1)) or _is_unfinished(source, run)


def _is_unfinished(source: Source, run: str) -> bool:
    """As far as it is written down."""
    with contextlib.suppress(JournalError):
        return any(not found.phase.is_terminal for found in source.newest(RunQuery(run=run), 1))
    return False


def _print(line: LogLine, shown: Shown) -> None:
    if shown.output == "json":
        names = ("at", "action", "number", "task", "stream", "text")
        click.echo(json.dumps({name: getattr(line, name) for name in names}))
        return
    at = f"{_clock(line.at)} " if shown.timestamps else ""
    if line.stream == ENGINE_STREAM:
        click.echo(f"{at}samovar: {line.text}")
    elif line.stream == SHARED_STREAM:
        click.echo(f"{at}[{SHARED_STREAM}] {line.text}")
    else:
        click.echo(f"{at}[{line.task} {line.number}] {line.text}")


def _clock(at: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}.{int(at * 1000) % 1000:03}"
