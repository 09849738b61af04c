"""A station without processes: a real engine, replicas that the test speaks for, a journal in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from samovar.engine.engine import Engine
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Scribe
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Run
from samovar.host.logbook import Logbook
from samovar.host.premises import Premises
from samovar.journal.memory import MemoryJournal
from samovar.model import Environment, PoolSettings, SecretSpec, TaskSpec
from samovar.web.app import application
from samovar.web.guard import Guard
from samovar.wire import frames
from samovar.wire.session import replica_session
from tests.engine.test_admission import Starter
from tests.engine.test_clients import Peer
from tests.engine.test_handshake import FakeKeeper

PLANTED = "planted-value-of-a-variable"

ENVIRONMENT = Environment(
    "e",
    env_vars=(("PLANTED", PLANTED),),
    secrets=(SecretSpec("PLANTED_SECRET", "planted/secret-key"),),
    settings=PoolSettings(1, 1, concurrency=2),
)
TASK = TaskSpec("e.f", "m", "f", ENVIRONMENT)
URL = "http://127.0.0.1:7870"


class Station:
    """Stands for ``samovar.host.station.Station``."""

    driver = "fake"

    def __init__(self, folder: Path, journal: MemoryJournal | None) -> None:
        self.turn = Turn()
        self.keeper = FakeKeeper()
        memory = Remembers(Scribe(journal, "e")) if journal is not None else None
        self.engine = Engine(self.keeper, str(folder), str(folder), lambda *_: None, memory=memory)  # type: ignore[arg-type]
        self._peers: list[Peer] = []

    def start(self, run: str = "r1", task: TaskSpec = TASK, body: bytes = b"") -> Starter:
        starter = Starter()
        with self.turn:
            self.engine.start(Called(task, body), Run(run, None, starter))
            self.engine.flush()
        return starter

    def replica(self) -> Peer:
        """The one that was asked for last, ready."""
        boot = self.keeper.boots[-1]
        peer = Peer(self.engine, boot["SAMOVAR_ENGINE"], replica_session())
        self._peers.append(peer)
        peer.say(frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1), frames.Ready(0.1))
        return peer

    def listen(self) -> None:
        """Take in what replicas have said."""
        self.engine.hub.handle(self.engine.hub.poll(5))
        self.engine.flush()

    def hand_over(self) -> None:
        with self.turn:
            self.engine.hand_over()

    def close(self) -> None:
        for peer in self._peers:
            peer.socket.close()
        self.engine.hub.close()


class Site:
    """The API in front of it. ``get`` and ``post`` give what they are answered, which is as expected."""

    def __init__(self, station: Station, journal: MemoryJournal | None, logbook: Logbook) -> None:
        self.station = station
        self.journal = journal
        self.logbook = logbook
        station.engine.logbook = logbook
        self.closing: Future[None] = Future()
        premises = Premises(station, "/run/service.sock", journal, logbook)  # type: ignore[arg-type]
        self.app = application(premises, self.closing, lambda app: Guard(app, "127.0.0.1"))
        self.client = TestClient(self.app, base_url=URL)

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        answer = self.client.get(f"/api/v1{path}", params=params)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(is_written: bool = True) -> Site:
        journal = MemoryJournal() if is_written else None
        made.append(Site(Station(tmp_path, journal), journal, Logbook(tmp_path / "logs", lambda line: None)))
        return made[-1]

    yield make
    for site in made:
        site.client.close()
        site.station.close()
        site.logbook.close()
        if site.journal is not None:
            site.journal.close(5)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
