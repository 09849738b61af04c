"""Whoever follows a run while its service is killed, and comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import services
from .conftest import until

PROGRAM = """
import asyncio, pathlib
import samovar as flyte
env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=1, concurrency=8, idle_ttl=600))

@env.task
async def counts(path: str) -> int:
    number = 0
    while not (pathlib.Path(path) / "go").exists():
        print(f"line {number}")
        number += 1
        await asyncio.sleep(0.02)
    return number
"""


class Follower:
    """A command that shows lines, and what it has printed so far."""

    def __init__(self, home: services.Home, *arguments: str) -> None:
        self._path = home.path / arguments[0]
        command = [sys.executable, "-m", "samovar", *arguments]
        with self._path.open("w") as file:
            self._process = subprocess.Popen(command, env=home.variables, stdout=file, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self._path.read_text()

    @property
    def lines(self) -> list[str]:
        """Of tasks, as they were written."""
        return written(self.said)

    def ends(self) -> None:
        assert self._process.wait(services.SECONDS) == 0, self.said


def written(text: str) -> list[str]:
    return [line.rpartition("] ")[2] for line in text.splitlines() if "] line " in line]


@pytest.fixture
def home(tmp_path: Path) -> services.Home:
    return services.Home(tmp_path, PROGRAM)


def test_whoever_follows_a_run_waits_for_a_service_that_was_killed(home: services.Home) -> None:
    service, _ = services.begin(home.path)
    home.samovar("run", "--detach", "--name", "r", str(home.script), "counts", "--path", str(home.path))
    followers = follower, watcher = Follower(home, "logs", "-f", "r"), Follower(home, "attach", "r")
    until(lambda: all(len(one.lines) > 10 for one in followers))
    service.kill()
    service.communicate(timeout=services.SECONDS)
    until(lambda: all("service.sock is gone; waiting for it, for up to 60 s" in one.said for one in followers))
    before = [len(one.lines) for one in followers]
    with services.running(home.path):
        until(lambda: all(len(one.lines) > count + 10 for one, count in zip(followers, before, strict=True)))
        (home.path / "go").touch()
        for one in followers:
            one.ends()
            assert one.said.count("is back") == 1
        stored = written(home.samovar("logs", "r").stdout)
        assert follower.lines == stored
        assert watcher.lines == stored[-len(watcher.lines) :], "all since it was there"


def test_nobody_waits_for_a_service_that_is_ended_by_hand(home: services.Home) -> None:
    service, _ = services.begin(home.path)
    home.samovar("run", "--detach", "--name", "r", str(home.script), "counts", "--path", str(home.path))
    follower = Follower(home, "logs", "-f", "r")
    until(lambda: len(follower.lines) > 10)
    assert home.samovar("stop", "--grace", "0").stdout == "stopped\n"
    service.communicate(timeout=services.SECONDS)
    follower.ends()
    assert follower.lines == written(home.samovar("logs", "r").stdout)
    assert "no service runs, so no line follows; the run goes on when one does" in follower.said
