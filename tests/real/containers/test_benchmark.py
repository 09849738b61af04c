"""The benchmarks of containers run and print every row; what they measure is not judged here."""

from __future__ import annotations

import asyncio

from benchmarks import reuse
from benchmarks.containers import ROWS, Bench, report


def test_every_row_is_measured(engine, tmp_path):
    bench = Bench(engine)
    asyncio.run(bench.run(1, str(tmp_path)))
    header, *lines = report(bench.figures).splitlines()
    assert header.split() == ["measure", "figure", "ratio", "target"]
    assert [row for row, line in zip(ROWS, lines, strict=True) if not line.startswith(f"{row}  ")] == []
    assert all(len(figures) == 1 and figures[0] > 0 for figures in bench.figures.values())


def test_every_row_of_what_reuse_gains_is_measured(engine):
    figures = reuse.measure(1)
    header, *lines = reuse.report(figures).splitlines()
    assert header.split() == ["measure", "process", "container", "ratio"]
    assert [row for row, line in zip(reuse.ROWS, lines, strict=True) if not line.startswith(f"{row}  ")] == []
    assert all(len(rounds) == 1 and rounds[0] > 0 for row in figures.values() for rounds in row.values())
