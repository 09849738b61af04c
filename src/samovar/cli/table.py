"""Lists on stdout: as tables, as JSON, once or for as long as somebody watches.

A list is facts, plain dicts, which are the JSON; what is shown of them is a matter of columns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

Fact = dict[str, Any]

PERIOD = 1.0  # seconds between two looks of a watch
INTERRUPTED = 130

LONG = 60  # characters of a long text in a table that is not wide

_STEPS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))


class Column(NamedTuple):
    head: str
    cell: Callable[[Fact], str]
    is_number: bool = False
    is_wide: bool = False  # only with -o wide
    is_long: bool = False  # cut, but with -o wide


class Listing(NamedTuple):
    look: Callable[[], list[Fact]]
    columns: Sequence[Column]
    nothing: str  # what is said of an empty list
    volatile: frozenset[str] = frozenset()  # facts that change by themselves: no news


def show(listing: Listing, output: str, watch: bool) -> None:
    """Print the list; with ``watch`` until Ctrl-C, which ends the process with 130 as it does everywhere."""
    if not watch:
        click.echo(_text(listing, listing.look(), output))
        return
    try:
        if output != "json" and sys.stdout.isatty():
            _watch_in_place(listing, output)
        else:
            _watch_changes(listing, output)
    except KeyboardInterrupt:
        click.get_current_context().exit(INTERRUPTED)


def render(columns: Sequence[Column], facts: Sequence[Fact], is_wide: bool = False) -> str:
    """A line for each fact, and one of heads above; numbers stand to the right."""
    columns = [column for column in columns if is_wide or not column.is_wide]
    rows = [[column.head for column in columns]]
    for fact in facts:
        cells = ((column, " ".join(column.cell(fact).split())) for column in columns)
        rows.append([_cut(cell) if column.is_long and not is_wide else cell for column, cell in cells])
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]

    def line(row: list[str]) -> str:
        cells = zip(row, widths, columns, strict=True)
        return "  ".join(cell.rjust(w) if c.is_number else cell.ljust(w) for cell, w, c in cells).rstrip()

    return "\n".join(map(line, rows))


def _text(listing: Listing, facts: list[Fact], output: str, indent: int | None = 2) -> str:
    if output == "json":
        return json.dumps(facts, indent=indent)
    if not facts:
        return listing.nothing
    return render(listing.columns, facts, is_wide=output == "wide")


def _watch_changes(listing: Listing, output: str) -> None:
    """For pipes: again when something changed; JSON a line each time."""
    before: list[Fact] | None = None
    while True:
        facts = listing.look()
        news = [{key: value for key, value in fact.items() if key not in listing.volatile} for fact in facts]
        if news != before:
            if before is not None and output != "json":
                click.echo("")
            click.echo(_text(listing, facts, output, indent=None))
            before = news
        time.sleep(PERIOD)


def _watch_in_place(listing: Listing, output: str) -> None:
    from rich.console import Console  # only here: a terminal is drawn on
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            shown = Text(_text(listing, listing.look(), output), no_wrap=True, overflow="ellipsis")
            live.update(shown, refresh=True)
            time.sleep(PERIOD)


# cells


def word(phase: str) -> str:
    return phase.replace("_", " ")


def clock(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at is not None else ""


def duration(seconds: float | None) -> str:
    """In two figures that people read: 12.3 ms, 4.5 s, 3m20s, 5h02m, 3d04h."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds) * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
    whole = int(seconds)
    big, size, small, part = next(step for step in _STEPS if whole >= step[1])
    return f"{whole // size}{big}{whole % size // part:02}{small}"


def memory(amount: int) -> str:
    """Bytes, as MiB or GiB."""
    if not amount:
        return ""
    return f"{amount / 2**20:.0f} MiB" if amount < 2**30 else f"{amount / 2**30:.1f} GiB"


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"
