"""Workloads: what a file may say, what is wrong with others, and what the figures count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samovar.errors import WorkloadError
from samovar.model import PoolSettings
from samovar.sim.meter import Figures, Meter, table
from samovar.sim.scenario import Scenario
from samovar.sim.workload import read
from samovar.sim.world import World

POLICY = "[policies.p]\nreplicas = [0, 1]\nidle_ttl = 5\n"


def scenarios(folder: Path, text: str) -> list[Scenario]:
    file = folder / "workload.toml"
    file.write_text(text)
    return read(file)


def measured(scenario: Scenario) -> Figures:
    ((_, settings),) = scenario.pools.items()
    meter = Meter(settings.concurrency)
    World(scenario, (meter,)).run()
    return meter.figures()


def test_what_is_counted(tmp_path: Path) -> None:
    """One replica, which takes two seconds to start: two actions at once, and one that meets it warm."""
    (scenario,) = scenarios(tmp_path, f"start = 2.0\n[[arrivals]]\nat = [[0.0, 1.0], [0.0, 1.0], [6.0, 1.0]]\n{POLICY}")
    figures = measured(scenario)
    assert (figures.actions, figures.cold, figures.starts, figures.most_replicas) == (3, 1, 1, 1)
    assert figures.wait_most == pytest.approx(3.0, abs=0.1)
    assert figures.wait_p50 == pytest.approx(2.0, abs=0.1)
    assert figures.replica_seconds == pytest.approx(12.0, abs=1.2)  # until idle_ttl after the last, and its end
    assert figures.busy == pytest.approx(0.3, abs=0.05)
    assert max(figures.over_time) == 1
    assert "p  " in table({"p": figures})


def test_policies_are_named_as_in_reuse_policy(tmp_path: Path) -> None:
    text = "[[arrivals]]\nat = [[0.0, 1.0]]\n[policies.a]\nreplicas = 3\n[policies.b]\n"
    text += "replicas = [1, 2]\nconcurrency = 4\nidle_ttl = 60\nscaledown_ttl = 20\n"
    a, b = scenarios(tmp_path, text)
    assert a.pools == {"a": PoolSettings(3, 3, 1, 30.0, 30.0)}
    assert b.pools == {"b": PoolSettings(1, 2, 4, 60.0, 20.0)}


def test_arrivals_at_random_are_the_same_for_every_policy_and_every_time(tmp_path: Path) -> None:
    text = f"seed = 5\n[[arrivals]]\nfrom = 10\nuntil = 110\nevery = 1.0\nseconds = [0.5, 1.5]\n{POLICY}[policies.q]\n"
    first, second = scenarios(tmp_path, text)
    times = [(arrival.when, arrival.call.steps) for arrival in first.arrivals]
    assert times == [(arrival.when, arrival.call.steps) for arrival in second.arrivals]
    assert times == [(arrival.when, arrival.call.steps) for arrival in scenarios(tmp_path, text)[0].arrivals]
    assert 70 < len(times) < 130
    assert all(10 <= when < 110 and 0.5 <= step.seconds <= 1.5 for when, (step,) in times)


def test_what_was_recorded(tmp_path: Path) -> None:
    """As the command prints it: a parent is left out, and what a cache answered."""
    common = {
        "run": "r",
        "task": "e.f",
        "phase": "succeeded",
        "attempts": 1,
        "replica": "e-1",
        "cold": False,
        "error": "",
    }
    actions = [
        {**common, "action": "a0", "parent": "", "task": "e.main", "queued": 100.0, "started": 100.1, "ended": 109.0},
        {**common, "action": "a1", "parent": "a0", "queued": 101.0, "started": 101.5, "ended": 103.5},
        {**common, "action": "a2", "parent": "a0", "queued": 104.0, "started": 104.0, "ended": 104.5},
        {**common, "action": "a3", "parent": "a0", "queued": 104.0, "started": None, "ended": 104.0},
        {**common, "action": "a4", "parent": "a0", "task": "e.g", "queued": 104.0, "started": 104.0, "ended": 105.0},
    ]
    (tmp_path / "actions.json").write_text(json.dumps(actions))
    (scenario,) = scenarios(tmp_path, f'[[arrivals]]\nrecorded = "actions.json"\ntask = "e.f"\n{POLICY}')
    assert [(arrival.when, arrival.call.steps[0].seconds) for arrival in scenario.arrivals] == [(0.0, 2.0), (3.0, 0.5)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("arrivals = [", "describes no workload"),
        (f"{POLICY}", "arrivals"),
        ("[[arrivals]]\nat = [[0.0, 1.0]]\n[policies]\n", "no policy to try"),
        (f"[[arrivals]]\nat = []\n{POLICY}", "need one of at, recorded and every"),
        (f"[[arrivals]]\nevery = 1.0\nat = [[0.0, 1.0]]\n{POLICY}", "and have 2"),
        (f"[[arrivals]]\nevery = 1.0\n{POLICY}", "`until` after `from`"),
        (f"[[arrivals]]\nevery = 1000.0\nuntil = 0.001\n{POLICY}", "nothing arrives"),
        (f"[[arrivals]]\nat = [[-1.0, 1.0]]\n{POLICY}", "must not be negative"),
        (f"start = [2.0, 1.0]\n[[arrivals]]\nat = [[0.0, 1.0]]\n{POLICY}", "[least, most]"),
        ("[[arrivals]]\nat = [[0.0, 1.0]]\n[policies.p]\nreplicas = [2, 1]\n", "replicas must be"),
        ("[[arrivals]]\nat = [[0.0, 1.0]]\n[policies.p]\nconcurrency = 0\n", "concurrency must be"),
        ("[[arrivals]]\nat = [[0.0, 1.0]]\n[policies.p]\nidle_tll = 3\n", "idle_tll"),
        (f'[[arrivals]]\nrecorded = "gone.json"\n{POLICY}', "gone.json"),
        (f'[[arrivals]]\nrecorded = "workload.toml"\n{POLICY}', "samovar get actions -o json"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(WorkloadError) as raised:
        scenarios(tmp_path, text)
    assert says in str(raised.value)
    assert "workload.toml" in str(raised.value)
