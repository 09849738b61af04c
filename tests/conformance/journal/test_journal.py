"""What every journal promises: the port's docstrings, as tests."""

from __future__ import annotations

import threading
import time

import pytest

from samovar.entries import (
    ActionQuery,
    ActionSummary,
    AttemptQuery,
    Change,
    EventQuery,
    Keep,
    RunQuery,
    RunSummary,
    StartQuery,
)
from samovar.errors import JournalAwayError, JournalError, SlowDownError
from samovar.journal.writer import Room
from samovar.model import Phase
from tests.journal.makers import FAILURE, START, attempt, ended, event, settled, started

from .worlds import SECONDS


def write(journal, *entries):
    for entry in entries:
        journal.record(entry)
    journal.flush(SECONDS)


def pages(journal, query):
    """Every page of a query."""
    found = [journal.find(query)]
    while found[-1].next:
        assert len(found) < 100
        found.append(journal.find(type(query)(**{**fields(query), "after": found[-1].next})))
    return [page.items for page in found]


def fields(query):
    return {name: getattr(query, name) for name in query.__struct_fields__}


def names(page):
    return [item.action for item in page.items]


# what is written comes back


def test_an_outcome_comes_back_whole(journal):
    whole = settled(
        "a",
        parent="root",
        phase=Phase.FAILED,
        attempts=3,
        replica="shop@1-7",
        cold=True,
        result=b"\0result",
        result_blobs=("b1", "b2"),
        inputs=b"\xffinputs",
        input_blobs=("b3",),
        failure=FAILURE,
        cache_key="k",
        ran=2.5,
        of_run=9,
    )
    least = settled("b", started=None, phase=Phase.ABORTED)
    write(journal, started(), whole, least)
    assert sorted(journal.settled("r"), key=lambda entry: entry.action) == [whole, least]
    assert list(journal.settled("r", "a")) == [whole]
    assert list(journal.settled("r", "c")) == []
    assert list(journal.settled("other")) == []


def test_a_run_comes_back_whole_until_it_has_ended(journal):
    first = started("r1", START, inputs=b"\0in", input_blobs=("b",), context={"who": "me"})
    second = started("r2", START + 1)
    write(journal, second, first, started("r3", engine="another"))
    assert journal.unfinished("e") == [first, second]
    write(journal, ended("r1"))
    assert journal.unfinished("e") == [second]
    assert journal.unfinished("nobody") == []


def test_a_run_that_is_over_before_it_is_written(journal):
    write(journal, started("r"), settled(), ended("r", START + 3, Phase.FAILED, 7))
    assert journal.unfinished("e") == []
    assert journal.find(RunQuery()).items == [
        RunSummary("r", "e", "root", "shop.sell", Phase.FAILED, START, START + 3, 7)
    ]


def test_a_run_ends_with_its_first_action(journal):
    write(journal, started("r1"), started("r2", START + 1), settled("a", "r2"))
    write(journal, settled(run="r1", phase=Phase.FAILED, actions=1), settled("b", "r2"), settled(run="r2", actions=3))
    assert journal.unfinished("e") == []
    assert journal.find(RunQuery()).items == [
        RunSummary("r2", "e", "root", "shop.sell", Phase.SUCCEEDED, START + 1, START + 5, 3),
        RunSummary("r1", "e", "root", "shop.sell", Phase.FAILED, START, START + 5, 1),
    ]
    assert names(journal.find(ActionQuery(run="r1"))) == ["root"]


def test_a_run_that_is_on_its_way_is_listed(journal):
    write(journal, started("r"))
    assert journal.find(RunQuery(phase=Phase.RUNNING)).items == [
        RunSummary("r", "e", "root", "shop.sell", Phase.RUNNING, START, None, 0)
    ]


def test_how_a_run_began_is_found_when_it_has_ended_too(journal):
    first = started("r1", START, inputs=b"\0in", input_blobs=("b",), context={"who": "me"})
    second = started("r2", START + 1)
    write(journal, first, second, ended("r1"))
    assert journal.find(StartQuery(run="r1")).items == [first]
    assert journal.find(StartQuery(run="x")).items == []
    assert pages(journal, StartQuery(limit=1)) == [[second], [first]]


def test_attempts_and_events_come_back(journal):
    tries = [attempt(number, at=START + number) for number in (1, 2)]
    events = [
        event(Change.SCALED, replicas=4, reason="9 queued", at=START),
        event(Change.LOST, replica="shop@1-2", reason="was killed\0", at=START + 1),
        event(pool="other@1", at=START + 2),
    ]
    write(journal, started(), *tries, *events)
    assert journal.find(AttemptQuery(run="r", action="root")).items == tries[::-1]
    assert journal.find(AttemptQuery(run="r", action="x")).items == []
    scaled, lost = journal.find(EventQuery(pool="shop@1", oldest_first=True)).items
    assert scaled == events[0]
    assert (lost.change, lost.replica, lost.reason[:10]) == (Change.LOST, "shop@1-2", "was killed")
    assert journal.find(EventQuery(replica="shop@1-2")).items == [lost]
    assert len(journal.find(EventQuery(since=START + 1)).items) == 2


def test_what_an_action_has_called_comes_back_whole(journal):
    children = [settled(f"a{number}", parent="root", result=b"r", at=START + number // 2) for number in range(5)]
    write(journal, started(), settled(), settled("below", parent="a1"), *children)
    assert sorted(journal.settled("r", parent="root"), key=lambda entry: entry.action) == children
    assert [entry.action for entry in journal.settled("r", parent="")] == ["root"]
    assert list(journal.settled("r", parent="a4")) == []


# lists


def test_a_list_says_of_an_action_all_but_its_payloads(journal):
    write(journal, started(), settled("a", phase=Phase.FAILED, failure=FAILURE, result=b"r", of_run=7))
    times = (START, START + 5, START + 1)
    assert journal.find(ActionQuery()).items == [
        ActionSummary("r", "a", "", "shop.sell", Phase.FAILED, *times, 0, "", False, "ValueError: plain", 7)
    ]


@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_have_each_item_once_and_in_order(journal, oldest_first):
    entries = [settled(f"a{number:02}", at=START + number // 3) for number in range(20)]
    write(journal, started(), *entries)
    found = pages(journal, ActionQuery(run="r", limit=6, oldest_first=oldest_first))
    assert [len(page) for page in found] == [6, 6, 6, 2]
    order = [item.action for page in found for item in page]
    assert order == sorted(order, reverse=not oldest_first)


def test_what_is_written_between_two_pages_moves_nothing(journal):
    write(journal, started(), *(settled(f"a{number}", at=START + number) for number in range(4)))
    first = journal.find(ActionQuery(limit=2))
    write(journal, settled("new", at=START + 99))
    second = journal.find(ActionQuery(limit=2, after=first.next))
    assert names(first) + names(second) == ["a3", "a2", "a1", "a0"]
    assert second.next == ""


def test_filters_of_actions(journal):
    write(
        journal,
        started(),
        started("s"),
        settled("root", task="shop.main", at=START + 9),
        settled("a", parent="root", replica="shop@1-1", at=START + 1),
        settled("b", parent="root", phase=Phase.FAILED, at=START + 2),
        settled("c", parent="a", phase=Phase.TIMED_OUT, at=START + 3),
        settled("a", run="s", at=START + 4),
    )

    def found(**query):
        return names(journal.find(ActionQuery(**query)))

    assert found() == ["root", "a", "c", "b", "a"]
    assert found(run="r") == ["root", "c", "b", "a"]
    assert found(run="r", parent="") == ["root"]
    assert found(run="r", parent="root") == ["b", "a"]
    assert found(phase=Phase.FAILED) == ["b"]
    assert found(run="r", phase=Phase.SUCCEEDED) == ["root", "a"]
    assert found(run="r", phase=Phase.TIMED_OUT) == ["c"]
    assert found(task="shop.main") == ["root"]
    assert found(replica="shop@1-1") == ["a"]
    assert found(since=START + 2, until=START + 4) == ["c", "b"]
    assert found(run="nobody") == []


def test_filters_of_runs(journal):
    other = type(started().task)("other.task", "m", "q", started().task.environment)
    write(journal, started("r1", START), started("r2", START + 1, task=other), started("r3", START + 2, engine="f"))
    write(journal, ended("r1", phase=Phase.FAILED))

    def found(**query):
        return [item.run for item in journal.find(RunQuery(**query)).items]

    assert found() == ["r3", "r2", "r1"]
    assert found(run="r2") == ["r2"]
    assert found(engine="f") == ["r3"]
    assert found(phase=Phase.FAILED) == ["r1"]
    assert found(phase=Phase.RUNNING) == ["r3", "r2"]
    assert found(task="other.task") == ["r2"]
    assert found(since=START + 1) == ["r3", "r2"]
    assert found(oldest_first=True, limit=2) == ["r1", "r2"]


@pytest.mark.parametrize("after", ["x", "1.5", "-", "1-x", "nan-1", "inf-1", f"1.5-{2**63}"])
def test_a_place_that_is_none_is_refused(journal, after):
    with pytest.raises(JournalError, match="no place in a list"):
        journal.find(ActionQuery(after=after))


def test_a_page_has_an_upper_bound(journal):
    write(journal, started(), *(settled(f"a{number}", at=START + number) for number in range(1_010)))
    assert [len(page) for page in pages(journal, ActionQuery(limit=10**9))] == [1_000, 10]
    assert len(journal.find(ActionQuery(limit=-1)).items) == 1
    assert len(list(journal.settled("r"))) == 1_010


def test_the_newest_success_is_cached(journal):
    write(
        journal,
        started(),
        settled("a", cache_key="k", result=b"old"),
        settled("b", cache_key="k", result=b"new"),
        settled("c", cache_key="k", phase=Phase.FAILED),
        settled("d", cache_key="other"),
    )
    assert [entry.result for entry in journal.settled(cache_key="k")] == [b"new"]
    assert list(journal.settled(cache_key="nothing")) == []


# nothing is written twice


def test_an_action_is_settled_once(world, journal):
    entries = [settled(f"a{number}") for number in range(10)]
    second = settled("a4", phase=Phase.FAILED)
    write(journal, started(), *entries[:5], second, *entries[5:])
    assert sorted(journal.settled("r"), key=lambda entry: entry.action) == entries
    ((refused, error),) = world.refused
    assert refused == second
    assert "action a4 of run r is refused" in str(error)
    assert journal.health().refused == 1
    assert not journal.health().trouble


@pytest.mark.parametrize(
    "entry",
    [started(), ended(), attempt(), settled(actions=1), settled(run="nobody"), attempt(run="nobody"), ended("nobody")],
    ids=lambda entry: f"{type(entry).__name__} of {entry.run}",
)
def test_what_contradicts_is_refused_and_the_rest_is_written(world, journal, entry):
    write(journal, started("other"), started(), attempt(), ended())
    write(journal, settled("before"), entry, settled("after", "other"))
    assert [refused for refused, _ in world.refused] == [entry]
    assert names(journal.find(ActionQuery(oldest_first=True))) == ["before", "after"]


def test_nothing_of_a_run_that_is_refused_is_written_as_another_run_of_its_name(world, journal):
    write(journal, started("r"), settled("a"), settled(actions=2))
    second = [started("r", START + 60), settled("b"), attempt(), settled("root", actions=2)]
    write(journal, *second[:2], started("other"), settled("c", "other"), second[2])
    write(journal, second[3])
    assert [entry for entry, _ in world.refused if entry.run == "r"] == second
    assert names(journal.find(ActionQuery(run="r", oldest_first=True))) == ["a", "root"]
    assert names(journal.find(ActionQuery(run="other"))) == ["c"]
    assert journal.find(AttemptQuery(run="r")).items == []


def test_a_name_is_free_again_when_its_run_is_forgotten(world, journal):
    write(journal, started("r"), settled(actions=1))
    write(journal, started("r", START + 60), settled("b"))
    journal.prune(Keep(runs=0))
    write(journal, started("r", START + 120), settled("c"))
    assert names(journal.find(ActionQuery(run="r"))) == ["c"]


def test_a_text_that_no_database_takes_is_refused_or_written_whole(world, journal):
    """Names are never that, but a bug in a client must not stop the journal."""
    odd = settled("\ud800")
    write(journal, started(), settled("before"), odd, settled("after"))
    kept = {entry.action for entry in journal.settled("r")}
    assert kept | {refused.action for refused, _ in world.refused} == {"before", "\ud800", "after"}
    assert {"before", "after"} <= kept


def test_an_error_message_with_anything_in_it_is_written(journal):
    failure = type(FAILURE)("user", "ValueError", "nul \0 and\nmore")
    write(journal, started(), settled("a", phase=Phase.FAILED, failure=failure))
    ((entry,), (item,)) = (list(journal.settled("r")), journal.find(ActionQuery()).items)
    assert entry.failure == failure
    assert item.error == "ValueError: nul \N{REPLACEMENT CHARACTER} and"


def test_many_threads_record_at_once(journal):
    write(journal, started())

    def record(thread):
        for number in range(500):
            journal.record(settled(f"{thread}-{number}"))

    threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    journal.flush(SECONDS)
    assert len(list(journal.settled("r"))) == 2_000


# the database goes away


def test_entries_wait_until_the_database_is_back(world, journal):
    write(journal, started(), settled("before"))
    world.take_away()
    try:
        entries = [settled(f"a{number}") for number in range(100)]
        for entry in entries:
            journal.record(entry)
        with pytest.raises(JournalError, match="entries are not committed"):
            journal.flush(0.01)
        told = world.health.get(timeout=SECONDS)
        assert told.trouble
        assert 0 < told.backlog <= 100
        assert journal.health().lag > 0
    finally:
        world.bring_back()
    journal.flush(SECONDS)
    assert len(list(journal.settled("r"))) == 101
    assert world.refused == []
    while told.trouble:  # it may change before it ends
        told = world.health.get(timeout=SECONDS)
    assert journal.health().backlog == 0


def test_a_full_journal_says_so_and_loses_nothing(world):
    journal = world.reopen(Room(entries=10))
    write(journal, started())
    world.take_away()
    try:
        for number in range(6):
            journal.record(settled(f"a{number}"))
        assert journal.health().is_slow
        for number in range(6, 10):
            journal.record(settled(f"a{number}"))
        with pytest.raises(SlowDownError, match="no room, 10 entries wait"):
            journal.record(settled("refused"))
    finally:
        world.bring_back()
    journal.flush(SECONDS)
    journal.record(settled("accepted"))
    journal.flush(SECONDS)
    assert {entry.action for entry in journal.settled("r")} == {*(f"a{n}" for n in range(10)), "accepted"}
    assert not journal.health().is_slow


def test_the_bound_in_bytes_counts_payloads(world):
    journal = world.reopen(Room(bytes=20_000))
    write(journal, started())
    world.take_away()
    try:
        journal.record(settled("large", result=bytes(100_000)))  # alone, it finds room whatever its size
        with pytest.raises(SlowDownError):
            journal.record(settled("small"))
    finally:
        world.bring_back()
    journal.flush(SECONDS)
    assert [len(entry.result) for entry in journal.settled("r")] == [100_000]


def test_closing_says_what_is_lost(world):
    journal = world.reopen()
    write(journal, started())
    world.take_away()
    try:
        journal.record(settled())
        with pytest.raises(JournalError, match="lost: 1 entries are not committed"):
            journal.close(0.01)
    finally:
        world.bring_back()
    with pytest.raises(JournalError, match="closed"):
        journal.record(settled())
    journal.close(SECONDS)  # a second time does nothing


def test_what_was_recorded_is_there_after_closing(world):
    journal = world.journal
    journal.record(started())
    journal.record(settled())
    journal.close(SECONDS)
    reader = world.reopen() if world.outlives_its_journal else journal
    assert names(reader.find(ActionQuery())) == ["root"]


# retention


def test_pruning_by_count_keeps_the_newest_and_whatever_has_not_ended(journal):
    for number in range(4):
        run = f"r{number}"
        write(journal, started(run, START + number), settled(run=run), attempt(run=run))
        if number:
            journal.record(ended(run, START + 10 + number))
    journal.flush(SECONDS)
    journal.prune(Keep(runs=1))
    assert [item.run for item in journal.find(RunQuery()).items] == ["r3", "r0"]
    assert {item.run for item in journal.find(ActionQuery()).items} == {"r3", "r0"}
    assert journal.find(AttemptQuery(run="r1")).items == []
    assert journal.find(AttemptQuery(run="r3")).items != []


def test_pruning_by_age(journal):
    now = time.time()
    write(journal, started("old"), ended("old", now - 100), started("new"), ended("new", now - 10), started("running"))
    write(journal, event(at=now - 100), event(at=now - 10))
    journal.prune(Keep(age=50))
    assert {item.run for item in journal.find(RunQuery()).items} == {"new", "running"}
    assert [item.at for item in journal.find(EventQuery()).items] == [now - 10]
    journal.prune(Keep())
    assert {item.run for item in journal.find(RunQuery()).items} == {"new", "running"}


def test_pruning_events_by_count(journal):
    write(journal, *(event(at=START + number) for number in range(5)))
    journal.prune(Keep(events=2))
    assert [item.at for item in journal.find(EventQuery()).items] == [START + 4, START + 3]


def test_a_pruned_name_is_free_again(world, journal):
    write(journal, started(), settled(), ended())
    journal.prune(Keep(runs=0))
    write(journal, started(), settled())
    assert world.refused == []


def test_blobs_that_nothing_refers_to_are_named_until_they_are_swept(journal):
    write(
        journal,
        started("r", input_blobs=("in", "shared")),
        settled("a", result_blobs=("out",), input_blobs=("out-of-another", "shared")),
        settled("b", input_blobs=("out",)),
        ended("r"),
        started("s"),
        settled(run="s", input_blobs=("shared",)),
    )
    assert journal.prune(Keep()) == []
    free = ["in", "out", "out-of-another"]
    assert journal.prune(Keep(runs=0)) == free
    assert journal.prune(Keep()) == free
    assert journal.prune(Keep(), swept=free[:2]) == free[2:]
    write(journal, ended("s"))
    assert journal.prune(Keep(runs=0), swept=free[2:]) == ["shared"]
    assert journal.prune(Keep(), swept=["shared", "unknown"]) == []


def test_reading_a_database_that_is_away_says_so(world, journal):
    write(journal, started())
    world.take_away()
    try:
        with pytest.raises(JournalAwayError):
            journal.prune(Keep(runs=0))
        if world.reads_while_away:
            assert journal.unfinished("e") == [started()]
        else:
            with pytest.raises(JournalAwayError):
                journal.unfinished("e")
    finally:
        world.bring_back()
    assert journal.unfinished("e") == [started()]


def test_what_an_action_has_called_is_found(journal):
    write(journal, started("r"), settled("a", parent="root"), settled("b", parent="a"), settled("c", parent="root"))
    assert {entry.action for entry in journal.settled(run="r", parent="root")} == {"a", "c"}
    assert [entry.action for entry in journal.settled(run="r", parent="a")] == ["b"]
    assert list(journal.settled(run="r", parent="c")) == []


def test_a_hit_and_what_a_run_says_of_caches_come_back(journal):
    run = started("r", caching="replace")
    hit = settled("a", cache_key="k", hit="older/root")
    write(journal, run, hit)
    assert next(journal.settled(run="r")).hit == "older/root"
    assert journal.unfinished(run.engine)[0].caching == "replace"


def test_files_that_were_never_named_are_given_to_be_swept(journal):
    write(journal, started("r", input_blobs=("in",)), settled("a", result_blobs=("out",)))
    assert journal.prune(Keep(), found=["in", "nobody's", "out"]) == ["nobody's"]
    assert journal.prune(Keep()) == []
