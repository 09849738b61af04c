"""Anything may be killed at any step of the protocol: the run ends as it would have, and is recorded once.

Who is killed, at which frame or commit, and whether before, in the middle of it or after, stands in the name of each
test; the seed chooses the how manieth. In a storm they die at any moment, several times.
``SAMOVAR_CHAOS_SEEDS=20`` tries more seeds.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from samovar.entries import RunQuery
from samovar.journal.choice import open_journal
from tests.journeys import services

from .history import NODES, RUN, History, expected

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("SAMOVAR_CHAOS_SEEDS", "1"))
SECONDS = 90.0


class Step(NamedTuple):
    """A point of the protocol. ``last``: it comes at least so often in every run."""

    role: str
    act: str
    frame: str
    when: str
    last: int = 1

    def __str__(self) -> str:
        return f"{self.role}-{self.when}-{self.act}-{self.frame}"


STEPS = [
    Step("replica", "send", "Hello", "after"),
    Step("replica", "send", "Ready", "before"),
    Step("replica", "send", "Ready", "after"),
    Step("replica", "receive", "Run", "before", 10),
    Step("replica", "send", "Submit", "before", NODES // 2),
    Step("replica", "send", "Submit", "half"),
    Step("replica", "send", "Submit", "after"),
    Step("replica", "send", "Done", "before", 10),
    Step("replica", "send", "Done", "half", 10),
    Step("replica", "send", "Done", "after", 10),
    Step("replica", "receive", "Answer", "before", 3),
    Step("replica", "receive", "Answer", "after", 3),
    Step("service", "receive", "Start", "before"),
    Step("service", "receive", "Start", "after"),
    Step("service", "receive", "Hello", "before", 2),
    Step("service", "receive", "Ready", "after", 2),
    Step("service", "send", "Run", "before", NODES),
    Step("service", "send", "Run", "half", NODES),
    Step("service", "send", "Run", "after", NODES),
    Step("service", "receive", "Submit", "before", NODES),
    Step("service", "receive", "Submit", "after", NODES),
    Step("service", "receive", "Done", "before", NODES),
    Step("service", "receive", "Done", "after", NODES),
    Step("service", "receive", "Failed", "after", 3),
    Step("service", "send", "Answer", "before", NODES // 2),
    Step("service", "send", "Answer", "half", NODES // 2),
    Step("service", "send", "Answer", "after", NODES // 2),
    Step("service", "commit", "RunStarted", "before"),
    Step("service", "commit", "RunStarted", "after"),
    Step("service", "commit", "Settled", "before", NODES // 2),
    Step("service", "commit", "Settled", "after", NODES // 2),
    Step("service", "commit", "RunEnded", "before"),
    Step("service", "commit", "RunEnded", "after"),
    Step("service", "send", "Ended", "before"),
    Step("service", "send", "Ended", "half"),
    Step("service", "send", "Ended", "after"),
    Step("client", "send", "Start", "before"),
    Step("client", "send", "Start", "half"),
    Step("client", "send", "Start", "after"),
    Step("client", "receive", "Running", "before"),
    Step("client", "receive", "Ended", "before"),
]


class World:
    """A user with a service and a client, of which one is armed. Whoever dies is started again."""

    def __init__(self, home: Path, point: str) -> None:
        self.home = home
        self.mark = home / "died"
        self.history = History(home)
        self.variables = {
            **services.variables(home),
            "CHAOS": point,
            "CHAOS_MARK": str(self.mark),
            "PYTHONPATH": str(HERE / "armed"),
        }
        self.service = self._serve()
        self.client = self._start()

    def live(self) -> None:
        """Until the run has ended and whoever was to die is dead."""
        end = time.monotonic() + SECONDS
        while not (self._has_ended() and self.mark.exists()):
            assert time.monotonic() < end, f"the run has not ended: {self._told()}"
            self.revive()
            time.sleep(0.02)

    def kill(self, who: str, dice: random.Random) -> None:
        """One of these, if there is any just now."""
        if who == "replica":
            replicas = services.replicas(self.home)
            if replicas:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(dice.choice(replicas), signal.SIGKILL)
            return
        process = self.service if who == "service" else self.client
        process.kill()
        process.wait(20)

    def close(self) -> None:
        for process in (self.client, self.service):
            process.terminate()
            process.wait(20)

    def revive(self) -> None:
        if self.service.poll() is not None:
            self.history.service_died(time.time())
            self.service = self._serve()
        if self.client.poll() is not None and not self._has_started():
            self.client = self._start()

    def _serve(self) -> subprocess.Popen[bytes]:
        with open(self.home / "service.txt", "ab") as log:
            began = log.tell()
            process = self._begin("serve", log=log)
        end = time.monotonic() + 30
        while b"serving at" not in (self.home / "service.txt").read_bytes()[began:] and process.poll() is None:
            assert time.monotonic() < end, "the service does not start"
            time.sleep(0.01)
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        asked = ("--folder", str(self.home), "--nodes", str(NODES))
        with open(self.home / "client.txt", "ab") as log:
            return self._begin("run", "--name", RUN, str(HERE / "program.py"), "main", *asked, log=log)

    def _begin(self, *arguments: str, log: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "samovar", *arguments]
        return subprocess.Popen(command, env=self.variables, stdout=log, stderr=log)  # type: ignore[call-overload, no-any-return]

    def _run(self) -> object:
        path = self.home / "state" / "samovar" / "journal.db"
        if not path.exists():
            return None
        journal = open_journal(str(path))
        try:
            return next(iter(journal.find(RunQuery(run=RUN)).items), None)
        finally:
            journal.close(5)

    def _has_started(self) -> bool:
        return self._run() is not None

    def _has_ended(self) -> bool:
        return getattr(self._run(), "ended", None) is not None

    def _told(self) -> str:
        return "".join((self.home / name).read_text()[-3000:] for name in ("service.txt", "client.txt"))


@contextlib.contextmanager
def world(home: Path, point: str) -> Iterator[World]:
    made = World(home, point)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_at_a_step(step: Step, seed: int, tmp_path: Path) -> None:
    number = random.Random(f"{step} {seed}").randint(1, step.last)
    point = f"{step.role}:{step.act}:{step.frame}:{number}:{step.when}"
    print(f"point {point}, seed {seed}")
    with world(tmp_path, point) as made:
        made.live()
        made.history.check()


@pytest.mark.parametrize("seed", range(3 * SEEDS))
def test_a_storm(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    with world(tmp_path, "nobody:send:None:1:before") as made:
        for _ in range(6):
            time.sleep(dice.random() * 0.4)  # no event: the moment is the point
            who = dice.choice(["service", "replica", "replica", "client"])
            print(f"seed {seed}: {who} is killed")
            made.kill(who, dice)
            made.revive()
        made.mark.touch()
        made.live()
        made.history.check()


def test_the_model_is_that_of_the_program(tmp_path: Path) -> None:
    """Without a kill it comes to the same; what the model says is not made up."""
    with world(tmp_path, "nobody:send:None:1:before") as made:
        made.mark.touch()
        made.live()
        made.history.check()
    assert len(expected()) == 1 + NODES + 3 * (NODES // 5 - 1)
