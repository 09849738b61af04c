"""The log of a service in the background: a file that does not grow for ever, and says nothing less for that."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from samovar.host.log import Log


def test_a_full_log_begins_anew_and_the_old_one_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, older = tmp_path / "service.log", tmp_path / "service.log.1"
    with open(path, "a") as file, open(path, "a") as another:
        monkeypatch.setattr(sys, "stderr", file)
        log = Log(path, bound=200)
        said = [f"line {number:03}" for number in range(100)]
        for line in said:
            log.say(line)
        another.write("of another writer\n")
    kept = older.read_text() + path.read_text()
    assert len(kept) < 2 * 220
    lines = kept.replace("samovar: ", "").splitlines()
    assert lines == [*said[101 - len(lines) :], "of another writer"], "the newest, without a gap"


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "service.log").touch()
    with open(tmp_path / "mine", "a") as file:
        monkeypatch.setattr(sys, "stderr", file)
        for _ in range(100):
            Log(tmp_path / "service.log", bound=200).say("line")
    assert (tmp_path / "mine").read_text() == "samovar: line\n" * 100
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["mine", "service.log"]


def test_a_stream_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Log(tmp_path / "there is none", bound=1).say("all the same")
    assert capsys.readouterr().err == "samovar: all the same\n"
