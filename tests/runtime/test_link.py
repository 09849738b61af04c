"""Calls that the engine has no room for: the replica makes them again, and whoever awaits them does not see it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import samovar
from samovar.runtime.link import Link
from samovar.sdk.context import current
from samovar.sdk.controller import Execution
from samovar.wire import frames
from samovar.wire.blobs import Blobs
from samovar.wire.session import engine_session

env = samovar.TaskEnvironment(name="e")
LONG = 3600.0


@env.task
async def double(x: Any) -> Any:
    return x


class Ends:
    """A link, and what stands for its engine; ``epoch`` executes."""

    def __init__(self, folder: Path) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.link = Link(ours, "e-1", "token")
        self.link.blobs = Blobs(str(folder))
        self.link.handlers = {frames.Answer: self.link.answered, frames.SlowDown: self.link.slow_down}
        self.session = engine_session()
        self.sockets = (ours, self.theirs)

    def call(self, epoch: int, x: Any = 1) -> Any:
        token = current.set(Execution(self.link, epoch, "r1", 1, "e.f", 1, None))
        try:
            return double(x=x)
        finally:
            current.reset(token)

    def said(self) -> list[frames.Submit]:
        """The submits that have been sent since."""
        self.link.flush()
        self.theirs.setblocking(False)
        try:
            heard = self.session.receive(self.theirs.recv(1 << 20))
        except BlockingIOError:
            return []
        return [frame for frame in heard if isinstance(frame, frames.Submit)]

    def hear(self, *answers: Any) -> None:
        for answer in answers:
            self.link.handlers[type(answer)](answer)

    def answer(self, submit: frames.Submit) -> None:
        self.hear(frames.Answer(submit.call, submit.body))

    def refuse(self, *submits: frames.Submit, retry_after: float = LONG) -> None:
        self.hear(*(frames.SlowDown(submit.call, retry_after, submit) for submit in submits))


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    for end in made.sockets:
        end.close()


def in_loop(ends: Ends, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def started() -> None:
        ends.link.loop = asyncio.get_running_loop()
        await test()

    asyncio.run(started())


async def until(ends: Ends, count: int) -> list[frames.Submit]:
    """The next ``count`` submits."""
    said: list[frames.Submit] = []
    async with asyncio.timeout(20):
        while len(said) < count:
            await asyncio.sleep(0)
            said += ends.said()
    return said


def test_a_refused_call_is_made_again_when_its_time_has_come(ends: Ends) -> None:
    async def test() -> None:
        calls = [ends.call(1), ends.call(1)]
        said = ends.said()
        ends.refuse(*said, retry_after=0.01)
        again = await until(ends, 2)
        assert again == said
        ends.refuse(again[0], retry_after=0.01)
        assert await until(ends, 1) == again[:1]
        for submit in again:
            ends.answer(submit)
        assert [await call for call in calls] == [{"x": 1}, {"x": 1}]

    in_loop(ends, test)


def test_an_answer_brings_the_next_of_the_same_execution(ends: Ends) -> None:
    async def test() -> None:
        calls = [ends.call(epoch) for epoch in (1, 1, 1, 2, 2)]
        said = ends.said()
        ends.refuse(*said[1:3], said[4])
        ends.answer(said[3])
        assert ends.said() == [said[4]]
        ends.answer(said[0])
        assert ends.said() == [said[1]]
        ends.answer(said[1])
        assert ends.said() == [said[2]]
        ends.answer(said[2])
        ends.answer(said[4])
        assert ends.said() == []
        assert all(call.done() for call in calls)

    in_loop(ends, test)


def test_a_call_that_is_cancelled_while_it_waits_is_not_made_again(ends: Ends, tmp_path: Path) -> None:
    async def test() -> None:
        calls = [ends.call(1), ends.call(1, bytearray(1 << 20)), ends.call(1)]
        said = ends.said()
        assert said[1].blobs
        ends.refuse(*said[1:])
        calls[1].cancel()
        assert list(tmp_path.iterdir()), "its inputs are still there"
        ends.answer(said[0])
        assert ends.said() == []
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(asyncio.CancelledError):
            await calls[1]
        calls[2].cancel()

    in_loop(ends, test)


def test_a_blocking_call_waits_for_as_long_as_it_takes(ends: Ends) -> None:
    async def test() -> None:
        token = current.set(Execution(ends.link, 1, "r1", 1, "e.f", 1, None))
        blocking = asyncio.create_task(asyncio.to_thread(ends.link.call_blocking, double, {"x": 5}, ""))
        current.reset(token)
        for _ in range(3):
            (submit,) = await until(ends, 1)
            ends.refuse(submit, retry_after=0.01)
        (submit,) = await until(ends, 1)
        ends.answer(submit)
        async with asyncio.timeout(20):
            assert await blocking == {"x": 5}

    in_loop(ends, test)
