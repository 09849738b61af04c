"""Benchmarks are run by hand, and must still begin when somebody does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if "-m benchmarks" in path.read_text() and path.stem[0] != "_"
)


def run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["benchmarks", *(f"benchmarks.{name}" for name in COMMANDS)])
def test_each_says_what_it_measures(module: str) -> None:
    assert run(module, "--help").startswith("usage:")


def test_what_a_queued_action_costs() -> None:
    """It drives an engine by hand, and so knows more of it than the others."""
    rows = [line.split() for line in run("benchmarks.queue_memory", "--actions", "200").splitlines()[1:]]
    assert [row[0] for row in rows] == ["calls"] * 3 + ["runs"] * 3
    assert all(float(row[-2]) > float(row[-1]) for row in rows)
