"""A real replica between two engines, which the test plays: what it keeps, what it tells, and when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar import family
from samovar.model import Bundle
from samovar.wire import frames, payload
from samovar.wire.blobs import Blobs
from samovar.wire.session import engine_session
from tests.journeys.conftest import until

SECONDS = 60.0

MODULE = """
import asyncio, os, pathlib, subprocess, time
import samovar
env = samovar.TaskEnvironment(name="e", reusable=samovar.ReusePolicy(replicas=1, concurrency=9))

def is_there(path: str) -> bool:
    return pathlib.Path(path).exists()

@env.task
async def twice(x: int) -> int:
    return 2 * x

@env.task
async def calls(xs: list[int]) -> list[int]:
    return await asyncio.gather(*(twice(x) for x in xs[:-1]), twice.override(retries=1)(xs[-1]))

@env.task
async def leaves(mark: str) -> str:
    call = twice(7)
    while not is_there(mark):
        await asyncio.sleep(0.01)
    call.cancel()
    another = twice(8)
    pathlib.Path(mark + " seen").touch()
    return await another

@env.task
async def blocks(mark: str, go: str) -> str:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pathlib.Path(mark).write_text(str(child.pid))
    while not is_there(go):
        time.sleep(0.01)
    print("unblocked")
    return "free"
"""


class Engine:
    """One incarnation: it takes one connection."""

    def __init__(self, folder: Path, outlive: float = SECONDS) -> None:
        self.folder = folder
        self.outlive = outlive
        self.heard: list[Any] = []
        self._session = engine_session()
        path = folder / "engine.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(SECONDS)
            listener.bind(str(path))
            listener.listen()
            self.accept = listener.dup()

    def greet(self) -> frames.Hello:
        self.peer, _ = self.accept.accept()
        self.peer.settimeout(SECONDS)
        hello = self.hears(frames.Hello)
        assert isinstance(hello, frames.Hello)
        bundle = Bundle(sys_path=(str(self.folder),), modules=("tasks",))
        self.say(frames.Welcome(bundle, str(self.folder), outlive=self.outlive))
        return hello

    def say(self, *batch: Any) -> None:
        self.peer.sendall(self._session.send(list(batch)))

    def hears(self, kind: type[Any], count: int = 1) -> Any:
        """The next frame of this kind; of several, a list. Others that came before it stay in ``heard``."""
        while sum(isinstance(frame, kind) for frame in self.heard) < count:
            data = self.peer.recv(65536)
            assert data, f"the replica has hung up after {self.heard}"
            self.heard += self._session.receive(data)
        found = [frame for frame in self.heard if isinstance(frame, kind)][:count]
        self.heard = [frame for frame in self.heard if frame not in found]
        return found if count > 1 else found[0]

    def run(self, epoch: int, task: str, **inputs: Any) -> None:
        body, _ = payload.encode(inputs, Blobs(""))
        origin = frames.Origin(f"id {epoch}", "root", 1.0, 2.0, False)
        self.say(frames.Run(epoch, f"e.{task}", "tasks", task, "r", epoch, 1, body, origin=origin))

    def told(self) -> list[Any]:
        """What a replica that is back has to tell, without its hello."""
        self.hears(frames.Told)
        told = [frame for frame in self.heard if not isinstance(frame, frames.Beat)]
        self.heard.clear()
        return told

    def die(self) -> None:
        self.accept.close()
        self.peer.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    made = Engine(folder)
    yield made
    made.die()


@pytest.fixture
def replica(folder: Path, engine: Engine) -> Iterator[subprocess.Popen[bytes]]:
    variables = {
        **os.environ,
        "SAMOVAR_ENGINE": str(folder / "engine.sock"),
        "SAMOVAR_REPLICA": "e-1",
        "SAMOVAR_TOKEN": "secret",
        family.VARIABLE: family.new(),
    }
    command = [sys.executable, "-P", "-c", "from samovar.runtime.main import main; main()"]
    process = subprocess.Popen(command, env=variables, start_new_session=True)
    assert not engine.greet().is_back
    engine.hears(frames.Ready)
    yield process
    process.kill()
    process.wait(SECONDS)


def test_outcomes_are_kept_until_they_are_committed(folder: Path, engine: Engine, replica: Any) -> None:
    for epoch in (1, 2, 3):
        engine.run(epoch, "twice", x=epoch)
        engine.hears(frames.Done)
    engine.say(frames.Committed(1))
    engine.die()
    second = Engine(folder)
    hello = second.greet()
    assert (hello.is_back, hello.replica, hello.token, hello.pid) == (True, "e-1", "secret", replica.pid)
    told = second.told()
    assert [(type(frame).__name__, frame.epoch) for frame in told] == [
        ("Holds", 2),
        ("Holds", 3),
        ("Done", 2),
        ("Done", 3),
    ]
    assert told[0] == frames.Holds(2, "e.twice", "r", 2, 1, frames.Origin("id 2", "root", 1.0, 2.0, False))
    second.say(frames.Committed(2))
    second.die()
    third = Engine(folder)
    third.greet()
    assert third.told() == []
    third.run(4, "twice", x=4)
    assert payload.decode(third.hears(frames.Done).body, (), Blobs(""), consume=False) == 8
    third.die()


def test_calls_without_an_answer_are_submitted_again(folder: Path, engine: Engine, replica: Any) -> None:
    engine.run(1, "calls", xs=[5, 6, 5])
    first = engine.hears(frames.Submit, 3)
    engine.say(frames.Answer(first[1].call, payload.encode(12, Blobs(""))[0]))
    engine.die()
    second = Engine(folder)
    second.greet()
    holds, *declares, once, again = second.told()
    assert holds.epoch == 1
    assert [(declare.task.name, declare.task.retry.count) for declare in declares] == [("e.twice", 0), ("e.twice", 1)]
    assert [once, again] == [first[0], first[2]]
    assert [once.ordinal, again.ordinal] == [1, 2]
    second.say(*(frames.Answer(submit.call, payload.encode(10, Blobs(""))[0]) for submit in (once, again)))
    assert payload.decode(second.hears(frames.Done).body, (), Blobs(""), consume=False) == [10, 12, 10]
    second.die()


def test_calls_that_are_made_and_given_up_while_there_is_no_engine(folder: Path, engine: Engine, replica: Any) -> None:
    engine.run(1, "leaves", mark=str(folder / "mark"))
    given_up = engine.hears(frames.Submit)
    engine.die()
    (folder / "mark").touch()
    until(lambda: (folder / "mark seen").exists())
    second = Engine(folder)
    second.greet()
    _, _, submit = second.told()
    assert submit.call == given_up.call + 1
    second.say(frames.Answer(submit.call, payload.encode("sixteen", Blobs(""))[0]))
    assert payload.decode(second.hears(frames.Done).body, (), Blobs(""), consume=False) == "sixteen"
    second.die()


def test_a_blocked_event_loop_hinders_neither_the_return_nor_the_end(
    folder: Path, engine: Engine, replica: Any
) -> None:
    mark, go = folder / "mark", folder / "go"
    engine.run(1, "blocks", mark=str(mark), go=str(go))
    until(lambda: mark.exists() and mark.read_text())
    child = int(mark.read_text())
    engine.run(2, "twice", x=1)  # it lies in the socket when the engine dies
    engine.die()
    second = Engine(folder, outlive=0.3)
    second.greet()
    assert [frame.epoch for frame in second.told()] == [1, 2]
    second.die()
    assert replica.wait(SECONDS) == -signal.SIGKILL
    until(lambda: not _runs(child))


def test_it_goes_on_where_it_was_when_its_loop_is_free_again(folder: Path, engine: Engine, replica: Any) -> None:
    mark, go = folder / "mark", folder / "go"
    engine.run(1, "blocks", mark=str(mark), go=str(go))
    until(lambda: mark.exists() and mark.read_text())
    engine.run(2, "twice", x=1)
    engine.die()
    second = Engine(folder)
    second.greet()
    second.told()
    go.touch()
    assert [frame.epoch for frame in second.hears(frames.Done, 2)] == [1, 2]
    assert "unblocked\n" in [frame.text for frame in second.heard if isinstance(frame, frames.Log)]
    os.kill(int(mark.read_text()), signal.SIGKILL)
    second.die()


def test_an_engine_that_refuses_it_is_its_end(folder: Path, engine: Engine, replica: Any) -> None:
    engine.die()
    second = Engine(folder)
    second.peer, _ = second.accept.accept()
    second.say(frames.Refuse("too late"))
    assert replica.wait(SECONDS) == -signal.SIGKILL
    second.die()


def test_without_a_next_engine_it_ends_at_once(folder: Path) -> None:
    engine = Engine(folder, outlive=0.0)
    variables = {**os.environ, "SAMOVAR_ENGINE": str(folder / "engine.sock"), "SAMOVAR_REPLICA": "e-1"}
    command = [sys.executable, "-P", "-c", "from samovar.runtime.main import main; main()"]
    process = subprocess.Popen(command, env={**variables, "SAMOVAR_TOKEN": "t"}, start_new_session=True)
    engine.greet()
    engine.hears(frames.Ready)
    engine.die()
    assert process.wait(SECONDS) == -signal.SIGKILL


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
