"""The queue and its thread, before a store that does as it is told."""

from __future__ import annotations

import threading

import pytest

from samovar.errors import JournalAwayError, JournalError, SlowDownError
from samovar.journal import writer
from samovar.journal.writer import Sorted, Writer, told
from tests.journeys.conftest import until

from .makers import attempt, ended, event, settled, started

SECONDS = 30


class Store:
    """Keeps groups. ``gate`` holds a commit back; ``bad`` are actions that cannot be written."""

    def __init__(self, *bad: str) -> None:
        self.groups: list[list[str]] = []
        self.numbers: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.away = 0  # tries that fail
        self.bad = bad
        self.closed_by = ""
        self.puts_off = 0  # calls of ``sort`` that a group needs
        self.unsorted = 0  # such calls until all is sorted
        self.sort_away = 0  # of which so many fail
        self.calm: list[bool] = []

    def commit(self, group, number) -> None:
        self.entered.release()
        assert self.gate.wait(SECONDS)
        self.numbers.append(number)
        if self.away:
            self.away -= 1
            raise JournalAwayError("the disk is full")
        names = [entry.action for entry in group]
        if set(names) & set(self.bad):
            raise ValueError("it does not fit")
        self.groups.append(names)
        self.unsorted += self.puts_off

    def sort(self, is_calm) -> Sorted:
        self.calm.append(is_calm)
        if self.sort_away:
            self.sort_away -= 1
            raise JournalAwayError("the file is locked")
        self.unsorted = max(0, self.unsorted - is_calm)
        return Sorted(not self.unsorted)

    def written(self) -> list[str]:
        return [name for group in self.groups for name in group]

    def close(self) -> None:
        self.closed_by = threading.current_thread().name


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def open_writer():
    opened: list[Writer] = []

    def open_one(*arguments) -> Writer:
        opened.append(Writer(*arguments))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close(SECONDS)


def test_recording_does_not_wait_for_a_commit(store, open_writer):
    store.gate.clear()
    here = open_writer(store)
    here.record(settled("first"))
    assert store.entered.acquire(timeout=SECONDS)
    for number in range(1_000):
        here.record(settled(f"{number}"))
    assert here.health().backlog == 1_001
    store.gate.set()
    here.flush(SECONDS)
    assert store.groups == [["first"], [f"{number}" for number in range(1_000)]]  # in order, and in groups


def test_a_group_has_an_upper_bound(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "GROUP", 3)
    store.gate.clear()
    here = open_writer(store)
    for number in range(8):
        here.record(settled(f"{number}"))
    store.gate.set()
    here.flush(SECONDS)
    assert max(map(len, store.groups)) == 3
    assert store.written() == [f"{number}" for number in range(8)]


def test_a_try_again_has_the_number_of_the_first_try(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.001)
    store.away = 3
    heard = []
    here = open_writer(store, heard.append)
    here.record(settled("a"))
    here.flush(SECONDS)
    here.record(settled("b"))
    here.flush(SECONDS)
    assert store.groups == [["a"], ["b"]]
    assert len(set(store.numbers[:4])) == 1
    assert len(set(store.numbers)) == 2
    assert [health.trouble for health in heard] == ["the disk is full", ""]


def test_entries_that_cannot_be_written_are_found_and_told(open_writer):
    store = Store("2", "5")
    store.gate.clear()
    refused = []
    here = open_writer(store, lambda health: None, lambda entry, error: refused.append((entry.action, str(error))))
    for number in range(9):
        here.record(settled(f"{number}"))
    store.gate.set()
    here.flush(SECONDS)
    assert store.written() == ["0", "1", "3", "4", "6", "7", "8"]
    assert [action for action, _ in refused] == ["2", "5"]
    assert refused[0][1] == "action 2 of run r is refused: it does not fit"
    assert len(set(store.numbers)) == len(store.numbers)


def test_what_is_given_up_leaves_no_gap(open_writer):
    """When the database goes away in the middle of a search for halves, what comes after is not written either."""
    store = Store("3")
    store.gate.clear()
    here = open_writer(store)
    for number in range(4):
        here.record(settled(f"{number}"))
    commit = store.commit

    def away_for_halves(group, number):
        if len(group) < 4:
            raise JournalAwayError("gone")
        commit(group, number)

    store.commit = away_for_halves
    store.gate.set()
    with pytest.raises(JournalError, match="these are lost: 4 entries"):
        here.close(0.2)
    assert store.groups == []


def test_after_many_entries_it_is_calm_when_a_while_has_passed(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "CALM", 3)
    store.gate.clear()
    store.puts_off = 2
    here = open_writer(store)
    here.record(*(settled(f"{number}") for number in range(3)))
    store.gate.set()
    until(lambda: store.calm[-2:] == [True, True] and not store.unsorted, SECONDS)
    first = store.calm.index(False)
    assert store.calm[first:] == [False] * store.calm.count(False) + [True, True]


def test_a_flush_waits_for_no_calm(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "CALM", 0)
    monkeypatch.setattr(writer, "QUIET", 10 * SECONDS)
    store.puts_off = 3
    here = open_writer(store)
    here.record(settled("a"))
    here.flush(SECONDS)
    assert store.unsorted == 0


def test_sorting_waits_until_the_database_is_back(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.001)
    store.sort_away = 3
    heard = []
    here = open_writer(store, heard.append)
    here.record(settled("a"))
    here.flush(SECONDS)
    assert [health.trouble for health in heard] == ["the file is locked", ""]
    assert store.groups == [["a"]]


def test_what_is_recorded_together_finds_room_together(store, open_writer):
    here = open_writer(store, lambda health: None, lambda entry, error: None, writer.Room(entries=4))
    store.gate.clear()
    here.record(settled("a"), settled("b"))
    with pytest.raises(SlowDownError, match="2 entries wait"):
        here.record(settled("c"), settled("d"), settled("e"))
    here.record(settled("c"), settled("d"))
    store.gate.set()
    here.flush(SECONDS)
    assert store.written() == ["a", "b", "c", "d"]


def test_the_store_is_closed_by_the_one_who_uses_it(store, open_writer):
    here = open_writer(store)
    here.close(SECONDS)
    assert store.closed_by == "samovar-journal"


def test_entries_for_people():
    assert told(started()) == "the start of run r"
    assert told(ended()) == "the end of run r"
    assert told(settled("a", result=b"secret")) == "action a of run r"
    assert told(attempt()) == "action root of run r"
    assert told(event()) == "the event 'ready' of pool shop@1"


def test_what_has_to_be_done_before_a_commit_is(store, open_writer, monkeypatch):
    monkeypatch.setattr(writer, "FIRST_PAUSE", 0.001)
    seen, health = [], []

    def before(group) -> None:
        seen.append([entry.action for entry in group])
        assert store.written() == []
        if len(seen) < 3:
            raise JournalAwayError("no room for large values")

    here = open_writer(store, health.append, lambda entry, error: None, None, before)
    here.record(settled("a"))
    here.flush(SECONDS)
    assert seen == [["a"]] * 3
    assert store.written() == ["a"]
    assert [each.trouble for each in health] == ["no room for large values", ""]


def test_an_entry_whose_preparation_fails_for_good_is_refused(store, open_writer):
    refused = []

    def before(group) -> None:
        if any(entry.action == "b" for entry in group):
            raise JournalError("its large value is gone")

    here = open_writer(store, lambda health: None, lambda entry, why: refused.append(entry.action), None, before)
    for name in "abc":
        here.record(settled(name))
    here.flush(SECONDS)
    assert (store.written(), refused) == (["a", "c"], ["b"])
