"""Clients of an engine: what they may say, and what they are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samovar.core.actions import Action
from samovar.core.messages import Submit
from samovar.core.pool import Pool
from samovar.core.pools import BOUNDS, Bounds
from samovar.engine.clients import Recalled
from samovar.engine.engine import Engine
from samovar.engine.survey import pool_named, underway
from samovar.engine.work import Outcome, Run, Work
from samovar.entries import RunStarted
from samovar.model import Bundle, Environment, Exit, Phase, PoolSettings, TaskSpec
from samovar.wire import frames
from samovar.wire.session import client_session, replica_session

from .test_handshake import FakeKeeper

TASK = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(1, 1)))
JOIN = frames.Join(frames.VERSION, 1)
START = frames.Start(7, 1, "r1", b"in")
SECONDS = 30.0


class Talk:
    """An engine with a socket for clients, and peers of it."""

    def __init__(self, folder: Path, blobs: str = "/blobs", bounds: Bounds = BOUNDS) -> None:
        self.keeper = FakeKeeper()
        self.peers: list[Peer] = []
        self.engine = Engine(self.keeper, str(folder), blobs, lambda *_: None, bounds)  # type: ignore[arg-type]
        self.engine.clients.driver = "fake"
        self.address = str(folder / "service.sock")
        self.engine.hub.listen(self.address, "client")

    def peer(self, where: str | socket.socket, session: Any) -> Peer:
        self.peers.append(Peer(self.engine, where, session))
        return self.peers[-1]

    def client(self) -> Peer:
        return self.peer(self.address, client_session())

    def stranger(self) -> Peer:
        """A client of another host, as the gate hands it over."""
        ours, theirs = socket.socketpair()
        self.engine.clients.admit(theirs)
        return self.peer(ours, client_session())

    def replica(self) -> Peer:
        """The replica that was asked for, ready."""
        boot = self.keeper.boots[-1]
        made = self.peer(boot["SAMOVAR_ENGINE"], replica_session())
        hello = frames.Hello(frames.VERSION, boot["SAMOVAR_REPLICA"], boot["SAMOVAR_TOKEN"], 1)
        made.say(hello, frames.Ready(0.1))
        return made


class Peer:
    def __init__(self, engine: Engine, where: str | socket.socket, session: Any) -> None:
        self.engine = engine
        self.session = session
        if isinstance(where, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where)
        else:
            self.socket = where
        self.socket.setblocking(False)

    def say(self, *batch: Any) -> None:
        self.socket.sendall(self.session.send(list(batch)))

    def hear(self, count: int) -> list[Any]:
        """The next ``count`` frames; fewer where the connection ends."""
        heard: list[Any] = []
        while len(heard) < count:
            self.engine.hub.handle(self.engine.hub.poll(0.05))
            self.engine.flush()
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                continue
            if not data:
                break
            heard += self.session.receive(data)
        return heard

    def close(self) -> None:
        self.socket.close()
        self.engine.hub.handle(self.engine.hub.poll(SECONDS))


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    yield made
    for peer in made.peers:
        peer.socket.close()
    made.engine.hub.close()


def test_a_run_from_start_to_end(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    (joined,) = client.hear(1)
    assert (joined.blobs, joined.driver) == ("/blobs", "fake")
    replica = talk.replica()
    _, run = replica.hear(2)
    assert (run.run, run.body) == ("r1", b"in")
    replica.say(frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out"))
    assert client.hear(3) == [
        frames.Running(7),
        frames.Line("e.f r1-1", "stdout", "hi\n"),
        frames.Ended(7, Phase.SUCCEEDED, b"out"),
    ]
    client.close()
    replica.close()


def test_figures_and_notes(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START, frames.Ask(8))
    _, standing = client.hear(2)
    (pool,) = standing.pools
    assert (standing.call, pool.starting, pool.queued) == (8, 1, 1)
    talk.engine.clients.note("an image is built")
    talk.engine.flush()
    assert client.hear(1) == [frames.Note("an image is built")]
    client.close()


def test_an_abort(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START, frames.Abort(7, "enough"), frames.Abort(99, "unknown"))
    _, ended = client.hear(2)
    assert (ended.phase, ended.failure.message) == (Phase.ABORTED, "enough")
    client.close()


def test_a_run_goes_on_when_its_client_goes_away(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    client.close()
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out"))
    while talk.engine.is_busy:
        talk.engine.hub.handle(talk.engine.hub.poll(0.05))
    (pool,) = talk.engine.stats()
    assert pool.done == 1
    replica.close()


def test_what_cannot_be_started_ends_at_once(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, START)
    _, ended = client.hear(2)
    assert "has not declared" in ended.failure.message
    talk.engine.clients.refuse()
    client.say(frames.Declare(1, TASK), START)
    ending, ended = client.hear(2)
    assert ending == frames.Ending()
    assert "the service ends" in ended.failure.message
    client.close()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (frames.Join(99, 1), "protocol 99"),
        (START, "must be a join"),
        (frames.Hello(frames.VERSION, "e-1", "token", 1), "must be a join"),
    ],
)
def test_others_are_refused(talk: Talk, first: Any, reason: str) -> None:
    client = talk.client()
    client.say(first)
    (refusal,) = client.hear(1)
    assert reason in refusal.reason
    assert client.hear(1) == []
    client.socket.close()


def test_a_client_that_talks_like_a_replica_is_dropped(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Done(1, b""))
    assert len(client.hear(2)) == 1
    client.socket.close()


def test_an_engine_that_keeps_no_code_takes_none(talk: Talk) -> None:
    client = talk.client()
    packed = TaskSpec("e.f", "m", "f", Environment("e", bundle=Bundle("a.py", is_packed=True)))
    client.say(JOIN, frames.Declare(1, packed), START)
    _, ended = client.hear(2)
    assert "whose code is not kept here" in ended.failure.message
    client.say(frames.Offer(1, "0" * 32, "here:/project"))
    assert client.hear(1) == []
    client.socket.close()


def test_a_replica_cannot_start_runs(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    replica = talk.replica()
    replica.hear(2)
    replica.say(START)
    assert replica.hear(1) == []
    client.close()
    replica.socket.close()


def test_shutdown_is_passed_on(talk: Talk) -> None:
    asked: list[float] = []
    talk.engine.clients.on_shutdown = asked.append
    client = talk.client()
    client.say(JOIN, frames.Shutdown(3.0))
    client.hear(1)
    assert asked == [3.0]
    client.close()


def test_what_a_client_will_call_is_prepared(talk: Talk) -> None:
    needs = Environment("needed")
    client = talk.client()
    client.say(JOIN, frames.Prepare((needs,)))
    client.hear(1)
    while not talk.keeper.prepared:
        talk.engine.hub.handle(talk.engine.hub.poll(SECONDS))
    assert talk.keeper.prepared == [needs]
    client.close()


# attached clients


def test_whoever_attaches_is_told_too(talk: Talk) -> None:
    first, second = talk.client(), talk.client()
    first.say(JOIN, frames.Declare(1, TASK), START)
    first.hear(1)
    second.say(JOIN, frames.Attach(4, "r1"))
    assert second.hear(2)[1] == frames.Attached(4, "e.f", is_running=False)
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Log(run.epoch, "stdout", "hi\n"), frames.Done(run.epoch, b"out"))
    assert second.hear(3) == [
        frames.Running(4),
        frames.Line("e.f r1-1", "stdout", "hi\n"),
        frames.Ended(4, Phase.SUCCEEDED, b"out"),
    ]
    assert first.hear(3)[-1] == frames.Ended(7, Phase.SUCCEEDED, b"out")


def test_each_of_several_gets_the_files_of_a_result(talk: Talk, tmp_path: Path) -> None:
    talk.engine.blobs = str(tmp_path)
    (tmp_path / "blob").write_bytes(b"large")
    clients = [talk.client() for _ in range(3)]
    clients[0].say(JOIN, frames.Declare(1, TASK), START)
    clients[0].hear(1)
    for client in clients[1:]:
        client.say(JOIN, frames.Attach(7, "r1"))
        client.hear(2)
    clients[2].close()
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Done(run.epoch, b"out", ("blob",)))
    names = [client.hear(2)[-1].blobs[0] for client in clients[:2]]
    assert len(set(names)) == 2
    for name in names:
        assert (tmp_path / name).read_bytes() == b"large"
        (tmp_path / name).unlink()


def test_a_result_whose_files_are_gone_is_an_error_for_the_others(talk: Talk, tmp_path: Path) -> None:
    talk.engine.blobs = str(tmp_path)
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START, frames.Attach(8, "r1"))
    client.hear(2)
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Done(run.epoch, b"out", ("missing",)))
    _, _, whole, lost = client.hear(4)
    assert (whole.call, whole.blobs) == (7, ("missing",))
    assert (lost.call, lost.phase) == (8, Phase.FAILED)
    assert "could not be shared: No such file or directory" in lost.failure.message


class FakeArchive:
    def __init__(self) -> None:
        self.known: dict[str, Recalled] = {}
        self.later: list[Any] = []

    def find(self, query: bytes, answer: Any) -> None:
        answer(b"page of " + query, "")

    def recall(self, run: str, answer: Any) -> None:
        self.later.append(lambda: answer(self.known.get(run, Recalled())))


def test_runs_that_have_ended_come_from_the_archive(talk: Talk) -> None:
    archive = talk.engine.clients.archive = FakeArchive()
    archive.known["old"] = Recalled("e.f", Outcome(Phase.SUCCEEDED, b"out", (), None))
    archive.known["other"] = Recalled(reason="another service has it")
    client = talk.client()
    client.say(JOIN, frames.Attach(1, "old"), frames.Attach(2, "other"), frames.Attach(3, "none"), frames.Find(4, b"q"))
    assert client.hear(2)[1] == frames.Found(4, b"page of q")
    for tell in archive.later:
        tell()
    talk.engine.flush()
    assert client.hear(4) == [
        frames.Attached(1, "e.f", True),
        frames.Ended(1, Phase.SUCCEEDED, b"out"),
        frames.Attached(2, reason="another service has it"),
        frames.Attached(3),
    ]


def test_a_run_that_begins_while_the_archive_looks_for_it(talk: Talk) -> None:
    archive = talk.engine.clients.archive = FakeArchive()
    client = talk.client()
    client.say(JOIN, frames.Attach(1, "r1"), frames.Declare(1, TASK), START, frames.Ask(2))
    client.hear(2)
    archive.later[0]()
    talk.engine.flush()
    assert client.hear(1) == [frames.Attached(1, "e.f")]


def test_of_an_answer_for_a_client_that_has_gone_nothing_stays(talk: Talk, tmp_path: Path) -> None:
    talk.engine.vault.folder = str(tmp_path)
    (tmp_path / "blob").touch()
    archive = talk.engine.clients.archive = FakeArchive()
    archive.known["old"] = Recalled("e.f", Outcome(Phase.SUCCEEDED, b"out", ("blob",), None))
    client = talk.client()
    client.say(JOIN, frames.Attach(1, "old"), frames.Ask(2))
    client.hear(2)
    client.close()
    archive.later[0]()
    talk.engine.flush()
    assert not (tmp_path / "blob").exists()


def test_without_an_archive_nothing_is_known(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Attach(1, "r1"), frames.Find(2, b"q"))
    _, attached, found = client.hear(3)
    assert attached == frames.Attached(1)
    assert "keeps no journal" in found.problem


def test_who_asks_for_a_run_waits_until_all_are_taken_up(talk: Talk) -> None:
    talk.engine.clients.hold()
    client, gone = talk.client(), talk.client()
    client.say(JOIN, frames.Declare(1, TASK), frames.Attach(3, "r1"), START, frames.Ask(8))
    gone.say(JOIN, frames.Attach(1, "r1"), frames.Ask(2))
    gone.hear(2)
    gone.close()
    assert client.hear(2)[1].pools == ()
    talk.engine.clients.revive(RunStarted("r1", "e", "root", TASK, 0.0, b"in"), frozenset())
    talk.engine.clients.release()
    talk.engine.flush()
    attached, ended = client.hear(2)
    assert attached == frames.Attached(3, "e.f")
    assert "a run named 'r1' is on its way" in ended.failure.message


def test_who_comes_late_is_told_that_the_service_ends(talk: Talk) -> None:
    talk.engine.clients.refuse()
    client = talk.client()
    client.say(JOIN)
    assert client.hear(2)[1] == frames.Ending()


# what is asked, and done by hand


def test_replicas_and_what_runs(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    client.say(frames.Ask(2, replicas=True))
    (starting,) = client.hear(1)[0].replicas
    assert (starting.state, starting.pid, starting.runs) == ("starting", 0, ())
    replica = talk.replica()
    replica.hear(2)
    replica.say(frames.Beat(1 << 20, 0.5))
    client.hear(1)
    client.say(frames.Ask(3, replicas=True), frames.Ask(4))
    known, plain = client.hear(2)
    (ready,) = known.replicas
    assert (ready.state, ready.active, ready.pid, ready.rss, ready.lag) == ("ready", 1, 1, 1 << 20, 0.5)
    assert ready.runs == ("e.f r1-1",)
    assert plain.replicas == ()


def test_actions_on_their_way_and_an_abort_of_one(talk: Talk) -> None:
    client = talk.client()
    starts = [frames.Start(call, 1, f"r{call}", b"in") for call in (1, 2, 3)]
    client.say(JOIN, frames.Declare(1, TASK), *starts)
    client.hear(1)
    client.say(frames.AskActions(9, limit=2))
    (page,) = client.hear(1)
    assert [(a.run, a.action, a.phase) for a in page.actions] == [("r3", "1", Phase.QUEUED), ("r2", "1", Phase.QUEUED)]
    client.say(frames.AskActions(9, before=page.next))
    (rest,) = client.hear(1)
    assert ([a.run for a in rest.actions], rest.next) == (["r1"], 0)
    number = page.actions[1].number
    client.say(
        frames.AbortRun(10, "r1", "why", number), frames.AbortRun(11, "r2", "why", number), frames.AskActions(12)
    )
    heard = client.hear(4)
    assert [frame.found for frame in heard if isinstance(frame, frames.Aborting)] == [False, True]
    (ended,) = [frame for frame in heard if isinstance(frame, frames.Ended)]
    assert (ended.call, ended.phase, ended.failure.message) == (2, Phase.ABORTED, "why")
    assert [action.run for action in heard[-1].actions] == ["r3", "r1"]


def test_pools_are_changed_by_hand(talk: Talk) -> None:
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    (pool,) = talk.engine.stats()
    client.say(frames.Control(2, "e", "scale", 2, 3), frames.Ask(3), frames.Control(4, "e", "scale", 3, 2))
    scaled, standing, wrong = client.hear(3)
    assert scaled == frames.Controlled(2, pool.name)
    (now,) = standing.pools
    assert (now.settings.min_replicas, now.settings.max_replicas, now.starting) == (2, 3, 2)
    assert "3 to 2 replicas" in wrong.problem
    client.say(frames.Start(8, 1, "r2", b"in"), frames.Declare(2, TASK), frames.Start(9, 2, "r3", b"in"), frames.Ask(5))
    assert client.hear(1)[0].pools[0].settings.max_replicas == 3  # the same settings again are no new word
    other = Environment("e", settings=PoolSettings(1, 5))
    client.say(frames.Declare(3, msgspec.structs.replace(TASK, environment=other)), frames.Start(10, 3, "r4", b"in"))
    client.say(frames.Ask(6), frames.Control(7, "e@", "stop"), frames.Control(8, "nope", "drain"))
    standing, stopped, unknown = client.hear(3)
    assert standing.pools[0].settings.max_replicas == 5
    assert stopped == frames.Controlled(7, pool.name)
    assert {grace for _, grace in talk.keeper.stops} == {5.0, 0.0}
    assert unknown.problem == f"there is no pool 'nope'; there are {pool.name}"


def test_a_pool_that_was_drained_is_opened_again(talk: Talk) -> None:
    quick = TaskSpec("e.f", "m", "f", Environment("e", settings=PoolSettings(0, 1, idle_ttl=0.0)))
    client = talk.client()
    client.say(JOIN, frames.Declare(1, quick), START)
    client.hear(1)
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Done(run.epoch, b"out"))
    client.hear(2)
    client.say(frames.Control(2, "e", "drain"))
    client.hear(1)
    name = talk.keeper.boots[-1]["SAMOVAR_REPLICA"]
    talk.engine.crew.ended(name, quick.environment, Exit(0))
    talk.engine.tick()
    assert talk.engine.stats() == []
    client.say(frames.Start(8, 1, "r2", b"in"), frames.Ask(9))
    assert client.hear(1)[0].pools[0].queued == 1


@pytest.mark.parametrize(
    ("given", "pool", "problem"),
    [
        ("shop@1234abcd", "shop@1234abcd", ""),
        ("shop", "shop@1234abcd", ""),
        ("shop@12", "shop@1234abcd", ""),
        ("shopping@1", "shopping@1111", ""),
        ("shopping", "", "'shopping' may be any of shopping@1111, shopping@2222; give more of its name"),
        ("sh", "", "'sh' may be any of shop@1234abcd, shopping@1111, shopping@2222; give more of its name"),
        ("x", "", "there is no pool 'x'; there are shop@1234abcd, shopping@1111, shopping@2222"),
    ],
)
def test_the_pool_that_is_meant(given: str, pool: str, problem: str) -> None:
    pools = ["shopping@2222", "shop@1234abcd", "shopping@1111"]
    assert pool_named(pools, given) == (pool, problem)


def test_there_may_be_no_pool_or_many() -> None:
    assert pool_named([], "x") == ("", "there is no pool 'x'; there are none")
    assert pool_named([f"e@{n:02}" for n in range(30)], "e")[1].endswith("e@09 and 20 more; give more of its name")


def test_a_million_actions_are_looked_through_in_small_steps() -> None:
    """Each step looks at a bounded number, and together they find each wanted action once."""
    run, starter = Run("r", None, None), Run("s", None, None)  # type: ignore[arg-type]
    pool = Pool("p", PoolSettings(), [], lambda *_: None)
    works, actions = {}, {}
    for number in range(1, 2001):
        works[number] = Work(TASK, "p", run if number % 500 == 0 else starter, number, b"", ())
        actions[number] = Action(Submit(number, "p"), pool)
    del works[1999], actions[7]  # settled, and settled but not delivered
    found, ask, steps = [], frames.AskActions(1, run="r"), 0
    while True:
        part, before = underway(works, actions, ask, steps=300)
        found += [action.number for action in part]
        steps += 1
        if not before:
            break
        ask = msgspec.structs.replace(ask, before=before)
    assert found == [2000, 1500, 1000, 500]
    assert 6 <= steps <= 8


def test_a_run_ends_whose_own_pool_was_drained_before(talk: Talk) -> None:
    """A pool of one run alone (scope="run") may be forgotten by then: by hand, or because its code is old."""
    own = TaskSpec("o.f", "m", "f", Environment("o", settings=PoolSettings(1, 1, idle_ttl=0.0), scope="run"))
    client = talk.client()
    client.say(JOIN, frames.Declare(1, TASK), START)
    client.hear(1)
    replica = talk.replica()
    _, run = replica.hear(2)
    replica.say(frames.Declare(1, own), frames.Submit(1, run.epoch, 1, b""))
    talk.engine.hub.handle(talk.engine.hub.poll(SECONDS))
    talk.engine.flush()
    other = talk.replica()
    _, child = other.hear(2)
    other.say(frames.Done(child.epoch, b"out"))
    replica.hear(1)
    (pool,) = [name for name in talk.engine.environments if name.endswith("/r1")]
    talk.engine.survey.control(frames.Control(1, pool, "drain"))
    (name,) = [name for name in talk.engine.crew.links if name.startswith(pool)]
    talk.engine.crew.ended(name, own.environment, Exit(code=0))
    talk.engine.tick()
    assert pool not in talk.engine.environments
    replica.say(frames.Done(run.epoch, b"out"))
    assert client.hear(2)[-1].body == b"out"
