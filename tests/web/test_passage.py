"""A list of actions that is read in parts while the actions settle: each is shown once, and none is left out."""

from __future__ import annotations

import pickle

import pytest

from samovar.engine import survey
from samovar.web.passage import MARKS, Mark, Passage
from samovar.web.problems import Problem
from samovar.wire import frames

from .test_api import fan


def read(site, between, **params):
    """The ids of all pages; ``between``: what happens after each of the first."""
    found, after = [], ""
    happens = iter(between)
    while True:
        page = site.get("/runs/r1/actions", after=after, **params)
        found += [action["id"] for action in page["items"]]
        after = page["next"]
        if not after:
            return found
        next(happens, lambda: None)()


@pytest.mark.parametrize("parent", [None, "root"])
@pytest.mark.parametrize("steps", [survey.STEPS, 3], ids=["one turn", "many turns"])
def test_what_settles_meanwhile_comes_once(site, parent, steps, monkeypatch):
    monkeypatch.setattr(survey, "STEPS", steps)
    monkeypatch.setattr(survey.underway, "__defaults__", (steps,))
    replica, _, running = fan(site, 20)

    def settle():
        """The two that run, of which the oldest is one that no page has had yet."""
        nonlocal running
        replica.say(*[frames.Done(frame.epoch, pickle.dumps(1)) for frame in running])
        running = [frame for frame in replica.hear(4) if isinstance(frame, frames.Run)]

    params = {"limit": 4} if parent is None else {"limit": 4, "parent": parent}
    found = read(site, [settle] * 8, **params)
    assert len(found) == len(set(found))
    assert len(found) == (20 if parent else 21)


def test_what_begins_meanwhile_is_of_the_next_list(site):
    replica, parent, _ = fan(site, 6)

    def more():
        replica.say(frames.Submit(99, parent.epoch, 1, pickle.dumps({"x": 99})))
        site.station.listen()

    found = read(site, [more], limit=3)
    assert len(found) == 7
    assert len(read(site, [], limit=3)) == 8


def test_a_cursor_is_a_word_and_comes_back():
    passage = Passage().on(17, 5.5, 100.0).on(0, None, 101.0)
    assert Passage.of(passage.cursor) == passage
    assert passage.before is None
    assert Passage.of("") == Passage()


@pytest.mark.parametrize("cursor", ["x", "!", "bnVsbA", "W10x", "é"])
def test_what_is_no_cursor_is_a_problem(cursor):
    with pytest.raises(Problem) as raised:
        Passage.of(cursor)
    assert raised.value.status == 404


def test_many_marks_are_joined_and_leave_nothing_out():
    passage = Passage()
    for number in range(3 * MARKS):
        passage = passage.on(1000 - number, 1000.0 - number, float(number))
    assert len(passage.marks) == MARKS
    assert not passage.has_shown(1000.0, 0.0)
    assert passage.has_shown(1000.0, 10_000.0)
    assert passage.marks[-1] == Mark(1000.0 - 3 * MARKS + 1, 3 * MARKS - 1.0)
