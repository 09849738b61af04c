"""``python -m samovar.sim``: what it prints, and its exit codes."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from samovar.core.pool import Pool
from samovar.sim.command import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "workload.toml"
PAGE = ROOT / "docs" / "simulator.md"


def test_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "60", "--first", "500", "--processes", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("60 worlds, ")
    assert said.out.endswith("no rule is broken\n")
    assert "60 of 60 seeds" in said.err


def test_a_seed_that_breaks_a_rule_is_named_with_the_way_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "kill_silent", lambda self, now, lease: None)
    assert main(["--seeds", "50", "--processes", "1"]) == 1
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "replay it" in line)
    assert "seeds break a rule" in said
    assert main(line.partition("samovar.sim ")[2].split()) == 1
    told = capsys.readouterr().out
    assert "== engine 0 begins" in told
    assert "and nobody cares" in told.splitlines()[-1]


def test_one_seed_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "7", "--trace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith("== all is done")
    assert lines[-1] == "seed 7: no rule is broken"
    assert any("→ StartReplica pool=" in line for line in lines)
    assert main(["--seed", "7"]) == 0
    assert capsys.readouterr().out == "seed 7: no rule is broken\n"


def test_the_example_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(EXAMPLE)]) == 0
    said = capsys.readouterr().out
    assert textwrap.indent(said, "    ", lambda line: bool(line.strip())) in PAGE.read_text(encoding="utf-8")
    assert main([str(EXAMPLE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lean"]["wait_p90"] > found["warm"]["wait_p90"] > found["packed"]["wait_p90"]
    assert found["lean"]["most_replicas"] == 2
    assert found["warm"]["replica_seconds"] > found["packed"]["replica_seconds"]


def test_a_file_that_is_no_workload(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text("policies = {}\narrivals = 3\n")
    assert main([str(file)]) == 2
    assert "odd.toml describes no workload" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--seeds", "many"], ["--no-such-option"]])
def test_options_that_are_not_understood(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: python -m samovar.sim" in capsys.readouterr().err
