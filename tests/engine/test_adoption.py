"""What an engine makes of the replicas of the one before: which the test plays, frame by frame."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samovar.engine import adoption
from samovar.engine.adoption import Past, Unfinished, Wanted
from samovar.engine.engine import Engine
from samovar.engine.remembers import Remembers
from samovar.engine.scribe import Record, Scribe
from samovar.engine.succession import Succession
from samovar.entries import RunQuery, RunStarted, Settled
from samovar.journal.memory import MemoryJournal
from samovar.model import Environment, Exit, Failure, Phase, PoolSettings, Retry, TaskSpec
from samovar.wire import frames
from samovar.wire.session import replica_session

from .test_handshake import SECONDS, FakeKeeper

ENVIRONMENT = Environment("e", settings=PoolSettings(1, 2, 4))
POOL = f"e@{ENVIRONMENT.version[:8]}"
ONE, TWO = f"{POOL}-1.1", f"{POOL}-1.2"
MAIN = TaskSpec("e.main", "m", "main", ENVIRONMENT)
LEAF = TaskSpec("e.leaf", "m", "leaf", ENVIRONMENT)
TRIED_AGAIN = TaskSpec("e.leaf", "m", "leaf", ENVIRONMENT, retry=Retry(1))
STARTED = RunStarted("r", "service", "root", MAIN, 5.0, b"in")
BOOM = Failure("user", "ValueError", "boom")
OLD = 10**6  # an epoch of the engine before


def leaf_id() -> str:
    """Of the call that ``Peer.asks`` makes for the root."""
    return Record("root", None, 0.0).call("e.leaf", b"x", 1)


def root(epoch: int = OLD) -> frames.Holds:
    return frames.Holds(epoch, "e.main", "r", 1, 1, frames.Origin("root", "", 5.0, 6.0, True))


def leaf(epoch: int = OLD + 1, attempt: int = 1, run: str = "r") -> frames.Holds:
    return frames.Holds(epoch, "e.leaf", run, 2, attempt, frames.Origin(leaf_id(), "root", 7.0, 8.0, False))


class Peer:
    """A replica."""

    def __init__(self, world: World, replica: str) -> None:
        self.world = world
        self.replica = replica
        self.heard: list[Any] = []
        self._session = replica_session()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(world.folder / "engine.sock"))
        self.socket.setblocking(False)

    def hello(self, is_back: bool = True, token: str = "") -> Peer:
        token = token or self.world.succession.token(self.replica)
        return self.say(frames.Hello(frames.VERSION, self.replica, token, 1, is_back))

    def tells(self, *batch: Any, is_ready: bool = True) -> Peer:
        """All that it holds."""
        return self.hello().say(*batch, frames.Told(is_ready))

    def say(self, *batch: Any) -> Peer:
        self.socket.sendall(self._session.send(list(batch)))
        for _ in range(3):
            self.world.turn()
        return self

    def asks(self, parent: int, task: TaskSpec = LEAF, call: int = 1) -> list[Any]:
        return [frames.Declare(1, task), frames.Submit(call, parent, 1, b"x")]

    def hears(self, kind: type[Any]) -> Any:
        """The next frame of this kind; None: there is none."""
        for _ in range(3):
            self.world.turn()
            try:
                self.heard += self._session.receive(self.socket.recv(65536))
            except BlockingIOError:
                continue
        found = next((frame for frame in self.heard if isinstance(frame, kind)), None)
        if found is not None:
            self.heard.remove(found)
        return found


class World:
    """The second engine of its line, with a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peers: list[Peer] = []
        self.keeper = FakeKeeper()
        self.journal = MemoryJournal()
        self.succession = Succession(b"secret", 2, 60.0, {ONE: ENVIRONMENT, TWO: ENVIRONMENT})
        self.journal.record(STARTED)
        self.engine = Engine(
            self.keeper,  # type: ignore[arg-type]
            str(folder),
            str(folder),
            lambda *_: None,
            memory=Remembers(Scribe(self.journal, "service")),
            succession=self.succession,
        )

    def peer(self, replica: str = ONE) -> Peer:
        self.peers.append(Peer(self, replica))
        return self.peers[-1]

    def turn(self) -> None:
        self.engine.hub.handle(self.engine.hub.poll(0.01))
        self.engine.flush()

    def take_stock(self, *written: Settled, started: RunStarted = STARTED) -> None:
        past = Past(self.engine.adoption.close().get("r") or Wanted())
        for entry in written:
            past.add(entry)
        self.adopted = self.engine.adoption.take_stock([Unfinished(started, (), past)])
        self.engine.flush()

    def tick(self) -> None:
        """Until all that there was before is committed, and receipts are written."""
        for _ in range(2):
            self.engine.tick()
            self.engine.flush()
            self.journal.flush(SECONDS)

    def written(self) -> dict[str, Settled]:
        self.engine.hand_over()
        self.journal.flush(SECONDS)
        found = list(self.journal.settled(run="r"))
        assert self.journal.health().refused == 0
        return {entry.action: entry for entry in found}

    def is_over(self) -> bool:
        self.engine.hand_over()
        self.journal.flush(SECONDS)
        return not self.journal.unfinished("service")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for peer in made.peers:
        peer.socket.close()
    made.engine.hub.close()
    made.journal.close(SECONDS)


def test_whoever_is_expected_is_kept_and_has_a_token(world: World) -> None:
    assert world.keeper.adopted == [ONE, TWO]
    assert "wrong token" in world.peer().hello(token="another").hears(frames.Refuse).reason
    welcome = world.peer().hello().hears(frames.Welcome)
    assert welcome.outlive == 60.0
    assert world.peer().hello().hears(frames.Refuse), "a replica comes once"


def test_stock_can_be_taken_when_all_have_told_or_are_gone(world: World) -> None:
    assert not world.engine.adoption.all_told.is_set()
    world.peer().tells()
    assert not world.engine.adoption.all_told.is_set()
    world.engine.crew.ended(TWO, ENVIRONMENT, Exit(code=1))
    assert world.engine.adoption.all_told.is_set()
    world.take_stock()
    assert world.adopted == [ONE]


def test_one_that_has_not_told_in_time_is_ended(world: World) -> None:
    world.peer().tells()
    world.take_stock()
    assert (TWO, 0.0) in world.keeper.stops
    assert world.peer(TWO).hello().hears(frames.Refuse)


def test_one_that_had_met_no_engine_before_begins(world: World) -> None:
    peer = world.peer().hello(is_back=False)
    world.engine.crew.ended(TWO, ENVIRONMENT, Exit(code=1))
    world.take_stock()
    assert peer.hears(frames.Run) is None
    peer.say(frames.Ready(0.1))
    assert peer.hears(frames.Run).body == b"in"


def test_one_that_was_ready_before_stock_was_taken(world: World) -> None:
    peer = world.peer().hello(is_back=False).say(frames.Ready(0.1))
    world.take_stock()
    assert peer.hears(frames.Run).task == "e.main"


def test_a_root_and_its_child_go_on_and_are_written_down_as_they_began(world: World) -> None:
    one, two = world.peer(ONE), world.peer(TWO)
    one.tells(root(), *one.asks(OLD))
    two.tells(leaf())
    world.take_stock()
    two.say(frames.Done(OLD + 1, b"out"))
    assert one.hears(frames.Answer) == frames.Answer(1, b"out")
    one.say(frames.Done(OLD, b"all"))
    assert (one.hears(frames.Run), two.hears(frames.Run)) == (None, None)
    written = world.written()
    assert world.is_over()
    entry = written[leaf_id()]
    assert (entry.parent, entry.queued, entry.started, entry.replica, entry.attempts) == ("root", 7.0, 8.0, TWO, 1)
    assert (written["root"].phase, written["root"].result, written["root"].cold) == (Phase.SUCCEEDED, b"all", True)
    (run,) = world.journal.find(RunQuery(run="r")).items
    assert run.actions == 2


def test_an_outcome_that_came_while_nobody_was_there_answers_the_call(world: World) -> None:
    one, two = world.peer(ONE), world.peer(TWO)
    two.tells(leaf(), frames.Done(OLD + 1, b"out"))
    one.tells(root(), *one.asks(OLD))
    world.take_stock()
    assert one.hears(frames.Answer) == frames.Answer(1, b"out")
    entry = world.written()[leaf_id()]
    assert (entry.replica, entry.of_run) == (TWO, 2), "it keeps its number, which its lines have"


def test_an_answer_that_is_written_down_comes_from_there(world: World) -> None:
    one, two = world.peer(ONE), world.peer(TWO)
    one.tells(root(), *one.asks(OLD))
    two.tells(leaf(), frames.Done(OLD + 1, b"again"))
    world.take_stock(Settled("r", leaf_id(), "root", "e.leaf", Phase.SUCCEEDED, 1.0, 2.0, result=b"written"))
    assert one.hears(frames.Answer).body == b"written"
    assert world.written() == {}


def test_what_a_caller_has_its_answer_to_is_written_down(world: World) -> None:
    """It lives, and does not ask: it was answered by the engine before, which had not written it yet."""
    world.peer(ONE).tells(root())
    world.peer(TWO).tells(leaf(), frames.Failed(OLD + 1, BOOM))
    world.take_stock()
    entry = world.written()[leaf_id()]
    assert (entry.phase, entry.failure, entry.ended > 8.0) == (Phase.FAILED, BOOM, True)


def test_a_call_that_nobody_waits_for_any_more_is_cancelled(world: World) -> None:
    world.peer(ONE).tells(root())
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    assert two.hears(frames.Cancel).epoch == OLD + 1
    two.say(frames.Failed(OLD + 1, Failure("user", "CancelledError", "")))
    assert world.written() == {}


def test_a_run_that_is_not_known_is_cancelled(world: World) -> None:
    peer = world.peer().tells(
        leaf(run="unknown"), root(), leaf(OLD + 2, run="unknown"), frames.Done(OLD + 2, b"", ("x",))
    )
    (world.folder / "x").touch()
    world.take_stock()
    assert peer.hears(frames.Cancel).epoch == OLD + 1
    assert not (world.folder / "x").exists()


@pytest.mark.parametrize("attempts", [(1, 2), (2, 1)])
def test_of_two_attempts_the_later_one_counts(world: World, attempts: tuple[int, int]) -> None:
    one, two = world.peer(ONE), world.peer(TWO)
    one.tells(root(), leaf(OLD + 1, attempts[0]), *one.asks(OLD))
    two.tells(leaf(OLD + 2, attempts[1]))
    world.take_stock()
    older, later = (one, two) if attempts == (1, 2) else (two, one)
    assert older.hears(frames.Cancel)
    assert later.hears(frames.Cancel) is None


@pytest.mark.parametrize(
    ("task", "failure", "is_final"),
    [
        (LEAF, BOOM, True),
        (TRIED_AGAIN, BOOM, False),
        (TRIED_AGAIN, Failure("user", "ValueError", "boom", recoverable=False), True),
        (LEAF, Failure("user", "CancelledError", ""), False),
    ],
)
def test_a_failure_counts_where_it_is_not_tried_again(
    world: World, task: TaskSpec, failure: Failure, is_final: bool
) -> None:
    one, two = world.peer(ONE), world.peer(TWO)
    one.tells(root(), *one.asks(OLD, task))
    two.tells(leaf(), frames.Failed(OLD + 1, failure))
    world.take_stock()
    again = one.hears(frames.Run) or two.hears(frames.Run)
    assert (again is None) == is_final
    assert (leaf_id() in world.written()) == is_final


def failed_once(failed_at: float) -> frames.Holds:
    """The root in its second attempt."""
    return frames.Holds(OLD, "e.main", "r", 1, 2, frames.Origin("root", "", 5.0, 6.0, True, 1, failed_at))


def test_what_failed_in_an_attempt_before_does_not_answer_the_one_that_runs(world: World) -> None:
    """Neither what is written down nor what a replica kept; it is done again, under another id."""
    one, two = world.peer(ONE), world.peer(TWO)
    one.tells(failed_once(10.0), *one.asks(OLD))
    again = frames.Holds(OLD + 2, "e.leaf", "r", 3, 1, frames.Origin(f"{leaf_id()}~2", "root", 11.0, 12.0, False))
    two.tells(leaf(), again, frames.Failed(OLD + 1, BOOM))
    world.take_stock()
    assert (one.hears(frames.Answer), one.hears(frames.Run), two.hears(frames.Run)) == (None, None, None)
    two.say(frames.Done(OLD + 2, b"out"))
    assert one.hears(frames.Answer).body == b"out"
    assert {action: entry.phase for action, entry in world.written().items()} == {
        leaf_id(): Phase.FAILED,
        f"{leaf_id()}~2": Phase.SUCCEEDED,
    }


@pytest.mark.parametrize(("ended", "counts"), [(9.0, False), (11.0, True)])
def test_a_failure_that_is_written_down_answers_the_attempt_that_it_belongs_to(
    world: World, ended: float, counts: bool
) -> None:
    one = world.peer(ONE)
    one.tells(failed_once(10.0), *one.asks(OLD))
    world.take_stock(Settled("r", leaf_id(), "root", "e.leaf", Phase.FAILED, 1.0, ended, failure=BOOM))
    answer, run = one.hears(frames.Answer), one.hears(frames.Run)
    assert (answer is not None, run is not None) == (counts, not counts)


def test_retries_are_counted_on(world: World) -> None:
    """The root has failed once already, and may fail twice."""
    started = msgspec.structs.replace(STARTED, task=TaskSpec("e.main", "m", "main", ENVIRONMENT, retry=Retry(1)))
    one = world.peer(ONE).tells(failed_once(10.0))
    world.take_stock(started=started)
    one.say(frames.Failed(OLD, BOOM))
    assert one.hears(frames.Run) is None
    assert world.written()["root"].phase is Phase.FAILED


def test_children_of_a_survivor_have_its_context(world: World) -> None:
    one = world.peer(ONE)
    one.tells(msgspec.structs.replace(root(), context={"of": "root"}), *one.asks(OLD))
    world.take_stock()
    assert one.hears(frames.Run).context == {"of": "root"}


# its caller was lost, and the run begins again


def rerun(world: World, two: Peer) -> tuple[Peer, int]:
    """The root runs again, on the same replica as what it had called. Gives its epoch."""
    again = two.hears(frames.Run)
    assert again.task == "e.main"
    return two, int(again.epoch)


def test_what_lost_its_caller_runs_on_until_that_one_asks_again(world: World) -> None:
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    one, epoch = rerun(world, two)
    one.say(*one.asks(epoch))
    assert (two.hears(frames.Run), two.hears(frames.Cancel)) == (None, None)
    two.say(frames.Done(OLD + 1, b"out"))
    assert one.hears(frames.Answer).body == b"out"
    assert world.written()[leaf_id()].started == 8.0


def test_it_may_have_ended_by_then(world: World) -> None:
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    one, epoch = rerun(world, two)
    two.say(frames.Log(OLD + 1, "stdout", "bye\n"), frames.Done(OLD + 1, b"out"))
    one.say(*one.asks(epoch))
    assert one.hears(frames.Answer).body == b"out"
    assert two.hears(frames.Run) is None
    assert list(world.written()) == [leaf_id()]


def test_if_it_failed_it_runs_again_with_its_caller(world: World) -> None:
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    one, epoch = rerun(world, two)
    two.say(frames.Failed(OLD + 1, BOOM))
    one.say(*one.asks(epoch))
    assert two.hears(frames.Run).task == "e.leaf"
    assert world.written() == {}


def test_what_it_has_called_itself_waits_for_it(world: World) -> None:
    """Its own child goes on under it; when it is lost the child is nobody's outcome."""
    two = world.peer(TWO)
    two.tells(leaf(), *two.asks(OLD + 1, call=9))
    world.take_stock()
    assert {two.hears(frames.Run).task for _ in range(2)} == {"e.main", "e.leaf"}
    world.engine.crew.ended(TWO, ENVIRONMENT, Exit(code=1))
    assert world.written() == {}


def test_nobody_asks_for_it_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "CLAIM_SECONDS", 0.0)
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    world.engine.tick()
    assert two.hears(frames.Cancel).epoch == OLD + 1


def test_its_run_ends_without_it(world: World) -> None:
    two = world.peer(TWO).tells(leaf())
    world.take_stock()
    one, epoch = rerun(world, two)
    one.say(frames.Done(epoch, b"all"))
    assert two.hears(frames.Cancel).epoch == OLD + 1
    assert list(world.written()) == ["root"]


def test_a_run_that_ended_while_nobody_was_there(world: World) -> None:
    one = world.peer().tells(leaf(), root(), frames.Done(OLD + 1, b"out"), frames.Done(OLD, b"all"))
    world.take_stock()
    assert one.hears(frames.Run) is None
    assert {entry.action: entry.result for entry in world.written().values()} == {leaf_id(): b"out", "root": b"all"}
    assert world.is_over()
    (run,) = world.journal.find(RunQuery(run="r")).items
    assert run.actions == 2


# receipts


def test_replicas_are_told_what_is_written_down(world: World) -> None:
    one = world.peer().tells(leaf(), root(), frames.Done(OLD + 1, b"out"))
    world.take_stock()
    one.say(frames.Done(OLD, b"all"))
    world.tick()
    assert one.hears(frames.Committed) == frames.Committed(2)
    world.engine.tick()
    assert one.hears(frames.Committed) is None


def test_not_for_one_whose_large_values_are_still_being_moved(world: World) -> None:
    """Nor for those after it: a receipt is for the first of those that came."""
    one = world.peer()
    one.tells(root(), *one.asks(OLD))
    world.take_stock()
    epoch = one.hears(frames.Run).epoch
    world.engine.crew.links[ONE].is_bounded = True
    world.keeper.apart_waits = True
    one.say(frames.Done(epoch, b"", ("large",)), frames.Done(OLD, b"all"))
    world.tick()
    assert one.hears(frames.Committed) is None
    world.keeper.waiting.pop()()
    world.tick()
    assert one.hears(frames.Committed) == frames.Committed(2)


def test_but_not_before_it_is(world: World) -> None:
    one = world.peer().tells(root())
    world.take_stock()
    world.journal.away = "the disk is full"
    one.say(frames.Done(OLD, b"all"))
    world.engine.tick()
    world.engine.tick()
    assert one.hears(frames.Committed) is None
    world.journal.away = ""
    world.tick()
    assert one.hears(frames.Committed) == frames.Committed(1)
