"""What is promised of replicas that are stopped or cut off, and of a service that dies while it is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import samovar as flyte
from samovar.entries import ActionQuery
from samovar.host.remote import RemoteHost
from samovar.journal.choice import open_journal

from . import services
from .conftest import until

SECONDS = services.SECONDS
STARTS = 12

PROGRAM = """
import asyncio, os, pathlib, socket, stat
import samovar
env = samovar.TaskEnvironment(name="kept", reusable=samovar.ReusePolicy(replicas=1, concurrency=4, idle_ttl=600))

async def at_gate(path: str) -> None:
    (pathlib.Path(path) / f"began {os.getpid()}").touch()
    while not (pathlib.Path(path) / "go").exists():
        await asyncio.sleep(0.01)

@env.task
async def waits(path: str) -> int:
    await at_gate(path)
    return os.getpid()

@env.task
async def is_cut_off(path: str) -> int:
    if not list(pathlib.Path(path).glob("began *")):
        (pathlib.Path(path) / f"began {os.getpid()}").touch()
        for name in os.listdir("/proc/self/fd"):
            try:
                if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                    socket.socket(fileno=os.dup(int(name))).shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    await at_gate(path)
    return os.getpid()
"""

crowded = flyte.TaskEnvironment(name="crowded", reusable=flyte.ReusePolicy(replicas=1, concurrency=1, idle_ttl=600))


@crowded.task
async def length(path: str, number: int, data: bytearray) -> int:
    (Path(path) / f"began {number}").touch()
    while not (Path(path) / "go").exists():
        await asyncio.sleep(0.01)
    return len(data)


def began(home: Path) -> list[int]:
    """Process ids of the replicas that have begun it."""
    return [int(path.name.split()[1]) for path in home.glob("began *")]


def recorded(home: Path) -> list[tuple[str, int]]:
    """Run and attempts of each action that is written down."""
    journal = open_journal(str(home / "state" / "samovar" / "journal.db"))
    try:
        return [(action.run, action.attempts) for action in journal.find(ActionQuery(limit=1000)).items]
    finally:
        journal.close(SECONDS)


def test_a_replica_that_is_stopped_past_its_lease_and_goes_on_later(tmp_path: Path) -> None:
    home = services.Home(tmp_path, PROGRAM)
    service, _ = services.begin(home.path, SAMOVAR_LEASE="3")
    client = home.begin("waits", "--path", str(home.path), name="r")
    until(lambda: len(began(home.path)) == 1, SECONDS)
    (stopped,) = began(home.path)
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: len(began(home.path)) == 2, SECONDS)
    (home.path / "go").touch()
    with contextlib.suppress(ProcessLookupError):  # whoever lost its lease was killed
        os.kill(stopped, signal.SIGCONT)
    result, said = client.communicate(timeout=SECONDS)
    assert client.returncode == 0, said
    assert int(result) in set(began(home.path)) - {stopped}
    services.end(service)
    assert recorded(home.path) == [("r", 2)]


def test_a_replica_whose_connection_is_cut(tmp_path: Path) -> None:
    """It is known by the end of the connection, and the lease is not waited for."""
    home = services.Home(tmp_path, PROGRAM)
    service, _ = services.begin(home.path, SAMOVAR_LEASE="3600")
    client = home.begin("is_cut_off", "--path", str(home.path), name="r")
    until(lambda: len(began(home.path)) == 2, SECONDS)
    (home.path / "go").touch()
    result, said = client.communicate(timeout=SECONDS)
    assert client.returncode == 0, said
    until(lambda: services.replicas(home.path) == [int(result)], SECONDS)
    services.end(service)
    assert recorded(home.path) == [("r", 2)]


def test_a_replica_that_is_killed_is_known_by_its_end(tmp_path: Path) -> None:
    """The lease is not waited for."""
    home = services.Home(tmp_path, PROGRAM)
    service, _ = services.begin(home.path, SAMOVAR_LEASE="3600")
    client = home.begin("waits", "--path", str(home.path), name="r")
    until(lambda: len(began(home.path)) == 1, SECONDS)
    os.kill(began(home.path)[0], signal.SIGKILL)
    until(lambda: len(began(home.path)) == 2, SECONDS)
    (home.path / "go").touch()
    _, said = client.communicate(timeout=SECONDS)
    assert client.returncode == 0, said
    services.end(service)
    assert recorded(home.path) == [("r", 2)]


def test_a_full_service_is_killed_while_large_inputs_wait_for_room(tmp_path: Path) -> None:
    """What it had taken goes on; what it had no room for is said again, once."""
    said: list[str] = []
    process, address = services.begin(tmp_path, SAMOVAR_MAX_QUEUED="3")
    host = RemoteHost(address, said.append, lambda *_: None)

    async def start_all() -> list[Any]:  # on a loop, where nobody is held up for want of room
        inputs = [{"path": str(tmp_path), "number": n, "data": bytearray(300_000 + n)} for n in range(STARTS)]
        return [host.start(length, given, f"r{given['number']}") for given in inputs]

    handles = asyncio.run(start_all())
    until(lambda: host.engine.is_crowded and bool(list(tmp_path.glob("began *"))), SECONDS)
    process.kill()
    process.communicate(timeout=SECONDS)
    until(lambda: any("waiting for it" in line for line in said), SECONDS)
    handles[-1].abort("not any more")
    process, _ = services.begin(tmp_path, SAMOVAR_MAX_QUEUED="3")
    (tmp_path / "go").touch()
    assert [handle.wait(SECONDS) for handle in handles[:-1]] == [300_000 + n for n in range(STARTS - 1)]
    assert handles[-1].phase == "aborted"
    assert host.service.blobs
    blobs = Path(host.service.blobs)
    host.close()
    services.end(process)
    assert not blobs.exists()
    runs = [run for run, _ in recorded(tmp_path)]
    assert sorted(runs) == sorted(f"r{n}" for n in range(STARTS - 1))
