"""The watch beside a loop: what it tells of a turn that takes long, and when it keeps quiet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from samovar.runtime.watch import BEAT, Watch
from samovar.sdk.context import current
from samovar.wire import frames


class World:
    """A link that remembers what it is given, and a clock that the test turns."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.link: Any = SimpleNamespace(is_away=False, patience=2.0, send=self.sent.append)
        self.selector: Any = SimpleNamespace(turn_began=0.0)
        self.watch = Watch(self.link, self.selector, None)
        self.now = self.watch._beat_at

    def look(self, later: float = 0.0) -> list[Any]:
        self.now += later
        self.sent.clear()
        self.watch.look(self.now)
        return [frame for frame in self.sent if isinstance(frame, frames.Blocked)]


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What it gives, while this thread, the loop's, is here."""
    given: list[Any] = []
    thread = threading.Thread(target=lambda: given.append(work()))
    thread.start()
    thread.join()
    return given[0]


def test_a_loop_that_waits_is_not_blocked_however_long_threads_run() -> None:
    world = World()
    assert world.look() == []
    assert world.look(1000.0) == []
    (beat,) = world.sent
    assert beat.lag == 0.0


def test_a_turn_is_told_once_and_the_next_one_again() -> None:
    world = World()
    world.selector.turn_began = world.now
    assert world.look(1.9) == []
    (told,) = world.look(0.2)
    assert told.seconds == pytest.approx(2.1)
    assert world.look(5.0) == []
    assert world.sent[0].lag == pytest.approx(7.1), "beats go on and say how long it is by now"
    world.selector.turn_began = world.now
    assert world.look(1.0) == []
    assert len(world.look(1.0)) == 1


def test_it_is_told_to_an_engine_that_is_there() -> None:
    world = World()
    world.selector.turn_began = world.now
    world.link.is_away = True
    assert world.look(3.0) == []
    assert world.sent == []
    world.link.is_away = False
    assert len(world.look(BEAT)) == 1


def test_a_turn_that_has_just_ended_is_not_told() -> None:
    world = World()

    class Moving:
        """Each time it is asked another turn has begun."""

        def __init__(self) -> None:
            self.asked = world.now

        @property
        def turn_began(self) -> float:
            self.asked += 1.0
            return self.asked

    world.watch._selector = Moving()  # type: ignore[assignment]
    assert world.look(100.0) == []


def test_it_names_the_execution_and_where_it_stands() -> None:
    world = World()
    told: list[frames.Blocked] = []

    async def task() -> None:
        current.set(SimpleNamespace(epoch=7))  # type: ignore[arg-type]

        async def helper() -> None:
            world.selector.turn_began = world.now
            told.extend(in_a_thread(lambda: world.look(3.0)))

        await asyncio.create_task(helper())

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(loop.create_task(task()))
    loop.close()
    (blocked,) = told
    assert blocked.epoch == 7
    calls = blocked.stack.split("\n")
    assert "test_watch.py" in calls[0]
    assert not any("asyncio" in line and "File" in line for line in calls)
    assert any("in helper" in line for line in calls)


def test_what_cannot_be_read_keeps_no_beat() -> None:
    world = World()

    class Broken:
        def look(self) -> None:
            raise OSError("no")

    world.watch._descriptors = Broken()  # type: ignore[assignment]
    world.look()
    assert [type(frame) for frame in world.sent] == [frames.Beat]


def test_code_that_no_task_has_started_is_nobodys() -> None:
    world = World()
    world.selector.turn_began = world.now
    (blocked,) = in_a_thread(lambda: world.look(3.0))
    assert blocked.epoch == 0
