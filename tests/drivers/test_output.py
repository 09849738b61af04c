"""Output that goes to a file: read as it grows, freed when it is read, found again by a later driver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from samovar.drivers.output import TAIL_BYTES, UNREAD_BYTES, Output, Rounds


@pytest.fixture
def shm():
    """A file on a tmpfs."""
    path = Path("/dev/shm") / f"samovar-test-output-{os.getpid()}"
    path.touch()
    yield path
    path.unlink()


def read(path: Path, use: Callable[[Output], str]) -> tuple[list[str], str]:
    """The lines that are handed on while ``use`` has it, and what it returns."""
    lines: list[str] = []

    async def test() -> str:
        rounds = Rounds(3600)
        output = Output(asyncio.get_running_loop(), path, lines.append, rounds)
        found = use(output)
        assert rounds._timer is None
        heard = len(lines)
        assert (output.finish(), len(lines)) == (found, heard)
        return found

    return lines, asyncio.run(test())


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_was_read_gives_its_room_back_and_nothing_is_lost(shm):
    def use(output: Output) -> str:
        for number in range(100):
            write(shm, f"{number} {'x' * 100_000}\n")
            output.look()
            assert os.stat(shm).st_blocks * 512 < 300_000
        return output.finish()

    lines, tail = read(shm, use)
    assert [line.split()[0] for line in lines] == [str(number) for number in range(100)]
    assert len(tail) == TAIL_BYTES
    assert os.stat(shm).st_size > 10_000_000


def test_a_later_driver_reads_on_where_the_one_before_it_was(shm):
    def first(output: Output) -> str:
        write(shm, "".join(f"first {number:09}\n" for number in range(50_000)))
        output.look()
        return output.finish()

    def second(output: Output) -> str:
        write(shm, "second\n")
        return output.finish()

    assert len(read(shm, first)[0]) == 50_000
    lines, tail = read(shm, second)
    assert lines[-2:] == ["first 000049999", "second"]
    assert TAIL_BYTES / 16 < len(lines) < 4 * TAIL_BYTES / 16  # the end, which Exit shows, is read again
    assert tail.endswith("first 000049999\nsecond\n")


def test_of_more_than_a_bound_only_the_end_is_handed_on(shm):
    def use(output: Output) -> str:
        write(shm, f"lost\n{'x' * UNREAD_BYTES}\nkept\n")
        return output.finish()

    lines, tail = read(shm, use)
    assert "lost" not in lines
    assert lines[-1] == "kept"
    assert tail.endswith("x\nkept\n")


def test_a_replica_may_empty_it(shm):
    def use(output: Output) -> str:
        write(shm, "before\n")
        output.look()
        shm.write_text("now\n")
        output.look()
        write(shm, "after")
        return output.finish()

    lines, tail = read(shm, use)
    assert lines == ["before", "now", "after"]
    assert tail == "before\nnow\nafter"


def test_one_timer_looks_at_all_and_stops_with_the_last(tmp_path):
    async def test() -> None:
        rounds = Rounds(0.001)
        heard: asyncio.Queue[str] = asyncio.Queue()
        files = [tmp_path / name for name in "ab"]
        for path in files:
            path.touch()
        outputs = [Output(asyncio.get_running_loop(), path, heard.put_nowait, rounds) for path in files]
        for _ in range(2):
            for path in files:
                write(path, f"{path.name}\n")
            assert {await asyncio.wait_for(heard.get(), 60) for _ in files} == {"a", "b"}
        outputs[0].finish()
        assert rounds._timer is not None
        outputs[1].finish()
        assert rounds._timer is None

    asyncio.run(test())
