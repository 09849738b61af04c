"""Stored lines: kept in order, read from both ends, bounded, and never in the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from samovar.engine.work import Run, Work
from samovar.host import lines, logbook
from samovar.host.lines import LogLine, LogQuery, folder_of, read
from samovar.host.logbook import Bounds, Logbook
from samovar.model import Environment, TaskSpec

SECONDS = 30.0
SMALL = Bounds(segment=1000, run=4000)


class Nobody:
    """A starter that is told nothing."""


def work(run: str = "r", number: int = 1, task: str = "e.f") -> Work:
    made = Run(run, None, Nobody())  # type: ignore[arg-type]
    return Work(TaskSpec(task, "m", "f", Environment("e")), "p", made, number, b"", ())


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def begin(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Logbook]]:
    opened = []

    def make(bounds: Bounds | None = None) -> Logbook:
        opened.append(Logbook(tmp_path / "logs", said.append, bounds))
        return opened[-1]

    yield make
    for book in opened:
        book.close()


def texts(book: Logbook, run: str = "r", **query: object) -> list[str]:
    """Of all pages."""
    book.flush(SECONDS)
    found: list[str] = []
    wanted = LogQuery(run=run, **query)  # type: ignore[arg-type]
    while True:
        page = read(book.root, wanted)
        found += [line.text for line in page.lines]
        if page.is_last:
            return found
        wanted = msgspec.structs.replace(wanted, after=page.next, tail=None)


def test_a_file_of_somebody_else_is_in_nobodys_way(begin: Callable[..., Logbook]) -> None:
    book = begin()
    book.put(work(), "stdout", "one\n")
    assert texts(book) == ["one"]
    (folder_of(book.root, "r") / "notes.jsonl").write_text("mine")
    book.put(work(), "stdout", "two\n")
    assert texts(book) == ["one", "two"]


def test_lines_come_back_in_order_with_who_wrote_them(begin: Callable[..., Logbook]) -> None:
    book = begin()
    book.put(work(number=1), "stdout", "one\ntwo\n")
    book.put(work(number=2, task="e.g"), "stderr", "three")
    book.flush(SECONDS)
    found = read(book.root, LogQuery(run="r")).lines
    assert [(line.action, line.number, line.task, line.stream, line.text) for line in found] == [
        ("1", 1, "e.f", "stdout", "one"),
        ("1", 1, "e.f", "stdout", "two"),
        ("2", 2, "e.g", "stderr", "three"),
    ]
    assert texts(book, action="2") == ["three"]
    assert texts(book, task="e.f") == ["one", "two"]
    assert texts(book, tail=2) == ["two", "three"]
    assert texts(book, tail=1, task="e.f") == ["two"]
    assert texts(book, tail=0) == []
    assert texts(book, run="nobody") == []


def test_whoever_follows_reads_on_while_segments_are_packed(begin: Callable[..., Logbook]) -> None:
    book = begin(Bounds(segment=500))
    query, found = LogQuery(run="r", limit=7), []
    for at in range(60):
        book.put(work(), "stdout", f"line {at}\n")
        if at % 5 == 0:
            book.flush(SECONDS)
            page = read(book.root, query)
            found += [line.text for line in page.lines]
            query = msgspec.structs.replace(query, after=page.next)
    book.ended("r")
    book.flush(SECONDS)
    folder = folder_of(book.root, "r")
    assert len(list(folder.glob("*.gz"))) > 3
    assert not list(folder.glob("*.jsonl"))
    assert found + texts(book, after=query.after) == [f"line {at}" for at in range(60)]
    assert texts(book, tail=33) == [f"line {at}" for at in range(27, 60)]


def test_a_run_keeps_its_newest_lines(begin: Callable[..., Logbook]) -> None:
    book = begin(SMALL)
    for at in range(500):
        book.put(work(), "stdout", f"line {at:03}\n")
    found = texts(book)
    assert found[0] == "older lines of this run are gone, for their number"
    assert found[1:] == [f"line {at:03}" for at in range(501 - len(found), 500)]
    assert 20 < len(found) < 120
    assert texts(book, tail=3) == ["line 497", "line 498", "line 499"]


def test_all_runs_together_are_bounded_and_the_oldest_go(begin: Callable[..., Logbook]) -> None:
    book = begin(SMALL._replace(total=3000))
    for run in range(30):
        for _ in range(20):
            book.put(work(f"r{run}"), "stdout", os.urandom(30).hex() + "\n")
        book.ended(f"r{run}")
        book.flush(SECONDS)
    sizes = {path.parent: path.stat().st_size for path in book.root.rglob("*.gz")}
    assert sum(sizes.values()) <= 3000
    assert texts(book, "r29")
    assert not folder_of(book.root, "r0").exists()


def test_what_does_not_fit_is_counted_and_said(begin: Callable[..., Logbook], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "GATHER", SECONDS)  # the thread rests after its first look
    book = begin(Bounds(queue=2000))
    book.put(work("first"), "stdout", "wakes it\n")
    book.flush(SECONDS)
    for at in range(20):
        book.put(work(), "stdout", f"{at}\n{at}\n")
    book.put(work("other"), "stdout", "x" * 3000)
    book.close()
    found = [line.text for line in read(book.root, LogQuery(run="r")).lines]
    stored = [text for text in found if "not kept" not in text]
    assert f"{40 - len(stored)} lines were not kept: more was written than could be stored" in found
    assert 2 <= len(stored) < 40
    (line,) = read(book.root, LogQuery(run="other")).lines
    assert (line.stream, line.text) == ("samovar", "1 line was not kept: more was written than could be stored")


def test_a_disk_that_takes_nothing_is_said_once_and_its_lines_are_counted(
    begin: Callable[..., Logbook], said: list[str]
) -> None:
    book = begin()
    in_the_way = folder_of(book.root, "r")
    in_the_way.touch()
    for at in range(3):
        book.put(work(), "stdout", f"{at}\n")
        book.flush(SECONDS)
    assert len(said) == 1
    assert "what tasks print is not stored" in said[0]
    in_the_way.unlink()
    book.put(work(), "stdout", "again\n")
    assert texts(book) == ["3 lines were not kept: more was written than could be stored", "again"]
    assert said[1:] == ["logs: what tasks print is stored again"]


def test_what_a_killed_service_left_is_read_packed_and_continued(begin: Callable[..., Logbook], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "logs", "r")
    folder.mkdir(parents=True)
    whole = lines.encode_line(LogLine(1.0, "1", 1, "e.f", "stdout", "before"))
    (folder / "000001.jsonl").write_bytes(whole + b"\n{damaged}\n" + whole[:10])
    book = begin()
    book.put(work(), "stdout", "after\n")
    assert texts(book) == ["before", "after"]
    assert (folder / "000001.jsonl.gz").exists()
    assert texts(book, tail=2) == ["before", "after"]


def test_lines_go_with_their_run(begin: Callable[..., Logbook]) -> None:
    book = begin()
    for run in ("kept", "gone", "young"):
        book.put(work(run), "stdout", "x\n")
        book.ended(run)
    book.flush(SECONDS)
    for run in ("kept", "gone"):
        os.utime(folder_of(book.root, run), (0, 0))
    book.forget(lambda run: run == "kept")
    assert sorted(path.name for path in book.root.iterdir()) == ["run-kept", "run-young"]


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".", "ü" * 300, "x" * 200 + "1"])
def test_a_run_may_have_any_name(begin: Callable[..., Logbook], name: str) -> None:
    book = begin()
    book.put(work(name), "stdout", "here\n")
    assert texts(book, name) == ["here"]
    assert [path.parent for path in book.root.iterdir()] == [book.root]
    assert texts(book, name[:-1] + "2") == []


def test_a_line_without_end_is_cut(begin: Callable[..., Logbook]) -> None:
    book = begin()
    book.put(work(), "stdout", "y" * (logbook.LONGEST_LINE + 5) + "\n\ud800 lone\n")
    long, lone = texts(book)
    assert long.endswith("y… (5 more characters)")
    assert lone == "? lone"


def test_a_place_that_is_none(tmp_path: Path, begin: Callable[..., Logbook]) -> None:
    book = begin()
    book.put(work(), "stdout", "x\n")
    book.flush(SECONDS)
    with pytest.raises(ValueError):
        read(book.root, LogQuery(run="r", after="there"))


def test_what_several_may_have_written_is_the_runs(begin: Callable[..., Logbook]) -> None:
    book = begin()
    book.put_shared("r", "shared", "whose?\n")
    book.put(work(), "stdout", "mine\n")
    book.flush(SECONDS)
    found = read(book.root, LogQuery(run="r")).lines
    assert [(line.action, line.task, line.stream, line.text) for line in found] == [
        ("", "", "shared", "whose?"),
        ("1", "e.f", "stdout", "mine"),
    ]
