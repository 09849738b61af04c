"""The network between a service and its clients is cut: nothing comes any more, and no connection ends by it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.entries import ActionQuery
from samovar.host.remote import RemoteHost
from samovar.journal.choice import open_journal
from tests import network
from tests.conftest import skip_without
from tests.network import Network

from . import services
from .conftest import until

SECONDS = 30.0
"""In which both ends are to have noticed it; how soon they should is in ``tests/host/test_silence.py``."""

PROGRAM = """
import asyncio, pathlib
import numpy as np
import samovar as flyte
env = flyte.TaskEnvironment(name="kept", reusable=flyte.ReusePolicy(replicas=1, concurrency=8, idle_ttl=600))

@env.task
async def step(path: str, number: int) -> int:
    (pathlib.Path(path) / f"began {number}").touch()
    while not (pathlib.Path(path) / "go").exists():
        await asyncio.sleep(0.01)
    print("ends")
    return number

@env.task
async def steps(path: str, n: int) -> int:
    return sum(await asyncio.gather(*(step(path, number) for number in range(n))))

@env.task
async def total(values: np.ndarray) -> float:
    return float(values.sum())

if __name__ == "__main__":
    print(flyte.run(total, values=np.ones(2**24)).result())
"""


@pytest.fixture
def wire() -> Iterator[Network]:
    """Two hosts of the test's own. Where there can be none: skipped, or failed where they are required."""
    skip_without(network.missing(), "network namespaces are", "SAMOVAR_REQUIRE_NETWORK")
    with network.between_two_hosts() as made:
        yield made


class Client:
    """A program of a host, and what it says."""

    def __init__(self, name: str, home: services.Home, within: tuple[str, ...], *arguments: str) -> None:
        self._stderr = home.path / f"{name}.stderr"
        command = [*within, sys.executable, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": self._stderr.open("w"), "text": True}
        self._process = subprocess.Popen(command, env=home.variables, **pipes)
        pipes["stderr"].close()

    @property
    def said(self) -> str:
        return self._stderr.read_text()

    def result(self) -> str:
        printed, _ = self._process.communicate(timeout=services.SECONDS)
        assert self._process.returncode == 0, self.said
        return printed


def phases(home: services.Home) -> dict[str, str]:
    """Of each run that is written down."""
    return {run["run"]: run["phase"] for run in json.loads(home.samovar("get", "runs", "-o", "json").stdout)}


def recorded(home: services.Home) -> list[tuple[str, int]]:
    """Task and attempts of each action that is written down."""
    journal = open_journal(str(home.path / "state" / "samovar" / "journal.db"))
    try:
        return sorted((action.task, action.attempts) for action in journal.find(ActionQuery(limit=1000)).items)
    finally:
        journal.close(services.SECONDS)


def test_a_network_that_is_cut_in_silence(wire: Network, tmp_path: Path) -> None:
    """One client waits for a run, one reads what that prints, one is about to send a large value."""
    for name in ("service", "user"):
        (tmp_path / name).mkdir()
    home, user = (services.Home(tmp_path / name, PROGRAM) for name in ("service", "user"))
    service, address = services.begin(home.path, wire.within(0), SAMOVAR_LISTEN=f"{network.ADDRESSES[0]}:0")
    user.variables["SAMOVAR_ENDPOINT"] = home.samovar("token", "--name", "ann").stdout.strip()
    local = RemoteHost(address, lambda _: None, lambda *_: None)
    parts = Path(local.service.blobs)
    run = ("-m", "samovar", "run", "--name", "steps", str(user.script), "steps", "--n", "3", "--path", str(home.path))
    waiting = Client("waiting", user, wire.within(1), *run)
    until(lambda: len(list(home.path.glob("began *"))) == 3, services.SECONDS)
    reading = Client("reading", user, wire.within(1), "-m", "samovar", "logs", "-f", "steps")
    until(lambda: len(wire.connections(0)) == 2, services.SECONDS)
    sending = Client("sending", user, wire.within(1), str(user.script))
    until(lambda: list(parts.iterdir()), services.SECONDS)
    assert (len(wire.connections(0)), len(wire.connections(1))) == (3, 3)

    wire.cut()
    clients = (waiting, reading, sending)
    until(lambda: all("is gone; waiting for it" in client.said for client in clients), SECONDS)
    until(lambda: wire.connections(0) == wire.connections(1) == list(parts.iterdir()) == [], SECONDS)
    (home.path / "go").touch()
    until(lambda: phases(home) == {"steps": "succeeded"})  # without the one whose value was on its way

    wire.mend()
    assert (waiting.result(), sending.result()) == ("3\n", f"{2**24:.1f}\n")
    assert sorted(reading.result().splitlines()) == [f"[kept.step {number}] ends" for number in (2, 3, 4)]
    assert [client.said.count("is back") for client in clients] == [1, 1, 1]
    local.close()
    said = services.end(service)
    assert said.count("is cut off: its host has been silent for 8 s") == 3, said
    assert recorded(home) == [
        ("kept.step", 1),
        ("kept.step", 1),
        ("kept.step", 1),
        ("kept.steps", 1),
        ("kept.total", 1),
    ]
