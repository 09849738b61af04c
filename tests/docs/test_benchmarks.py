"""The benchmarks run and print every row; what they measure is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    "raw floor: round trip of 100 bytes, p50",
    "round trip, script to replica, p50",
    "round trip, task to task, p50",
    "round trip, multiprocessing.Pool, p50",
    "round trip, ProcessPoolExecutor, p50",
    "1,000 tiny tasks, script, gathered run.aio",
    "1,000 tiny tasks, script, loop over run",
    "1,000 tiny tasks, gathered inside a task",
    "1,000 tiny tasks, multiprocessing.Pool, map one by one",
    "1,000 tiny tasks, ProcessPoolExecutor, submit",
    "cost of a task of 200 from a task",
    "cost of a task of 1,000 from a task",
    "cost of a task of 2,000 from a task",
    "200 of sleep(0.1) on 2 replicas of 100",
    "array of 10 MB there and back",
    "copy: 10 MB to tmpfs and mapped, twice",
    "from nothing to the first result of a pool of 2",
    "the same program until its process has ended",
    "python -c pass",
    "script, engine and helpers, RSS",
    "script, engine and helpers, PSS",
    "a replica, RSS",
    "a replica, PSS",
    "a bare Python, RSS",
    "a bare Python, PSS",
]


@pytest.mark.timeout(180)
def test_one_command_prints_every_row() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    _, _, header, _, *lines = done.stdout.split("\n\nThe targets")[0].splitlines()
    assert header.split() == ["measure", "figure", "ratio", "to", "target"]
    assert [row for row, line in zip(ROWS, lines, strict=True) if not line.startswith(f"{row}  ")] == []
