"""Each guarantee of docs/guarantees.md names a test that shows it, and each test that is named is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


def rows() -> list[list[str]]:
    """The cells of each guarantee."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "what is promised" not in line]


def test_no_guarantee_is_without_a_test() -> None:
    assert len(rows()) > 25
    for row in rows():
        assert len(row) == 3, row
        assert TEST.findall(row[2]), f"nothing shows: {row[0]}"
        assert TEST.sub("", row[2]).strip(", ") == "", f"this is no name of a test: {row[2]}"


def test_every_test_that_is_named_is_collected() -> None:
    named = sorted(set(TEST.findall(PAGE)))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    missing = [name for name in named if not re.search(rf"^{re.escape(name)}(\[|$)", done.stdout, re.MULTILINE)]
    assert missing == []
