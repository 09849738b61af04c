"""``samovar get`` and ``samovar abort``: the runs and actions of the service's journal.

They read what is written, so they need no service; what is on its way is the service's to know.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from samovar import config
from samovar.cli.service import errors_are_messages
from samovar.entries import ActionQuery, ActionSummary, RunQuery, RunSummary
from samovar.model import Phase
from samovar.ports import Journal

PAGE = 1000  # rows that are read at once


def runs(phase: str | None, task: str, limit: int, output: str) -> None:
    with _journal() as journal:
        query = RunQuery(phase=Phase(phase) if phase else None, task=task, limit=min(limit, PAGE))
        found = _pages(journal, query, limit)
    if output == "json":
        _print_json(found)
        return
    rows = [(run.run, run.task, _word(run.phase), _since(run.started), _took(run), str(run.actions)) for run in found]
    _print_table(("RUN", "TASK", "PHASE", "STARTED", "TOOK", "ACTIONS"), rows, "no runs")


def actions(run: str, phase: str | None, task: str, limit: int, output: str) -> None:
    with _journal() as journal:
        if not journal.find(RunQuery(run=run)).items:
            raise click.ClickException(f"there is no run {run!r}; `samovar get runs` lists them")
        wanted = Phase(phase) if phase else None
        found = _pages(journal, ActionQuery(run=run, phase=wanted, task=task, limit=min(limit, PAGE)), limit)
    if output == "json":
        _print_json(found)
        return
    heads = ("ACTION", "TASK", "PHASE", "WAITED", "RAN", "ATTEMPTS", "START", "REPLICA", "ERROR")
    _print_table(heads, [_action(action) for action in found], "no action of it has ended")


def abort(run: str, reason: str) -> None:
    from samovar.host import service  # only here: what reads needs no service

    with errors_are_messages():
        running = service.at("")
        if running is None:
            raise click.ClickException("no service runs, and so no run that could be aborted")
        found = running.abort_run(run, reason)
        running.close()
    if not found:
        raise click.ClickException(
            f"the service runs no {run!r}; `samovar get runs --phase running` lists what it runs"
        )
    click.echo(f"aborting {run}")


@contextlib.contextmanager
def _journal() -> Iterator[Journal]:
    from samovar.journal.choice import open_journal  # only here: `samovar --help` needs no database

    with errors_are_messages():
        where = config.journal()
        if not where:
            raise click.ClickException("no journal is kept: SAMOVAR_JOURNAL or the config file says none")
        journal = open_journal(where)
        try:
            yield journal
        finally:
            journal.close(1.0)


def _pages(journal: Journal, query: Any, limit: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < limit:
        page: Any = journal.find(query)
        found += page.items
        if not page.next:
            break
        query = msgspec.structs.replace(query, after=page.next)
    return found[:limit]


def _action(action: ActionSummary) -> tuple[str, ...]:
    waited = (action.started if action.started is not None else action.ended) - action.queued
    ran = _seconds(action.ended - action.started) if action.started is not None else ""
    start = "" if action.started is None else "cold" if action.cold else "warm"
    if action.is_cached:
        start = "cached"
    word = _word(action.phase)
    return (
        *(action.action, action.task, word, _seconds(waited), ran, str(action.attempts), start, action.replica),
        action.error,
    )


def _word(phase: Phase) -> str:
    return phase.value.replace("_", " ")


def _since(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _took(run: RunSummary) -> str:
    return _seconds((run.ended if run.ended is not None else time.time()) - run.started)


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _print_json(found: Sequence[msgspec.Struct]) -> None:
    click.echo(json.dumps(msgspec.to_builtins(found), indent=2))


def _print_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], nothing: str) -> None:
    if not rows:
        click.echo(nothing)
        return
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
