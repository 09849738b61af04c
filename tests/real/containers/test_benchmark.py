"""The benchmark of containers runs and prints every row; what it measures is not judged here."""

from __future__ import annotations

import asyncio

from benchmarks.containers import ROWS, Bench, report


def test_every_row_is_measured(engine, tmp_path):
    bench = Bench(engine)
    asyncio.run(bench.run(1, str(tmp_path)))
    header, *lines = report(bench.figures).splitlines()
    assert header.split() == ["measure", "figure", "ratio", "target"]
    assert [row for row, line in zip(ROWS, lines, strict=True) if not line.startswith(f"{row}  ")] == []
    assert all(len(figures) == 1 and figures[0] > 0 for figures in bench.figures.values())
