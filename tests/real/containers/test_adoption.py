"""A service that is killed, and its containers: they go on, and the next service adopts them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from samovar.entries import RunQuery, Settled
from samovar.journal.choice import open_journal
from samovar.ports import Journal
from tests.journeys import services

from .hosts import SECONDS, until

PROGRAM = """
import asyncio
import samovar as flyte
env = flyte.TaskEnvironment(name="contained", reusable=flyte.ReusePolicy(replicas=1, concurrency=4, idle_ttl=600))

@env.task
async def child(x: int, seconds: float) -> bytearray:
    await asyncio.sleep(seconds)
    return bytearray(500_000)

@env.task
async def main() -> int:
    first = await child(0, 0.0)
    print("one has ended", flush=True)
    found = await asyncio.gather(*(child(x, 8.0) for x in range(3)))
    return len(first) + sum(len(one) for one in found)
"""


def test_containers_of_a_service_that_is_killed(container_engine, tmp_path):
    home = services.Home(tmp_path, PROGRAM)
    more = {"SAMOVAR_DRIVER": "container", "SAMOVAR_CONTAINER_SOCKET": str(container_engine.socket)}
    service, _ = services.begin(tmp_path, **more)
    client = home.begin("main", name="r")
    assert client.stderr is not None
    while "one has ended" not in (line := client.stderr.readline()):
        assert line, "the run has ended too soon"
    before = container_engine.containers()
    service.send_signal(signal.SIGKILL)
    service.communicate(timeout=SECONDS)
    service, _ = services.begin(tmp_path, **more)
    try:
        _, said = client.communicate(timeout=SECONDS)
        assert client.returncode == 0, said
        until(lambda: has_ended(home))
        assert container_engine.containers() == before
        entries = settled(home)
        assert {entry.attempts for entry in entries} == {1}
        assert len(entries) == 5
        assert len({entry.replica for entry in entries}) == 1
    finally:
        said = services.end(service)
    assert "adopted 1 replicas: contained@" in said
    until(lambda: not container_engine.containers())


def has_ended(home: services.Home) -> bool:
    with journal(home) as opened:
        return all(run.ended is not None for run in opened.find(RunQuery(run="r")).items)


def settled(home: services.Home) -> list[Settled]:
    with journal(home) as opened:
        return list(opened.settled(run="r"))


@contextlib.contextmanager
def journal(home: services.Home) -> Iterator[Journal]:
    opened = open_journal(str(home.path / "state" / "samovar" / "journal.db"))
    try:
        yield opened
    finally:
        opened.close(5)
