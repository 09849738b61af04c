"""Lists: columns that stand, figures that people read, and a watch that prints what is new."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from samovar.cli import control, get, params, table
from samovar.cli.table import Column, Fact, Listing
from samovar.model import PoolSettings, ReplicaStats

from .conftest import pool

COLUMNS = (
    Column("NAME", lambda fact: str(fact["name"])),
    Column("SIZE", lambda fact: str(fact["size"]), is_number=True),
    Column("MORE", lambda fact: "more", is_wide=True),
    Column("TEXT", lambda fact: str(fact.get("text", "")), is_long=True),
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-0.1, "0.0 ms"),
        (0.0123, "12.3 ms"),
        (4.51, "4.5 s"),
        (60, "1m00s"),
        (200.9, "3m20s"),
        (3600, "1h00m"),
        (5 * 3600 + 125, "5h02m"),
        (3 * 86400 + 4 * 3600, "3d04h"),
        (30 * 86400, "30d00h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert table.duration(seconds) == text


@pytest.mark.parametrize(("amount", "text"), [(0, ""), (25 << 20, "25 MiB"), (3 << 29, "1.5 GiB")])
def test_memory(amount: int, text: str) -> None:
    assert table.memory(amount) == text


def test_numbers_stand_to_the_right_and_nothing_hangs_over() -> None:
    facts = [{"name": "a", "size": 5}, {"name": "longer", "size": 12345, "text": "two\nlines"}]
    assert table.render(COLUMNS, facts).splitlines() == [
        "NAME     SIZE  TEXT",
        "a           5",
        "longer  12345  two lines",
    ]


def test_a_long_text_is_cut_but_in_a_wide_table() -> None:
    facts = [{"name": "a", "size": 5, "text": "x" * 100}]
    assert table.render(COLUMNS, facts).endswith("x…")
    assert table.render(COLUMNS, facts, is_wide=True).endswith("more  " + "x" * 100)


def show(listing: Listing, output: str, watch: bool = False) -> Result:
    """What a command that shows it prints."""
    return CliRunner().invoke(click.Command("list", callback=lambda: table.show(listing, output, watch)))


def test_an_empty_list() -> None:
    nothing = Listing(list, COLUMNS, "nothing there")
    assert show(nothing, "table").stdout == "nothing there\n"
    assert show(nothing, "json").stdout == "[]\n"


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_watch_prints_again_what_has_changed(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    looks = iter([(1, 1.0), (1, 2.0), (2, 3.0), (2, 4.0)])  # a size, and an age that always grows

    def look() -> list[Fact]:
        found = next(looks, None)
        if found is None:
            raise KeyboardInterrupt
        return [{"name": "a", "size": found[0], "age": found[1]}]

    monkeypatch.setattr(table, "PERIOD", 0.0)
    done = show(Listing(look, COLUMNS, "", frozenset({"age"})), output, watch=True)
    assert done.exit_code == 130
    if output == "json":
        assert [json.loads(line)[0]["size"] for line in done.stdout.splitlines()] == [1, 2]
    else:
        assert done.stdout == "NAME  SIZE  TEXT\na        1\n\nNAME  SIZE  TEXT\na        2\n"


def words(columns: tuple[Column, ...], fact: Fact, is_wide: bool = False) -> list[str]:
    """The lines, with one blank between two words."""
    return [" ".join(line.split()) for line in table.render(columns, [fact], is_wide).splitlines()]


def test_the_row_of_a_pool() -> None:
    fact = get.pool_fact(pool(starting=2, state="awake", settings=PoolSettings(1, 5, 4), note="no free slot"))
    assert words(get.POOL_COLUMNS, fact)[1] == "demo awake 1-5 1 ready, 2 starting 1/4 0 0 3 0 1/2 no free slot"
    heads, row = words(get.POOL_COLUMNS, fact, is_wide=True)
    assert heads.endswith("COLD/WARM CONCURRENCY IDLE TTL SCALEDOWN TTL MAX TASKS NOTE")
    assert row.endswith("1/2 4 30.0 s 30.0 s no free slot")


def test_what_runs_on_a_replica() -> None:
    runs = tuple(f"e.f r-{n}" for n in range(4))
    busy = ReplicaStats("p-1", "p", "ready", 4, 3, 10, 50, 61.0, 0.5, (1, 2), runs, 7, 25 << 20, 2.0)
    fact: dict[str, Any] = get._replica_fact(busy)
    assert "actions" not in fact
    row = words(get.REPLICA_COLUMNS, fact)[1]
    assert row == "p-1 ready 4/10 3 50 1m01s 7 25 MiB 2.0 s e.f r-0, e.f r-1, e.f r-2 and 4 more"


@pytest.mark.parametrize(("text", "low", "high"), [("2", 2, 2), ("1,5", 1, 5), ("0:3", 0, 3)])
def test_ranges(text: str, low: int, high: int) -> None:
    assert control.range_of(text) == (low, high)


@pytest.mark.parametrize("text", ["", "x", "1-5", "-1", "1,2,3"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(click.BadParameter, match="MIN,MAX"):
        control.range_of(text)


def test_how_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params.time, "time", lambda: 1_000_000.0)
    read = params._seconds_ago
    found = [read(None, None, text) for text in ("", "90s", "1.5m", "2h", "1d", "1w")]  # type: ignore[arg-type]
    assert found == [None, 999_910.0, 999_910.0, 992_800.0, 913_600.0, 395_200.0]
    with pytest.raises(click.BadParameter, match="no length of time"):
        read(None, None, "soon")  # type: ignore[arg-type]
