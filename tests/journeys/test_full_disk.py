"""A disk that is full: work goes on until nothing more can be kept in mind, then it waits; nothing is lost."""

from __future__ import annotations

from pathlib import Path

from tests.disks import run_on_a_small_disk


def test_the_disk_of_a_service_fills_up_and_is_freed(tmp_path: Path) -> None:
    first, *_, last = run_on_a_small_disk("tests.journeys.fills", tmp_path, "400m", 300)
    assert "database or disk is full" in first
    assert last.endswith("journal: all is written again")
