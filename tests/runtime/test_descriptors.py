"""The file of what is written past Python: whole lines, what is too much, and what somebody else has taken away."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.runtime.descriptors import LONGEST_LINE, UNREAD_BYTES, Descriptors


class File:
    def __init__(self, path: Path) -> None:
        self.writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.reader = os.open(path, os.O_RDONLY)
        self.said: list[str] = []
        self.descriptors = Descriptors(self.reader, self.said.append)

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)

    def seen(self, ends: bool = False) -> list[str]:
        """What a look says."""
        self.said.clear()
        self.descriptors.look(ends)
        return list(self.said)


@pytest.fixture
def file() -> Iterator[File]:
    path = Path(f"/dev/shm/samovar-test-{os.getpid()}")
    made = File(path)
    yield made
    os.close(made.writer)
    os.close(made.reader)
    path.unlink()


def test_lines_are_whole(file: File) -> None:
    assert file.seen() == []
    file.write(b"one\ntw")
    assert file.seen() == ["one\n"]
    assert file.seen() == []
    file.write(b"o\n")
    assert file.seen() == ["two\n"]


def test_the_end_of_its_author_is_the_end_of_a_line(file: File) -> None:
    file.write(b"one\ntw")
    assert file.seen(ends=True) == ["one\ntw"]
    assert file.seen(ends=True) == []
    file.write(b"o")
    assert file.seen() == []
    assert file.seen(ends=True) == ["o"]


def test_a_line_that_does_not_end_is_handed_on_in_parts(file: File) -> None:
    file.write(b"x" * LONGEST_LINE)
    assert file.seen() == []
    file.write(b"x")
    assert file.seen() == ["x" * (LONGEST_LINE + 1)]
    file.write(b"y\n")
    assert file.seen() == ["y\n"]


def test_a_character_may_come_in_two_parts(file: File) -> None:
    cut = "tä".encode()
    file.write(cut[:2])
    assert file.seen() == []
    file.write(cut[2:] + b"\xff\n")
    assert file.seen() == ["tä\ufffd\n"]


def test_of_too_much_the_end_is_kept_and_the_rest_is_counted(file: File) -> None:
    file.write(b"x" * 1000 + b"\n" * UNREAD_BYTES)
    (text,) = file.seen()
    assert text.startswith("(1000 bytes were not kept")
    assert text.count("\n") == UNREAD_BYTES + 1


def test_what_the_driver_has_freed_is_counted(file: File) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    file.write(b"x" * page + b"rest\n")
    ctypes.CDLL(None).fallocate(file.writer, 0x03, ctypes.c_int64(0), ctypes.c_int64(page))
    assert file.seen() == [f"({page} bytes were not kept: more was written than could be read)\nrest\n"]


def test_a_task_may_empty_it(file: File) -> None:
    file.write(b"before\n")
    file.seen()
    os.ftruncate(file.writer, 0)
    file.write(b"new\n")
    assert file.seen() == ["new\n"]


PROGRAM = """
import os, sys
from samovar.runtime import descriptors
found = descriptors.of_this_process(lambda text: sys.exit("42" if text == "here\\n" else 1))
if found is None:
    os._exit(43)
os.write(2, b"here\\n")
try:
    found.look()
except SystemExit as end:
    os._exit(int(end.code))
"""


@pytest.mark.parametrize(("kind", "code"), [("file", 42), ("pipe", 43), ("two files", 43)])
def test_only_one_file_of_both_is_read(tmp_path: Path, kind: str, code: int) -> None:
    with (tmp_path / "1").open("ab") as one, (tmp_path / "2").open("ab") as two:
        first, second = {"file": (one, one), "pipe": (subprocess.PIPE, subprocess.STDOUT), "two files": (one, two)}[
            kind
        ]
        done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=first, stderr=second, check=False)
    assert done.returncode == code
