"""What is written down, for clients that ask while it is being written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.engine.clients import Recalled
from samovar.entries import Page, RunQuery, RunSummary
from samovar.host.archive import Archive, ask
from samovar.host.logbook import Logbook
from samovar.journal.memory import MemoryJournal
from samovar.model import Phase
from samovar.wire import frames
from tests.web.conftest import Station

SECONDS = 10.0


class Scene:
    """A run that is over, in a turn that is not: the question comes before the journal has the run's end."""

    def __init__(self, folder: Path) -> None:
        self.journal = MemoryJournal()
        self.station = Station(folder, self.journal)
        self.logbook = Logbook(folder / "logs", lambda line: None)
        station: Any = self.station
        self.archive = Archive(self.journal, self.logbook, station)
        self.answered = threading.Event()
        self.answers: list[Any] = []

    def answer(self, *what: Any) -> None:
        self.answers += what
        self.answered.set()

    def end_run(self) -> None:
        """To be called in a turn."""
        self.station.engine.hub.handle(self.station.engine.hub.poll(SECONDS))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    made.station.start("r1")
    replica = made.station.replica()
    made.station.listen()
    (run,) = [frame for frame in replica.hear(2) if isinstance(frame, frames.Run)]
    made.station.hand_over()
    replica.say(frames.Done(run.epoch, b"out"))
    yield made
    made.archive.close()
    made.logbook.close()
    made.station.close()
    made.journal.close(SECONDS)


def test_a_run_that_has_just_ended_is_recalled_with_its_outcome(scene: Scene) -> None:
    with scene.station.turn:
        scene.end_run()
        scene.archive.recall("r1", scene.answer)
        assert not scene.answered.wait(0.2), "the turn is not over"
    assert scene.answered.wait(SECONDS)
    (known,) = scene.answers
    assert isinstance(known, Recalled)
    assert (known.reason, known.task) == ("", "e.f")
    assert known.outcome is not None
    assert (known.outcome.phase, known.outcome.body) == (Phase.SUCCEEDED, b"out")


def test_a_run_that_has_just_ended_is_found_as_one_that_has_ended(scene: Scene) -> None:
    class Service:
        """Asks in the turn in which the run ends."""

        def find(self, query: bytes) -> bytes:
            with scene.station.turn:
                scene.end_run()
                scene.archive.find(query, scene.answer)
            assert scene.answered.wait(SECONDS)
            page, problem = scene.answers
            assert not problem
            found: bytes = page
            return found

    page: Page[RunSummary] = ask(Service(), RunQuery(run="r1"))
    assert [(found.run, found.phase, found.actions) for found in page.items] == [("r1", Phase.SUCCEEDED, 1)]
