"""What is committed and not sorted in: nobody misses it, nothing of it is there twice, and it has an upper bound."""

from __future__ import annotations

import threading

import msgspec
import pytest
from sqlalchemy import func, select

from samovar.entries import ActionQuery, EventQuery, RunQuery
from samovar.journal import writer
from samovar.journal.sql import rows, unsorted
from samovar.journal.sql import store as stores
from samovar.journal.sql.dialects import dialect
from samovar.journal.sql.journal import SqlJournal
from samovar.journal.sql.schema import ACTIONS, UNSORTED
from samovar.journal.sql.unsorted import pack, unpack
from tests.journeys.conftest import until

from .makers import TASK, attempt, ended, event, settled, started

SECONDS = 30


@pytest.fixture
def storm(monkeypatch):
    """It is never calm."""
    monkeypatch.setattr(writer, "CALM", 0)
    monkeypatch.setattr(writer, "QUIET", 10 * SECONDS)


def write_in_a_storm(url, *entries):
    """Each in a group of its own; closing waits until all is committed, and sorts nothing."""
    journal = SqlJournal(url)
    for entry in entries:
        journal.record(entry)
        until(lambda: not journal.health().backlog, SECONDS)
    journal.close(SECONDS)


def count(url, what) -> int:
    engine = dialect(url).engine
    with engine.connect() as connection:
        found = connection.execute(select(what)).scalar() or 0
    engine.dispose()
    return found


def waiting(url) -> int:
    return count(url, func.sum(UNSORTED.c.count))


def in_place(url) -> int:
    return count(url, func.count(ACTIONS.c.number))


@pytest.mark.usefixtures("storm")
def test_what_is_put_off_is_found_by_whoever_reads(url):
    entries = [settled(f"a{number}") for number in range(20)]
    write_in_a_storm(url, started(), *entries, event(), ended())
    assert (waiting(url), in_place(url)) == (23, 0)
    journal = SqlJournal(url)
    assert sorted(journal.settled("r"), key=lambda entry: entry.action) == sorted(entries, key=lambda e: e.action)
    assert waiting(url) == 0
    assert len(journal.find(EventQuery()).items) == 1
    assert journal.unfinished("e") == []
    journal.close(SECONDS)


@pytest.mark.usefixtures("storm")
def test_what_contradicts_is_told_to_whoever_sorts_it_in(url):
    first, second = settled("a"), settled("a", result=b"another")
    write_in_a_storm(url, started(), first, second, settled("b"))
    refused = []
    journal = SqlJournal(url, on_refused=lambda entry, error: refused.append((entry, str(error))))
    assert {item.action for item in journal.find(ActionQuery()).items} == {"a", "b"}
    assert list(journal.settled("r", "a")) == [first]
    ((entry, text),) = refused
    assert entry == second
    assert "action a of run r is refused" in text
    assert journal.health().refused == 1
    journal.close(SECONDS)


@pytest.mark.usefixtures("storm")
@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_second_run_of_a_name_is_refused_before_it_is_sorted_in(url, is_sorted):
    refused = []
    told = threading.Event()
    journal = SqlJournal(url, on_refused=lambda entry, error: (refused.append(entry), told.set()))
    journal.record(started("r"))
    until(lambda: not journal.health().backlog, SECONDS)
    if is_sorted:
        journal.flush(SECONDS)
    second = started("r", engine="another")
    journal.record(started("s"), second)
    assert told.wait(SECONDS)
    assert refused == [second]
    assert {run.run for run in journal.find(RunQuery(engine="e")).items} == {"r", "s"}
    journal.close(SECONDS)


@pytest.mark.usefixtures("storm")
def test_what_may_be_put_off_has_an_upper_bound(url, monkeypatch):
    monkeypatch.setattr(stores, "PUT_OFF", 10)
    monkeypatch.setattr(unsorted, "AT_ONCE", 5)
    write_in_a_storm(url, started(), *(settled(f"a{number}") for number in range(30)))
    assert 0 < waiting(url) <= 10
    assert waiting(url) + in_place(url) == 31 - 1  # the run is in place


@pytest.mark.usefixtures("storm")
def test_what_is_looked_for_is_not_put_off(url):
    write_in_a_storm(url, started(), settled("a"), settled("b", cache_key="k"))
    assert waiting(url) == 0


def test_when_it_is_calm_nothing_waits(url):
    journal = SqlJournal(url)
    journal.record(started(), settled("a"))
    until(lambda: in_place(url) == 1, SECONDS)
    assert waiting(url) == 0
    journal.close(SECONDS)


def test_many_who_read_sort_each_entry_in_once(url, monkeypatch):
    monkeypatch.setattr(unsorted, "AT_ONCE", 7)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "CALM", 0)
        patch.setattr(writer, "QUIET", 10 * SECONDS)
        journal = SqlJournal(url)
        journal.record(started(), *(event(at=float(number)) for number in range(100)))
        journal.record(*(settled(f"a{number}") for number in range(100)))
        journal.close(SECONDS)
    journals = [SqlJournal(url) for _ in range(4)]
    found: list[int] = []
    threads = [threading.Thread(target=lambda j=j: found.append(len(j.find(EventQuery()).items))) for j in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == [100] * 4
    assert [journal.health().refused for journal in journals] == [0] * 4
    for journal in journals:
        journal.close(SECONDS)


def test_a_group_comes_back_as_it_was():
    other = type(TASK)("other.task", "m", "q", TASK.environment)
    group = [
        started("a", inputs=b"\0in", input_blobs=("b",), context={"who": "me"}, caching="off"),
        started("b", task=other),
        started("c"),
        settled("x", phase="failed", result_blobs=("b",), cache_key="k", actions=3),
        attempt(),
        event(reason="why"),
        ended(),
    ]
    assert unpack(pack(group, rows.Specs())) == group


def test_what_an_older_version_has_left_and_nobody_needs(url):
    """Of version 3: a group with a pool in it, from a writer that was killed."""
    SqlJournal(url).close(SECONDS)
    pool = unsorted._Opened("shop@1", 0.0, msgspec.Raw(msgspec.msgpack.encode(TASK.environment)))
    old = pack([started(), pool, settled("a")], rows.Specs())
    engine = dialect(url).engine
    with engine.begin() as connection:
        connection.execute(UNSORTED.insert().values(count=3, entries=old))
    engine.dispose()
    journal = SqlJournal(url)
    assert [action.action for action in journal.find(ActionQuery(run="r")).items] == ["a"]
    journal.close(SECONDS)
    assert waiting(url) == 0
