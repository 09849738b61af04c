"""What a service writes down beside outcomes: attempts that settled nothing, what its pools did, and why."""

from __future__ import annotations

from pathlib import Path

from samovar.entries import AttemptQuery, Change, EventQuery
from samovar.journal.choice import open_journal

from . import services
from .conftest import until

SECONDS = services.SECONDS

PROGRAM = """
import os, pathlib, signal
import samovar as flyte
policy = flyte.ReusePolicy(replicas=(0, 2), idle_ttl=1, scaledown_ttl=1, scope="run")
env = flyte.TaskEnvironment(name="record", reusable=policy)

def is_first(path: str, name: str) -> bool:
    try:
        (pathlib.Path(path) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

@env.task(retries=1)
async def fails_once(path: str) -> str:
    if is_first(path, "failed"):
        raise ValueError("not yet")
    return "well"

@env.task
async def dies_once(path: str) -> str:
    if is_first(path, "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"

@env.task
async def main(path: str) -> str:
    return await fails_once(path) + await dies_once(path)
"""


def test_attempts_pools_and_reasons_are_written_down(tmp_path: Path) -> None:
    home = services.Home(tmp_path, PROGRAM)
    with services.running(home.path):
        done = home.samovar("run", "--name", "r", str(home.script), "main", "--path", str(home.path))
        assert done.returncode == 0, done.stderr
        journal = open_journal(str(home.path / "state" / "samovar" / "journal.db"))
        until(lambda: [e for e in journal.find(EventQuery(limit=1000)).items if e.change is Change.CLOSED], SECONDS)
    attempts = journal.find(AttemptQuery(run="r", oldest_first=True)).items
    outcomes = {entry.action: entry for entry in journal.settled("r")}
    raised, *lost = attempts
    assert (raised.failure.code, raised.failure.message, raised.attempt) == ("ValueError", "not yet", 1)
    assert outcomes[raised.action].task == "record.fails_once"
    assert outcomes[raised.action].attempts == 2
    assert all(0 < one.ran < one.ended - (one.started or one.ended) for one in outcomes.values())
    assert sorted(one.of_run for one in outcomes.values())[0] == 1
    assert str(home.path).encode() in outcomes[raised.action].inputs
    assert {outcomes[entry.action].task for entry in lost} == {"record.main"}  # what it had called went with it
    assert all("SIGKILL" in entry.failure.message for entry in lost)
    assert all(entry.started <= entry.ended and entry.replica for entry in attempts)
    events = journal.find(EventQuery(oldest_first=True)).items
    assert {event.pool.split("@")[0] for event in events} == {"record"}
    scaled = [(event.replicas, event.reason) for event in events if event.change is Change.SCALED]
    assert scaled[0] == (1, "1 queued, 0 active, 1 slot a replica: 1 replica wanted")
    assert scaled[-1][0] == 0
    assert events[-1].change is Change.CLOSED
    assert "drained" in events[-1].reason
    journal.close(SECONDS)
